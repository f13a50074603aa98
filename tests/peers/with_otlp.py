"""Spans at collectors that no one here wrote: rotel, and the official Protocol Buffers behind nginx with TLS.

The calls are those of mesh-config/shop.yaml: one that fails and is repeated, one that fails and must not be,
five that trip a breaker and one that the breaker refuses.
"""

import concurrent.futures
import importlib.util
import itertools
import json
import os
import pathlib
import re

import certificates
import otlp_receiver
from report import eventually, log
from stage import HERE

CALLER = "00f067aa0ba902b7"
SHOP = HERE.parent.parent / "mesh-config" / "shop.yaml"
CALLS = [("user-service", "GET", "/flaky?fail=1&key=", 200), ("inventory-service", "POST", "/flaky?fail=9&key=", 503),
         *[("payment-service", "POST", "/broken?key=", 500)] * 5, ("payment-service", "POST", "/broken?key=", 503)]
# The shop's own times, and those under which a machine that is busy elsewhere changes nothing.
PATIENT = {"{base: 250ms, max: 500ms}": "{base: 60s, max: 60s}", "timeout: 800ms": "timeout: 8s",
           "timeout: 500ms": "timeout: 8s", "perTryTimeout: 500ms": "perTryTimeout: 2s"}
SPANS = 3 + 2 + 5 * 2 + 1
MANY = 600
TRACES = itertools.count(0x4bf92f3577b34da6a3ce929d0e0e4736)

# TLS in front of a receiver: who came, and how what he brought was packed.
NGINX = """
%(user)s
daemon off;
worker_processes 1;
pid %(folder)s/nginx.pid;
error_log %(folder)s/error.log warn;
events { worker_connections 64; }
http {
  log_format export escape=json '{"http": "$server_protocol", "tls": "$ssl_protocol", "client": "$ssl_client_s_dn", '
    '"verified": "$ssl_client_verify", "tenant": "$http_x_tenant", "secret": "$http_authorization", '
    '"packed": "$http_content_encoding$http_grpc_encoding", "path": "$uri", "bytes": $request_length}';
  access_log %(folder)s/access.log export;
  client_body_temp_path %(folder)s/body;
  proxy_temp_path %(folder)s/proxy;
  fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi;
  scgi_temp_path %(folder)s/scgi;
  ssl_certificate %(folder)s/server.pem;
  ssl_certificate_key %(folder)s/server.key;
  ssl_client_certificate %(ca)s;
  ssl_verify_client on;
  ssl_protocols TLSv1.3;
  server { listen 127.0.0.1:%(http)d ssl; location / { proxy_pass http://127.0.0.1:%(http_to)d; } }
  server { listen 127.0.0.1:%(grpc)d ssl http2; location / { grpc_pass grpc://127.0.0.1:%(grpc_to)d; } }
}
"""


def needs():
    return otlp_receiver.needs()


def checks(stage, report):
    collector, agent = otlp_receiver.Collector(), rotel()
    if agent:
        with_rotel(stage, report, agent)
    else:
        report.cannot("otlp: rotel", "it is not installed")
    ports = front(stage, collector)
    for protocol in ("http", "grpc"):
        sealed(stage, report, collector, protocol, ports[protocol])
        answers(stage, report, collector, protocol)
        many(stage, report, collector, protocol)
    distrusted(stage, report, collector, ports["http"])


# --- rotel ---

def rotel():
    """Its program; nothing where the package is not there."""
    found = importlib.util.find_spec("rotel")
    agents = [pathlib.Path(folder, "rotel-agent") for folder in found.submodule_search_locations] if found else []
    return next((agent for agent in agents if os.access(agent, os.X_OK)), None)


def with_rotel(stage, report, agent):
    port = {"http": stage.free_port(), "grpc": stage.free_port()}
    stage.start("rotel", [agent, "start", "--exporter", "blackhole", "--debug-log", "traces",
                          "--debug-log-verbosity", "detailed", "--otlp-http-endpoint", f"127.0.0.1:{port['http']}",
                          "--otlp-grpc-endpoint", f"127.0.0.1:{port['grpc']}"], port["http"])
    for protocol in ("http", "grpc"):
        what = f"otlp: rotel by {protocol}"
        proxy = shop(stage, f"rotel-{protocol}", protocol, f"http://127.0.0.1:{port[protocol]}")
        told(report, what, called(stage, report, what, proxy), lambda trace: told_by_rotel(stage, trace))
        counted(report, what, proxy, SPANS)


def told_by_rotel(stage, trace):
    return [span for span in printed(stage.text("rotel.out")) if span["trace"] == trace]


