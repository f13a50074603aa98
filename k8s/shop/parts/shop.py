#!/usr/bin/env python3
"""The shop as processes of their own: four services, the order service that calls them, and customers.

  shop.py serve user-service [--port 8080]     or another of them, or order-service
  shop.py customers 200 [--to http://order-service] [--pause 0.02]

The order service knows nothing of resilience: no timeouts, no retries. Nor do customers, who want every order
placed: they end with 0, or with 1 and what went wrong. To make a service sick:
`curl -X POST 'http://payment-service/knobs?fail=30&delay_ms=1000'`; without words it is well again.

On SIGTERM a server goes on for a moment, for callers that have not heard of it yet, then finishes what it has.
"""

import argparse
import collections
import http.server
import random
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

USUAL = {"user-service": 0.005, "inventory-service": 0.003, "payment-service": 0.010, "notification-service": 0.002}
ORDER = [("GET", "user-service", "/users/7", b""), ("POST", "inventory-service", "/check", b'{"sku": "hat"}'),
         ("POST", "payment-service", "/charge", b'{"user": 7, "cents": 4200}'),
         ("POST", "notification-service", "/send", b'{"user": 7, "mail": "thanks"}')]
CATALOG = [("GET", "user-service", "/users/7", b""), ("GET", "inventory-service", "/stock", b"")]


def call(method, url, body=b""):
    """Status and body; no answer is status 0 and the reason."""
    request = urllib.request.Request(url, data=body if method == "POST" else None, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()
    except OSError as error:
        return 0, str(error).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name, knobs, reached = "", {}, collections.Counter()

    def do_GET(self):
        self.rest = urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        if self.rest.path == "/ready":
            return self.answer(200 if not self.server.ending.is_set() else 503, b"")
        if self.rest.path == "/reached":
            return self.answer(200, b"%d\n" % self.reached["calls"])
        if self.rest.path == "/knobs":
            Handler.knobs = {key: int(values[0]) for key, values in urllib.parse.parse_qs(self.rest.query).items()}
            return self.answer(200, f"{self.name}: {self.knobs}\n".encode())
        self.reached["calls"] += 1
        return self.order() if self.name == "order-service" else self.service()

    do_POST = do_GET

    def service(self):
        time.sleep(USUAL[self.name] + self.knobs.get("delay_ms", 0) / 1000)
        bad = random.randrange(100) < self.knobs.get("fail", 0)
        self.answer(503 if bad else 200, f'{{"service": "{self.name}", "ok": {str(not bad).lower()}}}\n'.encode())

    def order(self):
        for method, service, path, body in CATALOG if self.rest.path == "/catalog" else ORDER:
            status, said = call(method, f"http://{service}{path}", body)
            if status != 200:
                return self.answer(502, b"%s: %d %s\n" % (service.encode(), status, said))
        self.answer(200, b'{"done": true}\n')

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if self.server.ending.is_set():
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False                                     # what was begun is finished
    request_queue_size = 512


def serve(name, host, port, linger):
    Handler.name = name
    Handler.timeout = 5                                        # an idle connection holds the end up no longer
    server = Server((host, port), Handler)
    server.ending = threading.Event()

    def end(*_):
        server.ending.set()
        threading.Timer(linger, server.shutdown).start()

    signal.signal(signal.SIGTERM, end)
    print(f"{name} listens on port {port}", flush=True)
    server.serve_forever(0.1)
    server.server_close()                                      # waits for the handlers
    return 0


def customers(count, to, pause):
    placed, wrong = 0, collections.Counter()
    for _ in range(count):
        status, said = call("POST", f"{to}/orders", b"{}")
        placed += status == 200
        if status != 200:
            wrong[f"{status} {said.decode(errors='replace').strip()}"] += 1
        time.sleep(pause)
    print(f"{placed} of {count} orders placed", flush=True)
    for what, times in wrong.most_common(5):
        print(f"  {times} times: {what}", flush=True)
    return 0 if placed == count else 1


def main():
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(dest="role", required=True)
    server = roles.add_parser("serve")
    server.add_argument("name", choices=[*USUAL, "order-service"])
    server.add_argument("--host", default="")
    server.add_argument("--port", type=int, default=8080)
    server.add_argument("--linger", type=float, default=3)
    crowd = roles.add_parser("customers")
    crowd.add_argument("count", type=int)
    crowd.add_argument("--to", default="http://order-service")
    crowd.add_argument("--pause", type=float, default=0.02)
    words = parser.parse_args()
    if words.role == "serve":
        return serve(words.name, words.host, words.port, words.linger)
    return customers(words.count, words.to, words.pause)


if __name__ == "__main__":
    sys.exit(main())
