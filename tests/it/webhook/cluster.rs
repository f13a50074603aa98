//! An API server that knows one MutatingWebhookConfiguration and some namespaces, and can be made to fail.
//!
//! It is as strict as the real one in what the webhook needs: the token, the kind of patch, the version of
//! the object, the merge of lists by name.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::support::{Authority, eventually};

/// Where the object is.
const OBJECT: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/outrigger";

/// How long an answer takes when it takes its time: eight questions at once, it is still too long for 40 of them.
const SLOW: Duration = Duration::from_millis(300);

/// The server; its connections end when it is dropped.
pub(super) struct Cluster {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    account: TempDir,
    task: JoinHandle<()>,
}

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// As it should.
    Well,
    /// It takes its time.
    Slow,
    /// It takes questions and never answers.
    Hangs,
    /// Every question gets this status.
    Says(u16),
    /// It can be read and not changed.
    ReadOnly,
}

struct Shared {
    mood: Mood,
    object: Value,
    namespaces: BTreeMap<String, Value>,
    /// Method and path of each question.
    seen: Vec<String>,
}

fn locked(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Cluster ===

impl Cluster {
    pub(super) async fn start(mood: Mood) -> Self {
        let authority = Authority::new();
        let account = TempDir::new().expect("a temporary folder");
        for (name, text) in [
            ("ca.crt", authority.pem().as_str()),
            ("token", "a-token-of-the-kubelet"),
            ("namespace", "outrigger-system"),
        ] {
            std::fs::write(account.path().join(name), text).expect("writing a file");
        }
        let webhook = |name: &str, service: &str| {
            let service = json!({"name": service, "namespace": "outrigger-system", "path": "/inject"});
            json!({"name": name, "clientConfig": {"service": service}, "sideEffects": "None"})
        };
        let object = json!({
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "outrigger", "resourceVersion": "1"},
            "webhooks": [webhook("pods.outrigger.dev", "outrigger-webhook"), webhook("other.example", "other")],
        });
        let namespaces = BTreeMap::new();
        let shared = Arc::new(Mutex::new(Shared { mood, object, namespaces, seen: Vec::new() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let acceptor = TlsAcceptor::from(Arc::new(authority.issue("127.0.0.1").server()));
        let task = tokio::spawn(serve(listener, acceptor, Arc::clone(&shared)));
        Self { address, shared, account, task }
    }

    /// The flag that tells the webhook of its service account.
    pub(super) fn account(&self) -> String {
        format!("--service-account={}", self.account.path().display())
    }

    pub(super) fn port(&self) -> String {
        self.address.port().to_string()
    }

    pub(super) fn now(&self, mood: Mood) {
        locked(&self.shared).mood = mood;
    }

    pub(super) fn has_namespace(&self, name: &str, labels: Value) {
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        locked(&self.shared).namespaces.insert(name.to_owned(), namespace);
    }

    /// How many questions contain this.
    pub(super) fn asked(&self, text: &str) -> usize {
        locked(&self.shared).seen.iter().filter(|line| line.contains(text)).count()
    }

    /// Somebody applies the object anew, as it is in a file.
    pub(super) fn forget_bundle(&self) {
        let mut shared = locked(&self.shared);
        shared.object["webhooks"][0]["clientConfig"]["caBundle"] = Value::Null;
        shared.object["metadata"]["resourceVersion"] = json!("1000");
    }

    /// The authorities that API servers trust with the webhook of this index, as PEM.
    pub(super) fn bundle(&self, index: usize) -> String {
        let shared = locked(&self.shared);
        let bundle =
            shared.object["webhooks"][index]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
        String::from_utf8(STANDARD.decode(bundle).expect("base64")).expect("PEM")
    }

    /// How many authorities they are.
    pub(super) fn authorities(&self) -> usize {
        self.bundle(0).matches("BEGIN CERTIFICATE").count()
    }

    pub(super) async fn until_authorities(&self, count: usize) {
        eventually("the bundle has them", async || self.authorities() == count).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Mutex<Shared>>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else { return };
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, std::convert::Infallible>(answer(request, &shared).await) }
            });
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that gave up is part of the script.
            let _ended = served.await;
        });
    }
}

async fn answer(request: Request<Incoming>, shared: &Mutex<Shared>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mood = {
        let mut shared = locked(shared);
        shared.seen.push(format!("{} {}", head.method, head.uri.path()));
        shared.mood
    };
    if mood == Mood::Hangs {
        std::future::pending::<()>().await;
    }
    if mood == Mood::Slow {
        tokio::time::sleep(SLOW).await;
    }
    let header =
        |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (status, object) = if header("authorization") != "Bearer a-token-of-the-kubelet" {
        (401, json!({"message": "Unauthorized"}))
    } else if let Mood::Says(status) = mood {
        (status, json!({"kind": "Status", "message": "not today"}))
    } else if head.method == Method::PATCH && mood == Mood::ReadOnly {
        (403, json!({"kind": "Status", "message": "cannot patch resource"}))
    } else if head.method == Method::PATCH
        && header("content-type") != "application/strategic-merge-patch+json"
    {
        (415, json!({"message": "the body of the request was in an unknown format"}))
    } else {
        known(&head.method, head.uri.path(), &body, &mut locked(shared))
    };
    let mut response = Response::new(Full::new(Bytes::from(object.to_string())));
    *response.status_mut() = status.try_into().expect("a status");
    response
}

fn known(method: &Method, path: &str, body: &[u8], shared: &mut Shared) -> (u16, Value) {
    if let Some(name) = path.strip_prefix("/api/v1/namespaces/") {
        let none = || (404, json!({"message": format!("namespaces {name:?} not found")}));
        return shared.namespaces.get(name).map_or_else(none, |found| (200, found.clone()));
    }
    if path != OBJECT {
        return (404, json!({"message": "the server could not find the requested resource"}));
    }
    if method == Method::GET {
        return (200, shared.object.clone());
    }
    let patch: Value = serde_json::from_slice(body).expect("a patch of JSON");
    let version = &mut shared.object["metadata"]["resourceVersion"];
    if patch["metadata"]["resourceVersion"] != *version {
        return (409, json!({"message": "the object has been modified"}));
    }
    let next = version.as_str().and_then(|text| text.parse::<u64>().ok()).expect("a number") + 1;
    *version = json!(next.to_string());
    for change in patch["webhooks"].as_array().expect("a list") {
        let all = shared.object["webhooks"].as_array_mut().expect("a list");
        let webhook = all.iter_mut().find(|webhook| webhook["name"] == change["name"]).expect("a known name");
        webhook["clientConfig"]["caBundle"] = change["clientConfig"]["caBundle"].clone();
    }
    (200, shared.object.clone())
}
