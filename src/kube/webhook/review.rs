//! One AdmissionReview of `admission.k8s.io/v1`: what it asks, and the answer's shape.
//!
//! In: the body of a request. Out: the question, or what is wrong with it; of an answer's parts, the body
//! of the reply. Pure. What the API server says besides is not looked at, so that its next version may say more.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::kube::edit::Edit;

/// The only version there is in every Kubernetes that is still supported.
const API_VERSION: &str = "admission.k8s.io/v1";

/// The kind of the question and of its answer.
const KIND: &str = "AdmissionReview";

/// Longest warning in bytes; the API server cuts longer ones.
const WARNING_BYTES_MAX: usize = 256;

/// Most warnings of one answer; all of them must stay below 4096 characters to be shown.
const WARNINGS_MAX: usize = 12;

/// Most values of a review. Each may need some 300 bytes when the review is taken apart, however short
/// its text is; a pod of the 1.5 MiB that etcd takes has some 60,000.
const VALUES_MAX: usize = 256 * 1024;

/// Longest word of the question that is repeated to a person, in characters.
const SHOWN_MAX: usize = 64;

/// What the API server asks.
#[derive(Debug, PartialEq)]
pub(super) struct Review {
    /// The name of the question, which its answer repeats.
    pub(super) uid: String,
    /// The pod's namespace: what a controller makes has none in its metadata.
    pub(super) namespace: String,
    /// Whether nothing will come of it.
    pub(super) dry_run: bool,
    /// What is asked about.
    pub(super) subject: Subject,
}

/// What is asked about.
#[derive(Debug, PartialEq)]
pub(super) enum Subject {
    /// A pod that is about to be made.
    Pod(Value),
    /// Something else, in words.
    Other(String),
}

// === impl Review ===

impl Review {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// One sentence: what was found, and what was wanted.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        if values(body) > VALUES_MAX {
            return Err(format!("found more than {VALUES_MAX} values; want an AdmissionReview of a pod"));
        }
        let mut review: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the body is no JSON: {error}; want an AdmissionReview"))?;
        let (version, kind) = (word(&review["apiVersion"]), word(&review["kind"]));
        if version != API_VERSION || kind != KIND {
            let (version, kind) = (shown(version), shown(kind));
            return Err(format!("found apiVersion {version}, kind {kind}; want {API_VERSION}, {KIND}"));
        }
        let mut request = review["request"].take();
        if !request.is_object() {
            return Err("the AdmissionReview has no request".to_owned());
        }
        let uid = word(&request["uid"]).to_owned();
        if uid.is_empty() {
            return Err("the request has no uid".to_owned());
        }
        let namespace = word(&request["namespace"]).to_owned();
        let dry_run = request["dryRun"].as_bool().unwrap_or_default();
        let subject = Subject::of(&mut request)?;
        Ok(Self { uid, namespace, dry_run, subject })
    }
}

// === impl Subject ===

impl Subject {
    /// Only the making of a pod is ours to change; a pod that lives cannot get a sidecar.
    fn of(request: &mut Value) -> Result<Self, String> {
        let (kind, operation) = (&request["kind"], word(&request["operation"]));
        let part = word(&request["subResource"]);
        let (group, version, kind) = (word(&kind["group"]), word(&kind["version"]), word(&kind["kind"]));
        if (group, version, kind, operation, part) == ("", "v1", "Pod", "CREATE", "") {
            let object = request["object"].take();
            return if object.is_object() {
                Ok(Self::Pod(object))
            } else {
                Err("the request has no object; want the pod that is about to be made".to_owned())
            };
        }
        let group = if group.is_empty() { String::new() } else { format!("{}/", cut(group)) };
        let part = if part.is_empty() { String::new() } else { format!("/{}", cut(part)) };
        let kind = format!("{group}{} {}{part}", cut(version), cut(kind));
        Ok(Self::Other(format!("{} of {kind}", cut(operation))))
    }
}

/// The body of an answer that allows what was asked, with these changes and warnings.
pub(super) fn answer(uid: &str, edits: &[Edit], warnings: &[String]) -> String {
    let mut response = Map::new();
    response.insert("uid".to_owned(), json!(uid));
    response.insert("allowed".to_owned(), json!(true));
    if !edits.is_empty() {
        let patch =
            edits.iter().map(|edit| json!({"op": "add", "path": edit.pointer(), "value": edit.value}));
        let patch = Value::Array(patch.collect()).to_string();
        response.insert("patchType".to_owned(), json!("JSONPatch"));
        response.insert("patch".to_owned(), json!(STANDARD.encode(patch)));
    }
    if !warnings.is_empty() {
        let warnings: Vec<String> = warnings.iter().take(WARNINGS_MAX).map(|text| warning(text)).collect();
        response.insert("warnings".to_owned(), json!(warnings));
    }
    json!({"apiVersion": API_VERSION, "kind": KIND, "response": response}).to_string()
}

/// A text as a warning: it becomes a header of the API server's reply, so it is one line and not long.
fn warning(text: &str) -> String {
    let mut line = String::from("outrigger: ");
    for char in text.chars() {
        let char = if char.is_control() { ' ' } else { char };
        if line.len() + char.len_utf8() > WARNING_BYTES_MAX {
            let end = line.floor_char_boundary(WARNING_BYTES_MAX - "...".len());
            line.truncate(end);
            line.push_str("...");
            break;
        }
        line.push(char);
    }
    line
}

/// How many values there can be in a text of JSON, at most: each comes after a
/// bracket, a brace or a comma.
fn values(body: &[u8]) -> usize {
    let (mut count, mut quoted, mut escaped) = (1, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'[' | b'{' | b',' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

/// A text, or nothing where there is none.
fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A word of the question, so that a person finds it again.
fn shown(text: &str) -> String {
    if text.is_empty() { "none".to_owned() } else { format!("{:?}", cut(text)) }
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

#[cfg(test)]
mod tests;
