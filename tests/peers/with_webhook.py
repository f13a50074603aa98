"""The webhook among programs of others: OpenSSL looks at the certificate that it makes, Python's JSON Patch
applies its answers, and Kubernetes' schemas say whether what comes out is a pod.

The API server is a script of Python's; the reviews are those of tests/it/webhook."""

import base64
import http.client
import http.server
import json
import pathlib
import socket
import ssl
import subprocess
import threading

import certificates
from report import eventually

REVIEWS = pathlib.Path(__file__).parent.parent / "it" / "webhook" / "reviews"
NAME = "outrigger-webhook.outrigger-system.svc"
VERSIONS = ["1.29", "1.35", "1.36", "1.37"]


def needs():
    try:
        import jsonpatch, kubernetes_validate   # noqa: E401, F401
    except ImportError as error:
        return str(error)


def checks(stage, report):
    folder = stage.folder / "webhook"
    folder.mkdir()
    with ApiServer(folder) as cluster:
        port, health = stage.free_port(), stage.free_port()
        webhook = stage.start("webhook", [
            stage.binary, "webhook", "--self-signed", f"--service-account={folder}", "--lifetime=60s",
            f"--listen=127.0.0.1:{port}", f"--health=127.0.0.1:{health}"], health,
            env={"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(cluster.port)})
        report.holds("the API server trusts it soon", eventually(lambda: get(health, "/ready") == 200, 20),
                     stage.text("webhook.log")[-400:])
        (folder / "bundle.pem").write_bytes(cluster.bundle())
        trusted(report, folder / "bundle.pem", port)
        reviewed(report, folder / "bundle.pem", port)
        webhook.terminate()
        report.same("SIGTERM: exit code 0", 0, webhook.wait(15))


def trusted(report, bundle, port):
    """OpenSSL's strict reading of the chain and the name."""
    said = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", NAME, "-CAfile", bundle,
                           "-verify_hostname", NAME, "-verify_return_error", "-x509_strict", "-purpose", "sslserver"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    report.holds("OpenSSL: the bundle verifies the certificate, strictly", "Verify return code: 0 (ok)" in said.stdout,
                 said.stdout[-400:] + said.stderr[-400:])
    report.holds("OpenSSL: TLS 1.1 is refused", not speaks(port, "-tls1_1"), "spoken")
    report.holds("OpenSSL: TLS 1.2 is spoken", speaks(port, "-tls1_2"), "refused")


def speaks(port, version):
    said = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", NAME, version,
                           "-cipher", "DEFAULT@SECLEVEL=0"], stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    return said.returncode == 0


def reviewed(report, bundle, port):
    import jsonpatch
    import kubernetes_validate
    injected = 0
    for path in sorted(REVIEWS.glob("*.json")):
        status, answer = ask(bundle, port, path.read_bytes())
        if path.stem == "v1beta1":
            report.same(f"{path.stem}: not understood", 400, status)
            continue
        response = json.loads(answer)["response"]
        report.same(f"{path.stem}: allowed", (200, True), (status, response["allowed"]))
        if "patch" not in response:
            report.holds(f"{path.stem}: the owner is told why", response.get("warnings"), response)
            continue
        injected += 1
        pod = json.loads(path.read_text())["request"]["object"]
        pod = whole(jsonpatch.apply_patch(pod, base64.b64decode(response["patch"]).decode()))
        names = [container["name"] for container in pod["spec"]["initContainers"]]
        report.holds(f"{path.stem}: the sidecar is in it", "outrigger" in names, names)
        wrong = [version for version in VERSIONS if not valid(kubernetes_validate, pod, version)]
        report.same(f"{path.stem}: a valid pod of Kubernetes {', '.join(VERSIONS)}", [], wrong)
    report.holds("pods of every origin were injected", injected >= 6, injected)


def valid(kubernetes_validate, pod, version):
    try:
        kubernetes_validate.validate(pod, version, strict=True)
        return True
    except kubernetes_validate.ValidationError as error:
        print(f"     {version}: {error.message}")
        return False


def whole(value):
    """Without what is null: the API server has the same for it as for nothing."""
    if isinstance(value, dict):
        return {key: whole(inner) for key, inner in value.items() if inner is not None}
    return [whole(inner) for inner in value] if isinstance(value, list) else value


def ask(bundle, port, body):
    context = ssl.create_default_context(cafile=str(bundle))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    client = http.client.HTTPSConnection(NAME, port, timeout=20)
    client.sock = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname=NAME)
    client.request("POST", "/inject?timeout=5s", body, {"Content-Type": "application/json"})
    answer = client.getresponse()
    return answer.status, answer.read()


def get(port, path):
    try:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        client.request("GET", path)
        return client.getresponse().status
    except OSError:
        return None


class ApiServer:
    """Knows one MutatingWebhookConfiguration."""

    def __init__(self, folder):
        certificates.request(folder / "ca.crt", folder / "ca.key", "kubernetes", "keyUsage=keyCertSign")
        certificates.request(folder / "server.pem", folder / "server.key", "kubernetes", "subjectAltName=IP:127.0.0.1",
                             "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key")
        (folder / "token").write_text("a-token")
        (folder / "namespace").write_text("outrigger-system")
        service = {"name": "outrigger-webhook", "namespace": "outrigger-system", "path": "/inject"}
        self.object = {"metadata": {"name": "outrigger", "resourceVersion": "7"},
                       "webhooks": [{"name": "pods.outrigger.dev", "clientConfig": {"service": service}}]}
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem", folder / "server.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()

    def bundle(self):
        return base64.b64decode(self.object["webhooks"][0]["clientConfig"].get("caBundle", ""))

    def merge(self, patch):
        """Out: a status. The version must be the one that was read, as with `resourceVersion` in a real patch."""
        if patch["metadata"]["resourceVersion"] != self.object["metadata"]["resourceVersion"]:
            return 409
        for change in patch["webhooks"]:
            [webhook] = [one for one in self.object["webhooks"] if one["name"] == change["name"]]
            webhook["clientConfig"].update(change["clientConfig"])
        version = self.object["metadata"]["resourceVersion"]
        self.object["metadata"]["resourceVersion"] = str(int(version) + 1)
        return 200


def handler(cluster):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(200)

        def do_PATCH(self):
            self.reply(cluster.merge(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def reply(self, status):
            body = json.dumps(cluster.object).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    return Handler
