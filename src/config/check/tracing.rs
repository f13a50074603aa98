//! `tracing`: which calls are traced, and where their spans go.
//!
//! In: the keys of the block; where they are silent, the `OTEL_*` variables. Out: a [`Tracing`], or
//! problems. A wrong variable is a warning, for it was not written for us; a wrong key is a problem.

mod variables;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::address::parse_host;
use super::tls::PemFile;
use super::value::{self, Value, want_form};
use super::{Checker, Leaf, found};
use crate::config::keys::Kind;
use crate::config::raw::Place;
use crate::config::variables::{POD, Variables};
use crate::config::{
    Always, Export, ExportEndpoint, ExportHeaders, ExportTls, OtlpProtocol, PortPattern, Tracing,
};

/// The port of OTLP over gRPC.
const GRPC_PORT: u16 = 4317;

/// Longest time of one export when nobody says (the default of OTLP).
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a span waits for others when nobody says. OpenTelemetry's default is five seconds; whoever
/// looks for a call looks for one that has just failed.
const DELAY: Duration = Duration::from_secs(1);

/// Spans of one request when nobody says (the default of OpenTelemetry).
const BATCH_MAX: usize = 512;

/// Where requests of OTLP/HTTP go below the address of a collector.
const HTTP_PATH: &str = "/v1/traces";

/// What is known of the block while its keys are read.
#[derive(Default)]
pub(super) struct Draft {
    off: bool,
    sample: f64,
    /// The share is the user's own, which no variable changes.
    sample_set: bool,
    always: Always,
    endpoint: Option<ExportEndpoint>,
    /// Where the first key stands that means nothing without an endpoint.
    idle: Option<(Place, String)>,
    protocol: Option<OtlpProtocol>,
    headers: Option<Vec<(String, String)>>,
    gzip: Option<bool>,
    timeout: Option<Duration>,
    ca: Option<PemFile>,
    cert: Option<PemFile>,
    key: Option<PemFile>,
    /// The export is switched off by a variable.
    disabled: bool,
    delay: Option<Duration>,
    batch_max: Option<usize>,
}

impl Checker<'_> {
    /// Reads one key of the block, from the user or from the table.
    pub(super) fn tracing_key(&mut self, leaf: &Leaf<'_>, draft: &mut Draft) {
        let built_in = leaf.place.line == 0;
        let idle = !matches!(leaf.key.path, "tracing" | "tracing.otlp" | "tracing.sample");
        if idle && !built_in && draft.idle.is_none() {
            draft.idle = Some((leaf.place, leaf.at.clone()));
        }
        match leaf.key.path {
            "tracing" => draft.off = value::is_off(leaf.node),
            "tracing.otlp" => draft.endpoint = self.endpoint(leaf),
            "tracing.headers" => draft.headers = Some(self.export_headers(leaf)),
            "tracing.tls.ca" => draft.ca = self.pem_file(leaf),
            "tracing.tls.cert" => draft.cert = self.pem_file(leaf),
            "tracing.tls.key" => draft.key = self.pem_file(leaf),
            _ => match value::read(leaf.key.kind, leaf.node) {
                Ok(value) => draft.set(leaf, value),
                Err(wrongs) => self.wrong(leaf, wrongs),
            },
        }
    }

    /// The block as a whole.
    pub(super) fn tracing(&mut self, mut draft: Draft, service: &str) -> Tracing {
        let variables = &self.options.environment.variables;
        if !draft.sample_set {
            self.sampler_variables(variables, &mut draft);
        }
        if draft.off {
            return Tracing { sample: 0.0, always: Always::default(), export: None };
        }
        let written = draft.endpoint.is_some();
        self.export_variables(variables, &mut draft);
        let Some(endpoint) = draft.endpoint.take().filter(|_| !draft.disabled) else {
            if let Some((place, at)) = draft.idle.filter(|_| !written && !draft.disabled) {
                let want = "tracing.otlp besides it: nothing is exported without";
                self.warning(place, &at, "a setting of the export of spans", want);
            }
            return Tracing { sample: draft.sample, always: draft.always, export: None };
        };
        let tls = self.export_tls(&draft);
        let by_port = if endpoint.port == GRPC_PORT { OtlpProtocol::Grpc } else { OtlpProtocol::Http };
        let export = Export {
            protocol: draft.protocol.unwrap_or(by_port),
            endpoint,
            headers: ExportHeaders(draft.headers.unwrap_or_default()),
            gzip: draft.gzip.unwrap_or(false),
            timeout: draft.timeout.unwrap_or(TIMEOUT),
            tls,
            delay: draft.delay.unwrap_or(DELAY),
            batch_max: draft.batch_max.unwrap_or(BATCH_MAX),
            resource: resource(variables, service),
        };
        Tracing { sample: draft.sample, always: draft.always, export: Some(Arc::new(export)) }
    }

    fn endpoint(&mut self, leaf: &Leaf<'_>) -> Option<ExportEndpoint> {
        let text = leaf.node.text().unwrap_or_default();
        let endpoint = parse_endpoint(text, true);
        if endpoint.is_none() {
            // A password may stand before the `@`.
            let (found, want) = match text.contains('@') {
                true => ("a URL with credentials".to_owned(), "tracing.headers for them".to_owned()),
                false => (found(leaf.node), want_form(Kind::Url)),
            };
            self.problem(leaf.node.place, &leaf.at, found, want);
        }
        endpoint
    }

    /// Header fields. Values are secrets, so no problem repeats one.
    fn export_headers(&mut self, leaf: &Leaf<'_>) -> Vec<(String, String)> {
        let Some(entries) = leaf.node.entries() else {
            self.problem(leaf.node.place, &leaf.at, "no block", want_form(leaf.key.kind));
            return Vec::new();
        };
        let mut headers = Vec::with_capacity(entries.len());
        for entry in entries {
            let mut at = leaf.at.clone();
            super::push_key(&mut at, &entry.key);
            let value = entry.value.text().filter(|_| !entry.value.is_nothing());
            match value {
                _ if !is_header_name(&entry.key) => {
                    self.problem(entry.place, &at, "a name that is none", "the name of a header");
                }
                Some(value) if is_header_value(value) => {
                    headers.push((entry.key.to_ascii_lowercase(), value.to_owned()));
                }
                Some(_) | None => {
                    let want = "printable ASCII on one line";
                    self.problem(entry.value.place, &at, "a value that no header can have", want);
                }
            }
        }
        headers
    }

    fn export_tls(&mut self, draft: &Draft) -> ExportTls {
        let roots = draft.ca.as_ref().and_then(|file| self.trusted(file)).map(|(roots, _)| roots);
        let identity = self.shown(draft.cert.as_ref(), draft.key.as_ref()).map(|(identity, _)| identity);
        let mut hasher = DefaultHasher::new();
        for file in [&draft.ca, &draft.cert, &draft.key] {
            file.as_ref().map(|file| &file.bytes).hash(&mut hasher);
        }
        ExportTls { roots, identity, digest: hasher.finish() }
    }
}

