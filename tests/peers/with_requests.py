"""Python requests (urllib3 below it), configured by nothing but `HTTP_PROXY`."""

import concurrent.futures
import hashlib
import http.client
import logging
import os
import time


def needs():
    try:
        import requests  # noqa: F401
    except ImportError:
        return "Python's `requests` is not installed"
    return None


def checks(stage, report):
    import requests
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = stage.proxy
    dialled = Dialled()
    with requests.Session() as session:
        calls(session, report)
        report.same("requests: a session keeps its connection", 1, dialled.stop())
        streams(session, report)
        retries(session, report)
        deadline(session, report)
        head_refused(stage, report)
        breaker(session, report)
    crowd(requests, report)


class Dialled(logging.Handler):
    """Counts the connections that urllib3 says it opens."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.count = 0
        self.logger = logging.getLogger("urllib3.connectionpool")
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = False
        self.logger.addHandler(self)

    def emit(self, record):
        self.count += "Starting new HTTP" in record.getMessage()

    def stop(self):
        self.logger.removeHandler(self)
        return self.count


def calls(session, report):
    got = session.get("http://payment-service/hello", timeout=10)
    report.same("requests: GET", (200, "hello\n"), (got.status_code, got.text))
    value = {"order": 7, "lines": ["tea", "milk"], "note": "größer"}
    got = session.post("http://order-service/echo", json=value, timeout=10).json()
    sent = dict(got["headers"])
    report.same("requests: POST json", ("POST", "application/json", int(sent["content-length"])),
                (got["method"], sent["content-type"], got["length"]))
    report.same("requests: Host is the service's name", "order-service", sent.get("host"))
    report.holds("requests: a trace header is added", sent.get("traceparent", "").count("-") == 3, sent)
    unwanted = {"proxy-connection", "via", "x-forwarded-for", "forwarded", "keep-alive"}
    report.same("requests: no header of a proxy is added", set(), unwanted & set(sent))
    got = session.head("http://payment-service/text.txt", timeout=10)
    report.same("requests: HEAD", (200, ""), (got.status_code, got.text))
    got = [session.get(f"http://{name}/hello", timeout=10).status_code
           for name in ("nobody-knows", "payment-service") * 3]
    report.same("requests: a refused call is answered once", [403, 200] * 3, got)


def streams(session, report):
    begun = time.monotonic()
    with session.get("http://order-service/trickle", stream=True, timeout=10) as got:
        arrived = [(line, time.monotonic() - begun) for line in got.iter_lines(chunk_size=1)]
    report.same("requests: a stream's lines", [b"one", b"two", b"three"], [line for line, _ in arrived])
    report.holds("requests: the first line is not held back", arrived[-1][1] - arrived[0][1] > 0.3, arrived)
    pieces = [os.urandom(30_000) for _ in range(40)]
    got = session.put("http://order-service/echo", data=iter(pieces), timeout=10).json()
    report.same("requests: an upload from a generator", hashlib.sha256(b"".join(pieces)).hexdigest(), got["sha256"])
    with session.get("http://order-service/trickle", stream=True, timeout=10):
        pass                                                 # closed before its end
    got = session.get("http://payment-service/hello", timeout=10)
    report.same("requests: a stream left early harms nothing", 200, got.status_code)


def retries(session, report):
    def seen(key):
        return session.get(f"http://order-service/count?key={key}", timeout=10).json()

    got = session.get("http://order-service/flaky?key=get&fail=2", timeout=10)
    report.same("requests: GET fails twice, the application sees 200", (200, 3), (got.status_code, got.json()["seen"]))
    got = session.get("http://order-service/flaky?key=often&fail=9", timeout=10)
    report.same("requests: GET fails always: 1 + 3 attempts, the service's own answer", (503, 4),
                (got.status_code, got.json().get("seen")))
    got = session.post("http://order-service/flaky?key=post&fail=2", data=b"pay", timeout=10)
    report.same("requests: POST is sent once", (503, 1), (got.status_code, seen("post")))
    body = b"pay once" * 1000
    got = session.post("http://order-service/flaky?key=keyed&fail=2", data=body, timeout=10,
                       headers={"Idempotency-Key": "7f3a"})
    report.same("requests: POST with Idempotency-Key is sent again, whole", (200, 3, hashlib.sha256(body).hexdigest()),
                (got.status_code, seen("keyed"), got.json()["sha256"]))
    got = session.post("http://order-service/search?key=search&fail=1", data=b"tea", timeout=10)
    report.same("requests: POST on an idempotent route is sent again", (200, 2), (got.status_code, seen("search")))


def deadline(session, report):
    begun = time.monotonic()
    got = session.get("http://order-service/slow", timeout=10)
    took = time.monotonic() - begun
    report.same("requests: the deadline", (504, "deadline_exceeded"), (got.status_code, got.json()["error"]))
    report.holds("requests: the deadline is kept", 0.25 < took < 0.9, f"{took:.3f} s", "about 0.3 s")


def head_refused(stage, report):
    """With `http.client`, which unlike urllib3 does not notice bytes that should not be there."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.port["outbound"], timeout=10)
    got = []
    for method, host in [("HEAD", "nobody-knows"), ("GET", "payment-service"), ("HEAD", "absent-service"),
                         ("GET", "payment-service")]:
        connection.request(method, "/hello", headers={"Host": host})
        answer = connection.getresponse()
        got.append((answer.status, answer.read()))
    connection.close()
    report.same("http.client: our replies to HEAD have no body", [(403, b""), (200, b"hello\n"), (503, b""), (200, b"hello\n")],
                got)


def breaker(session, report):
    answers = [session.get("http://broken-service/broken", timeout=10) for _ in range(8)]
    report.same("requests: five failures open the breaker", [500] * 5 + [503] * 3,
                [answer.status_code for answer in answers])
    last = answers[-1]
    report.same("requests: the refusal is explained", ("breaker_open", "breaker_open", True),
                (last.json()["error"], last.headers.get("outrigger-reason"), int(last.headers.get("retry-after", 0)) > 0))


def crowd(requests, report):
    def one(number):
        with requests.Session() as session:
            return [session.get(f"http://order-service/echo?n={number}.{call}", timeout=10).json()["path"]
                    for call in range(10)]

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        got = list(pool.map(one, range(20)))
    report.same("requests: 20 sessions at once, each answer to its own question",
                [[f"/echo?n={number}.{call}" for call in range(10)] for number in range(20)], got)
