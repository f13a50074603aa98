"""Processes under measurement: started on one CPU, watched through /proc, loaded by wrk from the other."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

LOAD_CPU, PROXY_CPU = 0, 1
UPSTREAM, PROXY, ADMIN = 19000, 18080, 18081
NUMBER = re.compile(r"([\d.]+)(us|ms|s|m)?")
MILLISECONDS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}


@contextlib.contextmanager
def running(command, cpu, port):
    """A program pinned to a CPU that listens on `port`; ended afterwards. Gives its process id and
    the seconds from its start until it listened."""
    if accepts(port):
        raise SystemExit(f"something listens on 127.0.0.1:{port} already")
    begun = time.perf_counter()
    process = subprocess.Popen(["taskset", "-c", str(cpu), *command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while not accepts(port):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended:\n{process.stderr.read().decode()}")
            if time.perf_counter() - begun > 30:
                raise SystemExit(f"{' '.join(command)} does not listen on {port}")
            time.sleep(0.002)
        os.set_blocking(process.stderr.fileno(), False)
        yield process.pid, time.perf_counter() - begun
    finally:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def family(pid):
    """A process and its descendants: nginx and HAProxy may work in children."""
    members = [pid]
    for member in members:
        for task in tasks(member):
            with contextlib.suppress(OSError):
                members += map(int, open(f"/proc/{member}/task/{task}/children").read().split())
    return members


def tasks(pid):
    try:
        return os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return []


def cpu_seconds(pid):
    """CPU time of all its threads so far; `schedstat` counts nanoseconds."""
    spent = 0
    for member in family(pid):
        for task in tasks(member):
            with contextlib.suppress(OSError):
                spent += int(open(f"/proc/{member}/task/{task}/schedstat").read().split()[0])
    return spent / 1e9


def memory_kib(pid):
    """Resident memory; pages that processes share are shared out between them (Pss)."""
    total = 0
    for member in family(pid):
        text = open(f"/proc/{member}/smaps_rollup").read()
        total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1])
    return total


def wrk(seconds, connections, *more):
    """One run of wrk from the load CPU, as requests, requests per second, percentiles in ms, errors."""
    command = ["taskset", "-c", str(LOAD_CPU), "wrk", "--latency", "-t1", f"-c{connections}", f"-d{seconds}s",
               "-H", "Host: payment-service", *more, f"http://127.0.0.1:{PROXY}/"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
    errors = sum(int(found) for line in re.findall(r"Socket errors: (.*)|Non-2xx or 3xx responses: (.*)", text)
                 for found in re.findall(r"\d+", " ".join(line)))
    return {"requests": int(re.search(r"(\d+) requests in", text)[1]),
            "rps": float(re.search(r"Requests/sec:\s+(\S+)", text)[1]),
            "p50": milliseconds(re.search(r"\s50%\s+(\S+)", text)[1]),
            "p99": milliseconds(re.search(r"\s99%\s+(\S+)", text)[1]), "errors": errors}


def h2load(seconds, connections, streams):
    """One run of h2load from the load CPU, as the same figures."""
    with tempfile.NamedTemporaryFile() as log:
        command = ["taskset", "-c", str(LOAD_CPU), "h2load", "-t1", f"-c{connections}", f"-m{streams}",
                   "-D", str(seconds), "--log-file", log.name, "--connect-to", f"127.0.0.1:{PROXY}",
                   "http://payment-service/"]
        text = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
        rows = [line.split() for line in open(log.name)]
    took = sorted(int(row[2]) / 1000 for row in rows) or [0]
    good = sum(row[1] == "200" for row in rows)
    lost = int(re.search(r"(\d+) failed", text)[1]) + int(re.search(r"(\d+) errored", text)[1])
    return {"requests": good, "rps": good / seconds, "p50": took[len(took) // 2],
            "p99": took[len(took) * 99 // 100], "errors": len(rows) - good + lost}


def milliseconds(text):
    number, unit = NUMBER.fullmatch(text).groups()
    return float(number) * MILLISECONDS[unit]


def loaded(pid, seconds, connections, *more):
    """Load by wrk after a second of warm-up, with the proxy's CPU microseconds per request."""
    return warmed(pid, seconds, lambda time: wrk(time, connections, *more))


def loaded_http2(pid, seconds, connections, streams):
    """The same by h2load."""
    return warmed(pid, seconds, lambda time: h2load(time, connections, streams))


def warmed(pid, seconds, load):
    load(1)
    before = cpu_seconds(pid)
    figures = load(seconds)
    figures["cpu_us"] = (cpu_seconds(pid) - before) / max(figures["requests"], 1) * 1e6
    figures["memory_mib"] = memory_kib(pid) / 1024
    return figures


def counters(*names):
    """The sums of these families of the proxy's metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ADMIN}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {name: sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}[ {{]", line)) for name in names}


def missing(programs):
    return [program for program in programs if not shutil.which(program)]
