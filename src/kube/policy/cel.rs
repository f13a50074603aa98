//! JSON as CEL.
//!
//! In: values of the plan, in which expressions may stand for parts that are not known yet. Out: literals. Maps of
//! Kubernetes' CEL cannot hold values of different types, so every mapping becomes an object, whose type is
//! the path to it.

use serde_json::{Map, Value};

/// Keys whose value is a map to Kubernetes too, not an object with fields.
const MAPS: &[&str] = &["requests", "limits"];

/// Stands before and after an expression inside a string. No text of ours has it.
const MARK: char = '\u{1}';

/// Begins a string that stands for a list, whose elements take its place.
const SPLICE: char = '\u{2}';

/// Begins a value of a map that is left out with its key when it is empty.
const OPTIONAL: char = '\u{3}';

/// A string that is the value of `expression`, or part of one.
pub(super) fn hole(expression: &str) -> String {
    format!("{MARK}{expression}{MARK}")
}

/// An element of a list that is all elements of `expression`.
pub(super) fn splice(expression: &str) -> String {
    format!("{SPLICE}{expression}")
}

/// A value of a map that is that of `expression`; where that is empty, the map has no such key.
pub(super) fn optional(expression: &str) -> String {
    format!("{OPTIONAL}{expression}")
}

/// A string literal, or the pieces of one with expressions between.
pub(super) fn string(text: &str) -> String {
    let pieces = text.split(MARK).enumerate().filter(|(_, piece)| !piece.is_empty());
    let pieces: Vec<String> =
        pieces.map(|(index, piece)| if index % 2 == 1 { piece.to_owned() } else { quoted(piece) }).collect();
    if pieces.is_empty() { quoted("") } else { pieces.join(" + ") }
}

/// A list of string literals, on one line.
pub(super) fn strings<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", texts.into_iter().map(string).collect::<Vec<_>>().join(", "))
}

/// `value` as a literal; a mapping in it has the type `path`.
pub(super) fn literal(value: &Value, path: &str) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => string(text),
        Value::Array(items) => list(items, path),
        Value::Object(fields) => object(fields, path),
    }
}

fn object(fields: &Map<String, Value>, path: &str) -> String {
    let mut text = format!("{path}{{\n");
    for (key, value) in fields {
        let literal =
            if MAPS.contains(&key.as_str()) { map(value) } else { literal(value, &format!("{path}.{key}")) };
        text.push_str(&super::block(&format!("{key}: {literal},"), 2));
    }
    // No comma after the last field: older grammars refuse it.
    text.truncate(text.trim_end_matches([',', '\n']).len());
    text.push_str("\n}");
    text
}

/// A map of strings; of its values one may be optional.
fn map(value: &Value) -> String {
    let (mut fields, mut more) = (Vec::new(), None);
    for (key, value) in value.as_object().into_iter().flatten() {
        match value.as_str().and_then(|text| text.strip_prefix(OPTIONAL)) {
            Some(expression) => more = Some((expression, format!("{}: {expression}", quoted(key)))),
            None => fields.push(format!("{}: {}", quoted(key), literal(value, ""))),
        }
    }
    let plain = format!("{{{}}}", fields.join(", "));
    let Some((expression, field)) = more else { return plain };
    fields.push(field);
    format!("({expression} == \"\" ? {plain} : {{{}}})", fields.join(", "))
}

fn list(items: &[Value], path: &str) -> String {
    let (splices, plain): (Vec<&Value>, Vec<&Value>) = items.iter().partition(|item| spliced(item).is_some());
    let literals: Vec<String> = plain.into_iter().map(|item| literal(item, path)).collect();
    let mut text = if literals.iter().any(|literal| literal.contains('\n')) {
        format!("[\n{}]", super::block(&literals.join(",\n"), 2))
    } else {
        format!("[{}]", literals.join(", "))
    };
    for expression in splices.into_iter().filter_map(spliced) {
        text.push_str(&format!(" + {expression}"));
    }
    text
}

fn spliced(item: &Value) -> Option<&str> {
    item.as_str()?.strip_prefix(SPLICE)
}

/// CEL takes the escapes of JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mappings_become_objects_whose_type_is_their_path() {
        let value = json!({"name": "a", "probe": {"port": 1}, "env": [{"name": "B", "on": true}], "limits": {"cpu": "1"}});
        assert_eq!(
            literal(&value, "Object.spec"),
            "Object.spec{\n  name: \"a\",\n  probe: Object.spec.probe{\n    port: 1\n  },\n  env: [\n    \
             Object.spec.env{\n      name: \"B\",\n      on: true\n    }\n  ],\n  limits: {\"cpu\": \"1\"}\n}"
        );
    }

    #[test]
    fn what_is_empty_is_left_out_of_a_map() {
        let value = json!({"limits": {"memory": "1Mi", "cpu": optional("cpu")}});
        let map = r#"limits: (cpu == "" ? {"memory": "1Mi"} : {"memory": "1Mi", "cpu": cpu})"#;
        assert_eq!(literal(&value, "Object"), format!("Object{{\n  {map}\n}}"));
    }

    #[test]
    fn expressions_stand_in_strings_and_lists() {
        assert_eq!(string(&hole("variables.image")), "variables.image");
        assert_eq!(string(&format!("a\"{}z", hole("b"))), r#""a\"" + b + "z""#);
        assert_eq!(string(""), r#""""#);
        assert_eq!(literal(&json!(["x", splice("more")]), ""), r#"["x"] + more"#);
    }
}
