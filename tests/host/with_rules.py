"""The rules of `outrigger capture` on this kernel: what they catch, what they leave, how they come and go.

A pod and a service in network namespaces, IPv4 and IPv6. In the place of the proxy stands a listener that
tells where each connection was going; the service tells that it was reached.
"""

import json
import os
import pathlib
import shutil
import socket
import struct
import textwrap

from ground import Ground, close, must
from report import eventually

NEEDS = ["ip", "nft", "iptables-restore", "ip6tables-restore", "setpriv", "unshare", "sysctl"]

PORT, PROXY, APP, SKIPPED = 15001, 1337, 1000, 1001
POD, SERVICE = {4: "10.1.0.2", 6: "fd01::2"}, {4: "10.1.0.1", 6: "fd01::1"}
FAR = {4: "10.9.0.1", 6: "2001:db8:9::1"}                    # in the networks that are left out
CANARY, PROOF = {4: "192.0.2.77", 6: "2001:db8::77"}, {4: "192.0.2.78", 6: "2001:db8::78"}
ANY, LOOPBACK = {4: "0.0.0.0", 6: "::"}, {4: "127.0.0.1", 6: "::1"}
YAML = """
version: v1
capture: {skipPorts: [3306, 9000-9009], skipNetworks: [10.9.0.0/16, "2001:db8:9::/48"]}
"""
FLAGS = ["--skip-user", SKIPPED]
ORIGINAL_DST = 80


def checks(stage, report):
    for act in (both_forms, dry_run, open_connections, proofs, checked, foreign, privilege, programs, without_ipv6, flags):
        with Ground(stage.binary) as ground:
            try:
                act(Pod(ground, report), report)
            except Exception as error:                       # one act's trouble is not the next one's
                report.broke(act.__name__, error)


