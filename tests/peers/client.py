"""Runs a client in another language: it prints `what<TAB>expected<TAB>got` per check, `end` last."""

import os
import subprocess


def lines_of(name, command, report):
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=45, env=environment)
    lines = done.stdout.splitlines()
    for line in lines:
        if line.count("\t") == 2:
            what, expected, got = line.split("\t")
            report.same(f"{name}: {what}", expected, got)
    report.holds(f"{name}: ran to its end", done.returncode == 0 and lines and lines[-1] == "end",
                 f"exit {done.returncode}: {done.stderr[-1500:]}")
