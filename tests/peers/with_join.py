"""One trace through two sidecars and an instrumented Python service between them.

  client -> sidecar A -> join_service.py -> sidecar B -> upstream.py

Seen by the headers each receives, in each form the instrumentation can speak.
"""

import json
import sys
import urllib.request

from stage import HERE
from report import eventually

CALLER = "00f067aa0ba902b7"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CAME = {"w3c": {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "shop=1,cart=2", "baggage": "user=ada,tier=gold"},
        "b3": {"b3": f"{TRACE}-{CALLER}-1"},
        "b3multi": {"x-b3-traceid": TRACE, "x-b3-spanid": CALLER, "x-b3-sampled": "1"}}
FORMS = {"w3c": {"traceparent"}, "b3": {"b3"}, "b3multi": {"x-b3-traceid", "x-b3-spanid", "x-b3-sampled"}}

SIDECAR = """
version: v1
workers: 1
outbound: {listen: 127.0.0.1:%d}
admin: {listen: 127.0.0.1:%d}
tracing: {sample: 100%%}
services:
  %s: {endpoints: {static: ["127.0.0.1:%d"]}}
"""


def needs():
    try:
        import opentelemetry.instrumentation.requests  # noqa: F401
        import opentelemetry.instrumentation.wsgi      # noqa: F401
        import opentelemetry.propagators.b3            # noqa: F401
        import opentelemetry.sdk.trace                 # noqa: F401
    except ImportError as error:
        return f"Python's OpenTelemetry is not installed: {error}"
    return None


def checks(stage, report):
    after = sidecar(stage, "sidecar-b", "end-service", stage.port["scripted"])
    for form in CAME:
        port = stage.free_port()
        stage.start(f"join-{form}", [sys.executable, HERE / "join_service.py", port, after, form], port)
        before = sidecar(stage, f"sidecar-a-{form}", "middle-service", port)
        joined(report, form, before, CAME[form])
        joined(report, form, before, {})


def sidecar(stage, name, service, to):
    """A sidecar of its own with one service; returns the URL its application uses."""
    outbound, admin = stage.free_port(), stage.free_port()
    config = stage.folder / f"{name}.yaml"
    config.write_text(SIDECAR % (outbound, admin, service, to))
    stage.start(name, [stage.binary, "run", str(config)], outbound)
    if not eventually(lambda: " ready" in stage.text(f"{name}.log"), 15):
        raise RuntimeError(f"{name} is not ready:\n{stage.text(f'{name}.log')}")
    return f"http://127.0.0.1:{outbound}"


def joined(report, form, proxy, headers):
    what = f"join: {form}, {'a caller with a trace' if headers else 'a trace that starts in the sidecar'}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy}))
    request = urllib.request.Request("http://middle-service/", headers=headers)
    got = json.loads(opener.open(request, timeout=15).read())
    # A sidecar starts a trace in W3C's form, which only a service of that form can read.
    reads = headers or form == "w3c"
    spoken = form if headers else "w3c"
    trace_a, span_a = ids(spoken, got["came"])
    trace_b, span_b = ids(form, got["end"])
    report.same(f"{what}: sidecar A's form", FORMS[spoken], FORMS[spoken] & set(got["came"]))
    if headers:
        report.same(f"{what}: A keeps the trace", TRACE, trace_a)
    if reads:
        report.same(f"{what}: the service's parent is A's attempt", (trace_a, span_a), (got["trace"], got["parent"]))
    report.same(f"{what}: B keeps the trace", got["trace"], trace_b)
    report.holds(f"{what}: five spans, each its own", len({CALLER, span_a, got["span"], got["client"], span_b}) == 5, got)
    if form != "w3c":
        # B3 names the parent too: B's attempt comes from the service's own client span.
        report.same(f"{what}: B's parent is the service's client span", got["client"], parent(form, got["end"]))
    other = {"traceparent", "b3", "x-b3-traceid"} - FORMS[form]
    report.same(f"{what}: B adds no other form", set(), other & set(got["end"]))
    if headers and form == "w3c":
        report.same(f"{what}: state and baggage arrive at the service", (headers["tracestate"], headers["baggage"]),
                    (got["came"]["tracestate"], got["came"]["baggage"]))
        report.same(f"{what}: and at the end", sorted(headers["baggage"].split(",")), sorted(got["end"]["baggage"].split(",")))


def ids(form, headers):
    """Trace and span, as these headers name them."""
    if form == "b3multi":
        return headers["x-b3-traceid"], headers["x-b3-spanid"]
    parts = headers["traceparent" if form == "w3c" else "b3"].split("-")
    return tuple(parts[1:3] if form == "w3c" else parts[:2])


def parent(form, headers):
    return headers["x-b3-parentspanid"] if form == "b3multi" else headers["b3"].split("-")[3]
