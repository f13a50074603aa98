"""A kubelet in small: plays a pod's manifest with real processes in a network namespace.

Kubernetes' order: init containers one after the other, each to its end; a native sidecar until its startup
probe passes, then it goes on running; then the containers. At the end SIGTERM to the containers, and when they
have ended to the sidecars, the last one first; all within one grace period, after which comes SIGKILL.
"""

import pathlib
import signal
import subprocess
import time

from cluster import DEVICES, PATH, contained

# What a sidecar has at least when the containers have used up the grace (Kubernetes).
SIDECAR_GRACE_MIN = 2


class Pod:
    def __init__(self, cluster, name, address, manifest, maps):
        self.cluster, self.name, self.address, self.maps = cluster, name, address, maps
        self.metadata, self.spec = manifest.get("metadata", {}), manifest["spec"]
        self.grace = self.spec.get("terminationGracePeriodSeconds", 30)
        self.process, self.codes, self.ready_after = {}, {}, {}
        self.sidecars_took = None                              # seconds from the application's end to theirs
        self.net = cluster.attach(name, address)

    @property
    def sidecars(self):
        return [container for container in self.spec.get("initContainers", []) if container.get("restartPolicy") == "Always"]

    # === start ===

    def start(self):
        """To the point where the containers have been started."""
        for container in self.spec.get("initContainers", []):
            begun = time.monotonic()
            self.launch(container)
            if container.get("restartPolicy") == "Always":
                self.probe(container, "startupProbe")
            elif self.process[container["name"]].wait(60):
                raise RuntimeError(f"{container['name']} failed:\n{self.log(container['name'])}")
            self.ready_after[container["name"]] = time.monotonic() - begun
        for container in self.spec["containers"]:
            self.launch(container)
        return self

    def until_ready(self):
        for container in self.spec["containers"]:
            if "readinessProbe" in container:
                self.probe(container, "readinessProbe")
        return self

    def probe(self, container, kind):
        asked, passed_by = container[kind]["httpGet"], time.monotonic() + 60
        ports = {port.get("name"): port["containerPort"] for port in container.get("ports", [])}
        url = f"http://{self.address}:{ports.get(asked['port'], asked['port'])}{asked['path']}"
        while self.cluster.get(url, timeout=1)[0] != 200:
            if time.monotonic() > passed_by or self.process[container["name"]].poll() is not None:
                raise RuntimeError(f"{container['name']}: {kind} does not pass: {self.cluster.get(url)}\n{self.log(container['name'])}")
            time.sleep(0.01)                                   # a kubelet asks once a second; this one measures

    def launch(self, container):
        rights = {**self.spec.get("securityContext", {}), **container.get("securityContext", {})}
        ours = container["image"].startswith("outrigger:")
        files = {mount["mountPath"]: self.folder_of(mount["name"]) for mount in container.get("volumeMounts", [])}
        command = container.get("command", []) + container.get("args", [])
        if ours:
            command = ["/usr/bin/outrigger"] + command
        else:
            for path, folder in files.items():                 # those run in this machine's own root
                command = [word.replace(path, folder, 1) if word.startswith(path) else word for word in command]
        box = self.cluster.box(self.net, rights.get("runAsUser", 0))
        box.update(group=rights.get("runAsGroup", 0), capabilities=rights.get("capabilities", {}).get("add", []))
        if ours:
            box.update(root=str(self.cluster.image), read_only=rights["readOnlyRootFilesystem"])
            box["binds"].update({device: device for device in DEVICES}, **files)
        process = self.cluster.contain(f"{self.name}-{container['name']}", box, command, self.environment(container))
        self.process[container["name"]] = process
        return process

    def environment(self, container):
        """What the manifest says, by the downward API too, and what every container has."""
        fields = {"metadata.name": self.name, "metadata.namespace": "shop", "spec.nodeName": "node-1",
                  "metadata.uid": "00000000-0000-4000-8000-000000000000"}
        found = {"PATH": "/usr/sbin:/usr/bin" if container["image"].startswith("outrigger:") else PATH,
                 "HOSTNAME": self.name, "KUBERNETES_SERVICE_HOST": "10.77.0.2"}
        for entry in container.get("env", []):
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

    def manifest_of(self, name):
        return next(container for container in self.spec.get("initContainers", []) + self.spec["containers"] if container["name"] == name)

    def restart(self, name):
        """As the kubelet does with a container that has ended."""
        self.process[name].wait(10)
        self.launch(self.manifest_of(name))
        if "startupProbe" in self.manifest_of(name):
            self.probe(self.manifest_of(name), "startupProbe")

    def run(self, user, *command):
        """A command in the pod's network, as one of its users."""
        return subprocess.run(contained(self.cluster.box(self.net, user), command),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    def log(self, name):
        return self.cluster.text(f"{self.name}-{name}")

    # === end ===

    def stop(self, grace=None):
        """The pod is deleted."""
        end = time.monotonic() + (self.grace if grace is None else grace)
        self.end(self.spec["containers"], end)
        return self.finish(end)

    def complete(self):
        """A Job's pod: its containers end by themselves, then the sidecars are told to."""
        for container in self.spec["containers"]:
            self.codes[container["name"]] = self.process[container["name"]].wait(120)
        return self.finish(time.monotonic() + self.grace)

    def finish(self, end):
        begun = time.monotonic()
        for container in reversed(self.sidecars):
            self.end([container], max(end, time.monotonic() + SIDECAR_GRACE_MIN))
        self.sidecars_took = time.monotonic() - begun
        return self.codes

    def end(self, containers, end):
        for container in containers:
            if self.process[container["name"]].poll() is None:
                self.process[container["name"]].send_signal(signal.SIGTERM)
        for container in containers:
            process = self.process[container["name"]]
            try:
                process.wait(max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.codes[container["name"]] = process.returncode
