"""Pods and namespaces made at random, the same ones each time; some of them are a reason not to touch them."""

import random

ANNOTATIONS = {  # the first value of each is a good one
    "outrigger.dev/config": ["mesh", "a.b", "A"],
    "outrigger.dev/skip-ports": ["1,2-3", " 80", "0", "3306,"],
    "outrigger.dev/skip-networks": ["10.0.0.0/8", "::1, fe80::/10", "10.0.0.1/8"],
    "outrigger.dev/skip-users": ["0,7", "x"],
    "outrigger.dev/image": ["r.example/o:1", "bad image"],
    "outrigger.dev/cpu-request": ["1", "0"],
    "outrigger.dev/cpu-limit": ["2", "1m"],
    "outrigger.dev/memory-request": ["1Mi", "256Mi"],
    "outrigger.dev/memory-limit": ["64Mi", "4Mi"],
    "kubectl.kubernetes.io/default-container": ["c0"],
    "example.com/other": ["x"],
}
MARKS = {"outrigger.dev/status": "{}", "sidecar.istio.io/status": "x", "linkerd.io/inject": "ingress",
         "sidecar.istio.io/inject": "false",
         "kubernetes.io/config.source": "file"}
LEVELS = [None, "privileged", "baseline", "restricted"]
PROXIES = ["A", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"]


def namespaces():
    found = []
    for index in range(6):
        labels = {"outrigger.dev/inject": "enabled" if index < 5 else "disabled"}
        if LEVELS[index % 4]:
            labels["pod-security.kubernetes.io/enforce"] = LEVELS[index % 4]
        if index == 2:
            labels["istio-injection"] = "enabled"
        found.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"n{index}", "labels": labels}})
    return found


def pods(count, seed=1):
    dice = random.Random(seed)
    return [pod(dice, index) for index in range(count)]


def pod(dice, index):
    maybe = lambda chance: dice.random() < chance
    spec = {"containers": [container(dice, f"c{number}") for number in range(dice.randint(1, 3))]}
    if maybe(.4):
        spec["initContainers"] = [container(dice, f"i{number}") for number in range(dice.randint(1, 2))]
    if maybe(.4):
        spec["volumes"] = [{"name": dice.choice(["data", "tmp", "cache", "outrigger-config"]), "emptyDir": {}}]
    if maybe(.4):
        spec["terminationGracePeriodSeconds"] = dice.choice([0, 1, 30, 99999, 100000])
    if maybe(.2):
        spec["securityContext"] = {"runAsUser": dice.choice([1000, 1337])}
    if maybe(.03):
        spec["hostNetwork"] = True
    if maybe(.1):
        spec["nodeSelector"] = {"kubernetes.io/os": dice.choice(["linux", "linux", "windows"])}
    if maybe(.03):
        spec["containers"][0]["name"] = dice.choice(["outrigger", "outrigger-capture", "istio-proxy"])
    annotations = {name: dice.choice(values) if maybe(.1) else values[0]
                   for name, values in ANNOTATIONS.items() if maybe(.25)}
    annotations |= {name: value for name, value in MARKS.items() if maybe(.03)}
    if maybe(.6):
        annotations["outrigger.dev/capture"] = dice.choice(["on", "off", "off", "off"])
    metadata = {"name": f"p{index}", "namespace": f"n{dice.randint(0, 5)}"}
    if maybe(.2):
        metadata["labels"] = {"outrigger.dev/inject": dice.choice(["enabled", "enabled", "disabled"])}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def container(dice, name):
    made = {"name": name, "image": "app:1"}
    if dice.random() < .5:
        made["env"] = [{"name": one, "value": "v"} for one in dice.sample(PROXIES, dice.randint(1, 3))]
    if dice.random() < .3:
        made["ports"] = [{"containerPort": dice.choice([80, 443, 8080, 15001]), "protocol": dice.choice(["TCP", "UDP"])}]
    if dice.random() < .3:
        made["securityContext"] = {"runAsUser": dice.choice([0, 1000, 1000, 1337])}
    return made