class Pod:
    """A namespace with an application's place in it, joined to one with a service."""

    def __init__(self, ground, report):
        self.ground, self.report = ground, report
        self.net, self.service = ground.net("pod"), ground.net("service")
        ground.join(self.net, "eth0", self.service, [(f"{POD[4]}/24", f"{SERVICE[4]}/24"), (f"{POD[6]}/64", f"{SERVICE[6]}/64")])
        for address in (f"{FAR[4]}/32", f"{FAR[6]}/128", "169.254.7.1/32"):
            must("ip", "-n", self.service, "addr", "add", address, "dev", "lo")
        for version in (4, 6):
            ground.route(self.net, "default", "via", SERVICE[version])
            for port in (80, 3306, 9005, 9010):
                ground.listen(self.service, ANY[version], port, reached)
            ground.listen(self.net, ANY[version], 8080, reached)
        self.yaml = ground.folder / "mesh.yaml"
        self.yaml.write_text(YAML)

    def proxy(self, answer=None):
        """A listener in the proxy's place."""
        return [self.ground.listen(self.net, LOOPBACK[version], PORT, answer or tells, user=PROXY) for version in (4, 6)]

    def capture(self, *words, prefix=(), code=0, **more):
        """Runs `outrigger capture WORDS`, which must end with this code: all it said."""
        done = self.ground.run(self.net, *prefix, self.ground.binary, "capture", *words, **more)
        said = done.stdout + done.stderr
        self.report.same(f"exit code {code}: {' '.join(map(str, [*prefix[:2], 'capture', *words[:1]]))}", (code, ""),
                         (done.returncode, "" if done.returncode == code else said))
        return said

    def apply(self, *words, **more):
        return self.capture("apply", self.yaml, *FLAGS, *words, **more)

    def check(self, *words, **more):
        return self.capture("check", self.yaml, *FLAGS, *words, **more)

    def asked(self, address, port, user=APP):
        """What a new connection comes to: `captured` or `direct` with where it was going, or an error's name."""
        try:
            with self.ground.dial(self.net, address, port, user) as one:
                return one.makefile().readline().strip()
        except OSError as error:
            return type(error).__name__

    def nft(self, *words, **more):
        done = self.ground.run(self.net, "nft", *words, **more)
        if done.returncode:
            raise RuntimeError(f"nft {words}: {done.stderr}")
        return done.stdout

    def matrix(self, when, versions=(4, 6), captured=True):
        """Every kind of connection goes where it should."""
        link_local = {4: "169.254.7.1", 6: self.link_local()}
        for version in versions:
            there = SERVICE[version]
            rows = [("the application", there, 80, APP, captured), ("root", there, 80, 0, captured),
                    ("a port past the range", there, 9010, APP, captured), ("a skipped port", there, 3306, APP, False),
                    ("a port in a skipped range", there, 9005, APP, False), ("a skipped network", FAR[version], 80, APP, False),
                    ("a skipped user", there, 80, SKIPPED, False), ("the proxy's user", there, 80, PROXY, False),
                    ("its own address", POD[version], 8080, APP, False), ("loopback", LOOPBACK[version], 8080, APP, False),
                    ("link-local", link_local[version], 80, APP, False)]
            wanted = {name: f"{'captured' if caught else 'direct'} {show(address.partition('%')[0], port)}"
                      for name, address, port, _, caught in rows}
            found = {name: self.asked(address, port, user) for name, address, port, user, _ in rows}
            self.report.same(f"{when}, IPv{version}: {len(rows)} kinds of connections", wanted, found)

    def ended(self):
        """Waits until the connections of the proxy's port are over, as the kernel counts them."""
        open_ones = lambda: self.ground.run(self.net, "ss", "-Htn", "state", "connected", "exclude", "time-wait", "sport", f"= :{PORT}").stdout
        if not eventually(lambda: not open_ones(), 5):
            raise RuntimeError(f"still open: {open_ones()}")

    def link_local(self):
        found = json.loads(must("ip", "-n", self.service, "-j", "-6", "addr", "show", "dev", "eth0"))
        address = next(entry["local"] for entry in found[0]["addr_info"] if entry.get("scope") == "link")
        index = must("ip", "-n", self.net, "-o", "link", "show", "dev", "eth0").split(":")[0]
        return f"{address}%{index}"


# === who answers ===

def reached(one):
    """The service: says that it was reached and where, then sends everything back."""
    host, port = one.getsockname()[:2]
    one.sendall(f"direct {show(host.partition('%')[0], port)}\n".encode())
    echo(one)


def tells(one):
    """In the proxy's place: its answer to the test addresses, and where all others were going."""
    host, port = original(one)
    tested = port == PORT and host in [*CANARY.values(), *PROOF.values()]
    one.sendall(f"{'outrigger ' if tested else ''}captured {show(host, port)}\n".encode())
    if not tested:
        echo(one)


def stranger(one):
    one.sendall(b"220 mail.example.com ready\n")


def echo(one):
    while data := one.recv(4096):
        one.sendall(data)


def original(one):
    """Where a redirected connection was going."""
    if one.family == socket.AF_INET:
        port, host = struct.unpack("!2xH4s8x", one.getsockopt(socket.SOL_IP, ORIGINAL_DST, 16))
        return socket.inet_ntop(socket.AF_INET, host), port
    port, host = struct.unpack("!2xH4x16s4x", one.getsockopt(socket.IPPROTO_IPV6, ORIGINAL_DST, 28))
    return socket.inet_ntop(socket.AF_INET6, host), port


