"""A real Prometheus scrapes the proxy, and evaluates the alert rules and the dashboard."""

import http.client
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import otlp_receiver
from report import eventually
from stage import HERE

GRAFANA = HERE.parent.parent / "mesh-config" / "grafana"
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{alerts}"]
scrape_configs:
  - job_name: outrigger
    static_configs: [{{targets: ["127.0.0.1:{admin}"]}}]
"""

SIDECAR = """
version: v1
workers: 1
outbound: {listen: 127.0.0.1:15001}
admin: {listen: 127.0.0.1:15000}
tracing: {otlp: "http://127.0.0.1:%d"}
services:
  order-service: {endpoints: {static: ["127.0.0.1:%d"]}}
"""


def needs():
    absent = [program for program in ("prometheus", "promtool") if not shutil.which(program)]
    return f"not found: {', '.join(absent)}" if absent else None


def prepare(stage):
    """Started before anybody calls, so that it sees the calls of all."""
    stage.prometheus_port = started(stage, "prometheus", stage.port["admin"])


def started(stage, name, admin):
    """A Prometheus that scrapes the proxy of that admin port; returns its own port."""
    config, port = stage.folder / f"{name}.yml", stage.free_port()
    config.write_text(CONFIG.format(alerts=GRAFANA / "alerts.yaml", admin=admin))
    stage.start(name, ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={stage.folder / name}",
                       f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage"], port)
    if not eventually(lambda: ready(port), 30):
        raise RuntimeError(f"{name} is not ready")
    return port


def ready(port):
    """Whether it answers queries: it listens a moment before that."""
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).status == 200
    except urllib.error.HTTPError:
        return False


def checks(stage, report):
    connection = http.client.HTTPConnection("127.0.0.1", stage.port["outbound"], timeout=5)
    connection.request("GET", "/text.txt", headers={"Host": "payment-service"})
    report.same("prometheus server: a call to count", 200, connection.getresponse().status)
    connection.close()
    texts(stage, report)
    scraped(stage, report)
    expressions(stage, report)
    exemplars(stage, report)


def texts(stage, report):
    """What `promtool` says of the page and of the rules."""
    request = urllib.request.Request(f"http://127.0.0.1:{stage.port['admin']}/metrics",
                                     headers={"Accept": "text/plain"})
    page = urllib.request.urlopen(request, timeout=5).read()
    report.same("promtool: nothing to say of /metrics", (0, ""), promtool("check", "metrics", page=page))
    alerts = GRAFANA / "alerts.yaml"
    report.same("promtool: the alert rules are rules", 0, promtool("check", "rules", alerts)[0])
    test = stage.folder / "alerts_test.yaml"
    test.write_text((HERE / "alerts_test.yaml").read_text().replace("{alerts}", str(alerts)))
    code, said = promtool("test", "rules", test)
    report.holds("promtool: alerts fire when they should, and not when all is well", code == 0, said)


def scraped(stage, report):
    text = stage.admin("/metrics")[2].splitlines()
    buckets = sum(line.startswith("outrigger_call_duration_seconds_bucket{") for line in text)
    report.holds("prometheus server: the proxy is up", eventually(lambda: number(stage, "up") == 1, 10),
                 query(stage, "up"))
    found = lambda: number(stage, "count(outrigger_call_duration_seconds_bucket)")
    report.holds("prometheus server: every bucket is taken in", eventually(lambda: found() == buckets, 10),
                 found(), buckets)
    for name in ("histogram_quantile(0.99, sum by (le) (outrigger_call_duration_seconds_bucket))",
                 'max(outrigger_call_duration_quantiles_seconds{quantile="0.99"})'):
        report.holds(f"prometheus server: a p99 from {name.split('(')[0]}",
                     eventually(lambda: 0 < number(stage, name) < 3600, 10), query(stage, name))


def expressions(stage, report):
    """Each alert and each panel is something that Prometheus can evaluate."""
    rules = lambda: [rule for group in ask(stage, "rules")["data"]["groups"] for rule in group["rules"]]
    known = lambda: {rule["health"] for rule in rules()} == {"ok"}
    report.holds("prometheus server: every alert rule is evaluated", eventually(known, 10),
                 [rule["name"] for rule in rules() if rule["health"] != "ok"])
    dashboard = json.loads((GRAFANA / "dashboard.json").read_text())
    wrong = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            text = target["expr"].replace("$__rate_interval", "1m")
            for variable in ("$job", "$instance", "$service"):
                text = text.replace(variable, ".*")
            answer = query(stage, text)
            if answer.get("status") != "success":
                wrong.append((panel["title"], answer))
    report.same("prometheus server: every panel of the dashboard is evaluated", [], wrong)


def exemplars(stage, report):
    """A call whose spans are exported leads from its bucket to its trace; one that is not exported does not."""
    if absent := otlp_receiver.needs():
        return report.cannot("prometheus server: exemplars", absent)
    collector = otlp_receiver.Collector()
    proxy = stage.another("exemplars", SIDECAR % (collector.http, stage.port["scripted"]), OTEL_BSP_SCHEDULE_DELAY="20")
    exported, silent = "4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4736"
    for trace, flags in ((silent, "00"), (exported, "01")):
        proxy.call("GET", "order-service", "/echo", traceparent=f"00-{trace}-00f067aa0ba902b7-{flags}")
    port, now = started(stage, "prometheus-exemplars", proxy.admin_port), time.time()
    found = lambda: [(one["labels"], float(one["value"])) for series in ask(
        stage, "query_exemplars", port, query="outrigger_call_duration_seconds_bucket", start=now - 60, end=now + 60)["data"]
        for one in series["exemplars"]]
    eventually(found, 10)
    report.same("prometheus server: the exemplar of the call that is exported, and no other", [{"trace_id": exported}],
                [labels for labels, _ in found()])
    spans = lambda: [span for span in collector.of(exported) if span["parent"] == "00f067aa0ba902b7"]
    report.holds("prometheus server: its trace is at the collector", eventually(lambda: len(spans()) == 1), collector.spans)
    report.holds("prometheus server: its value is the time the call took",
                 all(0 < value < 15 for _, value in found()), found())


def promtool(*words, page=None):
    """Exit code, and everything it said."""
    done = subprocess.run(["promtool", *map(str, words)], input=page or b"", capture_output=True, timeout=60)
    return done.returncode, (done.stdout + done.stderr).decode()


def ask(stage, path, port=None, **words):
    url = f"http://127.0.0.1:{port or stage.prometheus_port}/api/v1/{path}?{urllib.parse.urlencode(words)}"
    try:
        return json.load(urllib.request.urlopen(url, timeout=5))
    except urllib.error.HTTPError as error:
        return json.load(error)


def query(stage, text):
    return ask(stage, "query", query=text)


def number(stage, text):
    """The value of the only series, or -1."""
    result = query(stage, text).get("data", {}).get("result", [])
    return float(result[0]["value"][1]) if len(result) == 1 else -1
