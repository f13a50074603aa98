"""A kubelet in small: plays a pod's manifest with real processes in a network namespace.

Kubernetes' order: init containers one after the other, each to its end; a native sidecar until its startup
probe passes, then it goes on running; then the containers. At the end SIGTERM to the containers, and when they
have ended to the sidecars, the last one first; all within one grace period, after which comes SIGKILL.
"""

import json
import pathlib
import signal
import subprocess
import sys
import time

from cluster import HERE, PATH

# What a sidecar has at least when the containers have used up the grace (Kubernetes).
SIDECAR_GRACE_MIN = 2


class Pod:
    def __init__(self, cluster, name, address, manifest, maps):
        self.cluster, self.name, self.address, self.maps = cluster, name, address, maps
        self.metadata, self.spec = manifest.get("metadata", {}), manifest["spec"]
        self.net = f"{cluster.net}-{name}"
        self.grace = self.spec.get("terminationGracePeriodSeconds", 30)
        self.process, self.codes, self.ready_after = {}, {}, {}
        cluster.attach(self.net, address)

    @property
    def sidecars(self):
        return [box for box in self.spec.get("initContainers", []) if box.get("restartPolicy") == "Always"]

    # === start ===

    def start(self):
        """To the point where the containers have been started."""
        for box in self.spec.get("initContainers", []):
            begun = time.monotonic()
            self.launch(box)
            if box.get("restartPolicy") == "Always":
                self.probe(box, "startupProbe")
            elif self.process[box["name"]].wait(60):
                raise RuntimeError(f"{box['name']} failed:\n{self.log(box['name'])}")
            self.ready_after[box["name"]] = time.monotonic() - begun
        for box in self.spec["containers"]:
            self.launch(box)
        return self

    def until_ready(self):
        for box in self.spec["containers"]:
            if "readinessProbe" in box:
                self.probe(box, "readinessProbe")
        return self

    def probe(self, box, kind):
        asked, passed_by = box[kind]["httpGet"], time.monotonic() + 60
        ports = {port.get("name"): port["containerPort"] for port in box.get("ports", [])}
        url = f"http://{self.address}:{ports.get(asked['port'], asked['port'])}{asked['path']}"
        while self.cluster.get(url, timeout=1)[0] != 200:
            if time.monotonic() > passed_by or self.process[box["name"]].poll() is not None:
                raise RuntimeError(f"{box['name']}: {kind} does not pass: {self.cluster.get(url)}\n{self.log(box['name'])}")
            time.sleep(0.01)                                   # a kubelet asks once a second; this one measures

    def launch(self, box):
        rights = {**self.spec.get("securityContext", {}), **box.get("securityContext", {})}
        ours = box["image"].startswith("outrigger:")
        files = {mount["mountPath"]: self.folder_of(mount["name"]) for mount in box.get("volumeMounts", [])}
        command = box.get("command", []) + box.get("args", [])
        if ours:
            command = ["/usr/bin/outrigger"] + command
        else:
            for path, folder in files.items():                 # those run in this machine's own root
                command = [word.replace(path, folder, 1) if word.startswith(path) else word for word in command]
        etc = {f"/etc/{file}": str(self.cluster.folder / file) for file in ("resolv.conf", "hosts")}
        devices = {path: path for path in ("/dev/null", "/dev/urandom")} if ours else {}
        capabilities = rights.get("capabilities", {})
        contained = {
            "net": self.net, "root": str(self.cluster.image) if ours else None,
            "binds": {**etc, **devices, **(files if ours else {})}, "cwd": "/",
            "read_only": rights.get("readOnlyRootFilesystem", False),
            "user": rights.get("runAsUser", 0), "group": rights.get("runAsGroup", 0),
            "capabilities": capabilities.get("add", []),
        }
        process = self.cluster.contain(f"{self.name}-{box['name']}", contained, command, self.environment(box))
        self.process[box["name"]] = process
        return process

    def environment(self, box):
        """What the manifest says, by the downward API too, and what every container has."""
        fields = {"metadata.name": self.name, "metadata.namespace": "shop", "spec.nodeName": "node-1",
                  "metadata.uid": "00000000-0000-4000-8000-000000000000"}
        found = {"PATH": "/usr/sbin:/usr/bin" if box["image"].startswith("outrigger:") else PATH,
                 "HOSTNAME": self.name, "KUBERNETES_SERVICE_HOST": "10.77.0.2"}
        for entry in box.get("env", []):
            found[entry["name"]] = entry["value"] if "value" in entry else fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        return found

    def folder_of(self, volume):
        """The files of a ConfigMap."""
        of = next(found for found in self.spec["volumes"] if found["name"] == volume)["configMap"]["name"]
        folder = pathlib.Path(self.cluster.folder / f"{self.name}-{volume}")
        folder.mkdir(exist_ok=True)
        for file, text in self.maps[of].items():
            (folder / file).write_text(text)
        return str(folder)

    # === what goes on ===

    def box(self, name):
        return next(box for box in self.spec.get("initContainers", []) + self.spec["containers"] if box["name"] == name)

    def restart(self, name):
        """As the kubelet does with a container that has ended."""
        self.process[name].wait(10)
        self.launch(self.box(name))
        if "startupProbe" in self.box(name):
            self.probe(self.box(name), "startupProbe")

    def run(self, user, *command):
        """A command in the pod's network, as one of its users."""
        contained = {"net": self.net, "root": None, "binds": {
            f"/etc/{file}": str(self.cluster.folder / file) for file in ("resolv.conf", "hosts")},
            "cwd": "/", "read_only": False, "user": user, "group": user, "capabilities": ["NET_ADMIN"] if user == 0 else []}
        return subprocess.run([sys.executable, str(HERE / "contain.py"), json.dumps(contained), *map(str, command)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def log(self, name):
        return self.cluster.text(f"{self.name}-{name}.log")

    # === end ===

    def stop(self, grace=None):
        """The pod is deleted."""
        end = time.monotonic() + (self.grace if grace is None else grace)
        self.end(self.spec["containers"], end)
        return self.finish(end)

    def complete(self):
        """A Job's pod: its containers end by themselves, then the sidecars are told to."""
        for box in self.spec["containers"]:
            self.codes[box["name"]] = self.process[box["name"]].wait(120)
        return self.finish(time.monotonic() + self.grace)

    def finish(self, end):
        for box in reversed(self.sidecars):
            self.end([box], max(end, time.monotonic() + SIDECAR_GRACE_MIN))
        return self.codes

    def end(self, boxes, end):
        for box in boxes:
            if self.process[box["name"]].poll() is None:
                self.process[box["name"]].send_signal(signal.SIGTERM)
        for box in boxes:
            process = self.process[box["name"]]
            try:
                process.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.codes[box["name"]] = process.returncode
