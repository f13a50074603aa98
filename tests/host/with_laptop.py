"""`outrigger run --capture`: an ordinary user's command, its calls captured in a namespace of its own, or led by variables.

The laptop is a network namespace that this test makes: services at addresses of its loopback interface, a name server at
127.0.0.53. What runs in it is user nobody's, which has no privilege; the application knows of no proxy.
"""

import fcntl
import json
import os
import pathlib
import pty
import shutil
import signal
import subprocess
import tempfile
import termios
import time

from report import eventually

HERE = pathlib.Path(__file__).parent
PYTHON = "/usr/bin/python3"                                  # one that every user may run
NOBODY = 65534
ADDRESSES = ["10.66.0.11", "10.66.0.12", "10.66.0.13", "2001:db8:66::11"]
CONFIG = """
version: v1
accessLog: {folder}/access.log
workers: 2
drain: {{quiet: 200ms, timeout: 5s}}
services:
  cart:
    hosts: [cart, cart.test]
    endpoints: {{static: [10.66.0.11:8080]}}
    listen: 127.0.0.1:9081
    retries: {{maxRetries: 3, budget: {{ratio: 100%, minPerSecond: 100}}}}
    circuitBreaker: {{trip: {{minimumCalls: 1000}}}}
  shelf:
    endpoints: {{static: ["[2001:db8:66::11]:8080"]}}
  bank:
    hosts: ["bank:7000"]
    protocol: opaque
    endpoints: {{static: [10.66.0.13:7000]}}
"""


def needs():
    missing = [need for need in (PYTHON, "ip", "nft", "unshare", "setpriv", "curl", "pgrep") if not shutil.which(need)]
    return f"not found: {', '.join(missing)}" if missing else None


def checks(stage, report):
    with Laptop(stage.binary) as laptop:
        captured_calls(laptop, report)
        reload(laptop, report)
        names(laptop, report)
        what_is_not_captured(laptop, report)
        ports(laptop, report)
        ends(laptop, report)
        signals(laptop, report)
        keyboard(laptop, report)
        mistakes(laptop, report)
        without_namespace(laptop, report)
        report.same("laptop: nothing of it runs any more", [], laptop.left())


