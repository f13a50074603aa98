//! A request as the scripted HTTP/2 service read it.
//!
//! In: a request of the `h2` library. Out: pseudo fields, fields, and later its body and its end.

use h2::RecvStream;
use h2::ext::Protocol;
use http::Request;

use super::h2_client::{Fields, listed};
use super::h2_stream::Cut;
use super::wire::{Body, values};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct H2Seen {
    pub(crate) method: String,
    pub(crate) scheme: String,
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
    /// `:protocol` of an extended CONNECT.
    pub(crate) protocol: String,
    pub(crate) fields: Fields,
    pub(crate) body: Body,
    /// Number of the connection it came on, from 0.
    pub(crate) connection: usize,
    /// How the peer cut the stream, if it did.
    pub(crate) cut: Option<Cut>,
}

// === impl H2Seen ===

impl H2Seen {
    pub(crate) fn parse(request: &Request<RecvStream>, connection: usize) -> Self {
        let uri = request.uri();
        let protocol = request.extensions().get::<Protocol>();
        Self {
            method: request.method().to_string(),
            scheme: uri.scheme_str().unwrap_or_default().to_owned(),
            authority: uri.authority().map(ToString::to_string).unwrap_or_default(),
            path: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            protocol: protocol.map(|protocol| protocol.as_str().to_owned()).unwrap_or_default(),
            fields: listed(request.headers()),
            body: Body::default(),
            connection,
            cut: None,
        }
    }

    /// The value of the first field called `name`, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        values(&self.fields, name).first().copied().unwrap_or_default()
    }

    /// The values of every field called `name`.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }
}
