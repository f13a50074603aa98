"""Programs in another language. A client prints `what<TAB>expected<TAB>got` per check, `end` last."""

import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).parent
PACKAGES = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target")) / "peers-node"


def needs_npm(name):
    """Why a program that needs this npm package cannot run, or None."""
    if not shutil.which("node"):
        return "`node` is not installed"
    return None if (PACKAGES / "node_modules" / name).exists() else f"npm's `{name}` is not installed"


def environment():
    """Without the proxies of this shell, with the npm packages of the tier."""
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return {**kept, "PEERS_NODE": str(PACKAGES)}


def lines_of(name, command, report, seconds=45):
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env=environment()) as running:
        try:
            out, said = running.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            out, said = running.communicate()
    lines = out.splitlines()
    for line in lines:
        if line.count("\t") == 2:
            what, expected, got = line.split("\t")
            report.same(f"{name}: {what}", expected, got)
    report.holds(f"{name}: ran to its end", running.returncode == 0 and lines and lines[-1] == "end",
                 f"exit {running.returncode}: {said[-1500:]}")
