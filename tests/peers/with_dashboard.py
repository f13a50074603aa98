"""The dashboard in headless Chromium, over a proxy of its own: what people see, and what they can do."""

import pathlib
import shutil

from client import HERE, lines_of, needs_npm


def needs():
    if not shutil.which("chromium"):
        return "`chromium` is not installed"
    return needs_npm("playwright-core")


def checks(stage, report):
    folder = stage.folder / "dashboard"
    folder.mkdir()
    ports = [stage.free_port() for _ in range(3)]
    program = pathlib.Path(HERE / "dashboard.mjs")
    lines_of("dashboard", ["node", program, shutil.which("chromium"), stage.binary, folder, *ports], report, seconds=150)