// === impl Draft ===

impl Draft {
    fn set(&mut self, leaf: &Leaf<'_>, value: Value) {
        match (leaf.key.path, value) {
            ("tracing.sample", value) => {
                self.sample = if let Value::Share(share) = value { share } else { 0.0 };
                self.sample_set = leaf.place.line > 0;
            }
            // The bits are in the order of the table's words.
            ("tracing.always", Value::Words(bits)) => {
                let has = |bit: u8| bits & 1 << bit != 0;
                self.always = Always { error: has(0), retry: has(1), breaker: has(2), slow: has(3) };
            }
            ("tracing.protocol", Value::Word("grpc")) => self.protocol = Some(OtlpProtocol::Grpc),
            ("tracing.protocol", Value::Word(_)) => self.protocol = Some(OtlpProtocol::Http),
            ("tracing.compression", Value::Word(word)) => self.gzip = Some(word == "gzip"),
            ("tracing.timeout", Value::Time(time)) => self.timeout = Some(time),
            // Blocks, whose keys come by themselves.
            (_, _) => {}
        }
    }
}

/// `http://collector:4318`. A URL in the YAML names a collector: below it stands the path of OTLP unless
/// it is there already; `base` is false for a variable that says the whole URL.
fn parse_endpoint(text: &str, base: bool) -> Option<ExportEndpoint> {
    let (https, rest) = match text.strip_prefix("http://") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("https://")?),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'#' && byte != b'@';
    let host = parse_host(authority).filter(|_| path.bytes().all(visible))?;
    let port = match host.port {
        PortPattern::Usual => {
            if https {
                443
            } else {
                80
            }
        }
        PortPattern::Exact(port) => port,
        PortPattern::Any => return None,
    };
    let path = match path.trim_end_matches('/') {
        path if base && !path.ends_with(HTTP_PATH) => format!("{path}{HTTP_PATH}"),
        _ if path.is_empty() => "/".to_owned(),
        _ => path.to_owned(),
    };
    Some(ExportEndpoint { https, host: host.name, port, path })
}

fn is_header_name(text: &str) -> bool {
    super::route::is_token(text)
}

fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// What spans are of: the variables' word before that of the pod, the application's name by its own key.
fn resource(variables: &Variables, service: &str) -> Vec<(String, String)> {
    let mut resource = vec![("service.name".to_owned(), service.to_owned())];
    let pod = POD.iter().filter_map(|(name, key)| Some(((*key).to_owned(), variables.get(name)?.to_owned())));
    for (key, value) in variables.resource().into_iter().chain(pod) {
        if !resource.iter().any(|(known, _)| *known == key) {
            resource.push((key, value));
        }
    }
    resource
}