class Laptop:
    """The namespace and the folder of one run."""

    def __init__(self, binary):
        self.name = f"laptop-{os.getpid()}"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="outrigger-laptop-"))
        self.folder.chmod(0o755)
        self.home = self.folder / "home"
        self.resolv = pathlib.Path("/etc/netns") / self.name
        self.binary = shutil.copy(binary, self.folder / "outrigger")
        self.started = []

    def __enter__(self):
        try:
            self.home.mkdir()
            os.chown(self.home, NOBODY, NOBODY)
            (self.home / "outrigger.yaml").write_text(CONFIG.format(folder=self.home))
            shutil.copy(HERE / "laptop_app.py", self.folder / "app.py")
            self.resolv.mkdir(parents=True)
            (self.resolv / "resolv.conf").write_text("nameserver 127.0.0.53\noptions timeout:2 attempts:1\n")
            self.ip("netns", "add", self.name)
            self.ip("-n", self.name, "link", "set", "lo", "up")
            for address in ADDRESSES:
                self.ip("-n", self.name, "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
            self.peers = self.launch([PYTHON, HERE / "laptop_peers.py", self.folder], user=None)
            if not eventually((self.folder / "ready").exists, 15):
                raise RuntimeError("the services did not start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
        subprocess.run(["ip", "netns", "delete", self.name], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.resolv, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def command(self, command, user=NOBODY):
        enter = ["ip", "netns", "exec", self.name]
        drop = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "--no-new-privs"] if user else []
        return list(map(str, [*enter, *drop, *command]))

    def launch(self, command, user=NOBODY, **more):
        more = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True,
                "env": {"PATH": "/usr/bin:/bin", "LANG": "C"}, **more}
        process = subprocess.Popen(self.command(command, user), cwd=self.home, **more)
        self.started.append(process)
        return process

    def outrigger(self, *words, config=(), flags=(), before=(), **more):
        """Starts a command under `outrigger run --capture`, as an ordinary user."""
        return self.launch([*before, self.binary, "run", *config, "--capture", *flags, "--", *words], **more)

    def app(self, *steps, **more):
        return self.outrigger(PYTHON, self.folder / "app.py", json.dumps(steps), **more)

    def did(self, *steps, **more):
        """What came of each step, standard error, and the exit code."""
        out, said = self.ended(self.app(*steps, **more))
        return out, said

    @staticmethod
    def ended(process):
        out, said = process.communicate(timeout=60)
        return [json.loads(line) for line in out.splitlines()], said

    def log(self):
        """The access log's lines since the last time."""
        file = self.home / "access.log"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def left(self):
        """Processes of the binary that still run."""
        own = str(self.binary)
        eventually(lambda: not running(own), 5)
        return running(own)


def running(binary):
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if binary.encode() in words:
            found.append(words)
    return found


def captured_calls(laptop, report):
    steps = [["http", "http://cart/name"], ["http", "http://10.66.0.11:8080/name"], ["http", "http://cart.test/flaky?2"],
             ["http", "http://[2001:db8:66::11]:8080/name"], ["banner", "bank", 7000], ["banner", "10.66.0.13", 7000],
             ["http", "http://127.0.0.1:9081/name"], ["http", "http://10.66.0.12:8080/name"]]
    out, said = laptop.did(*steps)
    report.same("laptop: calls by name, by address and by an address of IPv6, unchanged", [
        [200, "cart at 10.66.0.11"], [200, "10.66.0.11:8080 at 10.66.0.11"], [200, "cart.test at 10.66.0.11"],
        [200, "[2001:db8:66::11]:8080 at 2001:db8:66::11"], "220 bank is ready\r\n", "220 bank is ready\r\n",
        [200, "127.0.0.1:9081 at 10.66.0.11"], [200, "10.66.0.12:8080 at 10.66.0.12"]], out)
    log = laptop.log()
    report.same("laptop: each was the service's whose name or address it was", ["cart", "cart", "cart", "shelf", "bank",
                "bank", "cart", "unknown"], [line["service"] for line in log])
    report.same("laptop: the failures were retried by policy", [3], [line["attempts"] for line in log
                if line.get("path", "").startswith("/flaky")])
    report.holds("laptop: it says which way it is", "runs in a network namespace of its own" in said, said)
    report.holds("laptop: and what is not caught", "not caught: UDP" in said, said)


def reload(laptop, report):
    """Another configuration while the command runs: what it brings is opened inside."""
    file = laptop.home / "outrigger.yaml"
    before = file.read_text()
    process = laptop.app(["http", "http://cart/name"], ["until", "http://127.0.0.1:9082/name"],
                         ["http", "http://127.0.0.1:9081/name"], ["resolve", "rack", "4"])
    process.stdout.readline()
    moved = before.replace("  shelf:\n", "  shelf:\n    hosts: [shelf, rack]\n    listen: 127.0.0.1:9081\n")
    file.write_text(moved.replace("listen: 127.0.0.1:9081\n    retries", "listen: 127.0.0.1:9082\n    retries"))
    out, _ = laptop.ended(process)
    report.same("reload: ports of services are opened inside, and may change hands",
                [[200, "127.0.0.1:9082 at 10.66.0.11"], [200, "127.0.0.1:9081 at 2001:db8:66::11"]], out[:2])
    report.holds("reload: a new name is known", out[2][0].startswith("240."), out[2])
    file.write_text(before)


def names(laptop, report):
    steps = [["resolve", "cart", "4"], ["resolve", "cart", "6"], ["resolve", "CART.test", "4"], ["resolve", "plain.test", "4"],
             ["resolve", "absent.test", "4"], ["resolve", "broken.test", "4"], ["http", "http://plain.test:8080/name"],
             ["ask", "203.0.113.53", "plain.test"], ["ask", "203.0.113.53", "cart"]]
    out, _ = laptop.did(*steps)
    report.holds("names: a service's name has a virtual address", out[0][0].startswith("240.") and len(out[0]) == 1, out[0])
    report.same("names: and none of IPv6", "gaierror -5", out[1])
    report.holds("names: whatever the name server has for it", out[2][0].startswith("240."), out[2])
    report.same("names: another name has its own address", ["10.66.0.12"], out[3])
    report.same("names: what does not exist does not", "gaierror -2", out[4])
    report.same("names: a broken name server is told as such", "gaierror -3", out[5])
    report.same("names: a call to another name goes there", [200, "plain.test:8080 at 10.66.0.12"], out[6])
    report.same("names: questions by TCP are answered too, whichever server they are for", ["10.66.0.12", out[0][0]], out[7:])


def what_is_not_captured(laptop, report):
    out, _ = laptop.did(["udp", "10.66.0.12", 443], ["http", "http://127.0.0.1:5500/name"],
                        ["file", "/proc/self/status"], ["file", "/proc/net/route"])
    report.same("laptop: UDP is refused at once, not lost", "PermissionError 1", out[0])
    report.same("laptop: its loopback is its own", "URLError None", out[1])
    status = dict(line.split(":\t", 1) for line in out[2].splitlines() if ":\t" in line)
    report.same("laptop: the command is the user's, without a privilege", ("65534", "0000000000000000", "0000000000000000"),
                (status["Uid"].split()[0], status["CapEff"], status["CapAmb"]))


def ports(laptop, report):
    out, _ = laptop.did(["http", "http://127.0.0.1:5500/name"], ["echo", "127.0.0.1", 6432], ["echo", "::1", 6432],
                        ["echo", "127.0.0.1", 6433], flags=["--host-port", 5500, "--host-port=6432:5432", "--host-port=6433:9"])
    report.same("ports: --host-port leads to this machine's loopback, half-closed connections too",
                [[200, "127.0.0.1:5500 at 127.0.0.1"], "answer to question", "answer to question",
                 "ConnectionResetError 104"], out)
    process = laptop.app(["serve", 8000], flags=["--publish", "18080:8000"])
    report.same("ports: a server inside", '"serving"\n', process.stdout.readline())
    answer = subprocess.run(laptop.command(["curl", "-sS", "-m", "10", "http://127.0.0.1:18080/"]), capture_output=True,
                            text=True)
    report.same("ports: --publish leads to it", "served on 8000", answer.stdout)
    report.same("ports: and it ends", (['served'], 0), (laptop.ended(process)[0], process.returncode))
    process = laptop.app(["exit", 0], flags=["--publish", "5500"])
    out, said = laptop.ended(process)
    report.same("ports: one that is taken is named, and nothing is started", ([], 1, True),
                (out, process.returncode, "--publish 5500:5500: port 5500 can't be listened on" in said))


def ends(laptop, report):
    for words, code in [(["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -USR1 $$"], 138), (["/nowhere/app"], 127),
                        (["/etc/passwd"], 126)]:
        process = laptop.outrigger(*words)
        _, said = process.communicate(timeout=30)
        report.same(f"ends: exit code {code} of `{' '.join(words)}`", code, process.returncode)
    report.holds("ends: what can't be run is named", "outrigger: /etc/passwd: Permission denied" in said, said)
    process = laptop.outrigger("sh", "-c", "read line; echo $line; echo said >&2", stdin=subprocess.PIPE)
    out, said = process.communicate("typed\n", timeout=30)
    report.same("ends: standard input, output and error are the command's", ("typed\n", "said"), (out, said.splitlines()[-1]))
    begun = time.monotonic()
    process = laptop.outrigger("sh", "-c", "sleep 30 & exit 3")
    process.wait(30)
    report.same("ends: with the command, whatever it left behind", (3, True), (process.returncode, time.monotonic() - begun < 10))
    process.stdout.close()
    process.stderr.close()


def signals(laptop, report):
    process = laptop.app(["term", 9], ["sleep"])
    report.same("signals: a command that waits", "null\n" + '"sleeping"\n', process.stdout.readline() + process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    report.same("signals: SIGTERM is passed on, its exit code back", 9, process.wait(20))
    process = laptop.app(["sleep"])
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    report.same("signals: SIGHUP too, and 128 and its number back", 129, process.wait(20))

    process = laptop.app(["file", "/proc/self/status"], before=["nohup"])
    ignored = laptop.ended(process)[0][0].split("SigIgn:\t")[1].split()[0]
    report.same("signals: one that was ignored is ignored by the command too", 1, int(ignored, 16) & 1)

    process = laptop.app(["term", 9], ["sleep"])
    process.stdout.readline(), process.stdout.readline()
    process.kill()
    process.wait()
    said = process.stderr.read()                             # ends when nobody holds it any more
    report.holds("signals: SIGKILL of the proxy ends the command, and it is said why",
                 "the proxy has ended, and ends the command with it" in said, said)
    report.same("signals: nobody is left", [], laptop.left())

    process = laptop.app(["sleep"])
    process.stdout.readline()
    helper = int(subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()[0])
    os.kill(helper, signal.SIGKILL)
    report.same("signals: SIGKILL of the helper ends both", 137, process.wait(20))
    report.same("signals: and nobody is left", [], laptop.left())


def keyboard(laptop, report):
    """A terminal of its own: the command is in its foreground, with the proxy."""
    leader, terminal = pty.openpty()

    def own_terminal():
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    process = laptop.app(["interrupts"], stdin=terminal, preexec_fn=own_terminal)
    report.same("keyboard: a command on a terminal", '"counting"\n', process.stdout.readline())
    os.write(leader, b"\x03")                                # what Ctrl-C sends
    time_to_arrive = eventually(lambda: state(process.pid) != "gone", 1)
    time.sleep(0.3)                                          # a second one would have come by now
    process.send_signal(signal.SIGHUP)
    out, _ = laptop.ended(process)
    report.same("keyboard: Ctrl-C arrives once, and the proxy lives on", (True, [1], 0), (time_to_arrive, out, process.returncode))
    os.close(terminal)
    os.close(leader)


def state(pid):
    return "there" if pathlib.Path(f"/proc/{pid}").exists() else "gone"


def mistakes(laptop, report):
    wrong = laptop.home / "wrong.yaml"
    wrong.write_text("version: v1\nservices: {cart: {endpoint: x}}\n")
    process = laptop.outrigger("sh", "-c", "echo started", config=[wrong])
    out, said = process.communicate(timeout=30)
    report.same("mistakes: a wrong configuration starts nothing", (1, "", True), (process.returncode, out, "wrong.yaml:2" in said))
    for words in [["--publish", "8080"], ["--capture"], ["x.yaml", "--capture", "--captured", "--", "true"],
                  ["--capture", "--publish", "http", "--", "true"], ["x.yaml", "--", "true"]]:
        process = laptop.launch([laptop.binary, "run", *words])
        _, said = process.communicate(timeout=30)
        report.same(f"mistakes: run {' '.join(words)}", (2, True), (process.returncode, said.startswith("error:")))
    empty = laptop.folder / "empty"
    empty.mkdir(mode=0o755)
    process = subprocess.run(laptop.command([laptop.binary, "run", "--capture", "--", "curl", "-sS", "-m", "10",
                                             "http://10.66.0.12:8080/name"]), cwd=empty, capture_output=True, text=True)
    report.same("mistakes: no configuration is one without services", "10.66.0.12:8080 at 10.66.0.12", process.stdout)


def without_namespace(laptop, report):
    laptop.log()
    missing = ["env", "PATH=/nowhere", "NO_PROXY=db.internal"]
    off = ["sh", "-c", "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"", "sh"]
    refused = ["unshare", "--user", "--map-root-user", *off]
    for why, before in [("there is no `unshare`", missing), ("user namespaces are off (user.max_user_namespaces is 0)", refused)]:
        process = laptop.outrigger("/usr/bin/curl", "-sS", "-m", "10", "http://cart/name",
                                   f"http://cart/flaky?1&{before[0]}", before=before)
        out, said = process.communicate(timeout=60)
        report.same(f"without: calls go by the variables ({why})", ("cart at 10.66.0.11" * 2, 0), (out, process.returncode))
        report.holds("without: it says why, and what is not caught",
                     f"runs without a network namespace: {why}" in said and "not caught" in said, said)
        report.same("without: they were the service's, with its retries", [("cart", 1), ("cart", 2)],
                    [(line["service"], line["attempts"]) for line in laptop.log()])
    out, _ = laptop.did(["variable", "NO_PROXY"], ["variable", "https_proxy"], ["variable", "NODE_USE_ENV_PROXY"],
                        ["http", "http://127.0.0.1:5501/name"], flags=["--host-port", "5501:5500"], before=missing)
    report.same("without: the variables, and a port that leads on", ["db.internal,localhost,127.0.0.1,::1",
                "http://127.0.0.1:15001", "1", [200, "127.0.0.1:5501 at 127.0.0.1"]], out)
    process = laptop.app(["term", 9], ["sleep"], before=missing)
    process.stdout.readline(), process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    report.same("without: signals are passed on all the same", 9, process.wait(20))


# Alone, as long as nobody else runs it: OUTRIGGER_BIN=target/debug/outrigger python3 tests/host/with_laptop.py
if __name__ == "__main__":
    import types

    from report import Report
    done = Report("laptop")
    checks(types.SimpleNamespace(binary=os.environ["OUTRIGGER_BIN"]), done)
    raise SystemExit(done.end(0))
