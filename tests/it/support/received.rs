//! A reply as the application read it: status, header fields in order with their case, body,
//! trailers and the 1xx heads that came before.

use serde_json::Value;

use super::wire::{Body, values};

/// One reply.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) status: u16,
    /// Name (as written) and value, in order.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Body,
    /// Status and fields of each 1xx head before the reply.
    pub(crate) interim: Vec<(u16, Vec<(String, String)>)>,
}

// === impl Received ===

impl Received {
    /// The value of the first field called `name`, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        values(&self.fields, name).first().copied().unwrap_or_default()
    }

    /// The values of every field called `name`.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    /// Why Outrigger answered itself; empty if it did not.
    pub(crate) fn reason(&self) -> &str {
        self.header("outrigger-reason")
    }

    /// Status and reason: all that most tests of a fault ask for.
    pub(crate) fn outcome(&self) -> (u16, &str) {
        (self.status, self.reason())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }

    /// The body as JSON; panics if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body.bytes)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// Whether the connection ended before the body did.
    pub(crate) fn cut(&self) -> bool {
        !self.body.complete
    }

    /// Statuses of the 1xx heads before the reply.
    pub(crate) fn interim_statuses(&self) -> Vec<u16> {
        self.interim.iter().map(|(status, _)| *status).collect()
    }
}
