"""A cluster in network namespaces: services behind a bridge, pods beside them, one name server.

Namespaces carry the process id in their names; what was started has ended, and they are gone, when `Cluster` is left.
"""

import ctypes
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).parent
REPO = HERE.parent.parent
DOMAIN = "shop.svc.cluster.local"
NAME_SERVER = "10.77.0.53"
A, IN = 1, 1
NEWNET = 0x40000000
SERVICE_USER = 1000
# Of containers that are no image of ours; they run in this machine's root.
PATH = "/usr/local/bin:/usr/bin:/bin"


class Cluster:
    def __init__(self, binary):
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="outrigger-host-"))
        self.folder.chmod(0o755)
        self.net = f"outrigger-{os.getpid()}"
        self.image = self.folder / "image"
        self.names, self.networks, self.running = {}, [], []

    def __enter__(self):
        try:
            self.network(self.net)
            self.run("ip", "-n", self.net, "link", "add", "br0", "type", "bridge")
            self.run("ip", "-n", self.net, "addr", "add", "10.77.0.1/16", "dev", "br0")
            self.run("ip", "-n", self.net, "link", "set", "br0", "up")
            self.run("ip", "netns", "exec", self.net, "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0")
            self.address(NAME_SERVER)
            self.name_server()
            self.lay_out_image()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        for process in reversed(self.running):
            if process.poll() is None:
                process.kill()
            process.wait()
        for name in reversed(self.networks):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def run(*command):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
        return done.stdout

    # === networks and names ===

    def network(self, name):
        self.run("ip", "netns", "add", name)
        self.networks.append(name)
        self.run("ip", "-n", name, "link", "set", "lo", "up")

    def address(self, address):
        self.run("ip", "-n", self.net, "addr", "add", f"{address}/16", "dev", "br0")

    def attach(self, name, address):
        """A namespace of its own on the bridge, as a pod has it."""
        self.network(name)
        end = f"v{len(self.networks)}"
        self.run("ip", "-n", self.net, "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", name)
        self.run("ip", "-n", self.net, "link", "set", end, "master", "br0", "up")
        self.run("ip", "-n", name, "addr", "add", f"{address}/16", "dev", "eth0")
        self.run("ip", "-n", name, "link", "set", "eth0", "up")
        self.run("ip", "-n", name, "route", "add", "default", "via", "10.77.0.1")

    def inside(self, work):
        """Does `work` on a thread inside the services' network, as sockets made there stay there."""
        result = []

        def go():
            with open(f"/var/run/netns/{self.net}") as namespace:
                enter_network(namespace.fileno())
            result.append(work())

        thread = threading.Thread(target=go)
        thread.start()
        thread.join()
        if not result:
            raise RuntimeError("the work inside the network failed")
        return result[0]

    def name_server(self):
        """Answers for `NAME.shop.svc.cluster.local`; resolv.conf and hosts are files that containers mount."""
        def opened():
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind((NAME_SERVER, 53))
            return made

        self.questions = self.inside(opened)
        threading.Thread(target=self.answer_names, daemon=True).start()
        (self.folder / "resolv.conf").write_text(
            f"nameserver {NAME_SERVER}\nsearch {DOMAIN} svc.cluster.local cluster.local\noptions ndots:5\n")
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n")

    def answer_names(self):
        while True:
            question, asker = self.questions.recvfrom(2048)
            labels, at = [], 12
            while question[at]:
                labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
                at += 1 + question[at]
            kind = struct.unpack("!H", question[at + 1:at + 3])[0]
            name = ".".join(labels)
            known = name.endswith("." + DOMAIN) and self.names.get(name[:-len(DOMAIN) - 1])
            found = [known] if known and kind == A else []
            head = question[:2] + struct.pack("!HHHHH", 0x8580 if known else 0x8583, 1, len(found), 0, 0)
            records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", A, IN, 5, 4) + socket.inet_aton(found) for found in found)
            self.questions.sendto(head + question[12:at + 5] + records, asker)

    # === what runs in it ===

    def lay_out_image(self):
        self.run(REPO / "k8s" / "image" / "rootfs", self.binary, self.image)
        self.image.chmod(0o755)
        # What a container runtime adds to every image.
        for folder in ("proc", "dev", "etc"):
            (self.image / folder).mkdir(exist_ok=True)
        for file in ("etc/resolv.conf", "etc/hosts", "dev/null", "dev/urandom"):
            (self.image / file).touch()

    def service(self, name, address):
        """One service of the shop, on port 80 of an address of its own."""
        self.address(address)
        self.names[name] = address
        program = self.folder / "shop.py"
        shutil.copy(REPO / "k8s" / "shop" / "parts" / "shop.py", program)
        etc = {f"/etc/{file}": str(self.folder / file) for file in ("resolv.conf", "hosts")}
        box = {"net": self.net, "root": None, "binds": etc, "read_only": False, "user": SERVICE_USER,
               "group": SERVICE_USER, "capabilities": [], "cwd": "/"}
        return self.contain(name, box, ["python3", "-u", str(program), "serve", name, "--host", address, "--port", "80",
                                        "--linger", "0"], {"PATH": PATH})

    def contain(self, log, box, command, environment):
        """Starts a command in a container; what it says goes to LOG.log."""
        with open(self.folder / f"{log}.log", "ab") as out:
            process = subprocess.Popen([sys.executable, str(HERE / "contain.py"), json.dumps(box), *map(str, command)],
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
        self.running.append(process)
        return process

    def get(self, url, method="GET", timeout=10):
        """Asks as somebody in the cluster does: status and text; no answer is status 0 and the reason."""
        def ask():
            request = urllib.request.Request(url, method=method, data=b"" if method == "POST" else None)
            try:
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as refused:
                return refused.code, refused.read().decode()
            except OSError as error:
                return 0, str(error)

        return self.inside(ask)

    def reached(self, name):
        return int(self.get(f"http://{self.names[name]}/reached")[1])

    def text(self, name):
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""


def enter_network(descriptor):
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
