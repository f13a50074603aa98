//! `outrigger explain`: every reason code, provoked, then explained down to the line that decided.

mod breaker_and_bulkhead;
mod dry;
mod lists;
mod requests;
mod retries;
mod secrets;
mod services;

use std::ops::RangeInclusive;
use std::process::Output;
use std::time::Duration;

use crate::support::{Outrigger, eventually, get, outrigger};

/// The trace of the calls that are asked about.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// The header line that puts a call into that trace.
const TRACED: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// `GET /` for `shop` within the trace.
fn traced_get() -> String {
    get("/").replace("\r\n\r\n", &format!("\r\n{TRACED}\r\n\r\n"))
}

/// `outrigger explain` with these words, at this proxy.
async fn explain(proxy: &Outrigger, words: &[&str]) -> Output {
    let admin = proxy.admin().to_string();
    outrigger(&[&["explain", "--admin", &admin], words].concat()).await
}

/// What it prints, when all is well.
async fn explained(proxy: &Outrigger, words: &[&str]) -> String {
    let output = explain(proxy, words).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The story of the one call of the trace, once it is over.
async fn story(proxy: &Outrigger) -> String {
    let path = format!("/explain?id={TRACE}");
    eventually("the story is told", async || proxy.get_admin(&path).await.status == 200).await;
    explained(proxy, &[TRACE]).await
}

/// The story of the newest fault, whatever its trace.
async fn newest(proxy: &Outrigger, reason: &str) -> String {
    let mut trace = String::new();
    eventually(&format!("a story of {reason}"), async || {
        let page = proxy.get_admin("/explain?limit=1").await.json();
        let story = &page["stories"][0];
        trace = story["traceId"].as_str().unwrap_or_default().to_owned();
        story["reason"] == reason
    })
    .await;
    explained(proxy, &[&trace]).await
}

/// The line of the configuration that has this text in it.
fn line_of(proxy: &Outrigger, text: &str) -> usize {
    let yaml = std::fs::read_to_string(proxy.config()).expect("the configuration");
    let found = yaml.lines().position(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("{text:?} is in no line of\n{yaml}")) + 1
}

/// The story has these texts in it.
fn assert_tells(story: &str, texts: &[&str]) {
    for text in texts {
        assert!(story.contains(text), "want {text:?} in\n{story}");
    }
}

/// The time that the story gives after `before` is one of these.
fn assert_time(story: &str, before: &str, expected: RangeInclusive<Duration>) {
    let (_, after) = story.split_once(before).unwrap_or_else(|| panic!("want {before:?} in\n{story}"));
    let mut words = after.split([' ', '.', ';', ',', '\n'].as_slice());
    let (number, unit) = match (words.next(), words.next(), words.next()) {
        // `14.99 s` was cut at its point.
        (Some(whole), Some(part), Some(unit)) if part.bytes().all(|byte| byte.is_ascii_digit()) => {
            (format!("{whole}.{part}"), unit)
        }
        (Some(number), Some(unit), _) => (number.to_owned(), unit),
        (_, _, _) => panic!("want a time after {before:?} in\n{story}"),
    };
    let number: f64 = number.parse().unwrap_or_else(|_| panic!("want a time after {before:?} in\n{story}"));
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        _ => panic!("{unit:?} after {before:?} is no unit in\n{story}"),
    };
    let told = Duration::from_secs_f64(seconds);
    assert!(expected.contains(&told), "want {expected:?} after {before:?} in\n{story}");
}

/// The story says that `cause` (`key: value`) decided, set by `layer` in the line with `text`.
fn assert_cause(proxy: &Outrigger, story: &str, cause: &str, text: &str, layer: &str) {
    let begin = format!("  cause: {cause} (");
    let end = format!("mesh.yaml:{}, {layer})", line_of(proxy, text));
    let found = story.lines().any(|line| line.starts_with(&begin) && line.ends_with(&end));
    assert!(found, "want {begin}...{end} in\n{story}");
}

/// The story says that nothing in the configuration decided.
fn assert_no_cause(story: &str) {
    assert_tells(story, &["  cause: nothing in the configuration"]);
}
