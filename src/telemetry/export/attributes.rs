//! Attributes: keys with values, as OTLP has them.
//!
//! In: what a story knows. Out: a list without what is unknown. Keys are those of OpenTelemetry's semantic
//! conventions (HTTP stable, RPC release candidate) and `outrigger.*` for what only we know.

use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

/// Most attributes of one span; those of a call with all there is are fewer.
const ROOM: usize = 24;

/// A list of attributes that grows.
pub(super) struct Attributes(Vec<KeyValue>);

// === impl Attributes ===

impl Attributes {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(ROOM))
    }

    /// Nothing when it is empty.
    pub(super) fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.put(key, Value::StringValue(text.to_owned()));
        }
    }

    pub(super) fn number(&mut self, key: &str, number: i64) {
        self.put(key, Value::IntValue(number));
    }

    pub(super) fn fraction(&mut self, key: &str, number: f64) {
        self.put(key, Value::DoubleValue(number));
    }

    pub(super) fn switch(&mut self, key: &str, on: bool) {
        self.put(key, Value::BoolValue(on));
    }

    /// In milliseconds.
    pub(super) fn time(&mut self, key: &str, time: Duration) {
        self.fraction(key, time.as_secs_f64() * 1e3);
    }

    /// Bytes, or another count.
    pub(super) fn count(&mut self, key: &str, count: u64) {
        self.number(key, i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The other end of a connection.
    pub(super) fn peer(&mut self, address: SocketAddr) {
        self.put("network.peer.address", Value::StringValue(address.ip().to_string()));
        self.number("network.peer.port", address.port().into());
    }

    /// A host with a port, perhaps; what stands before an `@` is nobody's business.
    pub(super) fn server(&mut self, host: &str) {
        let host = host.rsplit('@').next().unwrap_or_default();
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, after)) => (address, after.strip_prefix(':')),
            None => match host.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (host, None),
            },
        };
        self.text("server.address", name);
        if let Some(port) = port.and_then(|port| port.parse::<u16>().ok()) {
            self.number("server.port", port.into());
        }
    }

    pub(super) fn done(self) -> Vec<KeyValue> {
        self.0
    }

    fn put(&mut self, key: &str, value: Value) {
        self.0.push(attribute(key, value));
    }
}

/// One attribute.
pub(super) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
