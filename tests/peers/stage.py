"""The programs on stage: nginx and a scripted service as upstreams, the real proxy between.

Everything listens on a free port of 127.0.0.1 and lives in one temporary folder. `Stage` is a
context manager: whatever it started has ended when it is left. A client that needs a server of its
own starts it with `start`, or with `prepare(stage)` and `launch` if that takes long: every
`prepare` is called before the first check.
"""

import http.client
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import tempfile

import certificates
import upstream
from report import eventually

HERE = pathlib.Path(__file__).parent
# Ports of mesh.yaml. 91xx: where a server listens; 92xx: where the proxy listens for its service.
ROLES = {15000: "admin", 15001: "outbound",
         9103: "plain", 9104: "scripted", 9105: "tls", 9106: "absent", 9107: "h2c", 9108: "mutual", 9109: "sealed",
         9111: "redis-server", 9112: "postgres-server", 9113: "mysql-server", 9114: "amqp-server",
         9115: "catalog-server", 9116: "pricing-server", 9117: "streams-server", 9118: "live-server",
         9203: "payment", 9204: "order", 9207: "stock", 9208: "ledger",
         9211: "redis", 9212: "postgres", 9213: "mysql", 9214: "amqp",
         9215: "catalog", 9216: "pricing", 9217: "streams", 9218: "live"}


class Stage:
    def __init__(self, binary):
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="outrigger-peers-"))
        self.folder.chmod(0o755)
        self.port = dict(zip(ROLES.values(), free_ports(len(ROLES))))
        self.first = Proxy(self.port["outbound"], self.port["admin"])
        self.running = []

    def __enter__(self):
        try:
            certificates.make(self.folder)
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

    def nginx(self):
        (self.folder / "www" / "files").mkdir(parents=True)
        (self.folder / "www" / "text.txt").write_text("all work and no play\n" * 500)
        words = {"user": "user root;" if os.geteuid() == 0 else "", "folder": self.folder,
                 **{name: self.port[name] for name in ("plain", "tls", "h2c", "mutual")}}
        text = (HERE / "nginx.conf").read_text()
        for word, value in words.items():
            text = text.replace("{%s}" % word, str(value))
        (self.folder / "nginx.conf").write_text(text)
        self.start("nginx", ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"),
                             "-e", str(self.folder / "nginx.log")], self.port["plain"])

    def outrigger(self):
        self.config = self.folder / "mesh.yaml"
        text = re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda found: str(self.port[ROLES[int(found[0])]]),
                      (HERE / "mesh.yaml").read_text())
        self.config.write_text(text.replace("/var/lib/peers/", f"{self.folder}/"))
        self.sidecar = self.start("outrigger", [self.binary, "run", str(self.config)], self.port["admin"])
        if not eventually(lambda: " ready" in self.text("outrigger.log"), 15):
            raise RuntimeError(f"outrigger is not ready:\n{self.text('outrigger.log')}")

    def start(self, name, command, port, **more):
        """Starts a program and waits until something listens on that port."""
        return self.wait(name, self.launch(name, command, **more), port)

    def launch(self, name, command, **more):
        """Starts a program; what it says goes to NAME.out and NAME.log."""
        with open(self.folder / f"{name}.out", "wb") as out, open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=out, stderr=log, **more)
        self.running.append(process)
        return process

    def wait(self, name, process, port, seconds=30):
        """Waits until something listens on that port."""
        if not eventually(lambda: listens(port) or process.poll() is not None, seconds) or process.poll() is not None:
            said = self.text(f"{name}.out")[-2000:] + self.text(f"{name}.log")[-2000:]
            raise RuntimeError(f"{name} did not start:\n{said}")
        return process

    @staticmethod
    def free_port():
        return free_ports(1)[0]

    def text(self, name):
        return (self.folder / name).read_text(errors="replace")

    def admin(self, path):
        return self.first.admin(path)

    def metric(self, name, **labels):
        return self.first.metric(name, **labels)

    def another(self, name, config, **environment):
        """A further proxy with a configuration of its own, in which 15001 and 15000 stand for its two ports."""
        proxy = Proxy(*free_ports(2))
        file = self.folder / f"{name}.yaml"
        file.write_text(config.replace("127.0.0.1:15001", f"127.0.0.1:{proxy.outbound}")
                        .replace("127.0.0.1:15000", f"127.0.0.1:{proxy.admin_port}"))
        proxy.process = self.start(name, [self.binary, "run", file], proxy.admin_port, env={**os.environ, **environment})
        if not eventually(lambda: " ready" in self.text(f"{name}.log"), 15):
            raise RuntimeError(f"{name} is not ready:\n{self.text(f'{name}.log')}")
        return proxy


class Proxy:
    """One proxy, by the ports of its application and of its admin API."""

    def __init__(self, outbound, admin_port):
        self.outbound, self.admin_port = outbound, admin_port

    def admin(self, path):
        """Status, content type and text of one admin page."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.getheader("content-type"), answer.read().decode()
        finally:
            connection.close()

    def metric(self, name, **labels):
        """The sum of a metric over its series that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = [line.rsplit(" ", 1) for line in self.admin("/metrics")[2].splitlines()]
        return sum(float(value) for series, value in lines
                   if re.match(rf"{name}(\{{|$)", series) and all(label in series for label in wanted))

    def call(self, method, service, path, **headers):
        """Calls a service by it: the status, and what came."""
        connection = http.client.HTTPConnection("127.0.0.1", self.outbound, timeout=15)
        try:
            connection.request(method, path, headers={"Host": service, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    except OSError:
        return False


def free_ports(count):
    """Ports that were free a moment ago, all different, and none that the system gives to outgoing connections."""
    found = []
    while len(found) < count:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
