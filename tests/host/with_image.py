"""The image: what the Dockerfile copies is there, and its file system, laid out by plain commands, runs as a root."""

import pathlib
import re
import subprocess
import tempfile

REPO = pathlib.Path(__file__).parent.parent.parent
NEEDS = ["nft", "ldd", "unshare", "ip", "chroot"]
# Beside the program, nft, and what they are linked with.
PROGRAMS = {"usr/bin/outrigger", "usr/sbin/nft"}
LIBRARY = re.compile(r"(usr/)?lib(64)?/([a-z0-9_]+-linux-gnu/)?[a-z0-9_+.-]+\.so[.0-9]*$")
USER = 1337
CONFIG = "version: v1\ncapture: {skipPorts: [3306]}\n"


def checks(stage, report):
    dockerfile(report)
    with tempfile.TemporaryDirectory(prefix="outrigger-image-") as folder:
        pathlib.Path(folder).chmod(0o755)
        root = pathlib.Path(folder) / "image"
        laid = subprocess.run([REPO / "k8s" / "image" / "rootfs", stage.binary, root], capture_output=True, text=True)
        report.same("the image's file system is laid out", (0, ""), (laid.returncode, laid.stderr))
        contents(report, root)
        programs(report, root)


# === the Dockerfile ===

def dockerfile(report):
    text = (REPO / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    known = {"FROM", "WORKDIR", "COPY", "ENV", "RUN", "USER", "ENTRYPOINT", "CMD"}
    report.same("Dockerfile: instructions that every builder knows", set(), {word for word, _ in lines} - known)
    stages = [words.split() for word, words in lines if word == "FROM"]
    names = [words[2] for words in stages if len(words) == 3]
    copies = [words.split() for word, words in lines if word == "COPY"]
    own = [source for words in copies if not words[0].startswith("--from=") for source in words[:-1]]
    report.same("Dockerfile: the files it copies are there", [], [path for path in own if not (REPO / path).exists()])
    allowed = [line[1:] for line in (REPO / ".dockerignore").read_text().split() if line.startswith("!")]
    report.same("Dockerfile: .dockerignore lets them through", [],
                [path for path in own if not any(path == root or path.startswith(f"{root}/") for root in allowed)])
    report.same("Dockerfile: stages it copies from are there", [],
                [words[0] for words in copies if words[0].startswith("--from=") and words[0][7:] not in names])
    last = lines[max(index for index, (word, _) in enumerate(lines) if word == "FROM"):]
    report.same("Dockerfile: the image begins empty, and ends as a user that is not root", ("scratch", "1337:1337"),
                (last[0][1], dict(map(tuple, last))["USER"]))
    version = re.search(r'rust-version = "([\d.]+)"', (REPO / "Cargo.toml").read_text())[1]
    report.holds("Dockerfile: the compiler is the oldest that the crate allows, or newer",
                 [int(part) for part in re.search(r"rust:([\d.]+)", text)[1].split(".")] >=
                 [int(part) for part in version.split(".")], text)


# === the file system ===

def contents(report, root):
    files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    report.same("the image: the program and nft", PROGRAMS, PROGRAMS & files)
    report.same("the image: beside them libraries alone", [], sorted(file for file in files - PROGRAMS
                                                                     if not LIBRARY.match(file)))
    report.same("the image: no links, nothing that gives rights", [],
                [str(path) for path in root.rglob("*") if path.is_symlink() or path.stat().st_mode & 0o6000])


def programs(report, root):
    (root / "etc/outrigger/mesh.yaml").write_text(CONFIG)
    report.holds("in it: outrigger --version, as the image's user",
                 run(root, USER, "/usr/bin/outrigger", "--version").stdout.startswith("outrigger "), "something else")
    report.holds("in it: nft --version", run(root, USER, "/usr/sbin/nft", "--version").stdout.startswith("nftables "),
                 "something else")
    shown = run(root, USER, "/usr/bin/outrigger", "capture", "apply", "/etc/outrigger", "--dry-run")
    report.holds("in it: outrigger capture apply --dry-run", shown.returncode == 0 and "table inet outrigger" in shown.stdout,
                 shown.stdout + shown.stderr)
    applied = run(root, 0, "/usr/bin/outrigger", "capture", "apply", "/etc/outrigger", network=True)
    report.holds("in it: outrigger capture apply, in a network of its own", applied.returncode == 0,
                 applied.stdout + applied.stderr)
    checked = run(root, USER, "/usr/bin/outrigger", "check", "/etc/outrigger")
    report.same("in it: outrigger check", 0, checked.returncode)


def run(root, user, *command, network=False):
    """A command whose root is the image, with nothing of this machine's environment."""
    if network:                                                # loopback is down in a new namespace
        words = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", "chroot", root, *command]
    else:
        words = ["chroot", f"--userspec={user}:{user}", root, *command]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
