"""curl: as an HTTP proxy, by Host, through a tunnel, in every framing of a body."""

import hashlib
import json
import os
import subprocess

NEEDS = "curl"
MIB = 1 << 20


class Answer:
    def __init__(self, done, body, head):
        self.exit, self.said, self.body = done.returncode, done.stderr.decode(errors="replace"), body
        self.written = done.stdout.decode()
        blocks = [block for block in head.decode(errors="replace").split("\r\n\r\n") if block]
        self.status_lines = [block.split("\r\n")[0] for block in blocks]
        self.headers = dict(reversed([line.lower().split(": ", 1) for line in blocks[-1].split("\r\n")[1:]])) if blocks else {}
        self.status = int(self.status_lines[-1].split()[1]) if blocks else 0


def checks(stage, report):
    proxied = lambda *words, **more: curl(stage, "-x", stage.proxy, *words, **more)
    plain(stage, report, proxied)
    bodies(stage, report, proxied)
    tunnels(stage, report, proxied)
    refusals(stage, report, proxied)


def curl(stage, *words, stdin=None, seconds=20):
    """Runs curl as it is installed: no `.curlrc`, no proxy variables."""
    body, head = stage.folder / "curl.body", stage.folder / "curl.head"
    for file in (body, head):
        file.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(["curl", "-q", "-sS", "-m", str(seconds), "-o", body, "-D", head, *map(str, words)],
                          input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                          capture_output=True, env=environment, timeout=seconds + 5)
    return Answer(done, body.read_bytes() if body.exists() else b"", head.read_bytes() if head.exists() else b"")


def plain(stage, report, proxied):
    got = proxied("http://payment-service/hello")
    report.same("curl -x: GET", (0, 200, b"hello\n"), (got.exit, got.status, got.body))
    report.same("curl: no header of ours on an answer of the service", [],
                [name for name in got.headers if name.startswith(("outrigger", "via", "x-forwarded"))])
    got = curl(stage, "-H", "Host: payment-service", f"{stage.proxy}/hello")
    report.same("curl -H Host: on the outbound port", (0, 200, b"hello\n"), (got.exit, got.status, got.body))
    got = curl(stage, f"http://127.0.0.1:{stage.port['payment']}/hello")
    report.same("curl to the service's own port", (0, 200, b"hello\n"), (got.exit, got.status, got.body))
    got = proxied("-I", "http://payment-service/text.txt")
    report.same("curl -I: HEAD with the length and no body", (0, 200, "10500", 10500),
                (got.exit, got.status, got.headers.get("content-length"), len((stage.folder / "www/text.txt").read_bytes())))
    got = proxied("--http1.0", "http://payment-service/hello")
    report.same("curl --http1.0: GET", (0, 200, b"hello\n"), (got.exit, got.status, got.body))
    got = proxied("--http1.0", "http://order-service/trickle")
    report.same("curl --http1.0: a chunked answer is unchunked", (0, b"one\ntwo\nthree\n", None),
                (got.exit, got.body, got.headers.get("transfer-encoding")))
    got = proxied("--compressed", "http://payment-service/text.txt")
    report.same("curl --compressed: gzip passes", ("gzip", 10500), (got.headers.get("content-encoding"), len(got.body)))
    got = proxied("-r", "10-19", "http://payment-service/text.txt")
    report.same("curl -r: a range", (206, 10), (got.status, len(got.body)))
    tag = proxied("http://payment-service/text.txt").headers["etag"]
    got = proxied("-H", f"If-None-Match: {tag}", "http://payment-service/text.txt")
    report.same("curl: 304 without a body", (0, 304, b""), (got.exit, got.status, got.body))
    got = proxied("-L", "http://payment-service/moved")
    report.same("curl -L: a redirect", (0, 200, b"hello\n"), (got.exit, got.status, got.body))
    got = proxied("http://payment-service/teapot")
    report.same("curl: a 4xx is passed on as it is", (418, b"short and stout\n"), (got.status, got.body))
    got = proxied("-w", "%{num_connects}\n", *["http://payment-service/hello", "-o", "/dev/null"] * 2)
    report.same("curl: the second call reuses the connection", ["1", "0"], got.written.split())
    many = ["http://payment-service/hello", "-o", "/dev/null"] * 100
    got = proxied("-Z", "--parallel-max", "20", "-w", "%{http_code}\n", *many)
    report.same("curl -Z: 100 calls in parallel", (0, ["200"] * 100), (got.exit, got.written.split()))


