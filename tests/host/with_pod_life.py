"""A pod's life, rehearsed: the shop's injected manifest, real processes, Kubernetes' order; no call is lost.

The container's root is the image's (k8s/image/rootfs), read-only; its user and its rights are those of the manifest.
"""

import copy
import json
import pathlib
import signal
import sys
import threading
import time

from cluster import HERE, REPO, Cluster
from kubelet import Pod
from report import eventually

SHOP = REPO / "k8s" / "shop"
SERVICES = {"user-service": "10.77.0.11", "inventory-service": "10.77.0.12", "payment-service": "10.77.0.13",
            "notification-service": "10.77.0.14"}
HANGS = "10.77.0.15"
APP, PROXY = "app", "outrigger"
USER = 1000
# What a release binary may take at rest; others are larger, and say so.
REST_KIB_MAX = 10_000_000 // 1024
REST_CPU_MAX = 0.001
# Seconds from the application's end to the proxy's: `drain.quiet` of the configuration, and some for a busy machine.
SOON = 5


NEEDS = ["ip", "nft", "ldd", "sysctl"]


def needs():
    try:
        import yaml                                            # noqa: F401
    except ImportError:
        return "`yaml` is not installed"
    return None


def checks(stage, report):
    with Cluster(stage.binary) as cluster:
        for name, address in SERVICES.items():
            cluster.service(name, address)
        for name in SERVICES:
            eventually(lambda: cluster.get(f"http://{SERVICES[name]}/ready")[0] == 200, 20)
        rehearsal = Rehearsal(cluster, report)
        for act in (rehearsal.start_and_rest, rehearsal.order_of_the_end, rehearsal.job, rehearsal.crash_of_the_application,
                    rehearsal.crash_of_the_proxy, rehearsal.rolling_replacement, rehearsal.bounded_drain):
            try:
                act()
            except Exception as error:                         # one act's trouble is not the next one's
                report.broke(act.__name__, error)


