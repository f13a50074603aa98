//! The reasons not to touch a pod, as conditions.
//!
//! In: settings. Out: one condition for each reason that the pod alone tells, true where it does not hold.
//! They are asked before the variables exist, so each says for itself where it looks.

use super::super::annotations::{
    ANNOTATIONS, Annotation, CPU_LIMIT, CPU_REQUEST, MEMORY_LIMIT, MEMORY_REQUEST,
};
use super::super::settings::{CAPTURE_NAME, INJECT_LABEL, PROXY_NAME, STATUS, Settings, VOLUME};
use super::super::skip::{OTHER_CONTAINERS, OTHER_MARKS, OTHER_WISHES, OtherClaim, REVISION, Reason};
use super::super::values::{Form, IMAGE_BYTES_MAX, ITEMS_MAX, OBJECT_NAME_BYTES_MAX, QUANTITY_BYTES_MAX};
use super::cel::{string, strings};
use crate::config::capture::USER_MAX;

/// The pod's annotations.
pub(super) const OF_POD: &str = "object.metadata.?annotations.orValue({})";

/// Its init containers and its containers.
const CONTAINERS: &str = "(object.spec.?initContainers.orValue([]) + object.spec.containers)";

/// YAML of all conditions.
pub(super) fn yaml(settings: &Settings) -> String {
    let mut text =
        "  # Each is true of a pod that its reason does not speak against.\n  matchConditions:\n".to_owned();
    for (reason, expression) in all(settings) {
        text.push_str(&format!("    - name: {}\n      expression: |-\n", reason.word()));
        text.push_str(&super::block(&expression, 8));
    }
    text
}

fn all(settings: &Settings) -> Vec<(Reason, String)> {
    vec![
        (Reason::AlreadyInjected, injected()),
        (Reason::Disabled, disabled()),
        (Reason::StaticPod, static_pod()),
        (Reason::HostNetwork, "!object.spec.?hostNetwork.orValue(false)".to_owned()),
        (Reason::Windows, windows()),
        (Reason::OtherMesh, other_mesh()),
        (Reason::NameTaken, name_taken()),
        (Reason::PortTaken, port_taken(settings)),
        (Reason::UserTaken, user_taken(settings)),
        (Reason::BadAnnotation, bad_annotation(settings)),
    ]
}

fn injected() -> String {
    format!("!({} in {OF_POD}) &&\n{CONTAINERS}.all(c, c.name != {})", string(STATUS), string(PROXY_NAME))
}

fn disabled() -> String {
    format!("object.metadata.?labels[?{}].orValue(\"\") != \"disabled\"", string(INJECT_LABEL))
}

fn static_pod() -> String {
    format!(
        "!(\"kubernetes.io/config.mirror\" in {OF_POD}) &&\n\
         object.metadata.?annotations[?\"kubernetes.io/config.source\"].orValue(\"api\") == \"api\""
    )
}

fn windows() -> String {
    "object.spec.?os.?name.orValue(\"\") != \"windows\" &&\n\
     object.spec.?nodeSelector[?\"kubernetes.io/os\"].orValue(\"\") != \"windows\""
        .to_owned()
}

fn other_mesh() -> String {
    let containers = strings(OTHER_CONTAINERS.iter().map(|(name, _)| *name));
    let marks = strings(OTHER_MARKS.iter().map(|(name, _)| *name));
    let wishes = OTHER_WISHES.iter().map(|(name, value, _)| strings([*name, *value]));
    let wishes = wishes.collect::<Vec<_>>().join(", ");
    let not = |holder: &str| format!("object.metadata.?{holder}[?wish[0]].orValue(\"\") != wish[1]");
    format!(
        "{CONTAINERS}.all(c, !(c.name in {containers})) &&\n{marks}.all(mark, !(mark in {OF_POD})) &&\n\
         [{wishes}].all(wish,\n  {} && {}) &&\n!{}",
        not("labels"),
        not("annotations"),
        claims(&REVISION, "object.metadata.?labels")
    )
}

/// Whether a label among `labels` takes the pod for another mesh.
pub(super) fn claims(claim: &OtherClaim, labels: &str) -> String {
    let of = |holder: &str, name: &str| format!("{holder}[?{}].orValue(\"\")", string(name));
    let (unless, no) = claim.unless;
    let found = of(labels, claim.name);
    let claims = match claim.value {
        Some(value) => format!("{found} == {}", string(value)),
        None => format!("{found} != \"\""),
    };
    let own = ["object.metadata.?labels", "object.metadata.?annotations"].map(|holder| of(holder, unless));
    format!("({claims} &&\n  !({} in [{}]))", string(no), own.join(", "))
}

