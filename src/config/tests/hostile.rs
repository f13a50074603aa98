//! Whatever the bytes: an answer, soon, and never a panic.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::{bad, good, options};
use crate::config::load::load_bytes;

const EXAMPLE: &[u8] = include_bytes!("../../../mesh-config/example.yaml");

/// For a debug build on a busy machine; release is a hundred times faster.
const SOON: Duration = Duration::from_secs(10);

/// What `load` says of a hostile text, if it says so soon.
fn soon(text: &str) -> String {
    let start = SystemTime::now();
    let found = bad(text);
    let took = start.elapsed().unwrap_or_default();
    assert!(took < SOON, "{took:?}");
    found
}

#[test]
fn a_huge_file_is_refused() {
    let text = soon(&format!("# {}\n", "x".repeat(4 * 1024 * 1024)));
    assert!(text.ends_with("want at most 4MiB\n"), "{text}");
}

#[test]
fn very_many_values_are_refused() {
    let text = soon(&format!("x-a: [{}]\n", "1,".repeat(400_000)));
    assert!(text.contains("found more than 262144 values"), "{text}");
}

#[test]
fn very_many_mistakes_are_told_up_to_a_bound() {
    for text in [
        (0..30_000).map(|i| format!("unknownKeyNumber{i}: 1\n")).collect::<String>(),
        format!(
            "services:\n{}",
            (0..3_000).map(|i| format!("  s{i}: {{timeout: {i}}}\n")).collect::<String>()
        ),
        "version: v1\n".repeat(30_000),
    ] {
        let lines = soon(&text).lines().count();
        assert!((1_000..=1_001).contains(&lines), "{lines}");
    }
}

#[test]
fn long_lines_and_long_names_are_cheap() {
    soon(&format!("{}: 1\n", "a".repeat(900)));
    soon(&format!("service: \"{}\"\n", "a".repeat(1_000_000)));
    soon(&"\n".repeat(1_000_000));
    soon(&"[".repeat(1_000_000));
    soon(&"- ".repeat(1_000_000));
    soon(&"{a: ".repeat(250_000));
    soon(&"&a ".repeat(300_000));
    soon(&"? ".repeat(300_000));
}

#[test]
fn a_byte_order_mark_is_no_mistake() {
    good("\u{feff}version: v1\n");
}

#[test]
fn a_thousand_services_load_quickly() {
    let services: String = (0..1_000)
        .map(|i| {
            format!(
                "  s{i}:\n    endpoints: {{dns: s{i}:80}}\n    timeout: 1s\n    retries: {{maxRetries: 1}}\n    \
                 bulkhead: {{maxConcurrent: 10, maxWait: 5ms}}\n    circuitBreaker: {{trip: {{window: 10s}}}}\n    \
                 routes: [{{match: {{path: /a}}, timeout: 500ms}}]\n"
            )
        })
        .collect();
    let start = SystemTime::now();
    let config = good(&format!("services:\n{services}"));
    let took = start.elapsed().unwrap_or_default();
    assert_eq!(config.services.len(), 1_000);
    assert!(took < Duration::from_secs(3), "{took:?} in a debug build");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = load_bytes("mesh.yaml", &bytes, &options());
    }

    #[test]
    fn random_yaml_letters_never_panic(text in "[-a-c0-2:,\\[\\]{}&*!|>'\"%#?<@` \\n\\t~.]{0,120}") {
        let _ = load_bytes("mesh.yaml", text.as_bytes(), &options());
    }

    #[test]
    fn a_damaged_example_never_panics(
        damage in proptest::collection::vec((0..EXAMPLE.len(), any::<u8>()), 1..8),
        cut in 0..EXAMPLE.len(),
    ) {
        let mut bytes = EXAMPLE.to_vec();
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        let _ = load_bytes("mesh.yaml", &bytes, &options());
        let _ = load_bytes("mesh.yaml", &bytes[..cut], &options());
    }

    #[test]
    fn moved_lines_never_panic(from in 0..60_usize, to in 0..60_usize, indent in 0..8_usize) {
        let text = std::str::from_utf8(EXAMPLE).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = lines.remove(from % lines.len());
        let to = to % lines.len();
        lines.insert(to, format!("{}{}", " ".repeat(indent), line.trim_start()));
        let _ = load_bytes("mesh.yaml", lines.join("\n").as_bytes(), &options());
    }
}
