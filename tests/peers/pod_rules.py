"""Rules of pods that no schema makes: selectors, names, the sidecar's place and rights, Pod Security."""

import dataclasses

CAPTURE, PROXY = "outrigger-capture", "outrigger"


@dataclasses.dataclass
class Pod:
    """A pod or a template of pods, and what it belongs to."""
    kind: str
    name: str
    labels: dict
    annotations: dict
    spec: dict

    @property
    def containers(self):
        return self.spec.get("initContainers", []) + self.spec["containers"]

    @property
    def proxy(self):
        return self.container(PROXY)

    def container(self, name):
        return next((found for found in self.containers if found["name"] == name), {})


def pods(documents):
    found = []
    for document in documents:
        kind, spec, metadata = document["kind"], document.get("spec", {}), document["metadata"]
        if kind == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if kind == "Pod":
            template = document
        elif kind != "PodTemplate" and "template" in spec and "containers" in spec["template"].get("spec", {}):
            template = spec["template"]
        else:
            continue
        inner = template.get("metadata", {})
        found.append(Pod(kind, metadata["name"], inner.get("labels", {}), inner.get("annotations", {}), template["spec"]))
    return found


# === selectors and names ===

def selectors(report, what, documents):
    """What selects pods selects some, and finds their ports; what pods name is there."""
    wrong, have = [], pods(documents)
    for document in documents:
        name, spec = f"{document['kind']}/{document['metadata']['name']}", document.get("spec", {})
        if document["kind"] == "Service":
            chosen = [pod for pod in have if matches(spec["selector"], pod)]
            wrong += [f"{name}: selects no pod"] if not chosen else []
            wrong += [f"{name}: no port {port['targetPort']}" for port in spec["ports"] for pod in chosen
                      if isinstance(port["targetPort"], str) and port["targetPort"] not in ports(pod)]
        elif document["kind"] in ("PodDisruptionBudget", "NetworkPolicy"):
            chosen = spec.get("selector", spec.get("podSelector"))["matchLabels"]
            wrong += [f"{name}: selects no pod"] if not any(matches(chosen, pod) for pod in have) else []
        elif document["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"):
            own = next(pod for pod in have if (pod.kind, pod.name) == (document["kind"], document["metadata"]["name"]))
            wrong += [] if matches(spec["selector"]["matchLabels"], own) else [f"{name}: does not select its own pods"]
            for spread in own.spec.get("topologySpreadConstraints", []):
                wrong += [] if matches(spread["labelSelector"]["matchLabels"], own) else [f"{name}: spreads others"]
        elif document["kind"] == "HorizontalPodAutoscaler":
            target = (spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
            wrong += [] if target in [(pod.kind, pod.name) for pod in have] else [f"{name}: no {target}"]
    accounts = {document["metadata"]["name"] for document in documents if document["kind"] == "ServiceAccount"}
    for pod in have:
        wrong += names(pod)
        account = pod.spec.get("serviceAccountName")
        wrong += [f"{pod.name}: no ServiceAccount {account}"] if account and account not in accounts else []
    report.same(f"{what}: selectors match, and what is named is there", [], wrong)


def matches(labels, pod):
    return labels.items() <= pod.labels.items()


def ports(pod):
    return {port.get("name") for container in pod.containers for port in container.get("ports", [])}


def names(pod):
    """No container twice; every mount has its volume; every port of a probe is there."""
    wrong, seen = [], [container["name"] for container in pod.containers]
    wrong += [f"{pod.name}: {name} twice" for name in set(seen) if seen.count(name) > 1]
    volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
    for container in pod.containers:
        wrong += [f"{pod.name}: no volume {mount['name']}" for mount in container.get("volumeMounts", [])
                  if mount["name"] not in volumes]
        own = {port.get("name") for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port", 0)
            wrong += [f"{pod.name}: {probe}: no port {port}"] if isinstance(port, str) and port not in own else []
    return wrong


# === what injection promises ===

def injected(report, what, pod):
    """Rules first, proxy second, then the pod's own; rights no wider than needed."""
    order = [container["name"] for container in pod.spec["initContainers"]]
    report.same(f"{what}: the rules, then the proxy, then all others", [CAPTURE, PROXY], order[:2])
    proxy, capture = pod.proxy, pod.container(CAPTURE)
    report.same(f"{what}: a native sidecar, ready before the application starts, with no hook and no liveness probe",
                ("Always", "/ready", 15020, set()),
                (proxy.get("restartPolicy"), *[proxy["startupProbe"]["httpGet"][key] for key in ("path", "port")],
                 {"lifecycle", "livenessProbe", "readinessProbe"} & set(proxy)))
    strong = [container["name"] for container in pod.containers
              if "NET_ADMIN" in container.get("securityContext", {}).get("capabilities", {}).get("add", [])]
    report.same(f"{what}: one container may change the network", [CAPTURE], strong)
    report.same(f"{what}: the proxy keeps Pod Security `restricted`", [], restricted_container(proxy, {}))
    wide = restricted_container(capture, {})
    report.same(f"{what}: the rules' container breaks it in two points alone",
                ["adds NET_ADMIN", "runs as root"], sorted(line.split(": ", 1)[1] for line in wide))
    for container in (proxy, capture):
        report.same(f"{what}: {container['name']} has a read-only root, requests, and no CPU limit",
                    (True, {"cpu", "memory"}, {"memory"}),
                    (container["securityContext"]["readOnlyRootFilesystem"],
                     *[set(container["resources"][key]) for key in ("requests", "limits")]))
    report.holds(f"{what}: it says what was added", pod.annotations.get("outrigger.dev/status"), pod.annotations)
    report.same(f"{what}: names are its own, and what is named is there", [], names(pod))


# === Pod Security ===

def restricted(pod):
    """What of the rules `restricted` the pod breaks (Kubernetes, "Pod Security Standards")."""
    wrong = [f"{key} is set" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(key)]
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in pod.spec.get("volumes", []):
        wrong += [f"volume {volume['name']}: {kind}" for kind in set(volume) - {"name"} - allowed]
    for container in pod.containers:
        wrong += restricted_container(container, pod.spec.get("securityContext", {}))
    return wrong


def restricted_container(container, of_pod):
    own = {**of_pod, **container.get("securityContext", {})}
    capabilities = own.get("capabilities", {})
    wrong = []
    if own.get("privileged"):
        wrong.append("privileged")
    if own.get("allowPrivilegeEscalation") is not False:
        wrong.append("may gain privileges")
    if own.get("runAsNonRoot") is not True or own.get("runAsUser") == 0:
        wrong.append("runs as root")
    if own.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        wrong.append("has no seccomp profile")
    if "ALL" not in capabilities.get("drop", []):
        wrong.append("keeps capabilities")
    wrong += [f"adds {name}" for name in capabilities.get("add", []) if name != "NET_BIND_SERVICE"]
    wrong += [f"port {port['containerPort']} of the host" for port in container.get("ports", []) if port.get("hostPort")]
    return [f"{container['name']}: {line}" for line in wrong]


# === the webhook ===

def webhook(report, what, documents):
    by_kind = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    deployment = by_kind["Deployment"][0]
    namespace = deployment["metadata"]["namespace"]
    what = f"{what} in {namespace}"
    pod = pods([deployment])[0]
    report.same(f"{what}: keeps Pod Security `restricted`, and a read-only root", ([], True),
                (restricted(pod), all(container["securityContext"]["readOnlyRootFilesystem"] for container in pod.containers)))
    report.holds(f"{what}: two replicas and a budget", deployment["spec"]["replicas"] >= 2 and
                 by_kind["PodDisruptionBudget"][0]["spec"]["minAvailable"] == 1, deployment["spec"])
    service = by_kind["Service"][0]
    for hook in by_kind["MutatingWebhookConfiguration"][0]["webhooks"]:
        asked = hook["clientConfig"]["service"]
        report.same(f"{what}: {hook['name']} asks the Service", (service["metadata"]["name"], namespace, True),
                    (asked["name"], asked["namespace"], asked["port"] in [port["port"] for port in service["spec"]["ports"]]))
        report.same(f"{what}: {hook['name']} fails closed, in five seconds, without side effects, and may be asked again",
                    ("Fail", 5, "None", "IfNeeded", ["CREATE"], ["pods"]),
                    (hook["failurePolicy"], hook["timeoutSeconds"], hook["sideEffects"], hook["reinvocationPolicy"],
                     hook["rules"][0]["operations"], hook["rules"][0]["resources"]))
        left_out = [entry["values"] for entry in hook["namespaceSelector"]["matchExpressions"]
                    if (entry["key"], entry["operator"]) == ("kubernetes.io/metadata.name", "NotIn")]
        report.holds(f"{what}: {hook['name']} is not asked about kube-system nor its own namespace",
                     left_out and {"kube-system", namespace} <= set(left_out[0]), left_out)
        report.holds(f"{what}: {hook['name']} is about labelled pods alone", labelled(hook), hook)
    for certificate in by_kind.get("Certificate", [])[1:]:
        mounted = [volume["secret"]["secretName"] for volume in pod.spec["volumes"]]
        by = by_kind["MutatingWebhookConfiguration"][0]["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
        report.same(f"{what}: the certificate is of the Service, mounted, and its authority in the caBundle",
                    (f"{service['metadata']['name']}.{namespace}.svc", [certificate["spec"]["secretName"]],
                     f"{namespace}/{certificate['metadata']['name']}"),
                    (certificate["spec"]["dnsNames"][0], mounted, by))
    for role in by_kind.get("ClusterRole", []) + by_kind.get("Role", []):
        broad = [rule for rule in role["rules"] if "*" in str(rule) or
                 not rule.get("resourceNames") and (rule["resources"], rule["verbs"]) != (["namespaces"], ["get"])]
        report.same(f"{what}: {role['kind']} {role['metadata']['name']} reads a namespace, and else is over named objects",
                    [], broad)


def labelled(hook):
    return any(entry["key"] == "outrigger.dev/inject" and entry["operator"] == "In" and entry["values"] == ["enabled"]
               for key in ("namespaceSelector", "objectSelector") for entry in hook[key]["matchExpressions"])


# === monitoring ===

def monitors(report, documents, shop, webhook):
    """What Prometheus looks for is what injected pods have, and the webhook's."""
    of = lambda name: [document for document in documents if document["metadata"]["name"] == name]
    by_kind = {document["kind"]: document["spec"] for document in of("outrigger")}
    [own] = of("outrigger-webhook")
    labels = own["spec"]["selector"]["matchLabels"]
    templates = [document["spec"]["template"] for document in webhook if document["kind"] == "Deployment"
                 and document["metadata"]["namespace"] == own["metadata"]["namespace"]]
    found = [port["name"] for template in templates if labels.items() <= template["metadata"]["labels"].items()
             for container in template["spec"]["containers"] for port in container["ports"] if port["containerPort"] == 15020]
    report.same("monitoring: the webhook's PodMonitor finds its port", [endpoint["port"] for endpoint in
                own["spec"]["podMetricsEndpoints"]], found)
    sidecars = [pod for pod in pods(shop) if pod.proxy]
    wanted = [endpoint["port"] for endpoint in by_kind["PodMonitor"]["podMetricsEndpoints"]]
    report.same("monitoring: the PodMonitor's port is that of every sidecar", [wanted] * len(sidecars),
                [[port["name"] for port in pod.proxy["ports"]] for pod in sidecars])
    labels = by_kind["ServiceMonitor"]["selector"]["matchLabels"]
    services = [document for document in shop if document["kind"] == "Service" and
                labels.items() <= document["metadata"].get("labels", {}).items()]
    wanted = [endpoint["port"] for endpoint in by_kind["ServiceMonitor"]["endpoints"]]
    found = [port["name"] for service in services for port in service["spec"]["ports"] if port["targetPort"] == 15020]
    report.same("monitoring: the ServiceMonitor finds the port of the shop's Service", wanted, found)
