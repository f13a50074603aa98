"""Services and a name server, for a network namespace of their own: python3 laptop_peers.py FOLDER.

HTTP on 10.66.0.11 and 2001:db8:66::11, port 8080, and on 127.0.0.1:5500: /name says which address was reached, /flaky?N
fails N times. A server that speaks first on 10.66.0.13:7000, one that answers after the end of the question on
127.0.0.1:5432. Names by UDP and TCP on 127.0.0.53:53. FOLDER/ready is made once all listen.
"""

import collections
import http.server
import pathlib
import socket
import socketserver
import sys
import threading

FOLDER = pathlib.Path(sys.argv[1])
NAMES = {"plain.test": "10.66.0.12", "cart.test": "203.0.113.66"}
failed = collections.Counter()


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, times = self.path.partition("?")
        failed[self.path] += 1
        fails = path == "/flaky" and failed[self.path] <= int(times.split("&")[0])
        text = f"{self.headers['host']} at {self.connection.getsockname()[0]}".encode()
        self.send_response(503 if fails else 200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host, port, handler):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)


class Banner(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"220 bank is ready\r\n")
        self.request.recv(100)


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        heard = b"".join(iter(lambda: self.request.recv(100), b""))
        self.request.sendall(b"answer to " + heard)


def answer(question):
    """A of the names there are; AAAA of none; SERVFAIL for broken.test; all else does not exist."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
        at += 1 + question[at]
    name, kind, end = ".".join(labels), question[at + 1:at + 3], at + 5
    address = NAMES.get(name)
    code = 2 if name == "broken.test" else 0 if address else 3
    found = bool(address) and kind == b"\0\1"
    head = question[:2] + bytes([0x81, 0x80 | code, 0, 1, 0, int(found), 0, 0, 0, 0]) + question[12:end]
    return head + (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(address) if found else b"")


class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        question, server = self.request
        server.sendto(answer(question), self.client_address)


def start(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()


class Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


for host in ["10.66.0.11", "10.66.0.12", "2001:db8:66::11"]:
    start(Server(host, 8080, Http))
start(Server("127.0.0.1", 5500, Http))
start(Tcp(("10.66.0.13", 7000), Banner))
start(Tcp(("127.0.0.1", 5432), Echo))
start(socketserver.ThreadingUDPServer(("127.0.0.53", 53), Datagram))
(FOLDER / "ready").touch()
threading.Event().wait()
