//! The variables of OpenTelemetry, for what the YAML leaves open.
//!
//! In: variables, and what the YAML said. Out: the rest of the draft. Those of traces win over those of
//! all signals. A value that means nothing is ignored with a warning, as OpenTelemetry asks.

use std::time::Duration;

use super::{Draft, is_header_name, is_header_value, parse_endpoint};
use crate::config::OtlpProtocol;
use crate::config::check::Checker;
use crate::config::raw::Place;
use crate::config::units::parse_ratio;
use crate::config::variables::{Variables, pairs};

/// Most spans of one request that a variable may ask for.
const BATCH_MAX: usize = 65_536;

/// Longest wait or timeout that a variable may ask for: an hour.
const MILLIS_MAX: u64 = 3_600_000;

impl Checker<'_> {
    /// The share of calls that are sampled.
    pub(super) fn sampler_variables(&mut self, variables: &Variables, draft: &mut Draft) {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        let Some(sampler) = variables.get(NAME) else { return };
        match sampler.strip_prefix("parentbased_").unwrap_or(sampler) {
            "always_on" => draft.sample = 1.0,
            "always_off" => draft.sample = 0.0,
            "traceidratio" => {
                let argument = variables.get("OTEL_TRACES_SAMPLER_ARG").unwrap_or("1");
                let share = argument.parse().ok().or_else(|| parse_ratio(argument));
                match share.filter(|share| (0.0..=1.0).contains(share)) {
                    Some(share) => draft.sample = share,
                    None => self.strange("OTEL_TRACES_SAMPLER_ARG", argument, "a number from 0 to 1"),
                }
            }
            _ => self.strange(NAME, sampler, "always_on, always_off or traceidratio, perhaps parentbased_"),
        }
    }

    /// Everything about the export.
    pub(super) fn export_variables(&mut self, variables: &Variables, draft: &mut Draft) {
        draft.disabled = variables.is_true("OTEL_SDK_DISABLED");
        if draft.endpoint.is_none() && variables.get("OTEL_TRACES_EXPORTER") != Some("none") {
            self.endpoint_variables(variables, draft);
        }
        if draft.endpoint.is_none() {
            return;
        }
        self.protocol_variables(variables, draft);
        self.header_variables(variables, draft);
        let names = ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
        match variables.first(names) {
            _ if draft.gzip.is_some() => {}
            Some((_, "gzip")) => draft.gzip = Some(true),
            Some((_, "none")) | None => {}
            Some((name, value)) => self.strange(name, value, "gzip or none"),
        }
        let names = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
        draft.timeout = draft.timeout.or_else(|| self.millis(variables, names));
        draft.delay = self.millis(variables, ["OTEL_BSP_SCHEDULE_DELAY"; 2]);
        draft.batch_max = self.batch_variable(variables);
        self.file_variables(variables, draft);
    }

    fn endpoint_variables(&mut self, variables: &Variables, draft: &mut Draft) {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
        let Some((name, text)) = variables.first(names) else { return };
        draft.endpoint = parse_endpoint(text, name == names[1]);
        if draft.endpoint.is_none() {
            // A password may stand in it.
            let shown = if text.contains('@') { "a URL with credentials" } else { text };
            self.strange(name, shown, "a URL such as http://collector:4318");
        }
    }

    fn protocol_variables(&mut self, variables: &Variables, draft: &mut Draft) {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
        match variables.first(names) {
            _ if draft.protocol.is_some() => {}
            Some((_, "grpc")) => draft.protocol = Some(OtlpProtocol::Grpc),
            Some((_, "http/protobuf")) => draft.protocol = Some(OtlpProtocol::Http),
            Some((name, value)) => self.strange(name, value, "grpc or http/protobuf"),
            None => {}
        }
    }

    fn header_variables(&mut self, variables: &Variables, draft: &mut Draft) {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
        let Some((name, text)) = variables.first(names).filter(|_| draft.headers.is_none()) else { return };
        let fits = |pair: &(String, String)| is_header_name(&pair.0) && is_header_value(&pair.1);
        match pairs(text).filter(|pairs| pairs.iter().all(fits)) {
            Some(mut pairs) => {
                pairs.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
                draft.headers = Some(pairs);
            }
            // The text is full of secrets.
            None => self.strange(name, "another text", "headers such as name=value,name=value"),
        }
    }

    fn file_variables(&mut self, variables: &Variables, draft: &mut Draft) {
        let mut file = |names| {
            let (name, path) = variables.first(names)?;
            Some(self.file_of_variable(name, path))
        };
        if draft.ca.is_none() {
            draft.ca = file(["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"]);
        }
        // A pair belongs together: half of it is not taken from elsewhere.
        if draft.cert.is_none() && draft.key.is_none() {
            draft.cert = file([
                "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            ]);
            draft.key = file(["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"]);
        }
    }

    fn batch_variable(&mut self, variables: &Variables) -> Option<usize> {
        const NAME: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
        let text = variables.get(NAME)?;
        let count = text.parse().ok().filter(|count| (1..=BATCH_MAX).contains(count));
        if count.is_none() {
            self.strange(NAME, text, &format!("a whole number from 1 to {BATCH_MAX}"));
        }
        count
    }

    fn millis(&mut self, variables: &Variables, names: [&'static str; 2]) -> Option<Duration> {
        let (name, text) = variables.first(names)?;
        let millis = text.parse().ok().filter(|millis| (1..=MILLIS_MAX).contains(millis));
        if millis.is_none() {
            self.strange(name, text, &format!("milliseconds from 1 to {MILLIS_MAX}"));
        }
        millis.map(Duration::from_millis)
    }

    /// Warns of a variable that means nothing.
    fn strange(&mut self, name: &str, found: &str, want: &str) {
        self.warning(Place::NONE, name, super::super::shorten(found), want);
    }
}
