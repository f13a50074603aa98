"""A collector that remembers: OTLP over HTTP and gRPC, as the official Protocol Buffers read it.

A span is a dict, whoever received it: trace, span, parent (hex), name, kind, error, attributes, events (name and
attributes) and service, which is `service.name` of its resource.
"""

import concurrent.futures
import gzip
import http.server
import threading

import grpc_client                                           # sets what grpcio reads when it is imported


def needs():
    try:
        import opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc  # noqa: F401
    except ImportError as error:
        return f"Python's `opentelemetry-proto` is not installed: {error}"
    return grpc_client.needs()


class Collector:
    """Listens at `http` and `grpc`, two ports. `later` exports are refused for now, `reject` spans for good."""

    def __init__(self):
        import grpc
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
        self.messages, self.lock = trace_service_pb2, threading.Lock()
        self.spans, self.exports, self.later, self.reject = [], [], 0, 0
        collector = self

        class Servicer(trace_service_pb2_grpc.TraceServiceServicer):
            def Export(self, request, context):
                headers = {key: value for key, value in context.invocation_metadata()}
                return collector.take(request, headers) or context.abort(grpc.StatusCode.UNAVAILABLE, "later")

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers["content-length"]))
                plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
                request = trace_service_pb2.ExportTraceServiceRequest.FromString(plain)
                answer = collector.take(request, {**headers, ":path": self.path})
                self.send_response(200 if answer else 503)
                text = answer.SerializeToString() if answer else b""
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *arguments):
                """No log: the checks look at the spans."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.http = server.server_address[1]
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Servicer(), self.server)
        self.grpc = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def take(self, request, headers):
        """The answer, or nothing for `try again later`."""
        with self.lock:
            spans = list(decoded(request))
            self.exports.append({**headers, ":spans": len(spans)})
            if self.later:
                self.later -= 1
                return None
            self.spans.extend(spans)
            answer = self.messages.ExportTraceServiceResponse()
            if self.reject:
                answer.partial_success.rejected_spans, self.reject = self.reject, 0
                answer.partial_success.error_message = "not these"
            return answer

    def of(self, trace):
        """The spans of one trace so far, oldest first."""
        with self.lock:
            return [span for span in self.spans if span["trace"] == trace]


def decoded(request):
    for resource in request.resource_spans:
        service = attributes(resource.resource.attributes).get("service.name")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield {"trace": span.trace_id.hex(), "span": span.span_id.hex(), "parent": span.parent_span_id.hex(),
                       "name": span.name, "kind": {3: "client"}.get(span.kind), "error": span.status.code == 2,
                       "attributes": attributes(span.attributes), "service": service,
                       "events": [(event.name, attributes(event.attributes)) for event in span.events]}


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
