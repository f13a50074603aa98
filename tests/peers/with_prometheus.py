"""Prometheus' own OpenMetrics parser reads `/metrics`, after everybody else has called."""

import json

from report import eventually


def needs():
    try:
        import prometheus_client.openmetrics.parser  # noqa: F401
    except ImportError:
        return "Python's `prometheus-client` is not installed"
    return None


def checks(stage, report):
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    def samples():
        status, kind, text = stage.admin("/metrics")
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(sample)
        return status, kind, found

    status, kind, found = samples()
    report.same("prometheus: /metrics parses as OpenMetrics", (200, True),
                (status, kind.startswith("application/openmetrics-text")))
    if stage.everybody:
        sums(report, found)
    busy = lambda: [one for one in samples()[2].get("outrigger_bulkhead_in_flight", []) if one.value]
    report.holds("prometheus: no place in a bulkhead is left taken", eventually(lambda: not busy()), busy())
    lines = lambda: len([json.loads(line) for line in stage.text("outrigger.out").splitlines()])
    calls = lambda: int(sum(one.value for one in samples()[2].get("outrigger_calls_total", [])))
    # A connection of an earlier client may still be ending.
    report.holds("prometheus: one line in the access log for each call counted",
                 eventually(lambda: calls() == lines()), (calls(), lines()))


def sums(report, found):
    seen = {(one.labels["service"], one.labels["outcome"]) for one in found["outrigger_calls_total"] if one.value}
    report.holds("prometheus: calls are counted by service", {service for service, _ in seen} >= {
        "payment-service", "order-service", "absent-service", "broken-service"}, seen)
    retried = sum(one.value for one in found["outrigger_retries_total"]
                  if one.labels["service"] == "order-service" and one.labels["decision"] == "retried")
    report.holds("prometheus: retries are counted", retried >= 8, retried, "8 or more")
