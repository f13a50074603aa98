"""A pod whose calls are captured: curl, Python and Redis clients that know of no proxy, IPv4 and IPv6.

Namespaces for the pod and two services, `cart` (HTTP, found by DNS) and `store` (a real Redis server, and HTTP that no
service claims). The proxy is the real one, as user 1337; clients run as user 1000.
"""

import collections
import http.client
import http.server
import pathlib
import socket
import struct
import threading

from ground import Ground, close, inside, must
from report import eventually
from stage import Proxy

NEEDS = ["ip", "nft", "setpriv", "curl", "/usr/bin/python3", "redis-server", "redis-cli"]

PROXY, APP, SKIPPED = 1337, 1000, 1001
POD = {"cart": {4: "10.1.1.2", 6: "fd01:1::2"}, "store": {4: "10.1.2.2", 6: "fd01:2::2"}}
CART, STORE = {4: "10.1.1.1", 6: "fd01:1::1"}, {4: "10.1.2.1", 6: "fd01:2::1"}
BROKEN = {4: "10.1.1.5", 6: "fd01:1::5"}                     # of the same process as the cart, for another service
DEAD = {4: "10.1.2.9", 6: "fd01:2::9"}                       # an address of the store on which no Redis listens
CACHE = {4: "10.1.2.8", 6: "fd01:2::8"}                      # a service that is down
FAR = {4: "10.9.0.1", 6: "2001:db8:9::1"}                    # of the store, in networks that are left out
NAMES = {"cart.test": CART, "broken.test": BROKEN, "store.test": STORE}
MORE = {"store.test": DEAD}                                  # further addresses of a name
URL = {4: lambda host, rest: f"http://{host}{rest}", 6: lambda host, rest: f"http://[{host}]{rest}"}
YAML = """
version: v1
accessLog: off
outbound: {unknown: allow}
capture:
  skipPorts: [8081]
  skipNetworks: [10.9.0.0/16, "2001:db8:9::/48"]
  skipUsers: [1001]
defaults:
  timeout: 5s
  retries: {backoff: {base: 1ms, max: 2ms}, budget: {minPerSecond: 100}}
services:
  cart:
    hosts: [cart.test]
    endpoints: {dns: "cart.test:80"}
  broken:
    hosts: [broken.test]
    endpoints: {dns: "broken.test:8080"}
    retries: off
    circuitBreaker: {trip: {consecutiveFailures: 3}, openFor: {base: 1h, max: 1h}}
  store:
    endpoints: {dns: "store.test:6379"}
    protocol: opaque
  cache:
    endpoints: {static: ["10.1.2.8:6379", "[fd01:2::8]:6379"]}
    protocol: opaque
    retries: off
    circuitBreaker: {trip: {consecutiveFailures: 2}, openFor: {base: 1h, max: 1h}}
"""
PYTHON = """
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=10) as answer:
        print(answer.status, answer.read().decode().strip())
except urllib.error.HTTPError as error:
    print(error.code, error.headers.get("outrigger-reason"))
"""


def checks(stage, report):
    with Ground(stage.binary) as ground:
        pod = Pod(ground, report)
        for act in (pod.starts, pod.calls, pod.retries, pod.redis, pod.breaks, pod.goes_direct, pod.forged, pod.denied,
                    pod.refused, pod.flushed, pod.fails_closed, pod.restored):
            try:
                act()
            except Exception as error:                       # one act's trouble is not the next one's
                report.broke(act.__name__, error)
        if report.failed:
            print(f"--- the proxy's log, its end ---\n{ground.text('outrigger')[-4000:]}")


