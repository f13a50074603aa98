//! `outrigger webhook` as a process, and the API server's side of a connection to it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{BOUND, Client, Metrics, binary, eventually, get, within};

/// The name that API servers want in the certificate.
pub(super) const NAME: &str = "outrigger-webhook.outrigger-system.svc";

/// The process; killed when the test ends, and its log is printed when the test fails.
#[derive(Debug)]
pub(super) struct Webhook {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

/// Who asks: what it trusts, and where the webhook is.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    config: Arc<ClientConfig>,
    address: SocketAddr,
}

/// One connection of an API server.
pub(super) struct Line {
    client: SendRequest<Full<Bytes>>,
    /// The certificate that was shown.
    pub(super) shown: Vec<u8>,
}

/// A reply.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) text: String,
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// A recorded review.
pub(super) fn recorded(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/webhook/reviews");
    let path = folder.join(name).with_extension("json");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// === impl Webhook ===

impl Webhook {
    /// Starts it with these flags and variables, on free ports.
    pub(super) async fn start(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary());
        command.args(["webhook", "--listen=127.0.0.1:0", "--health=127.0.0.1:0"]).args(flags);
        command.env_remove("KUBERNETES_SERVICE_HOST").env_remove("KUBERNETES_SERVICE_PORT");
        command.env("NO_COLOR", "1").envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starting the webhook");
        let log = Arc::new(Mutex::new(Vec::new()));
        collect(child.stderr.take().expect("a pipe"), Arc::clone(&log));
        collect(child.stdout.take().expect("a pipe"), Arc::clone(&log));
        let webhook = Self { child, log };
        eventually("it listens", async || webhook.listener("health").is_some()).await;
        webhook
    }

    pub(super) async fn until_ready(&self) {
        eventually("/ready says yes", async || self.ready().await.0 == 200).await;
    }

    /// Whether a line of its log contains `text`.
    pub(super) fn said(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.contains(text))
    }

    fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn listener(&self, purpose: &str) -> Option<SocketAddr> {
        self.lines().iter().find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            let (address, of) = rest.split_once(" for ")?;
            (of.trim_end() == purpose).then(|| address.parse().ok())?
        })
    }

    /// Where reviews are answered.
    pub(super) fn address(&self) -> SocketAddr {
        self.listener("webhook").expect("the listener is in the log")
    }

    /// An API server that trusts the authorities of this PEM text.
    pub(super) fn asker(&self, pem: &str) -> Asker {
        Asker::new(self.address(), pem)
    }

    async fn page(&self, path: &str) -> (u16, String) {
        let address = self.listener("health").expect("the listener is in the log");
        let reply = Client::connect(address).await.call(get(path)).await;
        (reply.status, reply.text())
    }

    pub(super) async fn ready(&self) -> (u16, String) {
        self.page("/ready").await
    }

    pub(super) async fn live(&self) -> u16 {
        self.page("/live").await.0
    }

    /// The count of `name` with this result.
    pub(super) async fn count(&self, name: &str, result: &str) -> f64 {
        let name = format!("outrigger_webhook_{name}");
        Metrics::parse(&self.page("/metrics").await.1).sum(&name, &[("result", result)])
    }

    pub(super) async fn gauge(&self, name: &str) -> f64 {
        Metrics::parse(&self.page("/metrics").await.1).sum(&format!("outrigger_webhook_{name}"), &[])
    }

    /// Most memory that it ever had, in bytes.
    pub(super) fn peak_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a process");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        peak.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    pub(super) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Its exit code, once it has ended.
    pub(super) async fn ended(&mut self) -> Option<i32> {
        let mut code = None;
        eventually("it ends", async || {
            let status = self.child.try_wait().expect("our own child");
            code = status.and_then(|status| status.code());
            status.is_some()
        })
        .await;
        code
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            for line in self.lines() {
                eprintln!("webhook: {line}");
            }
        }
    }
}

fn collect(pipe: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
}

// === impl Asker ===

impl Asker {
    pub(super) fn new(address: SocketAddr, pem: &str) -> Self {
        Self::with(address, pem, rustls::ALL_VERSIONS)
    }

    /// One that speaks these versions of TLS alone.
    pub(super) fn with(
        address: SocketAddr,
        pem: &str,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.expect("our own PEM")).expect("a certificate");
        }
        let config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(versions)
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config: Arc::new(config), address }
    }

    /// A connection; an error if its handshake fails.
    pub(super) async fn try_connect(&self) -> std::io::Result<Line> {
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).expect("a name");
        let stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, socket).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let shown = shown.map(|leaf| leaf.to_vec()).unwrap_or_default();
        let (client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Line { client, shown })
    }

    /// A connection whose bytes the test sends itself.
    pub(super) async fn slow_connect(&self) -> TlsStream<TcpStream> {
        let socket = TcpStream::connect(self.address).await.expect("a connection");
        let name = ServerName::try_from(NAME).expect("a name");
        let connector = TlsConnector::from(Arc::clone(&self.config));
        within("a handshake", connector.connect(name, socket)).await.expect("a handshake that succeeds")
    }

    pub(super) async fn connect(&self) -> Line {
        within("a handshake", self.try_connect()).await.expect("a handshake that succeeds")
    }

    /// Asks on a connection of its own, as an API server does.
    pub(super) async fn review(&self, review: &str) -> Value {
        self.connect().await.review(review).await
    }
}

// === impl Line ===

impl Line {
    /// One request. An error if the connection broke.
    pub(super) async fn try_send(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Reply, hyper::Error> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", NAME)
            .header("content-type", content_type)
            .body(Full::new(body.into()))
            .expect("a request");
        let answered = async {
            self.client.ready().await?;
            let (head, body) = self.client.send_request(request).await?.into_parts();
            let text = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
            let headers = head.headers.iter();
            let headers = headers
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
            Ok(Reply { status: head.status.as_u16(), headers: headers.collect(), text })
        };
        tokio::time::timeout(BOUND, answered).await.expect("a reply in time")
    }

    pub(super) async fn send(&mut self, method: &str, path: &str, content_type: &str, body: &str) -> Reply {
        let sent = self.try_send(method, path, content_type, body.to_owned()).await;
        sent.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The answer to a review, whose form is checked as an API server does.
    pub(super) async fn review(&mut self, review: &str) -> Value {
        let path = "/inject?timeout=5s";
        let reply = self.send("POST", path, "application/json", review).await;
        assert_eq!((reply.status, reply.headers["content-type"].as_str()), (200, "application/json"));
        let answer: Value = serde_json::from_str(&reply.text).expect("JSON");
        let asked: Value = serde_json::from_str(review).expect("JSON");
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(answer["kind"], "AdmissionReview");
        let response = &answer["response"];
        assert_eq!(response["uid"], asked["request"]["uid"], "the answer names its question");
        assert_eq!(response["allowed"], true, "no pod is ever refused");
        assert_eq!(response["patch"].is_string(), response["patchType"] == "JSONPatch");
        for warning in warnings(response) {
            assert!(warning.len() <= 256 && !warning.contains(char::is_control), "{warning:?}");
        }
        response.clone()
    }
}

/// All that comes until the connection ends.
pub(super) async fn read_all(stream: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = Vec::new();
    // How it ends is not the question.
    let _ended = within("the end of a reply", stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The warnings of an answer.
pub(super) fn warnings(response: &Value) -> Vec<String> {
    let warnings = response["warnings"].as_array().into_iter().flatten();
    warnings.map(|warning| warning.as_str().expect("a text").to_owned()).collect()
}
