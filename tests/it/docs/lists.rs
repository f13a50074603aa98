//! The lists of the documents: phases, imports, bounds, reason codes, metrics.

use std::collections::{BTreeMap, BTreeSet};

use outrigger::error::{Fault, Sent};
use outrigger::telemetry::metrics::{ALL, Kind, Metric};

use super::{between, generated, path, read, sources};
use crate::architecture::ALLOWED;
use crate::support::{Client, Echo, Mesh, Reply, Upstream, held, request};

/// The cells of each row of the tables in `text`, without heads.
fn rows(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    let lines = text.lines().filter(|line| line.starts_with("| `"));
    lines.map(cells).collect()
}

/// The text between the first two backticks.
fn code(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap_or_default()
}

#[test]
fn each_phase_of_the_road_is_one_function() {
    let phases = rows(&between(&read("ARCHITECTURE.md"), "phases"));
    assert!(phases.len() > 8, "{phases:?}");
    for phase in phases {
        let (name, file) = (code(&phase[0]), code(&phase[1]));
        let text = read(file);
        let found = [format!("fn {name}("), format!("fn {name}<")];
        let count: usize = found.iter().map(|found| text.matches(found.as_str()).count()).sum();
        assert_eq!(count, 1, "`fn {name}` in {file}");
    }
}

#[test]
fn the_table_of_imports_is_the_one_that_is_held() {
    let mut wanted = "| stage | may use |\n|---|---|\n".to_owned();
    let there = |stage: &str| path(&format!("src/{stage}.rs")).exists();
    for (stage, may) in ALLOWED.iter().filter(|(stage, _)| there(stage)) {
        wanted.push_str(&format!("| `{stage}` | {} |\n", if may.is_empty() { "nothing" } else { may }));
    }
    generated("ARCHITECTURE.md", "imports", &wanted);
}

#[test]
fn every_stage_is_in_the_tree_of_files() {
    let text = read("ARCHITECTURE.md");
    let (_, tree) = text.split_once("## Files").expect("the tree");
    for (file, _) in sources().iter().filter(|(file, _)| file.matches('/').count() == 1) {
        let name = file.trim_start_matches("src/");
        assert!(tree.contains(name), "{name} is not in the tree");
    }
}

#[test]
fn every_named_bound_is_listed() {
    let mut wanted = "| name | value | where | what |\n|---|---|---|---|\n".to_owned();
    for (file, text) in sources() {
        for bound in bounds(&text) {
            wanted.push_str(&format!("| `{}` | {} | `{file}` | {} |\n", bound[0], bound[1], bound[2]));
        }
    }
    generated("ARCHITECTURE.md", "bounds", &wanted);
}

/// Name, value and meaning of every constant of a source that bounds something.
fn bounds(text: &str) -> Vec<[String; 3]> {
    let mut found = Vec::new();
    let mut doc: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(sentence) = line.strip_prefix("///") {
            doc.push(sentence.trim());
            continue;
        }
        let declared = line.split_once("const ").and_then(|(_, rest)| rest.split_once(": "));
        if let Some((name, rest)) = declared
            && is_bound(name)
            && let Some((_, value)) = rest.split_once(" = ")
        {
            let sentence = doc.join(" ");
            let what = sentence.split_once(". ").map_or(sentence.trim_end_matches('.'), |(first, _)| first);
            found.push([name.to_owned(), shown(name, value.trim_end_matches(';')), what.to_owned()]);
        }
        doc.clear();
    }
    found
}

