//! New text for a value.
//!
//! In: a JSON value, and the layout of what is around it. Out: YAML in block style, one line break before
//! each line; or in flow style, which is JSON.

use serde_json::{Map, Value};

use super::scalar::{block, quoted};

/// How a document is laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// How much deeper the keys under a key stand, in columns.
    pub(super) step: usize,
    /// How much deeper the dashes under a key stand: 0 in many documents.
    pub(super) dash: usize,
    /// The line break.
    pub(super) line_break: &'static str,
}

/// A value in brackets and braces.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(key, value)| pair(key, value)).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// A key and its value in flow style.
pub(super) fn pair(key: &str, value: &Value) -> String {
    format!("{}: {}", quoted(key), flow(value))
}

/// Whether a value takes lines of its own in block style.
pub(super) fn is_tall(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

// === impl Layout ===

impl Layout {
    /// A key and its value, the key in `column`.
    pub(super) fn entry(&self, out: &mut String, column: usize, key: &str, value: &Value) {
        self.line(out, column);
        self.key(out, column, key, value);
    }

    /// An element, its dash in `column`.
    pub(super) fn item(&self, out: &mut String, column: usize, value: &Value) {
        self.line(out, column);
        self.dashed(out, column, value);
    }

    /// An element that begins where the text ends; its dash is in `column`.
    pub(super) fn dashed(&self, out: &mut String, column: usize, value: &Value) {
        out.push_str("- ");
        match value {
            Value::Object(map) if !map.is_empty() => self.keys(out, column + 2, map),
            Value::String(text) => out.push_str(&block(text)),
            Value::Object(_) | Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {
                out.push_str(&flow(value));
            }
        }
    }

    /// What comes after the colon of a key that stands in `column`.
    pub(super) fn value(&self, out: &mut String, column: usize, value: &Value) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    self.entry(out, column + self.step, key, value);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for item in items {
                    self.item(out, column + self.dash, item);
                }
            }
            Value::String(text) => {
                out.push(' ');
                out.push_str(&block(text));
            }
            Value::Object(_) | Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {
                out.push(' ');
                out.push_str(&flow(value));
            }
        }
    }

    /// The keys of an element: the first follows its dash.
    fn keys(&self, out: &mut String, column: usize, map: &Map<String, Value>) {
        for (index, (key, value)) in map.iter().enumerate() {
            if index > 0 {
                self.line(out, column);
            }
            self.key(out, column, key, value);
        }
    }

    fn key(&self, out: &mut String, column: usize, key: &str, value: &Value) {
        out.push_str(&block(key));
        out.push(':');
        self.value(out, column, value);
    }

    fn line(&self, out: &mut String, column: usize) {
        out.push_str(self.line_break);
        out.extend(std::iter::repeat_n(' ', column));
    }
}
