"""`outrigger top` in a terminal: drawn, resized, left by a key, and the terminal as it was before."""

import fcntl
import http.server
import os
import pty
import signal
import struct
import subprocess
import termios
import threading

from report import eventually

FRAME = "\x1b[1;1H"                                          # each picture begins at the top left
OPENED, CLOSED = "\x1b[?1049h", "\x1b[?1049l"                # the terminal's other screen


def checks(stage, report):
    for name, key in (("q", b"q"), ("Ctrl-C", b"\x03")):
        with Terminal(stage, stage.port["admin"]) as terminal:
            drawn = lambda: "SERVICE" in terminal.frame() and "payment-service" in terminal.frame()
            report.holds(f"top: every service is drawn ({name})", eventually(drawn, 10), terminal.said)
            terminal.resize(40, 8)
            small = lambda: "more, less" in terminal.frame() and "ENDPOINTS" not in terminal.frame()
            report.holds(f"top: drawn anew for a small terminal ({name})", eventually(small, 10), terminal.frame())
            os.write(terminal.master, key)
            report.same(f"top: {name} leaves with exit code 0", 0, terminal.process.wait(10))
            left = lambda: terminal.said.rstrip("\r\n").endswith(CLOSED)
            report.holds(f"top: the first screen is back ({name})",
                         eventually(left) and OPENED in terminal.said and "\x1b[?25h" in terminal.said,
                         terminal.said[-80:])
            report.same(f"top: the terminal is as it was ({name})", terminal.before, terminal.settings())
    restart(stage, report)


def restart(stage, report):
    """The proxy goes away and comes back."""
    page, port = stage.admin("/services?counts=1")[2], stage.free_port()
    server = serve(port, page)
    with Terminal(stage, port) as terminal:
        report.holds("top: a proxy is there", eventually(lambda: "SERVICE" in terminal.frame(), 10), terminal.said)
        server.shutdown()
        server.server_close()
        old = lambda: "what follows is old" in terminal.frame() and "payment-service" in terminal.frame()
        report.holds("top: without the proxy the last table stays, and says so", eventually(old, 10), terminal.frame())
        server = serve(port, page)
        fresh = lambda: "SERVICE" in terminal.frame() and "is old" not in terminal.frame()
        report.holds("top: it goes on when the proxy is back", eventually(fresh, 10), terminal.frame())
    server.shutdown()
    server.server_close()


def serve(port, page):
    class Page(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = page.encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    server = http.server.HTTPServer(("127.0.0.1", port), Page)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server


class Terminal:
    """A terminal with `outrigger top` in it; what that wrote is read on a thread."""

    def __init__(self, stage, port):
        self.master, self.slave = pty.openpty()
        self.said = ""
        self.before = self.settings()
        self.size(120, 60)
        words = [stage.binary, "top", "--admin", f"127.0.0.1:{port}", "--every", "100ms"]
        self.process = subprocess.Popen(words, stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                        start_new_session=True)
        threading.Thread(target=self.read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.slave)

    def read(self):
        try:
            while piece := os.read(self.master, 65536):
                self.said += piece.decode(errors="replace")
        except OSError:                                      # nobody holds the other side any more
            pass

    def settings(self):
        return termios.tcgetattr(self.slave)

    def frame(self):
        """The last whole picture."""
        return (self.said.split(FRAME)[-2:] or [""])[0]

    def size(self, columns, rows):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns, rows):
        self.size(columns, rows)
        self.process.send_signal(signal.SIGWINCH)
