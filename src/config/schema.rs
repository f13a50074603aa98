//! The JSON Schema of the YAML, for editors and CI.
//!
//! In: the table of keys. Out: a draft 2020-12 schema. It knows forms, bounds and words; relations
//! between values are the lints' part. Generated, so that it cannot fall behind the table.

use serde_json::{Map, Value, json};

use super::capture::USER_MAX;
use super::keys::{Key, Kind, Scope};
use super::units::{DURATION_PATTERN, RATIO_PATTERN, SIZE_PATTERN};

/// The JSON Schema (draft 2020-12) of a configuration file.
pub fn schema() -> Value {
    let mut schema = block(Scope::Process, "", &[]);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Outrigger configuration",
    });
    if let (Some(schema), Value::Object(head)) = (schema.as_object_mut(), head) {
        for (index, (key, value)) in head.into_iter().enumerate() {
            schema.shift_insert(index, key, value);
        }
    }
    schema
}

/// The object of all keys directly in the block `prefix`.
fn block(scope: Scope, prefix: &str, required: &[&str]) -> Value {
    let mut properties = Map::new();
    for key in scope.keys().filter(|key| scope.allows(key)) {
        if let Some(name) = key.leaf_under(prefix) {
            properties.insert(name.to_owned(), property(scope, key));
        }
    }
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "patternProperties": {"^x-": {}},
        "additionalProperties": false,
    });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// One key: its form with description and default.
fn property(scope: Scope, key: &Key) -> Value {
    let mut form = form(scope, key);
    if let Some(object) = form.as_object_mut() {
        let mut text = key.about.to_owned();
        if !key.without.is_empty() {
            text.push_str(&format!(" Without it: {}.", key.without));
        }
        object.insert("description".to_owned(), json!(text));
        if let Some(value) = default(key) {
            object.insert("default".to_owned(), value);
        }
    }
    form
}

fn form(scope: Scope, key: &Key) -> Value {
    match key.kind {
        Kind::Block { off } => {
            let object = match key.path {
                "endpoints" => {
                    let mut object = block(scope, key.path, &[]);
                    object["oneOf"] = json!([{"required": ["dns"]}, {"required": ["static"]}]);
                    object
                }
                path => block(scope, path, &[]),
            };
            or_off(off, object)
        }
        Kind::Duration { off, .. } => or_off(off, pattern(DURATION_PATTERN)),
        Kind::Ratio { off } => or_off(off, pattern(RATIO_PATTERN)),
        Kind::Size { .. } => pattern(SIZE_PATTERN),
        Kind::Count { min, max, off } => {
            or_off(off, json!({"type": "integer", "minimum": min, "maximum": max}))
        }
        Kind::Number { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        Kind::Bool => json!({"enum": [true, false, "on", "off"]}),
        Kind::Word(words) => json!({"enum": words}),
        Kind::Words(words) => json!({"type": "array", "items": {"enum": words}}),
        Kind::FailOn => json!({"type": "array", "items": {"anyOf": [
            {"enum": ["5xx", "timeout", "transport"]},
            {"type": "integer", "minimum": 400, "maximum": 599},
            {"type": "string", "pattern": "^grpc-[0-9a-z-]+$"},
        ]}}),
        Kind::GrpcMethod => pattern("^[A-Za-z_][A-Za-z0-9_.]*(/[A-Za-z_][A-Za-z0-9_]*)?$"),
        Kind::Text | Kind::NamePort | Kind::PemFile => json!({"type": "string", "minLength": 1}),
        Kind::Url => pattern("^https?://"),
        Kind::AccessLog => or_off(true, json!({"type": "string", "pattern": "^stdout$|/"})),
        Kind::Addresses | Kind::Hosts => json!({"anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
        ]}),
        Kind::Ports => json!({"type": "array", "items": {"anyOf": [
            {"type": "integer", "minimum": 1, "maximum": u16::MAX},
            {"type": "string", "pattern": "^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$"},
        ]}}),
        Kind::Networks => {
            json!({"type": "array", "items": {"type": "string", "pattern": "^[0-9a-fA-F.:]+(/[0-9]+)?$"}})
        }
        Kind::Users => {
            json!({"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": USER_MAX}})
        }
        Kind::Headers | Kind::Fields => {
            json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})
        }
        Kind::Policy => block(Scope::Defaults, "", &[]),
        Kind::Services => json!({
            "type": "object",
            "patternProperties": {"^x-": {}},
            "additionalProperties": block(Scope::Service, "", &["endpoints"]),
        }),
        Kind::Routes => json!({"type": "array", "items": block(Scope::Route, "", &["match"])}),
    }
}

fn pattern(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

/// The form, or `off`, which YAML 1.1 readers turn into `false`.
fn or_off(off: bool, form: Value) -> Value {
    if off { json!({"anyOf": [{"enum": ["off", false]}, form]}) } else { form }
}

/// The default as JSON; lists are left to the description's reader.
fn default(key: &Key) -> Option<Value> {
    if key.default.is_empty() || key.default.starts_with(['[', '{']) {
        return None;
    }
    let number = matches!(key.kind, Kind::Count { .. } | Kind::Number { .. } | Kind::Bool);
    let parsed = number.then(|| serde_json::from_str(key.default).ok()).flatten();
    Some(parsed.unwrap_or_else(|| json!(key.default)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::tables;

    /// Looks a dotted path up, through `anyOf` where a block may be off.
    fn find<'s>(schema: &'s Value, path: &str) -> Option<&'s Value> {
        let mut at = schema;
        for part in path.split('.') {
            let object = at["anyOf"].as_array().and_then(|forms| forms.last()).unwrap_or(at);
            at = match part {
                "*" => object.get("additionalProperties")?,
                part => match part.strip_suffix("[]") {
                    Some(list) => object["properties"].get(list)?.get("items")?,
                    None => object["properties"].get(part)?,
                },
            };
        }
        Some(at)
    }

    #[test]
    fn every_key_of_the_table_is_in_the_schema() {
        let schema = schema();
        for (prefix, table) in tables() {
            for key in table {
                if prefix == "defaults" && key.path == "idempotent" {
                    continue;
                }
                let path = format!("{prefix}.{}", key.path);
                let found = find(&schema, path.trim_start_matches('.'));
                assert!(found.is_some_and(|found| found["description"].is_string()), "{path}");
            }
        }
        assert!(find(&schema, "services.*.timeout").is_some());
        assert!(find(&schema, "services.*.routes[].idempotent").is_some());
        assert!(find(&schema, "services.*.routes[].bulkhead").is_none());
    }

    #[test]
    fn blocks_and_timeouts_can_be_off() {
        let schema = schema();
        for path in ["defaults.timeout", "defaults.retries", "health", "accessLog"] {
            let forms = &find(&schema, path).unwrap()["anyOf"];
            assert_eq!(forms[0], json!({"enum": ["off", false]}), "{path}");
        }
    }
}
