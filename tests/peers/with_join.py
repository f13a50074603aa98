"""One trace through two sidecars and an instrumented Python service between them.

  client -> sidecar A -> join_service.py -> sidecar B -> upstream.py

Seen by the headers each receives, in each form the instrumentation can speak, and by the spans that
both sidecars export.
"""

import json
import sys

import otlp_receiver
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
service: %s
workers: 1
outbound: {listen: 127.0.0.1:15001}
admin: {listen: 127.0.0.1:15000}
tracing: {sample: 100%%, otlp: "http://127.0.0.1:%d"}
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
    return otlp_receiver.needs()


def checks(stage, report):
    collector = otlp_receiver.Collector()
    after = sidecar(stage, "sidecar-b", collector, "end-service", stage.port["scripted"])
    url = f"http://127.0.0.1:{after.outbound}"
    for form in CAME:
        port = stage.free_port()
        stage.start(f"join-{form}", [sys.executable, HERE / "join_service.py", port, url, form], port)
        before = sidecar(stage, f"sidecar-a-{form}", collector, "middle-service", port)
        joined(report, collector, form, before, CAME[form])
        joined(report, collector, form, before, {})


def sidecar(stage, name, collector, service, to):
    """A sidecar of its own with one service, which exports its spans at once."""
    return stage.another(name, SIDECAR % (name, collector.http, service, to), OTEL_BSP_SCHEDULE_DELAY="20")


def joined(report, collector, form, proxy, headers):
    what = f"join: {form}, {'a caller with a trace' if headers else 'a trace that starts in the sidecar'}"
    got = json.loads(proxy.call("GET", "middle-service", "/", **headers)[1])
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
    exported(report, what, collector, got, (trace_a, span_a, CALLER if headers else ""), (trace_b, span_b))
    if headers and form == "w3c":
        report.same(f"{what}: state and baggage arrive at the service", (headers["tracestate"], headers["baggage"]),
                    (got["came"]["tracestate"], got["came"]["baggage"]))
        report.same(f"{what}: and at the end", sorted(headers["baggage"].split(",")), sorted(got["end"]["baggage"].split(",")))


def exported(report, what, collector, got, at_a, at_b):
    """The spans of both sidecars, against those of the service between them."""
    trace_a, span_a, caller = at_a
    trace_b, span_b = at_b
    a, b = Pair(collector, trace_a, span_a), Pair(collector, trace_b, span_b)
    report.same(f"{what}: exported: A's attempt, whose span the service has seen as its parent", (trace_a, span_a),
                (a.attempt.get("trace"), a.attempt.get("span")))
    report.holds(f"{what}: exported: A's call above it, and the caller above that",
                 a.call.get("parent") == caller and a.call.get("service", "").startswith("sidecar-a-"), (a.call, caller))
    report.same(f"{what}: exported: B's call is a child of the service's client span",
                (got["trace"], got["client"], "sidecar-b"), tuple(b.call.get(key) for key in ("trace", "parent", "service")))
    report.same(f"{what}: exported: B's attempt, whose span the end has seen", (trace_b, span_b, b.call.get("span")),
                tuple(b.attempt.get(key) for key in ("trace", "span", "parent")))


class Pair:
    """An attempt and its call, by the attempt's span; empty where they never came."""

    def __init__(self, collector, trace, attempt):
        find = lambda span: next((found for found in collector.of(trace) if found["span"] == span), {})
        eventually(lambda: find(find(attempt).get("parent")))
        self.attempt = find(attempt)
        self.call = find(self.attempt.get("parent"))


def ids(form, headers):
    """Trace and span, as these headers name them."""
    if form == "b3multi":
        return headers["x-b3-traceid"], headers["x-b3-spanid"]
    parts = headers["traceparent" if form == "w3c" else "b3"].split("-")
    return tuple(parts[1:3] if form == "w3c" else parts[:2])


def parent(form, headers):
    return headers["x-b3-parentspanid"] if form == "b3multi" else headers["b3"].split("-")[3]
