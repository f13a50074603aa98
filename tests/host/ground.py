"""Network namespaces for a test: joined by pairs of devices, entered by threads, gone at the end.

Their names carry the process id. A socket belongs to the namespace and to the user that made it, whoever uses it
later: `inside` changes both for one thread, so servers and clients of all namespaces live in this process.
"""

import contextlib
import ctypes
import encodings.idna                                        # what looking an address up needs, before this is another user
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading

NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
WAIT = 5                                                     # seconds for whatever must happen at once


class Ground:
    def __init__(self, binary):
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="outrigger-host-"))
        self.folder.chmod(0o755)
        self.nets, self.running, self.sockets = [], [], []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for one in self.sockets:
            close(one)
        for net in self.nets:
            subprocess.run(["ip", "netns", "del", net], capture_output=True)
            shutil.rmtree(f"/etc/netns/{net}", ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    # === namespaces ===

    def net(self, name):
        """A namespace with loopback: its whole name."""
        net = f"outrigger-{os.getpid()}-{name}"
        must("ip", "netns", "add", net)
        self.nets.append(net)
        must("ip", "-n", net, "link", "set", "lo", "up")
        return net

    def join(self, net, device, other, addresses):
        """A pair of devices of one name; `addresses` are pairs of (the first one's, the other's)."""
        must("ip", "-n", net, "link", "add", device, "type", "veth", "peer", "name", device, "netns", other)
        for one in (net, other):
            must("ip", "-n", one, "link", "set", device, "up")
        for pair in addresses:
            for one, address in zip((net, other), pair):
                # Nobody else has it: no need to ask the link first.
                must("ip", "-n", one, "addr", "add", address, "dev", device, *(["nodad"] if ":" in address else []))

    def route(self, net, *words):
        must("ip", "-n", net, *(["-6"] if ":" in words[-1] else []), "route", "add", *words)

    # === programs ===

    def run(self, net, *command, **more):
        """Runs a program in a namespace to its end."""
        return subprocess.run(["ip", "netns", "exec", net, *map(str, command)], capture_output=True, text=True,
                              **{"timeout": 60, "stdin": None if "input" in more else subprocess.DEVNULL, **more})

    def start(self, net, name, *command, user=None, **more):
        """Starts a program in a namespace; what it says goes to NAME.log."""
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(["ip", "netns", "exec", net, *become, *map(str, command)],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log, **more)
        self.running.append(process)
        return process

    def text(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")

    # === sockets ===

    def listen(self, net, address, port, answer, user=0):
        """Serves in a thread: `answer(socket)` for each connection, in a thread of its own."""
        with inside(net, user):
            server = socket.socket(family(address))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ":" in address:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.bind((address, port))
            server.listen(64)
        self.sockets.append(server)
        threading.Thread(target=accept, args=[server, answer], daemon=True).start()
        return server

    @staticmethod
    def dial(net, address, port, user=0):
        """An open connection."""
        with inside(net, user):
            one = socket.socket(family(address))
            one.settimeout(WAIT)
            try:
                one.connect(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][4])
            except BaseException:
                one.close()
                raise
            return one


@contextlib.contextmanager
def inside(net, user=0):
    """This thread is in that namespace, and makes its sockets as that user."""
    with open("/proc/thread-self/ns/net") as home, open(f"/var/run/netns/{net}") as there:
        setns(there)
        LIBC.setfsuid(user)
        try:
            yield
        finally:
            LIBC.setfsuid(0)
            setns(home)


def setns(namespace):
    if LIBC.setns(namespace.fileno(), NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def must(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def close(server):
    """Ends a listener; closing it alone would leave its thread in `accept`, and the port taken."""
    with contextlib.suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    server.close()


def accept(server, answer):
    while True:
        try:
            one, _ = server.accept()
        except OSError:                                      # closed: the end of the test
            return
        threading.Thread(target=served, args=[one, answer], daemon=True).start()


def served(one, answer):
    with one, contextlib.suppress(OSError):                  # the client went: its side has said why
        answer(one)


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET
