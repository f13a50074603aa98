"""k8s/ and injected pods, as `kubectl kustomize` renders them and Kubernetes' own schemas read them.

Strictly, for the three newest versions there are schemas of: an unknown field is an error. What no schema says
is asked here: selectors that match, names that exist, and Pod Security.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import pod_rules
from stage import HERE

K8S = HERE.parent.parent / "k8s"
INJECT = "outrigger.dev/inject"
# Kinds of others, which Kubernetes has no schema of.
FOREIGN = ("monitoring.coreos.com/", "cert-manager.io/")
# Kinds that came later than the oldest of the three versions.
SINCE = {"MutatingAdmissionPolicy": "1.36", "MutatingAdmissionPolicyBinding": "1.36"}
WORKLOADS = ("Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob")


def needs():
    try:
        import kubernetes_validate                             # noqa: F401
        import yaml                                            # noqa: F401
    except ImportError as error:
        return f"`{error.name}` is not installed"
    return None if kubectl() else "`kubectl` is not installed"


def kubectl():
    """That of the requirements; a system's own may be older than what it renders."""
    own = pathlib.Path(sys.executable).with_name("kubectl")
    return str(own) if own.exists() else shutil.which("kubectl")


def checks(stage, report):
    rendered = {}
    for folder in sorted(file.parent for file in K8S.rglob("kustomization.yaml")):
        name = str(folder.relative_to(K8S))
        rendered[name] = render(folder)
        report.holds(f"k8s/{name} renders", rendered[name], rendered[name])
        validate(report, f"k8s/{name}", rendered[name])
        pod_rules.selectors(report, f"k8s/{name}", rendered[name])
    webhook(stage, report, rendered)
    configuration(stage, report, rendered)
    pod_rules.monitors(report, rendered["monitoring"], rendered["shop/injected"],
                      rendered["webhook/self-signed"])
    shop(stage, report, rendered)
    every_kind(stage, report)


# === rendering and validating ===

def render(folder):
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"kubectl kustomize {folder}: {done.stderr}")
    return parse(done.stdout)


def parse(text):
    """All documents; those of a List on their own."""
    import yaml
    found = []
    for document in yaml.safe_load_all(text):
        if document:
            found += document["items"] if document["kind"] == "List" else [document]
    return found


def versions():
    import kubernetes_validate
    return sorted({version.rsplit(".", 1)[0] for version in kubernetes_validate.utils.all_versions()},
                  key=lambda version: tuple(map(int, version.split("."))))[-3:]


def validate(report, what, documents):
    import kubernetes_validate
    for version in versions():
        wrong, read = [], 0
        for document in documents:
            name = f"{document['kind']}/{document['metadata'].get('name')}"
            try:
                kubernetes_validate.validate(document, version, strict=True)
                read += 1
            except kubernetes_validate.SchemaNotFoundError as error:
                later = newer(SINCE.get(document["kind"], "0.0"), version)
                if not later and not document["apiVersion"].startswith(FOREIGN):
                    wrong.append(f"{name}: {error.message}")
            except kubernetes_validate.ValidationError as error:
                wrong.append(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")
        report.same(f"{what}: {read} of {len(documents)} documents pass the strict schemas of Kubernetes {version}",
                    [], wrong)


def newer(version, than):
    return tuple(map(int, version.split("."))) > tuple(map(int, than.split(".")))


def outrigger(stage, *words, text=None):
    done = subprocess.run([stage.binary, *words], input=text, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "NO_COLOR": "1"})
    return done


# === the webhook ===

def webhook(stage, report, rendered):
    for variant in ("cert-manager", "self-signed"):
        documents = rendered[f"webhook/{variant}"]
        moved = render(elsewhere(stage, variant, "mesh", "registry.example/outrigger:9"))
        left = [document["kind"] for document in moved if "outrigger-system" in str(document)]
        report.same(f"webhook/{variant}: moved to another namespace, nothing names the old one", [], left)
        images = {(container["image"], *[word.split("=")[1] for word in container["args"] if word.startswith("--image=")])
                  for pod in pod_rules.pods(moved) for container in pod.containers}
        report.same(f"webhook/{variant}: sidecars have the image that the webhook has", {("registry.example/outrigger:9",) * 2},
                    images)
        for documents in (documents, moved):
            pod_rules.webhook(report, f"webhook/{variant}", documents)
        for pod in pod_rules.pods(documents):
            command_lines(stage, report, f"webhook/{variant}", pod)


def elsewhere(stage, variant, namespace, image):
    """A copy whose namespace and image were changed where its first lines say."""
    copy = stage.folder / f"moved-{variant}"
    shutil.copytree(K8S / "webhook", copy)
    file = copy / variant / "kustomization.yaml"
    file.write_text(file.read_text().replace("namespace: outrigger-system\n", f"namespace: {namespace}\n") +
                    f"images: [{{name: outrigger, newName: {image.split(':')[0]}, newTag: '{image.split(':')[1]}'}}]\n")
    return copy / variant


def command_lines(stage, report, what, pod):
    """Arguments that the program knows: with `--help` at their end it says what they mean, and does nothing."""
    for container in pod.containers:
        if container["image"].startswith("outrigger:"):
            done = outrigger(stage, *container["args"], "--help")
            report.same(f"{what}: the program knows the arguments of {container['name']}", (0, ""),
                        (done.returncode, done.stderr))