def printed(text):
    """The spans that rotel printed."""
    spans, service, span, part = [], None, None, None
    for line in text.splitlines():
        head, _, rest = (word.strip() for word in line.partition(":"))
        if line.startswith("ResourceSpans #"):
            span = None
        elif line.startswith("Span #"):
            span = {"service": service, "attributes": {}, "events": [], "error": False, "parent": ""}
            spans.append(span)
        elif found := re.fullmatch(r"\s+-> ([^:]+): (Str|Int|Double|Bool)\((.*)\)", line):
            value = {"Str": str, "Int": int, "Double": float, "Bool": lambda word: word == "true"}[found[2]](found[3])
            if span is None:
                service = value if found[1] == "service.name" else service
            elif part == "Events":
                span["events"][-1][1][found[1]] = value
            else:
                span["attributes"][found[1]] = value
        elif head in ("Attributes", "Events"):
            part = head
        elif head == "-> Name":
            span["events"].append((rest, {}))
        elif span is not None and head in PRINTED:
            key, read = PRINTED[head]
            span[key] = read(rest)
    return spans


PRINTED = {"Trace ID": ("trace", str), "Parent ID": ("parent", str), "ID": ("span", str), "Name": ("name", str),
           "Kind": ("kind", lambda word: word.removeprefix("SPAN_KIND_").lower()),
           "Status code": ("error", lambda word: word == "STATUS_CODE_ERROR")}


# --- calls, and what is told of them ---

def shop(stage, name, protocol, url, more="", delay=20):
    """The sidecar of the demo shop, with every service scripted, and a breaker that stays open.

    `more` are further keys of `tracing`, `delay` how long spans wait for others, in milliseconds.
    """
    text = re.sub(r"127\.0\.0\.1:91\d\d", f"127.0.0.1:{stage.port['scripted']}", SHOP.read_text())
    for word, other in PATIENT.items():
        text = text.replace(word, other)
    tracing = f'tracing: {{otlp: "{url}", protocol: {protocol}, timeout: 5s{more}}}\nworkers: 1\n'
    return stage.another(f"shop-{name}", text + tracing, OTEL_BSP_SCHEDULE_DELAY=str(delay))


def called(stage, report, what, proxy):
    """Makes the calls, each in a trace of its own; returns the traces."""
    traces, statuses = [], []
    for service, method, path, _ in CALLS:
        traces.append(f"{next(TRACES):032x}")
        context = f"00-{traces[-1]}-{CALLER}-01"
        statuses.append(proxy.call(method, service, path + traces[-1], traceparent=context)[0])
    report.same(f"{what}: the calls end as they should", [status for *_, status in CALLS], statuses)
    return traces


def told(report, what, traces, spans_of):
    """The tree of each call, and the decisions in it."""
    arrived = lambda: sum(len(spans_of(trace)) for trace in traces)
    eventually(lambda: arrived() >= SPANS, 15)
    report.same(f"{what}: spans that arrived", SPANS, arrived())
    everything = [span for trace in traces for span in spans_of(trace)]
    report.same(f"{what}: who sent them, and what kind they are", {("order-service", "client")},
                {(span["service"], span["kind"]) for span in everything})
    report.same(f"{what}: no id is of two spans", len(everything), len({span["span"] for span in everything}))
    report.holds(f"{what}: no query in any span", not any("key=" in repr(span) for span in everything), everything)
    repeated(report, what, *tree(spans_of(traces[0])))
    not_repeated(report, what, *tree(spans_of(traces[1])))
    tripped = [tree(spans_of(trace)) for trace in traces[2:7]]
    report.same(f"{what}: five calls, one attempt each, with a breaker that is closed",
                [(1, "closed", "failure", True)] * 5,
                [(len(attempts), attempts[0]["attributes"]["outrigger.breaker.state"],
                  attempts[0]["attributes"]["outrigger.verdict"], call["error"]) for call, attempts in tripped])
    refused(report, what, *tree(spans_of(traces[7])))


def tree(spans):
    """The one span whose parent is the caller's, and its children in order."""
    (call,) = [span for span in spans if span["parent"] == CALLER]
    attempts = [span for span in spans if span["parent"] == call["span"]]
    if len(attempts) + 1 != len(spans):
        raise ValueError(f"spans that belong to nobody: {spans}")
    return call, sorted(attempts, key=lambda span: span["attributes"].get("http.request.resend_count", 0))