def bodies(stage, report, proxied):
    got = proxied("-d", "amount=12", "http://payment-service/post")
    report.same("curl -d: POST", (0, 200, "amount=12"), (got.exit, got.status, got.headers.get("x-body")))
    got = proxied("-X", "DELETE", "http://order-service/echo?a=%2F&b=c%20d")
    told = json.loads(got.body)
    report.same("curl -X DELETE: method and raw path arrive", ("DELETE", "/echo?a=%2F&b=c%20d"),
                (told["method"], told["path"]))
    big = os.urandom(24 * MIB)
    source = stage.folder / "big"
    source.write_bytes(big)
    got = proxied("-T", source, "http://payment-service/files/big")
    report.same("curl -T: 24 MiB up", (0, 201), (got.exit, got.status))
    got = proxied("http://payment-service/files/big")
    report.same("curl: 24 MiB down, intact", sha(big), sha(got.body))
    piped = os.urandom(5 * MIB + 1)
    got = proxied("-T", "-", "http://payment-service/files/piped", stdin=piped)
    report.same("curl -T -: a chunked upload", (0, 201, sha(piped)),
                (got.exit, got.status, sha((stage.folder / "www/files/piped").read_bytes())))
    got = proxied("-T", "-", "http://order-service/echo", stdin=piped[:100_000])
    report.same("curl -T -: a chunked upload with an answer", (200, 100_000, sha(piped[:100_000])),
                (got.status, *[json.loads(got.body)[key] for key in ("length", "sha256")]))
    got = proxied("-v", "-H", "Expect: 100-continue", "--expect100-timeout", "15", "-T", source,
                  "http://payment-service/files/expected", seconds=10)
    report.same("curl: Expect: 100-continue is answered before the body goes", (0, True, 201),
                (got.exit, any(" 100 " in line for line in got.status_lines), got.status))
    report.same("curl: the expected body is intact", sha(big), sha((stage.folder / "www/files/expected").read_bytes()))


def tunnels(stage, report, proxied):
    got = proxied("-p", f"http://payment-service:{stage.port['plain']}/hello")
    report.same("curl -p: CONNECT, then plain HTTP", (0, 200, b"hello\n"), (got.exit, got.status, got.body))
    secret = ("--cacert", stage.folder / "cert.pem")
    got = proxied(*secret, f"https://vault-service:{stage.port['tls']}/files/big")
    report.same("curl https://: CONNECT, then TLS, 24 MiB intact", (0, 200, sha((stage.folder / "big").read_bytes())),
                (got.exit, got.status, sha(got.body)))
    got = proxied(*secret, "-T", stage.folder / "big", f"https://vault-service:{stage.port['tls']}/files/secret")
    report.same("curl -T https://: 24 MiB up through the tunnel", (0, 201, sha((stage.folder / "big").read_bytes())),
                (got.exit, got.status, sha((stage.folder / "www/files/secret").read_bytes())))


def refusals(stage, report, proxied):
    got = proxied("http://absent-service/")
    told = json.loads(got.body)
    report.same("curl: nobody listens: our reply says so",
                (503, "connect_failed", "connect_failed", "absent-service", 2),
                (got.status, got.headers.get("outrigger-reason"), told["error"], told["service"], told["attempts"]))
    got = proxied("http://nobody-knows/")
    report.same("curl: an unknown service is denied", (403, "denied"), (got.status, got.headers.get("outrigger-reason")))
    got = proxied("-w", "%{http_code} %{num_connects}\n", "-I", "http://nobody-knows/", "-o", "/dev/null",
                  "http://payment-service/hello")
    report.same("curl -I: the refusal of a HEAD has no body, and the connection goes on", ["403", "1", "200", "0"],
                got.written.split())
    got = proxied("-p", "http://nobody-knows:99/")
    report.holds("curl -p: a tunnel to an unknown service is denied",
                 got.exit == 56 and " 403 " in got.status_lines[0], (got.exit, got.status_lines), "exit 56 after a 403")
    got = proxied("http://order-service/slow")
    report.same("curl: the deadline", (504, "deadline_exceeded"), (got.status, got.headers.get("outrigger-reason")))


def sha(data):
    return hashlib.sha256(data).hexdigest()
