//! Small words that explanations are made of.
//!
//! In: times, places, texts that came from outside. Out: text that a terminal may show as it is.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::config::{Layer, Origin, Policy};
use crate::error::Sent;

use super::super::story::Rules;
use super::Cause;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// The value of a policy key, and where it was set.
pub(super) fn of_policy(policy: &Policy, key: &'static str, files: &[PathBuf]) -> Cause {
    let origin = policy.origins.get(key).unwrap_or(Origin::BUILT_IN);
    Cause::of(key, policy.value(key), origin, files)
}

/// The same, for a finished call.
pub(super) fn of_rules(rules: &Rules, key: &'static str) -> Cause {
    of_policy(&rules.policy, key, &rules.files)
}

/// `mesh.yaml:14`; `None` for what no file sets.
pub fn place(files: &[PathBuf], origin: Origin) -> Option<String> {
    if origin.layer == Layer::BuiltIn {
        return None;
    }
    let file = files.get(usize::from(origin.file))?;
    Some(format!("{}:{}", file.display(), origin.line))
}

/// A time with the digits that matter: `87 us`, `12.3 ms`, `1.25 s`.
pub fn time(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..100_000 => trimmed(format!("{:.1}", micros as f64 / 1e3)) + " ms",
        100_000..1_000_000 => format!("{} ms", micros / 1_000),
        1_000_000.. => trimmed(format!("{:.2}", micros as f64 / 1e6)) + " s",
    }
}

/// `1.50` is `1.5`, and `3.0` is `3`.
pub(super) fn trimmed(number: String) -> String {
    if !number.contains('.') {
        return number;
    }
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `13:20:01.123`, in UTC.
pub fn time_of_day(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let secs = since.as_secs() % DAY;
    format!("{:02}:{:02}:{:02}.{:03}", secs / 3600, secs / 60 % 60, secs % 60, since.subsec_millis())
}

/// Without anything a terminal would obey: control characters are spelled out, but for ends of lines, and
/// so is what turns the direction of text around, so that a line reads as something else.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for char in text.chars() {
        if is_turning(char) || char.is_control() && char != '\n' {
            let _ = write!(cleaned, "{}", char.escape_default());
        } else {
            cleaned.push(char);
        }
    }
    cleaned
}

/// Marks, embeddings, overrides and isolates of direction (Unicode Annex 9, section 2).
const fn is_turning(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The host and port of an authority: what stands before `@` may be a password.
pub(super) fn host_of(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

pub(super) const fn sent(sent: Sent) -> &'static str {
    match sent {
        Sent::No => "no",
        Sent::Maybe => "maybe",
        Sent::Yes => "yes",
    }
}

/// `1 retry`, `2 retries`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
