"""An instrumented service between two sidecars: OpenTelemetry for WSGI and requests, as it comes.

  join_service.py PORT SIDECAR PROPAGATORS     SIDECAR: the URL of its own sidecar

`GET /` calls `http://end-service/` by that sidecar and answers, as JSON, with the headers that
came in, the spans of this service and the headers that arrived at the end. What there is of
headers for traces is the instrumentation's doing.
"""

import json
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import requests
from opentelemetry import propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.propagators.b3 import B3MultiFormat, B3SingleFormat
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

PROPAGATORS = {"w3c": [TraceContextTextMapPropagator(), W3CBaggagePropagator()],
               "b3": [B3SingleFormat()], "b3multi": [B3MultiFormat()]}


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Handler(WSGIRequestHandler):
    def log_message(self, *arguments):
        """No log: the answer tells all."""


def service(sidecar):
    def answer(environ, start_response):
        came = {name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
        server = trace.get_current_span()
        sent = requests.get("http://end-service/echo", proxies={"http": sidecar}, timeout=10)
        text = json.dumps({"came": came, "trace": f"{server.get_span_context().trace_id:032x}",
                           "span": f"{server.get_span_context().span_id:016x}",
                           "parent": f"{server.parent.span_id:016x}" if server.parent else None,
                           "client": CLIENTS[-1], "end": dict(sent.json()["headers"])}).encode()
        start_response("200 OK", [("content-type", "application/json"), ("content-length", str(len(text)))])
        return [text]
    return answer


CLIENTS = []                                                 # ids of the client spans; one call at a time


def main(port, sidecar, propagators):
    provider = TracerProvider()
    trace.set_tracer_provider(provider)
    propagate.set_global_textmap(CompositePropagator(PROPAGATORS[propagators]))
    RequestsInstrumentor().instrument(
        request_hook=lambda span, request: CLIENTS.append(f"{span.get_span_context().span_id:016x}"))
    app = OpenTelemetryMiddleware(service(sidecar))
    make_server("127.0.0.1", int(port), app, server_class=Server, handler_class=Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
