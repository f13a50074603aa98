//! The page `/explain`: the calls that somebody may ask about, and `/explain/dry`: one that is not sent.
//!
//! In: the stories that the workers keep, and which of them are wanted. Out: JSON, with each story in
//! plain words. Shows neither queries nor headers: no story holds any.

pub(super) mod dry;
mod told;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use tokio::task::yield_now;

use crate::config::Config;
use crate::telemetry::Outcome;
use crate::telemetry::explain::explain;
use crate::telemetry::story::Story;

use super::reply::{problem, reply_text};

/// Stories that are given when nothing is said.
const STORIES_USUAL: usize = 50;

/// Most stories of one answer.
const STORIES_MAX: usize = 500;

/// Stories that are told before whatever else waits for the control thread has its turn.
const STORIES_AT_ONCE: usize = 8;

/// Fewest digits of a trace id that stand for all of it.
const PREFIX_DIGITS_MIN: usize = 8;

/// Digits of a whole trace id.
const TRACE_DIGITS: usize = 32;

/// Which stories are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    id: Option<String>,
    service: Option<String>,
    limit: usize,
    all: bool,
}

/// What was wrong with a question: a word and a sentence.
type Wrong = (StatusCode, &'static str, String);

/// The page. Made a few stories at a time: `/live` does not wait until a long one is whole.
pub(super) async fn show(
    stories: Vec<Arc<Story>>,
    query: &HashMap<String, String>,
    config: &Config,
) -> Response {
    let stories = match Wanted::of(query).and_then(|wanted| wanted.pick(stories)) {
        Ok(stories) => stories,
        Err((status, error, message)) => return problem(status, error, &message),
    };
    let mut page = r#"{"stories":["#.to_owned();
    for (index, story) in stories.iter().enumerate() {
        if index > 0 {
            page.push(',');
        }
        if index % STORIES_AT_ONCE == 0 {
            yield_now().await;
        }
        page.push_str(&explain(story, config).to_string());
    }
    page.push_str("]}\n");
    reply_text(StatusCode::OK, page)
}

fn bad(message: String) -> Wrong {
    (StatusCode::BAD_REQUEST, "bad_parameter", message)
}

// === impl Wanted ===

impl Wanted {
    fn of(query: &HashMap<String, String>) -> Result<Self, Wrong> {
        const KNOWN: [&str; 4] = ["id", "service", "limit", "all"];
        if query.keys().any(|key| !KNOWN.contains(&key.as_str())) {
            return Err(bad(format!("the parameters are {}", KNOWN.join(", "))));
        }
        let text = |key: &str| query.get(key).filter(|value| !value.is_empty()).cloned();
        let limit = match query.get("limit").map(|limit| limit.parse()) {
            None => STORIES_USUAL,
            Some(Ok(limit)) if (1..=STORIES_MAX).contains(&limit) => limit,
            Some(_) => return Err(bad(format!("limit must be a number from 1 to {STORIES_MAX}"))),
        };
        let all = match query.get("all").map(String::as_str) {
            None | Some("0") => false,
            Some("1") => true,
            Some(_) => return Err(bad("all must be 0 or 1".to_owned())),
        };
        if query.contains_key("id") && text("id").is_none() {
            return Err(bad("id must be a trace id or a request id".to_owned()));
        }
        Ok(Self { id: text("id"), service: text("service"), limit, all })
    }

    /// Those that are wanted, the newest first.
    fn pick(&self, mut stories: Vec<Arc<Story>>) -> Result<Vec<Arc<Story>>, Wrong> {
        if let Some(id) = &self.id {
            stories = of_id(stories, id)?;
        } else if !self.all {
            stories.retain(|story| story.outcome != Outcome::Success || story.retries() > 0);
        }
        if let Some(service) = &self.service {
            stories.retain(|story| *story.service == **service);
        }
        stories.sort_by_key(|story| Reverse(story.started));
        stories.truncate(self.limit);
        Ok(stories)
    }
}

/// The stories of one trace, or of the calls with this request id.
fn of_id(stories: Vec<Arc<Story>>, id: &str) -> Result<Vec<Arc<Story>>, Wrong> {
    let digits = id.to_ascii_lowercase();
    let is_prefix = (PREFIX_DIGITS_MIN..=TRACE_DIGITS).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (named, rest): (Vec<_>, Vec<_>) =
        stories.into_iter().partition(|story| story.request_id.as_deref() == Some(id));
    if !named.is_empty() {
        return Ok(named);
    }
    let is_meant = |story: &Arc<Story>| is_prefix && story.trace.trace_text().starts_with(&digits);
    let found: Vec<_> = rest.into_iter().filter(is_meant).collect();
    let traces: BTreeSet<u128> = found.iter().map(|story| story.trace.trace_id).collect();
    match traces.len() {
        0 => {
            let message = "no call that is remembered has this trace id or request id; failures are \
                           remembered the longest, of successes a sample";
            Err((StatusCode::NOT_FOUND, "no_such_call", message.to_owned()))
        }
        1 => Ok(found),
        several => {
            let message = format!("{several} traces begin with these digits; give more of them");
            Err((StatusCode::BAD_REQUEST, "ambiguous_id", message))
        }
    }
}

#[cfg(test)]
mod tests;