# === the configuration ===

def configuration(stage, report, rendered):
    for name, documents in rendered.items():
        maps = [document for document in documents
                if document["kind"] == "ConfigMap" and document["metadata"]["name"] == "outrigger"]
        for file, text in [pair for map in maps for pair in map["data"].items()]:
            path = stage.folder / f"{name.replace('/', '-')}-{file}"
            path.write_text(text)
            done = outrigger(stage, "check", str(path))
            report.same(f"k8s/{name}: ConfigMap outrigger: `outrigger check {file}`", (0, True),
                        (done.returncode, "0 warnings" in done.stdout + done.stderr))
    services = {document["metadata"]["name"] for document in rendered["shop/base"] if document["kind"] == "Service"}
    import yaml
    claimed = set(yaml.safe_load((K8S / "config" / "outrigger.yaml").read_text())["services"])
    report.same("the configuration is of services that the shop has", set(), claimed - services)


# === the shop ===

def shop(stage, report, rendered):
    source, written = K8S / "shop" / "base" / "shop.yaml", K8S / "shop" / "injected" / "shop.yaml"
    done = outrigger(stage, "inject", str(source))
    report.same("k8s/shop/injected is what `outrigger inject` writes", (0, written.read_text()),
                (done.returncode, done.stdout))
    again = outrigger(stage, "inject", str(written))
    report.same("injected again it stays as it is", (0, written.read_text()), (again.returncode, again.stdout))
    for pod in pod_rules.pods(rendered["shop/injected"]):
        if pod.labels.get(INJECT) == "enabled":
            pod_rules.injected(report, f"shop: {pod.name}", pod)
            command_lines(stage, report, f"shop: {pod.name}", pod)
        else:
            report.same(f"shop: {pod.name} is left alone", [], pod.spec.get("initContainers", []))
    job = [pod for pod in pod_rules.pods(rendered["shop/injected"]) if pod.kind == "Job"]
    report.same("shop: the Job's proxy is a native sidecar", ["Always"],
                [pod.proxy.get("restartPolicy") for pod in job])
    scaled = [pod for pod in pod_rules.pods(rendered["shop/injected"]) if pod.name == "order-service"]
    report.same("shop: every container of what is scaled asks for CPU", [],
                [container["name"] for pod in scaled for container in pod.containers
                 if "cpu" not in container.get("resources", {}).get("requests", {})])
    restricted(stage, report, rendered["shop/restricted"])


def restricted(stage, report, documents):
    """The explicit form keeps all of Pod Security `restricted`."""
    import yaml
    done = outrigger(stage, "inject", "-", text=yaml.safe_dump_all(documents))
    report.same("shop/restricted: `outrigger inject` takes it", 0, done.returncode)
    documents = parse(done.stdout)
    validate(report, "shop/restricted, injected", documents)
    for pod in pod_rules.pods(documents):
        report.same(f"shop/restricted: {pod.name} keeps the rules of Pod Security", [], pod_rules.restricted(pod))
        if pod.labels.get(INJECT) == "enabled":
            report.same(f"shop/restricted: {pod.name} has the proxy and no other container of ours", ["outrigger"],
                        [container["name"] for container in pod.spec["initContainers"]])
            app = pod.spec["containers"][0]
            report.same(f"shop/restricted: {pod.name} is told of the proxy", ["http://127.0.0.1:15001"],
                        [entry["value"] for entry in app["env"] if entry["name"] == "HTTP_PROXY"])


# === every kind of workload ===

def every_kind(stage, report):
    import yaml
    documents = [workload(kind) for kind in WORKLOADS]
    listed = {"apiVersion": "v1", "kind": "List", "items": [workload("Deployment"), workload("CronJob")]}
    for name, text in [("every kind", yaml.safe_dump_all(documents)), ("a List", yaml.safe_dump(listed))]:
        validate(report, f"{name} as it was", parse(text))
        done = outrigger(stage, "inject", "-", text=text)
        report.same(f"{name}: `outrigger inject` takes it", 0, done.returncode)
        validate(report, f"{name} injected", parse(done.stdout))
        for pod in pod_rules.pods(parse(done.stdout)):
            pod_rules.injected(report, f"{name}: {pod.kind}", pod)
        back = outrigger(stage, "uninject", "-", text=done.stdout)
        report.same(f"{name}: `outrigger uninject` gives back what was", (0, parse(text)),
                    (back.returncode, parse(back.stdout) if not back.returncode else back.stderr))


def workload(kind):
    labels = {"app": "probe"}
    spec = {"containers": [{"name": "app", "image": "busybox", "resources": {"requests": {"cpu": "1m"}}}],
            "initContainers": [{"name": "migrate", "image": "busybox"}]}
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "probe", "labels": labels}, "spec": spec}
    template = {"metadata": {"labels": labels}, "spec": spec}
    selector = {"matchLabels": labels}
    if kind in ("Job", "CronJob"):
        spec["restartPolicy"] = "Never"
        job = {"template": template}
        if kind == "CronJob":
            job = {"schedule": "*/5 * * * *", "jobTemplate": {"spec": job}}
        return {"apiVersion": "batch/v1", "kind": kind, "metadata": {"name": "probe"}, "spec": job}
    more = {"serviceName": "probe"} if kind == "StatefulSet" else {}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "probe"},
            "spec": {"selector": selector, "template": template, **more}}
