//! The dashboard and the alert rules name metrics and labels that there are.
//!
//! In: `mesh-config/grafana`, as text. Out: every name that the table of metrics does not have.
//! What the expressions mean is for `promtool`, in the peers tier.

use std::collections::BTreeSet;
use std::fs;

use outrigger::telemetry::metrics::{ALL, Kind, Metric};
use outrigger::telemetry::{OUTCOMES, Outcome, RetryDecision};
use regex::Regex;
use serde_json::Value;

/// Labels that Prometheus adds to every series.
const SCRAPED: [&str; 2] = ["job", "instance"];

fn read(name: &str) -> String {
    let path = format!("{}/mesh-config/grafana/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

/// The metric that a sample of this name is of, and the labels that the sample has.
fn labels_of(sample: &str) -> Option<Vec<&'static str>> {
    let has = |metric: &&&Metric| match metric.kind {
        Kind::Counter | Kind::Gauge | Kind::Info | Kind::Summary => metric.name == sample,
        Kind::Histogram => {
            sample.strip_prefix(metric.name).is_some_and(|end| ["_bucket", "_sum", "_count"].contains(&end))
        }
    };
    let metric = ALL.iter().find(has)?;
    let more = match metric.kind {
        Kind::Histogram if sample.ends_with("_bucket") => &["le"][..],
        Kind::Summary => &["quantile"],
        Kind::Counter | Kind::Gauge | Kind::Info | Kind::Histogram => &[],
    };
    Some(metric.labels.iter().chain(more).chain(&SCRAPED).copied().collect())
}

/// The values that a label can have, where a list in the code says so.
fn values_of(label: &str) -> Option<BTreeSet<&'static str>> {
    let outcomes = || (0..OUTCOMES).filter_map(Outcome::at);
    match label {
        "outcome" => Some(outcomes().map(Outcome::name).collect()),
        "reason" => Some(outcomes().map(Outcome::reason).collect()),
        "decision" => Some(RetryDecision::ALL.map(RetryDecision::name).into()),
        "to" => Some(["closed", "open", "half_open"].into()),
        "result" => Some(["applied", "unchanged", "rejected"].into()),
        _ => None,
    }
}

/// What is wrong in one expression; `beside` are the labels that its legend or its annotations name.
fn wrong(expression: &str, beside: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut known: BTreeSet<&str> = SCRAPED.into();
    for found in regex(r"\b((?:outrigger|process)_\w+)(?:\{([^}]*)\})?").captures_iter(expression) {
        let Some(labels) = labels_of(&found[1]) else {
            wrong.push(format!("no metric {}", &found[1]));
            continue;
        };
        known.extend(&labels);
        let selector = found.get(2).map_or("", |selector| selector.as_str());
        for matcher in regex(r#"(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)""#).captures_iter(selector) {
            if !labels.contains(&&matcher[1]) {
                wrong.push(format!("{} has no label {}", &found[1], &matcher[1]));
            }
            wrong.extend(impossible(&matcher[1], &matcher[3]));
        }
    }
    let grouped = regex(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)");
    let grouped = grouped
        .captures_iter(expression)
        .flat_map(|found| found[1].split(',').map(|label| label.trim().to_owned()).collect::<Vec<_>>());
    let unknown = grouped.chain(beside.iter().cloned()).filter(|label| !known.contains(label.as_str()));
    wrong.extend(unknown.map(|label| format!("no label {label}")));
    wrong.into_iter().map(|what| format!("{what} in {expression}")).collect()
}

/// Alternatives of a matcher that no value of the label fits. Variables of the dashboard fit all.
fn impossible(label: &str, pattern: &str) -> Vec<String> {
    let Some(values) = values_of(label) else { return Vec::new() };
    let fits = |one: &str| values.iter().any(|value| regex(&format!("^(?:{one})$")).is_match(value));
    let none = pattern.split('|').filter(|one| !fits(one));
    none.map(|one| format!("{label} is never {one}")).collect()
}

/// Every text under a key of this name.
fn texts<'j>(value: &'j Value, key: &str, found: &mut Vec<&'j str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str));
            fields.values().for_each(|field| texts(field, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The labels that `{{...}}` names.
fn named(text: &str) -> Vec<String> {
    let names = regex(r"\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}");
    names.captures_iter(text).map(|found| found[1].to_owned()).collect()
}

#[test]
fn the_dashboard_names_what_there_is() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let (mut count, mut problems) = (0, Vec::new());
    for target in targets {
        let text = |key: &str| target[key].as_str().expect("a text");
        problems.extend(wrong(text("expr"), &named(text("legendFormat"))));
        count += 1;
    }
    let mut others = Vec::new();
    texts(&dashboard["templating"], "query", &mut others);
    texts(&dashboard["annotations"], "expr", &mut others);
    problems.extend(others.into_iter().flat_map(|text| wrong(text, &[])));
    assert!(problems.is_empty(), "{problems:#?}");
    assert!(count > 30, "{count} expressions");
}

#[test]
fn no_panel_of_the_dashboard_lies_over_another() {
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).expect("JSON");
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(ids.insert(panel["id"].as_u64()), "two panels have the id {}", panel["id"]);
        assert!(at("x") + at("w") <= 24, "{} is too wide", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} lies over another", panel["title"]);
            }
        }
    }
}

#[test]
fn the_alerts_name_what_there_is() {
    let text = read("alerts.yaml");
    let mut problems = Vec::new();
    let rules: Vec<&str> = text.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 12, "{} rules", rules.len());
    for rule in rules {
        let (head, annotations) = rule.split_once("annotations:").expect("annotations");
        let (name, rest) = head.split_once('\n').expect("a name");
        let expression = rest.split_once("expr: ").expect("an expression").1;
        let expression = expression.split("\n        for:").next().unwrap_or_default();
        problems.extend(wrong(expression, &named(annotations)));
        for part in ["        for: ", "        labels: {severity: "] {
            assert!(rest.contains(part), "{name} has no {part:?}");
        }
        for part in ["          summary: ", "          description: "] {
            assert!(annotations.contains(part), "{name} has no {part:?}");
        }
        let of_process = expression.contains("process_") || expression.contains("accept_errors");
        let of_calls = expression.contains("service") || expression.contains("outrigger_b");
        assert!(
            !of_calls || of_process || annotations.contains("`outrigger explain"),
            "{name} does not say how to go on"
        );
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn the_check_finds_what_it_should() {
    let found = |expression: &str, beside: &str| wrong(expression, &named(beside)).len();
    assert_eq!(
        found(r#"sum by (service) (rate(outrigger_calls_total{outcome="failure"}[5m]))"#, "{{service}}"),
        0
    );
    assert_eq!(found(r#"outrigger_retries_total{decision=~"skipped_.*"}"#, "{{ $labels.instance }}"), 0);
    assert_eq!(found("outrigger_call_duration_seconds", ""), 1, "a histogram has no sample of its own name");
    assert_eq!(found("outrigger_calls", ""), 1);
    assert_eq!(found(r#"outrigger_calls_total{state="x"}"#, ""), 1);
    assert_eq!(found(r#"outrigger_calls_total{outcome=~"failure|broken"}"#, ""), 1);
    assert_eq!(found("sum by (le) (outrigger_attempts_total)", "{{route}}"), 2);
}