def repeated(report, what, call, attempts):
    what = f"{what}: a call that is repeated"
    report.same(f"{what}: its outcome", ("GET", False, "success", 200, "user-service", 2),
                (call["name"], call["error"], *(call["attributes"][key] for key in
                 ("outrigger.outcome", "http.response.status_code", "outrigger.service", "outrigger.attempts"))))
    pick = ("http.response.status_code", "error.type", "outrigger.breaker.state", "outrigger.verdict",
            "outrigger.retry.decision", "http.request.resend_count")
    report.same(f"{what}: its attempts", [(503, "503", "closed", "failure", "retried", None),
                                          (200, None, "closed", "success", None, 1)],
                [tuple(attempt["attributes"].get(key) for key in pick) for attempt in attempts])
    report.same(f"{what}: only the first failed", [True, False], [attempt["error"] for attempt in attempts])
    ((name, event),) = call["events"]
    first = attempts[0]["attributes"]
    report.same(f"{what}: the event of the retry", ("outrigger.retry", "retried"), (name, event["outrigger.retry.decision"]))
    report.holds(f"{what}: back-off, budget and time left are told",
                 0 < event["outrigger.retry.back_off_ms"] == first["outrigger.retry.back_off_ms"]
                 and event["outrigger.retry.budget_left"] > 0 and 0 < first["outrigger.deadline_left_ms"] < 8000, (event, first))


def not_repeated(report, what, call, attempts):
    what = f"{what}: a call that must not be repeated"
    decisions = [event["outrigger.retry.decision"] for name, event in call["events"] if name == "outrigger.retry.skipped"]
    report.same(f"{what}: the reason, on the event and on the attempt", (["skipped_not_idempotent"],) * 2,
                (decisions, [attempt["attributes"]["outrigger.retry.decision"] for attempt in attempts]))
    report.same(f"{what}: an error", (True, "503"), (call["error"], call["attributes"]["error.type"]))


def refused(report, what, call, attempts):
    what = f"{what}: a call that the breaker refused"
    report.same(f"{what}: no attempt is a span", [], attempts)
    events = [(name, event["outrigger.breaker.state"]) for name, event in call["events"] if "breaker" in name]
    report.same(f"{what}: the event", [("outrigger.breaker.refused", "open")], events)
    report.same(f"{what}: the reason", (True, "breaker_open", "breaker_open"),
                (call["error"], call["attributes"]["error.type"], call["attributes"]["outrigger.reason"]))


def counted(report, what, proxy, spans, **dropped):
    """What the proxy itself says: all of them arrived, but for those."""
    metric = "outrigger_spans_exported_total"
    eventually(lambda: proxy.metric(metric) >= spans)
    report.same(f"{what}: the proxy counts the same", (spans, sum(dropped.values())),
                (proxy.metric(metric), proxy.metric("outrigger_spans_dropped_total")))
    for reason, count in dropped.items():
        report.same(f"{what}: {reason}", count, proxy.metric("outrigger_spans_dropped_total", reason=reason))


# --- TLS, gzip, headers ---

def front(stage, collector):
    folder, home = stage.folder / "otlp", stage.folder / "certificates"
    folder.mkdir()
    certificates.request(folder / "server.pem", folder / "server.key", "collector", "subjectAltName=IP:127.0.0.1",
                         "-CA", home / "ca.pem", "-CAkey", home / "ca.key")
    port = {"http": stage.free_port(), "grpc": stage.free_port()}
    (folder / "nginx.conf").write_text(NGINX % {
        **port, "http_to": collector.http, "grpc_to": collector.grpc, "folder": folder, "ca": home / "ca.pem",
        "user": "user root;" if os.geteuid() == 0 else ""})
    stage.start("otlp-nginx", ["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"], port["grpc"])
    return port


def tls(home, ca):
    return (f", compression: gzip, headers: {{x-tenant: shop, authorization: Bearer s3cret}}, "
            f"tls: {{ca: {ca}, cert: {home}/first.pem, key: {home}/first.key}}")