def show(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def goes_on(one):
    """Whether an open connection still carries bytes both ways."""
    try:
        one.sendall(b"still here\n")
        return one.recv(64) == b"still here\n"
    except OSError as error:
        return type(error).__name__


# === the acts ===

def both_forms(pod, report):
    pod.matrix("before any rule", captured=False)
    pod.proxy()
    for backend in ("nft", "iptables", "nft"):
        said = pod.apply("--backend", backend)
        pod.matrix(f"rules by {backend}")
        report.same(f"{backend}: proven for both families, and for the proxy's user", 3, said.count("proven"))
        standing = pod.nft("-s", "list", "ruleset")
        pod.apply("--backend", backend)
        report.same(f"{backend}: applied twice is applied once", standing, pod.nft("-s", "list", "ruleset"))
        report.same(f"{backend}: one form stands, not both", (backend == "nft", backend == "iptables"),
                    ("table inet outrigger" in standing, "chain OUTRIGGER" in standing))
        said = pod.check()
        report.holds(f"{backend}: check finds them as asked for, and captured", "as asked for" in said and said.count("captured, the proxy answers") == 2, said)
    for backend in ("iptables", "nft"):
        pod.apply("--backend", backend)
        pod.capture("remove")
        pod.matrix(f"{backend} rules removed", captured=False)
        rules = pod.nft("list", "ruleset")
        report.holds(f"{backend}: nothing of ours is left", "outrigger" not in rules.lower(), rules)
    said = pod.capture("remove")
    report.holds("remove with nothing there says so", "no rules of Outrigger stand" in said, said)


def dry_run(pod, report):
    text = pod.apply("--dry-run")
    report.same("a dry run changes nothing", "", pod.nft("list", "ruleset"))
    pod.nft("-f", "-", input=text)
    pod.proxy()
    report.holds("its text, loaded by nft, is what check asks for", "as asked for" in pod.check(), text)
    pod.matrix("its text, loaded by nft")
    report.same("remove says what it comes to", "delete table inet outrigger\n", pod.capture("remove", "--dry-run"))
    pod.matrix("after a dry run of remove")
    pod.capture("remove")
    parts = pod.apply("--dry-run", "--backend", "iptables").split("# ip6tables-restore --noflush\n")
    for program, part in zip(("iptables-restore", "ip6tables-restore"), parts):
        done = pod.ground.run(pod.net, program, "--noflush", input=part)
        report.same(f"{program} takes its part of the text", (0, ""), (done.returncode, done.stderr))
    pod.matrix("its text, loaded by iptables-restore")
    report.holds("and is what check asks for", "as asked for" in pod.check("--backend", "iptables"), parts)


def open_connections(pod, report):
    for backend in ("nft", "iptables"):
        listeners = pod.proxy()
        before = [pod.ground.dial(pod.net, SERVICE[version], 80, APP) for version in (4, 6)]
        report.same("before the rules: direct", {"direct"}, {one.makefile().readline().split()[0] for one in before})
        pod.apply("--backend", backend)
        report.same(f"{backend}: connections that were open are left alone", [True, True], [goes_on(one) for one in before])
        during = [pod.ground.dial(pod.net, SERVICE[version], 80, APP) for version in (4, 6)]
        report.same(f"{backend}: new ones are captured", {"captured"}, {one.makefile().readline().split()[0] for one in during})
        pod.apply("--backend", backend)
        report.same(f"{backend}: rules loaded again leave captured ones alone", [True, True], [goes_on(one) for one in during])
        said = pod.capture("remove")
        report.same(f"{backend}: rules removed leave captured ones alone", [True, True], [goes_on(one) for one in during])
        pod.matrix(f"{backend}: new ones while old ones are open", captured=False)
        report.holds(f"{backend}: it says what stays, and for how many", "stays for 2 open on port 15001" in said, said)
        said = pod.check("--backend", backend, code=1)
        report.holds(f"{backend}: check says that they were removed", "were removed" in said, said)
        pod.capture("remove")
        report.same(f"{backend}: removing again leaves them alone too", [True, True], [goes_on(one) for one in during])
        report.same(f"{backend}: those from before went on all the time", [True, True], [goes_on(one) for one in before])
        for one in before + during:
            one.close()
        for one in listeners:
            close(one)
        pod.ended()
        pod.capture("remove")
        report.same(f"{backend}: nothing of ours is left", False, "outrigger" in pod.nft("list", "ruleset").lower())


def proofs(pod, report):
    said = pod.apply()
    report.same("nobody listens: it accepts its own connections", 3, said.count("proven"))
    report.holds("and says what that means until a proxy does", "until one does, captured connections are refused" in said, said)
    report.same("no proxy, so captured connections are refused", ["ConnectionRefusedError"] * 2,
                [pod.asked(SERVICE[version], 80) for version in (4, 6)])
    said = pod.check(code=1)
    report.holds("check says who is not there, and how to open", "no proxy listens on 127.0.0.1:15001" in said and "capture remove" in said, said)
    pod.capture("remove")
    strangers = pod.proxy(stranger)
    said = pod.apply(code=1)
    report.holds("a stranger on the port is told", "taken by something that is not Outrigger" in said, said)
    report.holds("and the rules are removed again", "removed again" in said and pod.nft("list", "ruleset") == "", said)
    for one in strangers:
        close(one)
    pod.ended()
    drop = "table inet theirs { chain out { type filter hook output priority 0; tcp dport 15001 drop; }\n}"
    pod.nft("-f", "-", input=drop)
    said = pod.apply(code=1)
    rules = pod.nft("list", "ruleset")
    report.holds("what does not come back is no success", "did not come back" in said and "table inet outrigger" not in rules, said)
    report.holds("the rules of others stand as before", "table inet theirs" in rules, rules)
    pod.nft("delete", "table", "inet", "theirs")
    pod.nft("-f", "-", input=f"table inet theirs {{ chain out {{ type nat hook output priority -110; meta skuid {PROXY} tcp dport {PORT} redirect to :{PORT}; }}\n}}")
    said = pod.apply(code=1)
    report.holds("a proxy that would capture itself is no success", f"connections of user {PROXY}" in said and "table inet outrigger" not in pod.nft("list", "ruleset"), said)


def checked(pod, report):
    pod.proxy()
    said = pod.check(code=1)
    report.holds("without rules", "no rules of Outrigger stand" in said and said.count("not captured") == 2, said)
    pod.apply()
    # An address that is nowhere: nothing comes back from it, and check waits for that; so families are few here.
    wrongs = {"flushed": ["flush", "chain", "inet", "outrigger", "out"],
              "a rule of theirs": ["insert", "rule", "inet", "outrigger", "out", "tcp", "dport", "81", "return"]}
    for words, command in wrongs.items():
        pod.nft(*command)
        said = pod.check(code=1)
        report.holds(f"check: {words}", words in said, said)
        pod.apply()
    handle = next(line.split()[-1] for line in pod.nft("-a", "list", "chain", "inet", "outrigger", "out").splitlines() if "the proxy\"" in line)
    pod.nft("delete", "rule", "inet", "outrigger", "out", "handle", handle)
    said = pod.check(code=1)
    report.holds("check: a rule is missing, by name", "the rule for the proxy is missing" in said, said)
    pod.apply()
    said = pod.check("--skip-port", "81", code=1)
    report.holds("check: other rules than asked for", "other rules stand" in said and "capture apply" in said, said)
    pod.apply("--backend", "iptables")
    must("ip", "netns", "exec", pod.net, "iptables", "-t", "nat", "-D", "OUTPUT", "-p", "tcp", "-j", "OUTRIGGER")
    said = pod.check(code=1)
    report.holds("check: a chain that nothing leads to", "iptables: the rules stand, and outgoing connections do not pass" in said and "IPv6: captured" in said, said)
    pod.apply("--backend", "iptables")
    report.holds("applied again, all is well", pod.check().count("captured, the proxy answers") == 2, "")


def foreign(pod, report):
    pod.proxy()
    istio = "*nat\n:ISTIO_OUTPUT - [0:0]\n-A OUTPUT -p tcp -j ISTIO_OUTPUT\n-A ISTIO_OUTPUT -p tcp --dport 81 -j REDIRECT --to-ports 15006\nCOMMIT\n"
    must("ip", "netns", "exec", pod.net, "sh", "-c", f"printf '{istio}' | iptables-restore --noflush")
    pod.nft("-f", "-", input="table ip theirs { chain c { type nat hook output priority -90; tcp dport 82 redirect to :15007; }\n}")
    before = pod.nft("list", "table", "ip", "theirs"), must("ip", "netns", "exec", pod.net, "iptables-save", "-t", "nat")
    for name, said in (("apply", pod.apply()), ("check", pod.check()), ("apply by iptables", pod.apply("--backend", "iptables"))):
        report.holds(f"{name} names Istio's rules", "of Istio, redirects" in said, said)
        if name != "apply by iptables":
            report.holds(f"{name} names the table of others", "table ip theirs, chain c redirects" in said, said)
    pod.capture("remove")
    after = pod.nft("list", "table", "ip", "theirs"), must("ip", "netns", "exec", pod.net, "iptables-save", "-t", "nat")
    rules = [[line for line in text.splitlines() if line.startswith("-A") or "redirect" in line] for text in before + after]
    report.same("they stand as before", rules[:2], rules[2:])


def privilege(pod, report):
    nobody = ["setpriv", "--reuid=65534", "--clear-groups"]
    rootless = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    for who, prefix in (("nobody", nobody), ("root without NET_ADMIN", rootless)):
        for backend in ("nft", "iptables"):
            said = pod.apply("--backend", backend, prefix=prefix, code=1)
            wanted = ["CAP_NET_ADMIN", "add: [NET_ADMIN]", "sudo", "says: "]
            report.holds(f"{who}, {backend}: which right, and how to give it", all(word in said for word in wanted), said)
        pod.capture("remove", prefix=prefix, code=1)
    report.same("nothing was changed", False, "outrigger" in pod.nft("list", "ruleset").lower())
    init = ["setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--no-new-privs"]
    said = pod.apply(prefix=init)
    report.holds("NET_ADMIN alone is enough; what it may not try it says", said.count("proven") == 2 and "proves at its start" in said, said)
    pod.proxy()
    said = pod.check(prefix=nobody)
    report.holds("nobody's check asks the canary, and says that it is all", "only the canary was asked" in said and said.count("captured, the proxy") == 2, said)
    proxy = ["setpriv", f"--reuid={PROXY}", "--clear-groups"]
    report.holds("the proxy's user gets the canary's answer too", pod.check(prefix=proxy).count("captured, the proxy") == 2, "")


def programs(pod, report):
    folder = pod.ground.folder / "bin"
    folder.mkdir()
    # No sbin but this, in a mount namespace of its own.
    hidden = lambda path: ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none /usr/sbin && PATH={path} exec "$@"', "sh"]
    bare = hidden("/usr/bin:/bin")
    said = pod.apply(prefix=bare, code=1)
    report.holds("neither is installed: the package, and the other way", "package nftables" in said and "--backend iptables" in said, said)
    said = pod.apply("--backend", "iptables", prefix=bare, code=1)
    report.holds("no iptables: its package", "iptables-restore is not installed: install the package iptables" in said, said)
    pod.proxy()
    must("ip", "netns", "exec", pod.net, pod.ground.binary, "capture", "apply")
    said = pod.check(prefix=bare)
    report.holds("neither is installed: check asks the canary, and says that it is all", "nft is not installed; only the canary" in said and said.count("captured, the proxy") == 2, said)
    pod.capture("remove")
    for name in ("iptables-restore", "iptables-save", "ip6tables-restore", "ip6tables-save"):
        shutil.copy(pathlib.Path(shutil.which(name)).resolve(), folder / name)
    only_iptables = hidden(f"{folder}:/usr/bin:/bin")
    said = pod.apply(prefix=only_iptables)
    report.holds("without nft it takes iptables", "iptables chain OUTRIGGER: loaded" in said, said)
    pod.matrix("without nft")
    said = pod.check(prefix=only_iptables)
    report.holds("and checks it", "ip6tables chain OUTRIGGER" in said, said)
    pod.capture("remove", prefix=only_iptables)
    pod.matrix("removed without nft", captured=False)
    old = folder / "nft"
    old.write_text(textwrap.dedent("""\
        #!/bin/sh
        [ "$1" = -j ] && { echo '{"nftables": []}'; exit 0; }
        cat > /dev/null
        echo 'Error: Could not process rule: No such file or directory' >&2
        exit 1
        """))
    old.chmod(0o755)
    said = pod.apply(prefix=["env", f"PATH={folder}:{os.environ['PATH']}"], code=1)
    report.holds("an old kernel: what is needed, and nft's own words", "Linux 5.2" in said and "No such file or directory" in said, said)


def without_ipv6(pod, report):
    for device in ("all", "default", "lo", "eth0"):
        must("ip", "netns", "exec", pod.net, "sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=1")
    pod.ground.listen(pod.net, LOOPBACK[4], PORT, tells, user=PROXY)
    for backend in ("nft", "iptables"):
        said = pod.apply("--backend", backend)
        report.holds(f"{backend}: loads, and says that there is no IPv6", "IPv6: no route" in said and "IPv4: proven" in said, said)
        pod.matrix(f"{backend} without IPv6", versions=[4])
        report.holds(f"{backend}: check is content", "IPv4: captured" in pod.check("--backend", backend), "")
    report.holds("ip6tables was left alone", "ip6tables was left alone" in said, said)
    pod.capture("remove")
    pod.matrix("removed without IPv6", versions=[4], captured=False)


def flags(pod, report):
    for words, wanted in ((["--skip-port", "0"], "1 to 65535"), (["--skip-port", "9009-9000"], "the lower port first: 9000-9009"),
                          (["--skip-network", "10.9.0.1/16"], "10.9.0.0/16 for the network"), (["--skip-user", "root"], "skip-user"),
                          (["--user", "4294967295"], "4294967294"), (["--port", "0"], "--port"), (["--backend", "ipfw"], "nft, iptables")):
        said = pod.apply(*words, code=2)
        report.holds(f"refused: {' '.join(words)}", wanted in said, said)
    wrong = pod.ground.folder / "wrong.yaml"
    wrong.write_text("capture: {skipNetworks: [10.9.0.1/16]}\n")
    said = pod.capture("apply", wrong, code=1)
    report.holds("a wrong file: its place and what is wanted", "wrong.yaml:1:26: capture.skipNetworks: found 10.9.0.1/16" in said, said)
    said = pod.capture("apply", pod.ground.folder / "absent.yaml", code=1)
    report.holds("an absent file", "absent.yaml" in said, said)
    report.same("nothing was loaded", "", pod.nft("list", "ruleset"))
    many = [f"10.{high}.{low}.0/24" for high in range(8) for low in range(250)]
    ports = [str(port) for port in range(1000, 3000, 2)]
    big = pod.ground.folder / "big.yaml"
    big.write_text(f"capture: {{skipNetworks: [{', '.join(many)}], skipPorts: [{', '.join(ports)}]}}\noutbound: {{listen: [127.0.0.1:16001, '[::1]:16001']}}\n")
    for backend in ("nft", "iptables"):
        said = pod.capture("apply", big, "--backend", backend)
        report.holds(f"{backend}: 2,000 networks and 1,000 ports, to the port of outbound.listen", "go to port 16001" in said and said.count("proven") == 3, said)
        said = pod.capture("check", big, "--backend", backend, code=1)
        report.holds(f"{backend}: they are as asked for", "as asked for" in said and "no proxy listens on 127.0.0.1:16001" in said, said)
