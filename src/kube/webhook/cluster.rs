//! The API server, as the little that is asked of it.
//!
//! In: a path, perhaps a patch. Out: JSON, or why there is none. One connection per question: they are
//! minutes apart. Every question has an end ([`ANSWER_WAIT_MAX`]); trying again is the caller's part.
//! Token and authority are read each time, because the kubelet renews them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::roots;

/// Longest time of one question, from the connect to the end of the answer.
pub(super) const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Most bytes of an answer; no object in etcd is larger.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Longest part of a refusal that is repeated, in characters.
const TOLD_MAX: usize = 300;

const AGENT: &str = concat!("outrigger-webhook/", env!("CARGO_PKG_VERSION"));

/// The API server of this cluster.
#[derive(Debug, Clone)]
pub(super) struct ApiServer {
    host: String,
    port: u16,
    name: ServerName<'static>,
    /// Where the kubelet puts `token`, `ca.crt` and `namespace`.
    account: PathBuf,
}

/// Why a question has no answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// The status, where there was an answer at all.
    pub(super) status: Option<StatusCode>,
    told: String,
}

// === impl ApiServer ===

impl ApiServer {
    /// The one that the variables of the pod name, asked with the service account in `account`.
    ///
    /// # Errors
    /// A sentence, when this is no pod.
    pub(super) fn of_pod(account: PathBuf) -> Result<Self, String> {
        let variable = |name: &str| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty());
            value.ok_or_else(|| {
                format!("{name} is not set: the API server can be asked from inside a pod only")
            })
        };
        let host = variable("KUBERNETES_SERVICE_HOST")?;
        let port = variable("KUBERNETES_SERVICE_PORT")?;
        let bad = |name, value: &str| format!("{name}: found {value:?}, want a host and a port");
        let number = port.parse().map_err(|_| bad("KUBERNETES_SERVICE_PORT", &port))?;
        let name = ServerName::try_from(host.clone()).map_err(|_| bad("KUBERNETES_SERVICE_HOST", &host))?;
        Ok(Self { host, port: number, name, account })
    }

    /// The namespace of this pod, if the kubelet tells it.
    pub(super) fn namespace(account: &std::path::Path) -> Option<String> {
        let text = std::fs::read_to_string(account.join("namespace")).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// One that is never asked.
    #[cfg(test)]
    pub(super) fn nobody() -> Self {
        let host = "192.0.2.1".to_owned();
        let name = ServerName::try_from(host.clone()).unwrap();
        Self { host, port: 1, name, account: PathBuf::new() }
    }

    /// The object at `path`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await
    }

    /// Merges `patch` into the object at `path` (a strategic merge patch: lists are merged by name).
    pub(super) async fn merge(&self, path: &str, patch: &Value) -> Result<Value, Failure> {
        self.ask(Method::PATCH, path, Some(patch.to_string())).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, Failure> {
        let question = self.exchange(method, path, body);
        let told = || Failure::of(format!("no answer within {} s", ANSWER_WAIT_MAX.as_secs()));
        timeout(ANSWER_WAIT_MAX, question).await.unwrap_or_else(|_| Err(told()))
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, Failure> {
        let authority = HeaderValue::try_from(format!("{}:{}", bracketed(&self.host), self.port));
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/strategic-merge-patch+json");
        }
        let request = request
            .header(HOST, authority.map_err(Failure::of)?)
            .header(AUTHORIZATION, self.bearer()?)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, AGENT)
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(Failure::of)?;
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(Failure::of)?;
        let stream = self.tls()?.connect(self.name.clone(), socket).await.map_err(Failure::of)?;
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Failure::of)?;
        let answered = async move {
            let answer = client.send_request(request).await.map_err(Failure::of)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            // The client ends here, and its connection with it.
            Ok((status, body.map_err(Failure::of)?.to_bytes()))
        };
        let (answered, _) = tokio::join!(answered, connection);
        let (status, body): (StatusCode, Bytes) = answered?;
        read(status, &body)
    }

    fn bearer(&self) -> Result<HeaderValue, Failure> {
        let path = self.account.join("token");
        let token = std::fs::read_to_string(&path)
            .map_err(|error| Failure::of(format!("{}: {error}", path.display())))?;
        // The error would repeat the token.
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| Failure::of(format!("{}: no token", path.display())))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn tls(&self) -> Result<TlsConnector, Failure> {
        let roots: Arc<RootCertStore> = roots(&self.account.join("ca.crt")).map_err(Failure::of)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Failure::of)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// What an answer means: the object, or the `message` of the `Status` that came in its place.
fn read(status: StatusCode, body: &[u8]) -> Result<Value, Failure> {
    let value: Result<Value, _> = serde_json::from_slice(body);
    if status.is_success() {
        return value.map_err(|error| Failure::of(format!("its answer is no JSON: {error}")));
    }
    let message = value.ok().and_then(|value| Some(value["message"].as_str()?.to_owned()));
    let message: String = message.unwrap_or_default().chars().take(TOLD_MAX).collect();
    let told = format!("it answered {} {}", status.as_u16(), message.escape_debug());
    Err(Failure { status: Some(status), told: told.trim_end().to_owned() })
}

/// A host as it stands before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

// === impl Failure ===

impl Failure {
    fn of(told: impl fmt::Display) -> Self {
        Self { status: None, told: told.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_the_server_said() {
        let body = br#"{"kind":"Status","message":"configurations \"x\" is forbidden"}"#;
        let failure = read(StatusCode::FORBIDDEN, body).unwrap_err();
        assert_eq!(failure.to_string(), r#"it answered 403 configurations \"x\" is forbidden"#);
        assert_eq!(failure.status, Some(StatusCode::FORBIDDEN));
        assert_eq!(read(StatusCode::BAD_GATEWAY, b"<html>").unwrap_err().to_string(), "it answered 502");
        assert!(read(StatusCode::OK, b"<html>").is_err());
    }
}
