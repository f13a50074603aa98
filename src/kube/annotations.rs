//! What a pod says of its own sidecar.
//!
//! In: settings for all pods, and a pod's annotations. Out: the settings for this one, or what is
//! wrong with an annotation.

use serde_json::{Map, Value};

use super::settings::{STATUS, Settings};
use super::skip::{Reason, Skip};
use super::values;

/// What our annotations begin with.
pub(super) const PREFIX: &str = "outrigger.dev/";

/// Most characters of somebody's value that a message repeats.
const FOUND_CHARS_MAX: usize = 60;

/// One annotation that pods may have.
#[derive(Debug)]
pub struct Annotation {
    /// Its whole name.
    pub name: &'static str,
    /// What values it takes, for messages and documents.
    pub wanted: &'static str,
    /// What it does.
    pub about: &'static str,
    set: fn(&mut Settings, &str) -> Option<()>,
}

/// All of them.
pub const ANNOTATIONS: &[Annotation] = &[
    Annotation {
        name: "outrigger.dev/config",
        wanted: "the name of a ConfigMap",
        about: "The ConfigMap in the pod's namespace that holds the configuration",
        set: |settings, text| values::object_name(text).map(|value| settings.config = value),
    },
    Annotation {
        name: "outrigger.dev/capture",
        wanted: "\"on\" or \"off\"",
        about: "`off`: no kernel rules; the containers get `HTTP_PROXY` instead",
        set: |settings, text| values::switch(text).map(|value| settings.capture = value),
    },
    Annotation {
        name: "outrigger.dev/skip-ports",
        wanted: "ports or ranges with commas between, such as \"3306,9000-9009\"",
        about: "Ports of services that are not captured",
        set: |settings, text| values::ports(text).map(|value| settings.skip.ports = value),
    },
    Annotation {
        name: "outrigger.dev/skip-networks",
        wanted: "networks with commas between, such as \"10.9.0.0/16,2001:db8:9::/48\"",
        about: "Networks of services that are not captured",
        set: |settings, text| values::networks(text).map(|value| settings.skip.networks = value),
    },
    Annotation {
        name: "outrigger.dev/skip-users",
        wanted: "user ids with commas between, such as \"1001,1002\"",
        about: "Users of the pod whose connections are not captured",
        set: |settings, text| values::users(text).map(|value| settings.skip.users = value),
    },
    Annotation {
        name: "outrigger.dev/image",
        wanted: "an image, such as \"registry.example/outrigger:0.1.0\"",
        about: "The image of the sidecar",
        set: |settings, text| values::image(text).map(|value| settings.image = value),
    },
    Annotation {
        name: "outrigger.dev/cpu-request",
        wanted: "a quantity, such as \"10m\"",
        about: "CPU that the scheduler keeps free for the sidecar",
        set: |settings, text| values::quantity(text).map(|value| settings.resources.cpu_request = value),
    },
    Annotation {
        name: "outrigger.dev/memory-request",
        wanted: "a quantity, such as \"16Mi\"",
        about: "Memory that the scheduler keeps free for the sidecar",
        set: |settings, text| values::quantity(text).map(|value| settings.resources.memory_request = value),
    },
    Annotation {
        name: "outrigger.dev/memory-limit",
        wanted: "a quantity, such as \"128Mi\"",
        about: "Memory above which the kernel ends the sidecar",
        set: |settings, text| values::quantity(text).map(|value| settings.resources.memory_limit = value),
    },
];

/// The settings for the pod with these annotations.
pub(super) fn settings_for(settings: &Settings, annotations: &Map<String, Value>) -> Result<Settings, Skip> {
    let mut own = settings.clone();
    for annotation in ANNOTATIONS {
        let Some(found) = annotations.get(annotation.name) else { continue };
        if found.as_str().and_then(|text| (annotation.set)(&mut own, text)).is_none() {
            let (name, wanted) = (annotation.name, annotation.wanted);
            let message = format!("{name}: found {}, want {wanted}", shown(found));
            return Err(Skip { reason: Reason::BadAnnotation, message });
        }
    }
    Ok(own)
}

/// Annotations that look like ours and are not: slips of the pen.
pub(super) fn unknown(annotations: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let known = |name: &str| name == STATUS || ANNOTATIONS.iter().any(|annotation| annotation.name == name);
    annotations.keys().map(String::as_str).filter(move |name| name.starts_with(PREFIX) && !known(name))
}

/// A value for a message; what is not a string is said to be none, since YAML makes numbers and
/// booleans of words without quotes.
fn shown(found: &Value) -> String {
    let kind = match found {
        Value::Null => return "nothing".to_owned(),
        Value::String(_) => "",
        Value::Bool(_) => "the boolean ",
        Value::Number(_) => "the number ",
        Value::Array(_) => return "a list".to_owned(),
        Value::Object(_) => return "a mapping".to_owned(),
    };
    let text = found.to_string();
    match text.char_indices().nth(FOUND_CHARS_MAX) {
        Some((end, _)) => format!("{kind}{}…", &text[..end]),
        None => format!("{kind}{text}"),
    }
}
