//! What a pod says of its own sidecar.
//!
//! In: settings for all pods, and a pod's annotations. Out: the settings for this one, or what is
//! wrong with an annotation.

use serde_json::{Map, Value};

use super::settings::{STATUS, Settings};
use super::skip::{Reason, Skip};
use super::values::Form;

/// What our annotations begin with.
pub(super) const PREFIX: &str = "outrigger.dev/";

pub(super) const CPU_LIMIT: &str = "outrigger.dev/cpu-limit";

pub(super) const CPU_REQUEST: &str = "outrigger.dev/cpu-request";

pub(super) const MEMORY_LIMIT: &str = "outrigger.dev/memory-limit";

pub(super) const MEMORY_REQUEST: &str = "outrigger.dev/memory-request";

/// Most characters of somebody's value that a message repeats.
const FOUND_CHARS_MAX: usize = 60;

/// One annotation that pods may have.
#[derive(Debug)]
pub struct Annotation {
    /// Its whole name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What values it takes.
    pub(super) form: Form,
    /// Takes over words that have the form.
    pub(super) set: fn(&mut Settings, Vec<String>),
}

/// All of them.
pub const ANNOTATIONS: &[Annotation] = &[
    Annotation {
        name: "outrigger.dev/config",
        about: "The ConfigMap in the pod's namespace that holds the configuration",
        form: Form::ObjectName,
        set: |settings, words| settings.config = words.concat(),
    },
    Annotation {
        name: "outrigger.dev/capture",
        about: "`off`: no kernel rules; the containers get `HTTP_PROXY` instead",
        form: Form::Switch,
        set: |settings, words| settings.capture = words.concat() == "on",
    },
    Annotation {
        name: "outrigger.dev/skip-ports",
        about: "Ports of services that are not captured",
        form: Form::Ports,
        set: |settings, words| settings.skip.ports = words,
    },
    Annotation {
        name: "outrigger.dev/skip-networks",
        about: "Networks of services that are not captured",
        form: Form::Networks,
        set: |settings, words| settings.skip.networks = words,
    },
    Annotation {
        name: "outrigger.dev/skip-users",
        about: "Users of the pod whose connections are not captured",
        form: Form::Users,
        set: |settings, words| settings.skip.users = words,
    },
    Annotation {
        name: "outrigger.dev/image",
        about: "The image of the sidecar",
        form: Form::Image,
        set: |settings, words| settings.image = words.concat(),
    },
    Annotation {
        name: CPU_REQUEST,
        about: "CPU that the scheduler keeps free for the sidecar",
        form: Form::Quantity,
        set: |settings, words| settings.resources.cpu_request = words.concat(),
    },
    Annotation {
        name: CPU_LIMIT,
        about: "CPU above which the kernel lets the sidecar wait; without it there is no limit",
        form: Form::Quantity,
        set: |settings, words| settings.resources.cpu_limit = Some(words.concat()),
    },
    Annotation {
        name: MEMORY_REQUEST,
        about: "Memory that the scheduler keeps free for the sidecar",
        form: Form::Quantity,
        set: |settings, words| settings.resources.memory_request = words.concat(),
    },
    Annotation {
        name: MEMORY_LIMIT,
        about: "Memory above which the kernel ends the sidecar",
        form: Form::Quantity,
        set: |settings, words| settings.resources.memory_limit = words.concat(),
    },
];

// === impl Annotation ===

impl Annotation {
    /// What values it takes, for messages and documents.
    pub fn wanted(&self) -> &'static str {
        self.form.wanted()
    }
}

/// The settings for the pod with these annotations.
pub(super) fn settings_for(settings: &Settings, annotations: &Map<String, Value>) -> Result<Settings, Skip> {
    let mut own = settings.clone();
    for annotation in ANNOTATIONS {
        let Some(found) = annotations.get(annotation.name) else { continue };
        let Some(words) = found.as_str().and_then(|text| annotation.form.read(text)) else {
            return Err(bad(annotation.name, &shown(found), annotation.wanted()));
        };
        (annotation.set)(&mut own, words);
    }
    own.resources
        .check()
        .map_err(|wrong| Skip { reason: Reason::BadAnnotation, message: format!("{PREFIX}{wrong}") })?;
    Ok(own)
}

fn bad(name: &str, found: &str, wanted: &str) -> Skip {
    Skip { reason: Reason::BadAnnotation, message: format!("{name}: found {found}, want {wanted}") }
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
