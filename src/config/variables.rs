//! The variables of OpenTelemetry and of the pod, as they are found.
//!
//! In: the process' environment, or what a test says. Out: values by name, and the readings that
//! several of them share. Some hold tokens: none is ever printed.

use std::collections::BTreeMap;
use std::fmt;

/// The variables of the Kubernetes downward API that are looked at, as this project's manifests name
/// them, and the resource attribute each gives.
pub(super) const POD: [(&str, &str); 5] = [
    ("POD_NAME", "k8s.pod.name"),
    ("POD_NAMESPACE", "k8s.namespace.name"),
    ("POD_UID", "k8s.pod.uid"),
    ("NODE_NAME", "k8s.node.name"),
    ("CONTAINER_NAME", "k8s.container.name"),
];

/// Variables by name: those of OpenTelemetry (`OTEL_*`) and of the pod.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

// === impl Variables ===

impl Variables {
    /// Those of this process. Empty ones count as absent, as OpenTelemetry asks.
    pub fn process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("OTEL_") || POD.iter().any(|(known, _)| known == name))
            .collect()
    }

    /// The value of the first of these names that has one, with that name.
    pub(super) fn first(&self, names: [&'static str; 2]) -> Option<(&'static str, &str)> {
        names.into_iter().find_map(|name| Some((name, self.get(name)?)))
    }

    /// One value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Whether a switch is on. Only `true`, in any case, is on.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// `OTEL_RESOURCE_ATTRIBUTES`, as far as it can be read.
    pub(super) fn resource(&self) -> Vec<(String, String)> {
        self.get("OTEL_RESOURCE_ATTRIBUTES").and_then(pairs).unwrap_or_default()
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// `a=b,c=d`, the values perhaps percent-encoded (W3C Baggage). `None` when a part is none of it: then
/// all of it is ignored, as OpenTelemetry asks.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            let name = decoded(name.trim())?;
            (!name.is_empty()).then_some((name, decoded(value.trim())?))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits =
            after.get(..2).filter(|_| byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_with_their_escapes_or_not_at_all() {
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs("a=b, c = d%20e%2C ,f=g=h"),
            Some(vec![owned("a", "b"), owned("c", "d e,"), owned("f", "g=h")])
        );
        assert_eq!(pairs("a=100%"), Some(vec![owned("a", "100%")]));
        assert_eq!(pairs("a=b,nonsense"), None);
        assert_eq!(pairs("=b"), None);
        assert_eq!(pairs("a=%ff"), None, "no UTF-8");
    }

    #[test]
    fn values_are_not_printed() {
        let variables: Variables = [("OTEL_X".to_owned(), "secret".to_owned())].into_iter().collect();
        assert_eq!(format!("{variables:?}"), "{\"OTEL_X\"}");
        assert_eq!(variables.get("OTEL_X"), Some("secret"));
    }
}