class Rehearsal:
    def __init__(self, cluster, report):
        import yaml
        self.cluster, self.report, self.pods = cluster, report, 0
        self.documents = [found for found in yaml.safe_load_all((SHOP / "injected" / "shop.yaml").read_text()) if found]
        self.maps = {"outrigger": {"outrigger.yaml": (REPO / "k8s" / "config" / "outrigger.yaml").read_text()},
                     "shop": {"shop.py": (SHOP / "parts" / "shop.py").read_text(),
                              "pod_app.py": (HERE / "pod_app.py").read_text()}}

    def template(self, kind, name):
        found = next(found for found in self.documents if (found["kind"], found["metadata"]["name"]) == (kind, name))
        return copy.deepcopy(found["spec"]["template"])

    def pod(self, name, template):
        self.pods += 1
        return Pod(self.cluster, name, f"10.77.1.{self.pods}", template, self.maps)

    def with_app(self, name, *words, grace=None):
        """The order service's pod with another application in it."""
        template = self.template("Deployment", "order-service")
        app = template["spec"]["containers"][0]
        app.update(name=APP, command=["python3", "-u", "/shop/pod_app.py", *words])
        del app["readinessProbe"]
        if grace:
            template["spec"]["terminationGracePeriodSeconds"] = grace
            told = next(entry for entry in template["spec"]["initContainers"][1]["env"] if entry["name"] == "OUTRIGGER_GRACE")
            told["value"] = f"{grace}s"
        return self.pod(name, template)

    def once(self, pod, url="http://user-service/users/7"):
        return pod.run(USER, "/usr/bin/python3", f"{pod.folder_of('shop')}/pod_app.py", "once", url).stdout.strip()

    def summary(self, pod):
        return json.loads(pod.log(APP).splitlines()[-1])

    # === acts ===

    def start_and_rest(self):
        pod = self.with_app("start", "caller", "http://user-service/users/7")
        pod.start()
        eventually(lambda: "first: " in pod.log(APP), 20)
        self.report.holds("start: the application's very first call works", "first: 200" in pod.log(APP), pod.log(APP))
        times = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in pod.ready_after.items())
        print(f"     time to ready: {times}")
        pod.stop()
        pod = self.with_app("rest", "idle").start()
        process = pod.process[PROXY].pid
        time.sleep(2)                                          # what the start took has been given back
        cpu, begun = cpu_seconds(process), time.monotonic()
        time.sleep(5)
        share, kib = (cpu_seconds(process) - cpu) / (time.monotonic() - begun), memory_kib(process, "VmRSS")
        own, release = memory_kib(process, "RssAnon"), is_release(self.cluster.binary)
        print(f"     at rest: {kib / 1024:.1f} MiB resident, of which {own / 1024:.1f} its own and the rest its program; "
              f"{share * 100:.3f} % of a core{'' if release else '; a debug binary'}")
        if release:
            self.report.holds("at rest: under 10 MB resident", kib < REST_KIB_MAX, kib)
            self.report.holds("at rest: under a thousandth of a core", share < REST_CPU_MAX, share)
        self.report.holds("start: calls go through capture", self.captured(pod), pod.log(PROXY))
        print(f"     after its first call: {memory_kib(process, 'VmRSS') / 1024:.1f} MiB resident")
        self.report.same("at rest: the end is clean", {APP: 0, PROXY: 0}, pod.stop())

    def captured(self, pod):
        self.once(pod)
        return 'outrigger_calls_total{service="user-service"' in pod.run(
            USER, "/usr/bin/python3", "-c",
            "import urllib.request as r; print(r.urlopen('http://127.0.0.1:15020/metrics').read().decode())").stdout

    def order_of_the_end(self):
        before = self.cluster.reached("user-service")
        pod = self.with_app("end", "caller", "http://user-service/users/7", "--after", "3").start()
        eventually(lambda: self.cluster.reached("user-service") > before + 50, 30)
        begun = time.monotonic()
        codes = pod.stop()
        print(f"     end: {time.monotonic() - begun:.1f} s, of which the application took 3, the proxy {pod.sidecars_took:.1f}")
        seen = self.summary(pod)
        sent = sum(seen["counts"].values()) + 1
        self.report.holds(f"SIGTERM: the application made {seen['after']} more calls in its own end", seen["after"] > 50, seen)
        self.report.same("SIGTERM: none was lost", ["200"], list(seen["counts"]))
        self.report.same("SIGTERM: as many as were made have arrived", sent, self.cluster.reached("user-service") - before)
        self.report.same("SIGTERM: both ended by themselves", {APP: 0, PROXY: 0}, codes)

    def job(self):
        self.cluster.service("order-service", "10.77.0.20")
        eventually(lambda: self.cluster.get("http://10.77.0.20/ready")[0] == 200, 20)
        template = self.template("Job", "customers")
        template["spec"]["containers"][0]["command"][-1] = "50"
        before = self.cluster.reached("payment-service")
        pod = self.pod("job", template).start()
        codes = pod.complete()
        self.report.same("Job: it completes, and the proxy with it", {"customers": 0, PROXY: 0}, codes)
        print(f"     Job: the proxy ended {pod.sidecars_took:.1f} s after the application")
        self.report.holds("Job: soon after the application", pod.sidecars_took < SOON, pod.sidecars_took)
        self.report.holds("Job: all orders were placed", "50 of 50" in pod.log("customers"), pod.log("customers"))
        self.report.same("Job: each was paid once", 50, self.cluster.reached("payment-service") - before)

    def crash_of_the_application(self):
        pod = self.with_app("app-crash", "caller", "http://user-service/users/7").start()
        eventually(lambda: "first: 200" in pod.log(APP), 20)
        pod.process[APP].kill()
        pod.restart(APP)
        eventually(lambda: pod.log(APP).count("first: ") == 2, 20)
        self.report.same("crash of the application: the proxy stays, and the next one's first call works", (None, 2),
                         (pod.process[PROXY].poll(), pod.log(APP).count("first: 200")))
        self.report.same("crash of the application: the end is clean", {APP: 0, PROXY: 0}, pod.stop())

    def crash_of_the_proxy(self):
        pod = self.with_app("proxy-crash", "idle").start()
        self.report.same("crash of the proxy: a call before it", "200", self.once(pod))
        before = self.cluster.reached("user-service")
        pod.process[PROXY].kill()
        pod.process[PROXY].wait()
        urls = ("http://user-service/users/7", f"http://{SERVICES['user-service']}/users/7")
        self.report.same("crash of the proxy: meanwhile calls are refused, by name and by address",
                         ["ConnectionRefusedError"] * 2, [self.once(pod, url) for url in urls])
        self.report.same("crash of the proxy: none went past it", before, self.cluster.reached("user-service"))
        rules = pod.run(0, "nft", "list", "table", "inet", "outrigger")
        self.report.same("crash of the proxy: the rules still stand", 0, rules.returncode)
        begun = time.monotonic()
        pod.restart(PROXY)
        print(f"     the proxy again: ready after {(time.monotonic() - begun) * 1000:.0f} ms")
        self.report.same("crash of the proxy: the restarted one serves", "200", self.once(pod))
        checked = pod.run(0, self.cluster.binary, "capture", "check", pod.folder_of("outrigger-config"))
        self.report.holds("crash of the proxy: `outrigger capture check` is content", checked.returncode == 0,
                          checked.stdout + checked.stderr)
        self.report.holds("crash of the proxy: its calls are captured as before", self.captured(pod), pod.log(PROXY))
        self.report.same("crash of the proxy: the end is clean", {APP: 0, PROXY: 0}, pod.stop())

    def rolling_replacement(self):
        paid, addresses = self.cluster.reached("payment-service"), self.cluster.folder / "endpoints"
        first = self.pod("order-1", self.template("Deployment", "order-service")).start().until_ready()
        endpoints(addresses, first)
        load = self.cluster.start(self.cluster.services, "load", sys.executable, HERE / "pod_app.py", "load", addresses,
                                  "--count", 400)
        eventually(lambda: self.cluster.reached("payment-service") > paid + 50, 30)
        second = self.pod("order-2", self.template("Deployment", "order-service")).start().until_ready()
        endpoints(addresses, first, second)
        eventually(lambda: self.reached_by(second) > 20, 30)
        # The pod is told to end before callers hear of it: its application goes on for a moment.
        first.process["order-service"].send_signal(signal.SIGTERM)
        time.sleep(0.5)
        endpoints(addresses, second)
        codes = first.stop()
        self.report.same("rolling: the old pod ended by itself", {"order-service": 0, PROXY: 0}, codes)
        load.wait(60)
        counts = json.loads(self.cluster.text("load"))["counts"]
        self.report.same("rolling: all 400 orders were placed, over both pods", {"200": 400}, counts)
        self.report.same("rolling: each was paid once", 400, self.cluster.reached("payment-service") - paid)
        self.report.same("rolling: the new pod's end is clean", {"order-service": 0, PROXY: 0}, second.stop())

    def reached_by(self, pod):
        return int(self.cluster.get(f"http://{pod.address}:8080/reached")[1] or 0)

    def bounded_drain(self):
        """The proxy alone is told to end, with a call under way that never will."""
        arrived, over = threading.Event(), threading.Event()
        self.cluster.address(HANGS)
        self.cluster.names["bank"] = HANGS
        self.cluster.listen(self.cluster.services, HANGS, 80, lambda _: arrived.set() or over.wait(60))
        pod = self.with_app("hang", "caller", "http://bank/", grace=4).start()
        arrived.wait(20)
        begun = time.monotonic()
        pod.process[PROXY].send_signal(signal.SIGTERM)
        code = pod.process[PROXY].wait(20)
        took = time.monotonic() - begun
        over.set()
        print(f"     a call that hangs: the proxy ended after {took:.1f} s of a grace of 4")
        self.report.holds("drain: a call that hangs does not hold it past the pod's grace", 2 < took < 4, took)
        self.report.same("drain: it ended by itself, and says that a call was under way", (1, True),
                         (code, "drain.timeout is over" in pod.log(PROXY)))
        pod.process[APP].kill()
        pod.process[APP].wait()


def endpoints(file, *pods):
    new = file.with_suffix(".new")
    new.write_text("\n".join(f"{pod.address}:8080" for pod in pods))
    new.rename(file)


def memory_kib(pid, field):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


def cpu_seconds(pid):
    """Of all its threads, to the nanosecond."""
    return sum(int(file.read_text().split()[0]) for file in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def is_release(binary):
    return "release" in pathlib.Path(binary).parts
