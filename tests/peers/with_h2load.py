"""h2load and nginx: many streams on a few connections."""

import re
import subprocess

from client import environment

NEEDS = "h2load"


def checks(stage, report):
    own = f"http://127.0.0.1:{stage.port['stock']}"
    (stage.folder / "www/files/small").write_bytes(b"." * 20_000)
    streams = ("-c", "4", "-m", "20")
    load(report, "h2load by the service's port", 5000, *streams, f"{own}/hello")
    outbound = f"--connect-to=127.0.0.1:{stage.port['outbound']}"
    load(report, "h2load by authority", 2000, *streams, outbound, "http://stock-service/hello")
    load(report, "h2load with windows of 1 and 4 KiB", 200, *streams, "-w", "10", "-W", "12", f"{own}/files/small")
    load(report, "h2load --h1 to HTTP/2", 2000, "--h1", "-c", "8", f"{own}/hello")
    load(report, "h2load --h1", 2000, "--h1", "-c", "8", f"http://127.0.0.1:{stage.port['payment']}/hello")


def load(report, what, calls, *words):
    done = subprocess.run(["h2load", "-n", str(calls), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=30, env=environment())
    told = {}
    for line in re.findall(r"^(?:requests|status codes): .*", done.stdout, re.MULTILINE):
        told |= {name: int(count) for count, name in re.findall(r"(\d+) (\w+)", line)}
    report.same(f"{what}: {calls} calls, none fails", (calls, 0, 0, calls),
                tuple(told.get(name) for name in ("succeeded", "failed", "errored", "2xx")))