/// Whether a constant of this name bounds an amount or a time.
fn is_bound(name: &str) -> bool {
    let upper = name.chars().all(|char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_');
    let ends =
        ["_MAX", "_MIN", "_WAIT", "_EVERY", "_RETRY", "_TTL", "_SHOWN", "READ_BYTES", "BACKLOG", "POLL"];
    upper && ends.iter().any(|end| name.ends_with(end))
        || matches!(name, "WEEK" | "DEBOUNCE" | "BUSIEST_UNKNOWN")
}

/// A value as people write it; one that is made of others stays as it is.
fn shown(name: &str, value: &str) -> String {
    let inside = |name: &str| value.strip_prefix(name)?.strip_suffix(')');
    if let Some(number) = inside("Duration::from_secs(") {
        return format!("{number} s");
    }
    if let Some(number) = inside("Duration::from_millis(") {
        return format!("{number} ms");
    }
    let plain = value.replace('_', "");
    let factors: Result<Vec<u64>, _> = plain.split(" * ").map(str::parse).collect();
    let Ok(factors) = factors else { return format!("`{value}`") };
    match factors.iter().product::<u64>() {
        bytes if name.contains("BYTES") && bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if name.contains("BYTES") && bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        number => number.to_string(),
    }
}

#[test]
fn every_reason_code_is_in_the_readme() {
    let meanings = meanings();
    let mut wanted = "| reason | status | meaning |\n|---|---|---|\n".to_owned();
    for fault in Fault::ALL {
        let (status, reason) = fault.reply();
        wanted.push_str(&format!("| `{reason}` | {status} | {} |\n", meanings[&format!("{fault:?}")]));
    }
    generated("README.md", "reasons", &wanted);
}

/// What `src/error.rs` says of each fault, by the name of the variant.
fn meanings() -> BTreeMap<String, String> {
    let text = read("src/error.rs");
    let (_, body) = text.split_once("pub enum Fault {").expect("the faults");
    let (body, _) = body.split_once("\n}").expect("the end of the faults");
    let lines: Vec<&str> = body.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let pairs = lines.chunks(2).map(|pair| {
        let meaning = pair[0].strip_prefix("/// ").expect("one line of doc per fault");
        (pair[1].trim_end_matches(',').to_owned(), meaning.trim_end_matches('.').to_owned())
    });
    pairs.collect()
}

#[test]
fn the_reference_says_what_each_reason_code_comes_from() {
    let reference = read("mesh-config/REFERENCE.md");
    let (_, section) = reference.split_once("## Reason codes").expect("the reason codes");
    let rows = rows(section.split("\n## ").next().unwrap_or_default());
    for fault in Fault::ALL {
        let row = rows.iter().find(|row| code(&row[0]) == fault.reason());
        let row = row.unwrap_or_else(|| panic!("{} is not in the reference", fault.reason()));
        let sent = match fault.sent() {
            Sent::No => "no",
            Sent::Maybe => "perhaps",
            Sent::Yes => "yes",
        };
        assert_eq!(
            (row[1].as_str(), row[2].as_str()),
            (fault.status().to_string().as_str(), sent),
            "{row:?}"
        );
    }
    assert_eq!(rows.len(), Fault::ALL.len(), "a reason code that there is not");
}

#[test]
fn the_readme_lists_every_metric() {
    let mut wanted = "| name | kind | labels | what |\n|---|---|---|---|\n".to_owned();
    for metric in ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, help) = (metric.name, metric.kind.name(), metric.help.trim_end_matches('.'));
        wanted.push_str(&format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", ")));
    }
    generated("README.md", "metrics", &wanted);
}

#[tokio::test]
async fn a_proxy_prints_every_metric_of_the_table_and_no_other() {
    let upstream = Upstream::script([Reply::Status(503), Reply::Ok("x"), held(Reply::Ok("x"))]);
    let one = [upstream.addr()];
    let echo = Echo::start().await;
    let proxy = Mesh::new()
        .top("tracing: {otlp: \"http://127.0.0.1:4318\", sample: off}")
        .service("shop", &one, "")
        .service("tight", &one, "bulkhead: {maxConcurrent: 1}")
        .service("safe", &one, &format!("tls: {{ca: {}}}", path("mesh-config/pem/ca.pem").display()))
        .service("watched", &one, "bulkhead: {mode: observe, maxConcurrent: 1}")
        .service("bytes", &[echo.addr()], "protocol: opaque\nlisten: 127.0.0.1:0")
        .start()
        .await;
    assert_eq!(proxy.get("/").await.text(), "x", "with one retry");
    proxy.post_admin("/services/shop/breaker?state=open").await;
    let mut calls = Vec::new();
    for host in ["tight", "watched", "watched"] {
        let mut client = proxy.client().await;
        client.send(request("GET", "/", &[]).replace("Host: shop", &format!("Host: {host}"))).await;
        calls.push(client);
    }
    let mut bytes = Client::connect(proxy.service("bytes")).await;
    bytes.send("ping").await;
    assert_eq!(bytes.read_exactly(4).await, b"ping");
    proxy.counted("outrigger_bulkhead_in_flight", &[], 3.0).await;
    let refused = proxy.call(request("GET", "/", &[]).replace("Host: shop", "Host: tight")).await;
    assert_eq!(refused.reason(), "bulkhead_full");
    let metrics = proxy.metrics().await;
    let printed: BTreeSet<&str> = metrics.names().collect();
    let wanted: BTreeSet<String> = ALL.iter().copied().flat_map(samples).collect();
    assert_eq!(printed, wanted.iter().map(String::as_str).collect(), "left: printed, right: the table");
    upstream.release();
}

/// The names of a metric's samples.
fn samples(metric: &Metric) -> Vec<String> {
    match metric.kind {
        Kind::Counter | Kind::Gauge | Kind::Info | Kind::Summary => vec![metric.name.to_owned()],
        Kind::Histogram => ["bucket", "sum", "count"].map(|part| format!("{}_{part}", metric.name)).to_vec(),
    }
}
