"""The programs on stage: nginx and a scripted service as upstreams, the real proxy between.

Everything listens on a free port of 127.0.0.1 and lives in one temporary folder. `Stage` is a
context manager: whatever it started has ended when it is left.
"""

import http.client
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

import upstream
from report import eventually

HERE = pathlib.Path(__file__).parent
ROLES = {15000: "admin", 15001: "outbound", 9103: "plain", 9104: "scripted", 9105: "tls", 9106: "absent",
         9203: "payment", 9204: "order"}


class Stage:
    def __init__(self, binary):
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="outrigger-peers-"))
        self.folder.chmod(0o755)
        self.port = dict(zip(ROLES.values(), free_ports(len(ROLES))))
        self.running = []

    def __enter__(self):
        try:
            self.certificate()
            self.nginx()
            self.service = upstream.start(self.port["scripted"])
            self.outrigger()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def proxy(self):
        return f"http://127.0.0.1:{self.port['outbound']}"

    def certificate(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", self.folder / "key.pem", "-out", self.folder / "cert.pem", "-days", "2",
                        "-subj", "/CN=vault-service", "-addext", "subjectAltName=DNS:vault-service"],
                       check=True, capture_output=True, timeout=20)

    def nginx(self):
        (self.folder / "www" / "files").mkdir(parents=True)
        (self.folder / "www" / "text.txt").write_text("all work and no play\n" * 500)
        words = {"user": "user root;" if os.geteuid() == 0 else "", "folder": self.folder,
                 "plain": self.port["plain"], "tls": self.port["tls"]}
        text = (HERE / "nginx.conf").read_text()
        for word, value in words.items():
            text = text.replace("{%s}" % word, str(value))
        (self.folder / "nginx.conf").write_text(text)
        self.start("nginx", ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"),
                             "-e", str(self.folder / "nginx.log")], self.port["plain"])

    def outrigger(self):
        self.config = self.folder / "mesh.yaml"
        self.config.write_text(re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda found: str(self.port[ROLES[int(found[0])]]),
                                      (HERE / "mesh.yaml").read_text()))
        self.sidecar = self.start("outrigger", [self.binary, "run", str(self.config)], self.port["admin"])
        if not eventually(lambda: " ready" in self.text("outrigger.log"), 15):
            raise RuntimeError(f"outrigger is not ready:\n{self.text('outrigger.log')}")

    def start(self, name, command, port):
        """Starts a program and waits until something listens on that port."""
        with open(self.folder / f"{name}.out", "wb") as out, open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log)
        self.running.append(process)
        if not eventually(lambda: listens(port) or process.poll() is not None, 15) or process.poll() is not None:
            raise RuntimeError(f"{name} did not start:\n{self.text(name + '.log')}")
        return process

    def text(self, name):
        return (self.folder / name).read_text(errors="replace")

    def admin(self, path):
        """Status, content type and text of one admin page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port["admin"], timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.getheader("content-type"), answer.read().decode()
        finally:
            connection.close()


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    except OSError:
        return False


def free_ports(count):
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for held in sockets:
        held.bind(("127.0.0.1", 0))
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports
