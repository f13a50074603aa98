"""A cluster in network namespaces: services behind a bridge, pods beside them, one name server, one image."""

import json
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request

from ground import Ground, inside, must

HERE = pathlib.Path(__file__).parent
REPO = HERE.parent.parent
DOMAIN = "shop.svc.cluster.local"
GATEWAY, NAME_SERVER = "10.77.0.1", "10.77.0.53"
A, IN = 1, 1
SERVICE_USER = 1000
# Of containers that are no image of ours; they run in this machine's root.
PATH = "/usr/local/bin:/usr/bin:/bin"
# What a container's runtime mounts into it.
ETC = ("resolv.conf", "hosts")
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


class Cluster(Ground):
    def __init__(self, binary):
        super().__init__(binary)
        self.image = self.folder / "image"
        self.names = {}

    def __enter__(self):
        try:
            self.services = self.net("services")
            must("ip", "-n", self.services, "link", "add", "br0", "type", "bridge")
            must("ip", "-n", self.services, "link", "set", "br0", "up")
            self.run(self.services, "sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0")
            for address in (GATEWAY, NAME_SERVER):
                self.address(address)
            self.name_server()
            self.lay_out_image()
        except BaseException:
            self.__exit__()
            raise
        return self

    # === networks and names ===

    def address(self, address):
        must("ip", "-n", self.services, "addr", "add", f"{address}/16", "dev", "br0")

    def attach(self, name, address):
        """A namespace of its own on the bridge, as a pod has it."""
        net, end = self.net(name), f"v{len(self.nets)}"
        must("ip", "-n", self.services, "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", net)
        must("ip", "-n", self.services, "link", "set", end, "master", "br0", "up")
        must("ip", "-n", net, "addr", "add", f"{address}/16", "dev", "eth0")
        must("ip", "-n", net, "link", "set", "eth0", "up")
        self.route(net, "default", "via", GATEWAY)
        return net

    def name_server(self):
        """Answers for `NAME.shop.svc.cluster.local`; containers mount the files that say so."""
        with inside(self.services):
            questions = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        questions.bind((NAME_SERVER, 53))
        self.sockets.append(questions)
        threading.Thread(target=answer_names, args=[questions, self.names], daemon=True).start()
        (self.folder / "resolv.conf").write_text(
            f"nameserver {NAME_SERVER}\nsearch {DOMAIN} svc.cluster.local cluster.local\noptions ndots:5\n")
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n")

    # === what runs in it ===

    def lay_out_image(self):
        must(REPO / "k8s" / "image" / "rootfs", self.binary, self.image)
        # What a container's runtime adds to every image.
        for file in ("proc/-", *(f"etc/{file}" for file in ETC), *(device[1:] for device in DEVICES)):
            path = self.image / file
            path.parent.mkdir(exist_ok=True)
            path.touch()

    def service(self, name, address):
        """One service of the shop, on port 80 of an address of its own."""
        self.address(address)
        self.names[name] = address
        program = self.folder / "shop.py"
        shutil.copy(REPO / "k8s" / "shop" / "parts" / "shop.py", program)
        return self.contain(name, self.box(self.services, SERVICE_USER), [
            "python3", "-u", program, "serve", name, "--host", address, "--port", "80", "--linger", "0"], {"PATH": PATH})

    def box(self, net, user):
        """A container in this machine's root, with the cluster's names."""
        return {"net": net, "root": None, "binds": {f"/etc/{file}": str(self.folder / file) for file in ETC},
                "read_only": False, "user": user, "group": user, "capabilities": ["NET_ADMIN"] if user == 0 else []}

    def contain(self, log, box, command, environment):
        """Starts a command in a container; what it says goes to LOG.log."""
        with open(self.folder / f"{log}.log", "ab") as out:
            process = subprocess.Popen(contained(box, command), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       env=environment)
        self.running.append(process)
        return process

    def get(self, url, timeout=10):
        """Asks as somebody in the cluster does: status and text; no answer is status 0 and the reason."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with inside(self.services):
            try:
                with opener.open(url, timeout=timeout) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as refused:
                return refused.code, refused.read().decode()
            except OSError as error:
                return 0, str(error)

    def reached(self, name):
        return int(self.get(f"http://{self.names[name]}/reached")[1])


def contained(box, command):
    """The command line that runs a command in a container."""
    return [sys.executable, str(HERE / "contain.py"), json.dumps(box), *map(str, command)]


def answer_names(questions, names):
    while True:
        try:
            question, asker = questions.recvfrom(2048)
        except OSError:                                        # closed: the end of the test
            return
        if not question:
            return
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode().lower())
            at += 1 + question[at]
        kind, name = struct.unpack("!H", question[at + 1:at + 3])[0], ".".join(labels)
        known = name.endswith("." + DOMAIN) and names.get(name[:-len(DOMAIN) - 1])
        found = [known] if known and kind == A else []
        head = question[:2] + struct.pack("!HHHHH", 0x8580 if known else 0x8583, 1, len(found), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", A, IN, 5, 4) + socket.inet_aton(one) for one in found)
        questions.sendto(head + question[12:at + 5] + records, asker)