def sealed(stage, report, collector, protocol, port):
    what, home = f"otlp: {protocol} with TLS, gzip and headers", stage.folder / "certificates"
    proxy = shop(stage, f"tls-{protocol}", protocol, f"https://127.0.0.1:{port}", tls(home, home / "ca.pem"))
    log, before = stage.folder / "otlp" / "access.log", len(collector.exports)
    seen = lambda: [json.loads(line) for line in log.read_text().splitlines()]
    lines_before = len(seen())
    told(report, what, called(stage, report, what, proxy), collector.of)
    counted(report, what, proxy, SPANS)
    exports = collector.exports[before:]
    eventually(lambda: len(seen()) - lines_before >= len(exports))
    lines = seen()[lines_before:]
    report.same(f"{what}: nginx saw each export", len(exports), len(lines))
    expected = {"http": "HTTP/1.1" if protocol == "http" else "HTTP/2.0", "tls": "TLSv1.3", "client": "CN=first",
                "verified": "SUCCESS", "tenant": "shop", "secret": "Bearer s3cret", "packed": "gzip", "path":
                "/v1/traces" if protocol == "http" else "/opentelemetry.proto.collector.trace.v1.TraceService/Export"}
    report.same(f"{what}: what it saw", [expected], unique({key: line[key] for key in expected} for line in lines))
    report.same(f"{what}: the headers arrive behind it", {("shop", "Bearer s3cret")},
                {(export.get("x-tenant"), export.get("authorization")) for export in exports})
    said = [proxy.admin("/config"), *(stage.text(f"shop-tls-{protocol}.{kind}") for kind in ("log", "out"))]
    report.holds(f"{what}: the secret is in no page and no log", "s3cret" not in repr(said), "it is")


def unique(values):
    found = []
    found.extend(value for value in values if value not in found)
    return found


def answers(stage, report, collector, protocol):
    """Exports that must be tried again, and spans that are rejected."""
    what = f"otlp: {protocol}"
    proxy = shop(stage, f"answers-{protocol}", protocol, f"http://127.0.0.1:{getattr(collector, protocol)}")
    before, collector.later = len(collector.exports), 2
    trace = one(proxy)
    eventually(lambda: collector.of(trace))
    report.same(f"{what}: two refusals for now, and the spans arrive with the third try, once", (3, 3),
                (len(collector.exports) - before, len(collector.of(trace))))
    counted(report, f"{what}: after two tries that failed", proxy, 3)
    collector.reject = 1
    trace = one(proxy)
    eventually(lambda: collector.of(trace))
    counted(report, f"{what}: one of three spans is rejected", proxy, 5, rejected=1)
    report.same(f"{what}: a partial success is not tried again", (4, 3),
                (len(collector.exports) - before, len(collector.of(trace))))


def many(stage, report, collector, protocol):
    """More spans than one export holds: each arrives once, and they go together."""
    what = f"otlp: {protocol}: {MANY} calls by 8 clients"
    proxy = shop(stage, f"many-{protocol}", protocol, f"http://127.0.0.1:{getattr(collector, protocol)}", delay=200)
    before, trace = len(collector.exports), f"{next(TRACES):032x}"
    call = lambda _: proxy.call("GET", "notification-service", "/echo", traceparent=f"00-{trace}-{CALLER}-01")[0]
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        calls = list(clients.map(call, range(MANY)))
    report.same(f"{what}: all are well", MANY, calls.count(200))
    eventually(lambda: len(collector.of(trace)) >= 2 * MANY, 15)
    spans = collector.of(trace)
    report.same(f"{what}: the spans that came, and how many they are", (2 * MANY, 2 * MANY),
                (len(spans), len({span["span"] for span in spans})))
    report.same(f"{what}: every attempt is the only one of its call", MANY,
                len({span["parent"] for span in spans} & {span["span"] for span in spans if span["parent"] == CALLER}))
    sizes = [export[":spans"] for export in collector.exports[before:]]
    log(f"     spans of each export: {sizes}")
    report.holds(f"{what}: fewer exports than calls, none of more than 512 spans",
                 len(sizes) < MANY / 2 and max(sizes) <= 512, sizes)
    counted(report, what, proxy, 2 * MANY)


def one(proxy):
    """One call with one retry; returns its trace."""
    trace = f"{next(TRACES):032x}"
    proxy.call("GET", "user-service", f"/flaky?fail=1&key={trace}", traceparent=f"00-{trace}-{CALLER}-01")
    return trace


def distrusted(stage, report, collector, port):
    """A collector whose certificate is of another authority: no span leaves, and the call does not notice."""
    what, home = "otlp: a collector that is not trusted", stage.folder / "certificates"
    proxy = shop(stage, "distrusted", "http", f"https://127.0.0.1:{port}", tls(home, stage.folder / "cert.pem"))
    before = len(collector.exports)
    trace = one(proxy)
    gone = lambda: proxy.metric("outrigger_spans_dropped_total", reason="unreachable")
    eventually(lambda: gone() >= 3, 15)
    report.same(f"{what}: its spans are lost and counted", (3, 0), (gone(), proxy.metric("outrigger_spans_exported_total")))
    report.same(f"{what}: nothing came", ([], 0), (collector.of(trace), len(collector.exports) - before))
    report.holds(f"{what}: the log says why", "spans are lost" in stage.text("shop-distrusted.log")
                 and "UnknownIssuer" in stage.text("shop-distrusted.log"), stage.text("shop-distrusted.log"))
