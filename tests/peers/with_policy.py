"""The policy for the API server does to a pod what the plan does: its CEL is evaluated by another implementation.

The policy is that of `k8s/policy`; `policy_pods.json` has pods with what the plan makes of them. The program's own
tests keep both files true. And `outrigger inject` is asked about pods made at random."""

import copy
import json
import pathlib
import subprocess

import random_pods

HERE = pathlib.Path(__file__).parent
POLICY = HERE.parent.parent / "k8s" / "policy" / "policy.yaml"
PODS = HERE / "policy_pods.json"
NEWEST = ["1.35", "1.36", "1.37"]
RANDOM_PODS = 200
POLICY_SINCE = ["1.36", "1.37"]


def needs():
    try:
        import jsonpatch, kubernetes_validate, yaml, kubernetes_cel   # noqa: E401, F401
    except ImportError as error:
        return str(error)


def checks(stage, report):
    import yaml

    from kubernetes_cel import Policy
    documents = list(yaml.safe_load_all(POLICY.read_text()))
    cases = json.loads(PODS.read_text())
    valid(report, documents)
    spec = documents[0]["spec"]
    policy = Policy(spec)
    selected = lambda labels, pod: selects(documents, {"kubernetes.io/metadata.name": "shop", **labels}, pod)
    report.same("kube-system is not selected", False, selects(documents, {"kubernetes.io/metadata.name": "kube-system",
                "outrigger.dev/inject": "enabled"}, {"metadata": {}}))
    report.same("a namespace without the label is not selected", False, selected({}, {"metadata": {}}))
    injected = left_alone(report, policy, selected, [case for case in cases if "reason" in case])
    injected += patched(report, policy, selected, [case for case in cases if "after" in case])
    forms(report, policy, [case for case in cases if "annotation" in case])
    report.holds("enough pods were looked at", injected > 80, injected)
    as_inject_does(stage, report, policy, documents)


def valid(report, documents):
    import kubernetes_validate
    kinds = [document["kind"] for document in documents]
    report.same("a policy and two bindings", ["MutatingAdmissionPolicy"] + ["MutatingAdmissionPolicyBinding"] * 2, kinds)
    for version in POLICY_SINCE:
        for document in documents:
            name = f"{document['kind']} {document['metadata']['name']} is valid for Kubernetes {version}"
            report.same(name, None, problem(kubernetes_validate, document, version))


def problem(kubernetes_validate, document, version):
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return error.message


def selects(documents, labels, pod):
    """Whether the policy and one of its bindings select a pod in a namespace with these labels."""
    policy, *bindings = documents
    own = pod["metadata"].get("labels", {})
    chosen = lambda one: matches(one.get("namespaceSelector"), labels) and matches(one.get("objectSelector"), own)
    return chosen(policy["spec"]["matchConstraints"]) and any(chosen(one["spec"]["matchResources"]) for one in bindings)


def matches(selector, labels):
    selector = selector or {}
    equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return equal and all(meets(labels, one) for one in selector.get("matchExpressions", []))


def meets(labels, one):
    if one["operator"] == "NotIn":
        return labels.get(one["key"]) not in one["values"]
    raise ValueError(f"no meaning is known of the operator {one['operator']}")


def left_alone(report, policy, selected, cases):
    """The plan's reason is a condition that is false, or no binding selects the pod, or the patch is empty."""
    wrong = []
    for case in cases:
        pod, namespace = case["pod"], {"metadata": {"name": "shop", "labels": case["labels"]}}
        against = policy.against(pod)
        told = case["reason"] in against
        if not against and case["reason"] in ("pod-security", "other-mesh"):   # seen by the namespace's labels
            told = policy.patch(pod, namespace) == []
        if not against and case["reason"] == "disabled":
            told = not selected(case["labels"], pod)
        if not told:
            wrong.append((case["reason"], against, pod))
    report.same(f"{len(cases)} pods are left alone for the plan's reason", [], wrong)
    return len(cases)


def patched(report, policy, selected, cases):
    """The patch makes of a pod what the plan makes of it; a second look changes nothing; Kubernetes takes it."""
    import jsonpatch
    import kubernetes_validate
    wrong, twice, invalid = [], [], []
    for case in cases:
        pod, namespace = case["pod"], {"metadata": {"name": "shop", "labels": case["labels"]}}
        against = policy.against(pod)
        if against or not selected(case["labels"], pod):
            wrong.append((case["about"], against, pod))
            continue
        after = jsonpatch.apply_patch(copy.deepcopy(pod), policy.patch(pod, namespace))
        if after != case["after"]:
            wrong.append((case["about"], difference(after, case["after"])))
        if "already-injected" not in policy.against(after):
            twice.append(after)
        whole = {"apiVersion": "v1", "kind": "Pod", **after}
        invalid += [told for version in NEWEST if (told := problem(kubernetes_validate, whole, version))]
    report.same(f"{len(cases)} pods become what the plan makes of them", [], wrong)
    report.same("none of them is changed twice", [], twice)
    report.same(f"all of them are valid for Kubernetes {', '.join(NEWEST)}", [], invalid)
    return len(cases)


def forms(report, policy, cases):
    """Values of annotations are taken or not as the plan takes them."""
    wrong = []
    for case in cases:
        pod = {"metadata": {"annotations": {case["annotation"]: case["value"]}}, "spec": {"containers": [{"name": "app"}]}}
        if (policy.against(pod) == []) != case["good"]:
            wrong.append(case)
    report.same(f"{len(cases)} values of annotations are judged as the plan judges them", [], wrong)
    good = sum(case["good"] for case in cases)
    report.holds("good ones and bad ones", 100 < good < len(cases) - 100, good)


def as_inject_does(stage, report, policy, documents):
    """`outrigger inject` and the policy, asked about the same pods, write the same."""
    import jsonpatch
    import yaml
    namespaces, pods = random_pods.namespaces(), random_pods.pods(RANDOM_PODS)
    text = "\n---\n".join(json.dumps(document) for document in namespaces + pods)
    done = subprocess.run([stage.binary, "inject", "-"], input=text, capture_output=True, text=True, timeout=60)
    written = [document for document in yaml.safe_load_all(done.stdout) if document and document["kind"] == "Pod"]
    report.same("inject gives out every pod", (0, len(pods)), (done.returncode, len(written)))
    labels = {one["metadata"]["name"]: one["metadata"]["labels"] for one in namespaces}
    wrong, injected = [], 0
    for pod, by_inject in zip(pods, written):
        own = labels[pod["metadata"]["namespace"]]
        after = pod
        if selects(documents, {"kubernetes.io/metadata.name": "shop", **own}, pod) and not policy.against(pod):
            patch = policy.patch(pod, {"metadata": {"name": "shop", "labels": own}})
            after = jsonpatch.apply_patch(copy.deepcopy(pod), patch)
        injected += after != pod
        if after != by_inject:
            wrong.append((difference(after, by_inject), pod))
    report.same(f"of {len(pods)} pods made at random {injected} are injected, and all are what inject writes", [], wrong)
    report.holds("many are injected, many are not", 40 < injected < len(pods) - 40, injected)


def difference(one, other, at=""):
    """The first place where two values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                return difference(one.get(key), other.get(key), f"{at}/{key}")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other)):
            if pair[0] != pair[1]:
                return difference(*pair, f"{at}/{index}")
    return at, one, other
