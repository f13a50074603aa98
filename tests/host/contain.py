#!/usr/bin/env python3
"""Becomes a container's process: network namespace, root, mounts, user, rights; then the command, under the same pid.

  contain.py '{"net": NAME, "root": FOLDER or null, "binds": {TARGET: SOURCE}, "read_only": true, "user": 1337,
               "group": 1337, "capabilities": ["NET_ADMIN"]}' COMMAND...

What a container runtime does, as far as a proxy sees it: no process or user namespace. Needs root.
"""

import ctypes
import json
import os
import sys

NEWNS, NEWNET = 0x00020000, 0x40000000
RDONLY, NOSUID, REMOUNT, BIND, REC, PRIVATE = 1, 2, 32, 4096, 16384, 1 << 18
CAPBSET_DROP, SET_NO_NEW_PRIVS = 24, 38
CAPABILITIES = {"NET_ADMIN": 12}
CAPABILITY_MOST = 40

libc = ctypes.CDLL(None, use_errno=True)


def main():
    box, command = json.loads(sys.argv[1]), sys.argv[2:]
    with open(f"/var/run/netns/{box['net']}") as namespace:
        call("setns", namespace.fileno(), NEWNET)
    call("unshare", NEWNS)
    mount(None, "/", REC | PRIVATE)
    root = box["root"] or ""
    if root:
        mount(root, root, BIND | REC)
    for target, source in box["binds"].items():
        mount(source, root + target, BIND)
    if root:
        call("mount", b"proc", f"{root}/proc".encode(), b"proc", NOSUID, None)
        if box["read_only"]:
            mount(root, root, REMOUNT | BIND | RDONLY)
        os.chroot(root)
    os.chdir("/")
    for capability in range(CAPABILITY_MOST + 1):
        if capability not in [CAPABILITIES[name] for name in box["capabilities"]]:
            call("prctl", CAPBSET_DROP, capability, 0, 0, 0)
    call("prctl", SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(box["group"], box["group"], box["group"])
    os.setresuid(box["user"], box["user"], box["user"])
    os.execve(program(command[0]), command, dict(os.environ))


def program(name):
    """As this user finds it. Nothing may be imported any more: the interpreter's own files may be out of reach."""
    folders = [""] if "/" in name else [f"{folder}/" for folder in os.environ["PATH"].split(":")]
    found = [folder + name for folder in folders if os.access(folder + name, os.X_OK)]
    return found[0] if found else sys.exit(f"contain.py: no {name} in {os.environ['PATH']}")


def mount(source, target, flags):
    call("mount", source and source.encode(), target.encode(), None, flags, None)


def call(name, *words):
    if getattr(libc, name)(*words) != 0:
        error = ctypes.get_errno()
        sys.exit(f"contain.py: {name}{words}: {os.strerror(error)}")


if __name__ == "__main__":
    main()