class Pod:
    def __init__(self, ground, report):
        self.ground, self.report, self.http = ground, report, {}
        self.net, self.cart, self.store = ground.net("pod"), ground.net("cart"), ground.net("store")
        for device, other, there in (("eth0", self.cart, CART), ("eth1", self.store, STORE)):
            mine = POD["cart" if other == self.cart else "store"]
            ground.join(self.net, device, other, [(f"{mine[4]}/24", f"{there[4]}/24"), (f"{mine[6]}/64", f"{there[6]}/64")])
        for address in (f"{BROKEN[4]}/24", f"{BROKEN[6]}/64"):
            must("ip", "-n", self.cart, "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
        for address in (f"{DEAD[4]}/24", f"{DEAD[6]}/64", f"{CACHE[4]}/24", f"{CACHE[6]}/64"):
            must("ip", "-n", self.store, "addr", "add", address, "dev", "eth1", *(["nodad"] if ":" in address else []))
        for version in (4, 6):
            ground.route(self.net, "default", "via", CART[version])
            must("ip", "-n", self.store, "addr", "add", f"{FAR[version]}/{32 if version == 4 else 128}", "dev", "lo")
            ground.route(self.net, FAR[version], "via", STORE[version])
        for name, net, addresses, ports in (("cart", self.cart, CART, [80, 8081]), ("cart", self.cart, BROKEN, [8080]),
                                            ("store", self.store, STORE, [80]),
                                            ("far", self.store, FAR, [80])):
            self.http.setdefault(name, Http(name))
            for version in (4, 6):
                for port in ports:
                    ground.listen(net, addresses[version], port, self.http[name].serve)
        names(ground, self.cart, CART[4])
        etc = pathlib.Path("/etc/netns") / self.net
        etc.mkdir(parents=True)
        (etc / "resolv.conf").write_text(f"nameserver {CART[4]}\n")
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        ground.start(self.store, "redis", "redis-server", "--port", 6379, "--bind", STORE[4], STORE[6], "--protected-mode", "no",
                     "--save", "", "--appendonly", "no", "--dir", ground.folder)
        self.yaml = ground.folder / "mesh.yaml"
        self.yaml.write_text(YAML)
        self.proxy = Proxy(15001, 15000)

    # === tools ===

    def app(self, *command, user=APP):
        """Runs a client in the pod as a user."""
        return self.ground.run(self.net, "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command)

    def curl(self, url, *words, user=APP):
        """What curl got: the status, our reason or `-`, and the body's first line; or its exit code."""
        done = self.app("curl", "-sS", "-m", "10", "-w", r"\n%{http_code} %header{outrigger-reason}", *words, url, user=user)
        if done.returncode:
            return f"exit code {done.returncode}"
        body, _, status = done.stdout.rpartition("\n")
        return f"{status.strip()} {body.splitlines()[0] if body else '-'}"

    def python(self, url):
        done = self.app("/usr/bin/python3", "-c", PYTHON, url)      # one that every user may run
        return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

    def redis_cli(self, host, *words):
        done = self.app("redis-cli", "-h", host, *words)
        return (done.stdout + done.stderr).strip()

    def capture(self, *words):
        done = self.ground.run(self.net, self.ground.binary, "capture", *words)
        return done.returncode, done.stdout + done.stderr

    def admin(self, path):
        with inside(self.net):
            status, _, text = self.proxy.admin(path)
        return status, text

    def metric(self, name, **labels):
        with inside(self.net):
            return self.proxy.metric(name, **labels)

    def carried(self):
        """Calls and connections that the proxy has carried, whatever became of them."""
        return self.metric("outrigger_calls_total")

    # === the acts ===

    def starts(self):
        report = self.report
        self.process = self.ground.start(self.net, "outrigger", self.ground.binary, "run", self.yaml, "--captured",
                                         "--health-port", 15020, user=PROXY)
        eventually(lambda: " ready" in self.ground.text("outrigger"), 15)
        status, text = self.admin("/ready")
        report.holds("no rules yet: /ready says so", status == 503 and "not captured" in text, (status, text))
        code, said = self.capture("apply", self.yaml)
        report.holds("rules applied beside a proxy that runs: it answers for them", code == 0 and said.count("proven") == 3, said)
        report.holds("/ready is 200 then", eventually(lambda: self.admin("/ready")[0] == 200), self.admin("/ready"))
        with inside(self.cart):
            connection = http.client.HTTPConnection(POD["cart"][4], 15020, timeout=5)
            connection.request("GET", "/ready")
            report.same("probes from outside reach it", 200, connection.getresponse().status)
            connection.close()
        code, said = self.capture("check", self.yaml)
        report.same("check is content", (0, 2), (code, said.count("captured, the proxy answers")))
        report.holds("the redis server is there", eventually(lambda: "Ready to accept" in self.ground.text("redis"), 15), self.ground.text("redis"))

    def calls(self):
        report, cart = self.report, self.http["cart"]
        for version, option in ((4, "-4"), (6, "-6")):
            before = self.metric("outrigger_calls_total", service="cart")
            cart.seen.clear()
            report.same(f"curl {option}, by name", "200 cart says hello", self.curl("http://cart.test/hello", option))
            report.same(f"curl {option}, by address", "200 cart says hello", self.curl(URL[version](CART[version], "/hello")))
            report.same(f"Python, by address, IPv{version}", "200 cart says hello", self.python(URL[version](CART[version], "/hello")))
            report.same(f"IPv{version}: the proxy carried them, for their service", before + 3, self.metric("outrigger_calls_total", service="cart"))
            hosts = [call["host"] for call in cart.seen]
            literal = f"[{CART[6]}]" if version == 6 else CART[4]
            report.same(f"IPv{version}: the service sees the names that were used", ["cart.test", literal, literal], hosts)
            peers = {call["peer"] for call in cart.seen}
            report.holds(f"IPv{version}: and the pod's own address", peers <= set(POD["cart"].values()), peers)
        report.same("Python, by name", "200 cart says hello", self.python("http://cart.test/hello"))
        before = self.metric("outrigger_calls_total", service="unknown")
        report.same("a destination that no service claims: passed on to where it was going", "200 store says hello",
                    self.curl(URL[4](STORE[4], "/hello")))
        report.same("and counted", before + 1, self.metric("outrigger_calls_total", service="unknown"))

    def retries(self):
        report, cart = self.report, self.http["cart"]
        for name, call in (("curl", self.curl), ("Python", self.python)):
            cart.seen.clear()
            report.same(f"{name}: a service that fails once: the call succeeds", "200 cart says at last", call(f"http://cart.test/once/{name}"))
            report.same(f"{name}: the service was asked twice", 2, len(cart.seen))

    def redis(self):
        report = self.report
        for version in (4, 6):
            before = self.metric("outrigger_calls_total", service="store")
            report.same(f"redis-cli, IPv{version}", ("OK", "green"), (self.redis_cli(STORE[version], "set", "tea", "green"), self.redis_cli(STORE[version], "get", "tea")))
            report.same(f"redis-cli, IPv{version}: the proxy carried them", before + 2, self.metric("outrigger_calls_total", service="store"))
            # Dialled is an address of the service on which nothing listens.
            answers = collections.Counter(self.redis_cli(DEAD[version], "ping") for _ in range(6))
            report.same(f"redis-cli, IPv{version}: an address that is down: another of the service is tried", {"PONG": 6}, dict(answers))
        report.same("redis-cli, by name", "PONG", self.redis_cli("store.test", "ping"))
        listed = self.redis_cli(STORE[4], "client", "list")
        report.holds("the server sees the pod", any(f"addr={show}:" in listed for show in (POD["store"][4], f"[{POD['store'][6]}]")), listed)

    def breaks(self):
        report, cart = self.report, self.http["cart"]
        url = "http://broken.test:8080/fails"
        report.same("three failures reach the application as they are", ["500 cart says no"] * 3, [self.curl(url) for _ in range(3)])
        cart.seen.clear()
        report.holds("then the breaker answers curl", self.curl(url).startswith("503 breaker_open"), self.curl(url))
        report.same("and Python", "503 breaker_open", self.python(url))
        report.same("the service is spared", [], cart.seen)
        report.same("its breaker is open, and no other", (1, 0), (self.metric("outrigger_breaker_state", service="broken"), self.metric("outrigger_breaker_state", service="cart")))
        said = [self.redis_cli(CACHE[4], "ping") for _ in range(2)]
        report.same("a Redis that is down: its breaker opens", 1, self.metric("outrigger_breaker_state", service="cache"))
        reached = []
        up = [self.ground.listen(self.store, CACHE[version], 6379, reached.append) for version in (4, 6)]
        said += [self.redis_cli(CACHE[version], "ping") for version in (4, 6)]
        report.same("what comes up meanwhile is spared", [], reached)
        report.holds("redis-cli is told by a reset each time", all("reset" in text for text in said), said)
        for one in up:
            close(one)

    def goes_direct(self):
        report = self.report
        before = self.carried()
        for version in (4, 6):
            report.same(f"a skipped port, IPv{version}", "200 cart says hello", self.curl(URL[version](CART[version], ":8081/hello")))
            report.same(f"a skipped network, IPv{version}", "200 far says hello", self.curl(URL[version](FAR[version], "/hello")))
            report.same(f"a skipped user, IPv{version}", "200 cart says hello", self.curl(URL[version](CART[version], "/hello"), user=SKIPPED))
        report.same("a skipped user calls the service whose breaker is open", "500 cart says no", self.curl("http://broken.test:8080/fails", user=SKIPPED))
        report.same("the proxy has carried none of them", before, self.carried())

    def forged(self):
        report, cart, store = self.report, self.http["cart"], self.http["store"]
        cart.seen.clear()
        for version in (4, 6):
            before = self.metric("outrigger_host_mismatches_total", service="cart")
            store.seen.clear()
            report.same(f"a forged Host, IPv{version}: the call goes where it was going", "200 store says hello",
                        self.curl(URL[version](STORE[version], "/hello"), "-H", "Host: cart.test"))
            report.same(f"IPv{version}: the Host is passed on as it was", ["cart.test"], [call["host"] for call in store.seen])
            report.same(f"IPv{version}: it is told as a mismatch", before + 1, self.metric("outrigger_host_mismatches_total", service="cart"))
        report.same("the service that was named saw nothing", [], cart.seen)

    def denied(self):
        report, store = self.report, self.http["store"]
        self.yaml.write_text(YAML.replace("unknown: allow", "unknown: deny"))
        report.holds("another configuration is taken over", eventually(lambda: self.metric("outrigger_config_reloads_total", result="applied") >= 1), self.admin("/config"))
        store.seen.clear()
        for version in (4, 6):
            url = URL[version](STORE[version], "/hello")
            report.holds(f"deny: an unclaimed destination, IPv{version}", self.curl(url).split()[1] == "denied", self.curl(url))
            forged = self.curl(url, "-H", "Host: cart.test")
            report.holds(f"deny: a forged Host does not pass, IPv{version}", forged.split()[1] == "denied" and "host_mismatch" in forged, forged)
            report.same(f"deny: a claimed one passes, IPv{version}", "200 cart says hello", self.curl(URL[version](CART[version], "/hello")))
        report.same("deny: nothing arrived", [], store.seen)
        self.gone_at_once()
        reloads = self.metric("outrigger_config_reloads_total", result="applied")
        self.yaml.write_text(YAML)
        eventually(lambda: self.metric("outrigger_config_reloads_total", result="applied") > reloads)

    def gone_at_once(self):
        """A forged Host from applications that reset before they are looked at: who has gone has no name either."""
        cart, before = self.http["cart"], self.metric("outrigger_connections_captured_total")
        cart.seen.clear()
        for _ in range(60):
            one = self.ground.dial(self.net, STORE[4], 80, APP)
            one.sendall(b"GET /gone HTTP/1.1\r\nHost: cart.test\r\n\r\n")
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        report = self.report
        report.holds("60 that reset at once are captured all the same", eventually(lambda: self.metric("outrigger_connections_captured_total") >= before + 60), "")
        report.same("deny: none of them reached the service that was named", [], cart.seen)

    def refused(self):
        for version in (4, 6):
            one = self.ground.dial(self.net, STORE[version], 9999, APP)
            try:
                one.sendall(b"\0\1\2\3")
                told = one.recv(64)
            except OSError as error:
                told = type(error).__name__
            self.report.same(f"a destination that refuses: passed on as a reset, IPv{version}", "ConnectionResetError", told)
            one.close()

    def flushed(self):
        report = self.report
        must("ip", "netns", "exec", self.net, "nft", "flush", "chain", "inet", "outrigger", "out")
        report.holds("rules flushed behind its back: /ready says so", eventually(lambda: self.admin("/ready")[0] == 503, 15), self.admin("/ready"))
        report.holds("with the reason", "not captured" in self.admin("/ready")[1], self.admin("/ready"))
        code, said = self.capture("apply", self.yaml)
        report.same("applied again", 0, code)
        report.holds("/ready is 200 again", eventually(lambda: self.admin("/ready")[0] == 200), self.admin("/ready"))

    def fails_closed(self):
        report = self.report
        report.same("the proxy runs to the end", None, self.process.poll())
        self.process.terminate()
        report.same("SIGTERM: exit code 0", 0, self.process.wait(20))
        report.same("no proxy: calls are refused", ["exit code 7"] * 2, [self.curl("http://cart.test/hello", option) for option in ("-4", "-6")])
        code, said = self.capture("check", self.yaml)
        report.holds("check says why", code == 1 and "no proxy listens on 127.0.0.1:15001" in said, said)

    def restored(self):
        report, cart = self.report, self.http["cart"]
        code, said = self.capture("remove")
        report.same("rules removed", 0, code)
        cart.seen.clear()
        for version, option in ((4, "-4"), (6, "-6")):
            report.same(f"curl goes direct, IPv{version}", "200 cart says hello", self.curl("http://cart.test/hello", option))
            report.same(f"Redis goes direct, IPv{version}", "PONG", self.redis_cli(STORE[version], "ping"))
        report.same("Python goes direct", "200 cart says hello", self.python("http://cart.test/hello"))
        report.same("the breaker is gone with the proxy", "500 cart says no", self.curl("http://broken.test:8080/fails"))
        rules = self.ground.run(self.net, "nft", "list", "ruleset").stdout
        report.holds("nothing is left of the rules", "outrigger" not in rules, said + rules)
        report.same("no panic in the proxy's log", [], [line for line in self.ground.text("outrigger").splitlines() if "panicked" in line])


# === who answers ===

class Http:
    """An HTTP service that remembers what it was asked."""

    def __init__(self, name):
        self.name, self.seen, self.lock = name, [], threading.Lock()

    def serve(self, one):
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with service.lock:
                    tried = any(call["path"] == self.path for call in service.seen)
                    service.seen.append({"path": self.path, "host": self.headers["host"], "peer": self.client_address[0]})
                if self.path.startswith("/once/"):
                    status, word = (200, "at last") if tried else (503, "not yet")
                else:
                    status, word = {"/fails": (500, "no")}.get(self.path, (200, "hello"))
                body = f"{service.name} says {word}\n".encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words):
                pass

        Handler(one, one.getpeername(), None)


def names(ground, net, address):
    """A name server: A and AAAA of NAMES, and that there is nothing else."""
    with inside(net):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((address, 53))
    ground.sockets.append(server)

    def answers():
        while True:
            try:
                asked, client = server.recvfrom(512)
            except OSError:                                  # closed: the end of the test
                return
            if asked:
                server.sendto(answered(asked), client)

    threading.Thread(target=answers, daemon=True).start()


def answered(asked):
    end, labels = 12, []
    while asked[end]:
        labels.append(asked[end + 1:end + 1 + asked[end]].decode())
        end += 1 + asked[end]
    name, (kind, _) = ".".join(labels).lower(), struct.unpack_from("!HH", asked, end + 1)
    version = {1: 4, 28: 6}.get(kind)
    found = [of[name][version] for of in (NAMES, MORE) if version and name in of]
    records = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 5, len(packed)) + packed
                       for packed in (socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, address) for address in found))
    flags = 0x8580 if name in NAMES else 0x8583              # 3: no such name
    return asked[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0) + asked[12:end + 5] + records