fn name_taken() -> String {
    format!(
        "{CONTAINERS}.all(c, c.name != {}) &&\nobject.spec.?volumes.orValue([]).all(v, v.name != {})",
        string(CAPTURE_NAME),
        string(VOLUME)
    )
}

fn port_taken(settings: &Settings) -> String {
    let ports = settings.ports.all().map(|(port, _)| port.to_string()).join(", ");
    format!(
        "{CONTAINERS}.all(c, c.?ports.orValue([]).all(p,\n  \
         !(p.containerPort in [{ports}]) || p.?protocol.orValue(\"TCP\") != \"TCP\"))"
    )
}

/// The user of a container is its own, or else the pod's.
fn user_taken(settings: &Settings) -> String {
    let (name, default) = (string("outrigger.dev/capture"), if settings.capture { "on" } else { "off" });
    format!(
        "object.metadata.?annotations[?{name}].orValue({}) != \"on\" ||\n\
         {CONTAINERS}.all(c, c.?securityContext.?runAsUser.orValue(\n  \
         object.spec.?securityContext.?runAsUser.orValue(-1)) != {})",
        string(default),
        settings.user
    )
}

/// A list of one and `all` give the annotations a name.
fn bad_annotation(settings: &Settings) -> String {
    let mut text = format!("[{OF_POD}].all(annotations,\n");
    for annotation in ANNOTATIONS {
        text.push_str(&super::block(&format!("({}) &&", good(annotation)), 2));
    }
    let of =
        |name: &str, default: &str| format!("annotations[?{}].orValue({})", string(name), string(default));
    let resources = &settings.resources;
    let holds =
        |request: &str, limit: &str| format!("quantity({request}).compareTo(quantity(\n  {limit})) <= 0");
    let memory =
        holds(&of(MEMORY_REQUEST, &resources.memory_request), &of(MEMORY_LIMIT, &resources.memory_limit));
    text.push_str(&super::block(&format!("{memory} &&"), 2));
    let limit = of(CPU_LIMIT, resources.cpu_limit.as_deref().unwrap_or_default());
    let cpu = holds(&of(CPU_REQUEST, &resources.cpu_request), &limit);
    text.push_str(&super::block(&format!("({limit} == \"\" ||\n  {cpu})"), 2));
    text.push(')');
    text
}

fn good(annotation: &Annotation) -> String {
    let name = string(annotation.name);
    let value = format!("annotations[{name}]");
    format!("!({name} in annotations) ||\n  {}", has_form(annotation.form, &value))
}

/// Whether the value of an expression has a form: the same answer as `Form::read`.
fn has_form(form: Form, value: &str) -> String {
    let word = |bytes_max: usize, pattern: &str| {
        format!("(size({value}) <= {bytes_max} && {value}.matches(r'{pattern}'))")
    };
    let list = |item: &str| {
        format!(
            "(size({value}.split(\",\")) <= {ITEMS_MAX} && {value}.split(\",\").map(i, i.trim()).all(item,\n    {item}))"
        )
    };
    match form {
        Form::Switch => format!("{value} in [\"on\", \"off\"]"),
        Form::ObjectName => {
            word(OBJECT_NAME_BYTES_MAX, r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
        }
        Form::Image => word(IMAGE_BYTES_MAX, "^[A-Za-z0-9][A-Za-z0-9._/:@-]*$"),
        Form::Quantity => word(
            QUANTITY_BYTES_MAX,
            r"^(0*[1-9][0-9]*(\.[0-9]+)?|0+\.0*[1-9][0-9]*)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
        ),
        Form::Ports => list(
            "item.matches(r'^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$') &&\n    \
             [item.split(\"-\")].all(ends, int(ends[0]) <= int(ends[size(ends) - 1]) && int(ends[size(ends) - 1]) <= 65535)",
        ),
        Form::Networks => list("isIP(item) || (isCIDR(item) && cidr(item).masked() == cidr(item))"),
        Form::Users => list(&format!("item.matches(r'^(0|[1-9][0-9]{{0,9}})$') && int(item) <= {USER_MAX}")),
    }
}
