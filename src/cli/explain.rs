//! `outrigger explain`: the latest faults, the story of one call, or what would happen to a call now.
//!
//! In: what is asked, and where the admin API listens. Out: plain words, or the API's JSON. The words
//! are the API's own (`told`); here they are only put one below the other.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::ask::{Question, ask, escape, strange};
use crate::admin::{clean, time_of_day};

/// Most bytes of an answer: 500 stories of 10 KiB, and then some.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    /// The latest faults.
    Latest,
    /// The story of one call, or of the calls of one trace.
    Call(&'a str),
    /// What would happen to this method and URL.
    Dry(&'a str, &'a str),
}

/// Asks the admin API at `admin` and tells what it said.
pub(super) fn explain(asked: Asked<'_>, as_json: bool, admin: &str) -> ExitCode {
    let path = path(asked);
    let body = match ask(&Question { method: "GET", path: &path, admin, bytes_max: ANSWER_BYTES_MAX }) {
        Ok(body) => body,
        Err(code) => return code,
    };
    if as_json {
        super::print(&body);
        return ExitCode::SUCCESS;
    }
    let told = serde_json::from_str(&body).ok().and_then(|page| told(asked, &page));
    match told {
        // Whoever answered, a terminal obeys nothing of it.
        Some(text) => {
            super::print(&clean(&text));
            ExitCode::SUCCESS
        }
        None => {
            super::complain(&format!(
                "no answer from the admin API at {admin}: {}\n",
                strange("it has no story")
            ));
            ExitCode::FAILURE
        }
    }
}

fn path(asked: Asked<'_>) -> String {
    match asked {
        Asked::Latest => "/explain".to_owned(),
        Asked::Call(id) => format!("/explain?id={}", escape(id)),
        Asked::Dry(method, url) => format!("/explain/dry?method={}&url={}", escape(method), escape(url)),
    }
}

/// The answer in words; `None` if it is none.
fn told(asked: Asked<'_>, page: &Value) -> Option<String> {
    match asked {
        Asked::Latest => list(page["stories"].as_array()?),
        Asked::Call(_) => stories(page["stories"].as_array()?),
        Asked::Dry(..) => Some(format!("{}\n", page["told"].as_str()?)),
    }
}

/// The stories in the order in which they happened; they come the newest first.
fn stories(stories: &[Value]) -> Option<String> {
    let told: Option<Vec<&str>> = stories.iter().rev().map(|story| story["told"].as_str()).collect();
    Some(format!("{}\n", told?.join("\n\n")))
}

/// One line for each call, the newest first.
fn list(stories: &[Value]) -> Option<String> {
    if stories.is_empty() {
        return Some("no call has failed or been tried again since the proxy started\n".to_owned());
    }
    let mut text = format!(
        "{:<12}  {:<20}  {:<32}  {:>3}  {:<21}  {:>5}  TRACE\n",
        "TIME (UTC)", "SERVICE", "CALL", "ST", "REASON", "TRIES"
    );
    for story in stories {
        let word = |key: &str| story[key].as_str().unwrap_or_default();
        let call = format!("{} {}", word("method"), word("path"));
        let service = if word("service").is_empty() { "-" } else { word("service") };
        let reason = if word("reason").is_empty() { "success" } else { word("reason") };
        let started = Duration::try_from_secs_f64(story["startedUnix"].as_f64()?).ok()?;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}  {service:<20}  {call:<32}  {:>3}  {reason:<21}  {:>5}  {}",
            time_of_day(SystemTime::UNIX_EPOCH.checked_add(started)?),
            story["status"].as_u64()?,
            story["attempts"].as_array()?.iter().filter(|attempt| !attempt["spanId"].is_null()).count(),
            word("traceId"),
        );
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_is_escaped() {
        assert_eq!(path(Asked::Call("a b&c")), "/explain?id=a%20b%26c");
        let dry = path(Asked::Dry("GET", "http://shop/a?b#c"));
        assert_eq!(dry, "/explain/dry?method=GET&url=http%3A%2F%2Fshop%2Fa%3Fb%23c");
    }

    #[test]
    fn stories_are_told_in_the_order_in_which_they_happened() {
        let page = json!({"stories": [{"told": "second"}, {"told": "first"}]});
        assert_eq!(told(Asked::Call("x"), &page).unwrap(), "first\n\nsecond\n");
    }

    #[test]
    fn anything_else_is_no_answer() {
        for page in [json!({}), json!([]), json!({"stories": [{}]}), json!({"stories": 1})] {
            assert_eq!(told(Asked::Latest, &page), None, "{page}");
            assert_eq!(told(Asked::Call("x"), &page), None, "{page}");
        }
    }
}
