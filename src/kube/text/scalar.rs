//! What a scalar means to kubectl, and which text can be read only one way.
//!
//! In: the characters of a scalar, or a string. Out: a JSON value, or the string as YAML.
//!
//! kubectl reads YAML 1.1 in the manner of go-yaml: `on` and `y` are booleans, `012` is ten. What we write
//! is quoted wherever any reader of 1.1 or 1.2 could take it for something else.

use serde_json::{Number, Value};

use super::tree::{Style, Text};

/// What a scalar means.
pub(super) fn meaning(text: &Text<'_>) -> Value {
    let string = || Value::String(text.text.clone().into_owned());
    match (text.tag.as_deref(), text.style) {
        (Some("int" | "float" | "bool" | "null"), _) | (None, Style::Plain) => {
            plain(&text.text).unwrap_or_else(string)
        }
        (Some(_), _) | (None, Style::Quoted | Style::Block) => string(),
    }
}

/// What an unquoted scalar means, if it is no string.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Some(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Some(Value::Bool(false));
        }
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return None;
    }
    let text = text.replace('_', "");
    integer(&text).or_else(|| float(&text)).map(Value::Number)
}

/// `0x1f`, `0o17`, `017`, `0b11`, `17`, each with a sign or none.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // A second sign is nothing that `from_str_radix` should see.
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    if negative {
        return i64::from_str_radix(&format!("-{digits}"), radix).ok().map(Number::from);
    }
    u64::from_str_radix(digits, radix).ok().map(Number::from)
}

/// `1.5`, `.5`, `1e3`; not infinity, for which JSON has no word.
fn float(text: &str) -> Option<Number> {
    let digits = text.trim_start_matches(['+', '-']);
    let known = |char: char| char.is_ascii_digit() || matches!(char, '.' | 'e' | 'E' | '+' | '-');
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') || !digits.chars().all(known)
    {
        return None;
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

/// A string as JSON, which is YAML as well.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // What YAML does not count among printable characters, or takes for a line break.
            '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(char)));
            }
            _ => out.push(char),
        }
    }
    out.push('"');
    out
}

/// A string for block style: without quotes where it can mean nothing else.
pub(super) fn block(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let printable = text.chars().all(|char| matches!(char, ' '..='~'));
    match text.contains('"') && printable {
        true => format!("'{}'", text.replace('\'', "''")),
        false => quoted(text),
    }
}

/// Whether a string means itself without quotes, to any reader.
fn is_plain(text: &str) -> bool {
    let inside = |char: char| char.is_ascii_alphanumeric() || "-_./:@=".contains(char);
    let word = text.strip_prefix("--").unwrap_or(text);
    let begins = word.starts_with(|first: char| first.is_ascii_alphabetic())
        || text.starts_with('/')
        || is_amount(text);
    begins && text.chars().all(inside) && !text.ends_with(':') && plain(text).is_none()
}

/// Digits with a unit that no number ends in: `10m`, `128Mi`, `30s`.
fn is_amount(text: &str) -> bool {
    let unit = text.trim_start_matches(|char: char| char.is_ascii_digit());
    unit.len() < text.len() && matches!(unit, "m" | "k" | "M" | "G" | "Ki" | "Mi" | "Gi" | "s" | "ms")
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::json;

    use super::*;

    fn of(text: &str, style: Style, tag: Option<&str>) -> Value {
        meaning(&Text { text: Cow::Borrowed(text), style, tag: tag.map(str::to_owned) })
    }

    #[test]
    fn a_scalar_means_what_it_means_to_kubectl() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("on", json!(true)),
            ("y", json!(true)),
            ("No", json!(false)),
            ("012", json!(10)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("-0x1F", json!(-31)),
            ("0b11", json!(3)),
            ("1_000", json!(1000)),
            ("+7", json!(7)),
            ("0", json!(0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("1e3", json!(1000.0)),
            (".5", json!(0.5)),
            ("089", json!(89.0)),
            ("1.2.3", json!("1.2.3")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("2001-01-01", json!("2001-01-01")),
            ("9000-9009", json!("9000-9009")),
            ("--1", json!("--1")),
            ("0x", json!("0x")),
            ("100m", json!("100m")),
            ("12:30", json!("12:30")),
            (".inf", json!(".inf")),
            ("-", json!("-")),
            ("truely", json!("truely")),
        ] {
            assert_eq!(of(text, Style::Plain, None), value, "{text:?}");
        }
    }

    #[test]
    fn quotes_and_tags_decide() {
        assert_eq!(of("on", Style::Quoted, None), json!("on"));
        assert_eq!(of("12", Style::Block, None), json!("12"));
        assert_eq!(of("12", Style::Plain, Some("str")), json!("12"));
        assert_eq!(of("12", Style::Quoted, Some("int")), json!(12));
    }

    #[test]
    fn what_could_be_misread_is_quoted() {
        for text in [
            "on", "yes", "y", "null", "012", "1e3", "~", "", "5", "5e", "-a", "--", "---", "--1", "=",
            "a: b", "a #b", "a:", "é", "*a",
        ] {
            assert_eq!(block(text), format!("\"{text}\""));
        }
        for text in [
            "outrigger",
            "/etc/outrigger",
            "a:b",
            "ghcr.io/x/y:1.2@sha256:ab",
            "Always",
            "e3",
            "100m",
            "16Mi",
            "--user=1",
        ] {
            assert_eq!(block(text), text);
        }
        assert_eq!(block("{\"a\":\"it's\"}"), "'{\"a\":\"it''s\"}'");
        assert_eq!(block("a\n\u{85}\""), "\"a\\n\\u0085\\\"\"");
    }
}
