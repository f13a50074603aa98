"""A service that does on purpose what nginx cannot be asked for: echo, fail first, trickle, upgrade.

HTTP itself is the standard library's. Paths:

  /echo            method, path, headers, length and sha256 of the body, as JSON
  /flaky?key=&fail=N   503 for the first N requests of that key, then 200
  /search?key=&fail=N  the same
  /count?key=      how often that key was asked for
  /broken          500
  /slow            200 after one second
  /trickle         three chunks, 200 ms apart, and a trailer
  /upgrade         101, then every byte back
"""

import collections
import hashlib
import http.server
import json
import threading
import time
import urllib.parse


class Service(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port):
        self.seen = collections.Counter()
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request, client_address):
        """Connections that a check cut on purpose are no news."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        length, digest = self.body()
        action = getattr(self, "on_" + url.path.strip("/"), None)
        if action is None:
            return self.say(404, {"error": "no such path"})
        return action(query, length, digest)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

    def body(self):
        """Reads the request's body, whatever its framing; returns its length and sha256."""
        digest, total = hashlib.sha256(), 0
        for piece in self.pieces():
            digest.update(piece)
            total += len(piece)
        return total, digest.hexdigest()

    def pieces(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("content-length", 0))
        while left:
            piece = self.rfile.read(min(left, 1 << 16))
            if not piece:
                raise ConnectionError("the body ended early")
            left -= len(piece)
            yield piece

    def say(self, status, value, headers=()):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        for name, content in headers:
            self.send_header(name, content)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def on_echo(self, query, length, digest):
        self.say(200, {"method": self.command, "path": self.path, "length": length, "sha256": digest,
                       "headers": [[name.lower(), value] for name, value in self.headers.items()]})

    def on_flaky(self, query, length, digest):
        with self.server.lock:
            self.server.seen[query["key"]] += 1
            seen = self.server.seen[query["key"]]
        good = seen > int(query["fail"])
        self.say(200 if good else 503, {"seen": seen, "sha256": digest})

    on_search = on_flaky

    def on_count(self, query, length, digest):
        self.say(200, self.server.seen[query["key"]])

    def on_broken(self, query, length, digest):
        self.say(500, {"error": "broken"})

    def on_slow(self, query, length, digest):
        time.sleep(1)
        self.say(200, "late")

    def on_trickle(self, query, length, digest):
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("trailer", "x-sum")
        self.end_headers()
        for line in (b"one\n", b"two\n", b"three\n"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
            time.sleep(0.2)
        self.wfile.write(b"0\r\nx-sum: 3\r\n\r\n")

    def on_upgrade(self, query, length, digest):
        self.send_response(101)
        self.send_header("connection", "upgrade")
        self.send_header("upgrade", "echo")
        self.end_headers()
        self.wfile.flush()
        while piece := self.rfile.read1(4096):
            self.wfile.write(piece)
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, *arguments):
        """No log: the checks look at what the clients see."""


def start(port):
    service = Service(port)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    return service
