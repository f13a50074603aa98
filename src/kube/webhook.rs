//! The mutating admission webhook: pods get their sidecar as they are made.
//!
//! In: questions of the API server, over TLS. Out: for each pod a patch with the same plan as every
//! other form of injection. One thread, which is enough for thousands of pods a second. It waits for nobody
//! while it answers: the labels of a namespace, if they are wanted, have a second to come.

mod bundle;
mod certificate;
mod cluster;
mod door;
mod issue;
mod namespaces;
mod review;
mod reviewer;
mod state;
mod trust;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use socket2::{Domain, Socket, Type};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::kube::Settings;
use crate::listen;

use certificate::Files;
use cluster::ApiServer;
use door::Door;
use namespaces::Namespaces;
use reviewer::Reviewer;
use state::State;
use trust::Trust;

/// After SIGTERM reviews are still taken for this long: API servers and kube-proxy learn late that we leave.
const LEAVE_WAIT: Duration = Duration::from_secs(5);

/// Connections the kernel holds for us until they are accepted.
const BACKLOG: i32 = 1024;

/// How the webhook runs.
#[derive(Debug)]
pub struct Options {
    /// Where reviews are answered.
    pub listen: SocketAddr,
    /// Where `/live`, `/ready` and `/metrics` are.
    pub health: SocketAddr,
    /// Where the certificate comes from.
    pub certificate: Certificate,
    /// Where the kubelet puts the service account.
    pub account: PathBuf,
    /// Whether the labels of namespaces are asked of the API server.
    pub namespace_lookup: bool,
    /// What is added to pods.
    pub settings: Settings,
}

/// Where the certificate comes from.
#[derive(Debug)]
pub enum Certificate {
    /// From files, which somebody renews.
    Files {
        /// The certificate chain, as PEM.
        cert: PathBuf,
        /// Its private key, as PEM.
        key: PathBuf,
    },
    /// Made here, and put into the configuration object.
    SelfSigned {
        /// The name of the MutatingWebhookConfiguration.
        configuration: String,
        /// The name of the service that leads here.
        service: String,
        /// Its namespace; `None` for that of this pod.
        namespace: Option<String>,
        /// How long a certificate is good for.
        lifetime: Duration,
    },
}

/// What is to be kept running beside the answers.
enum Upkeep {
    Files(Files),
    Trust(Trust),
}

/// Runs the webhook until it is told to stop. Exit code 0 after a clean end.
pub fn run(options: Options) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| runtime.block_on(serve(options)).map_err(|error| error.to_string()));
    ended.unwrap_or_else(|error| {
        error!("{error}");
        ExitCode::FAILURE
    })
}

/// Starts everything, then waits for the end.
async fn serve(mut options: Options) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut signals = Signals::new()?;
    if let Some(own) = ApiServer::namespace(&options.account) {
        options.settings.own_namespace = own;
    }
    let upkeep = Upkeep::new(options.certificate, &options.account)?;
    let untrusted = match &upkeep {
        Upkeep::Files(_) => None,
        Upkeep::Trust(_) => Some("it was not asked yet".to_owned()),
    };
    let state = Arc::new(State::new(untrusted));
    let namespaces = match options.namespace_lookup {
        true => Some(Namespaces::new(ApiServer::of_pod(options.account)?, Arc::clone(&state))),
        false => None,
    };
    let reviewer = Reviewer::new(options.settings, namespaces, Arc::clone(&state));
    let door = Door::new(bind("webhook", options.listen)?, reviewer, &state)?;
    tokio::spawn(listen::serve(bind("health", options.health)?, health(Arc::clone(&state))));
    let (close, closing) = watch::channel(false);
    let serving = tokio::spawn(door.serve(closing));
    let upkeep = tokio::spawn(upkeep.run(Arc::clone(&state)));
    tokio::select! { // Signals are kept; an upkeep that ended is not asked again.
        leave = signals.next() => {
            state.end();
            info!("ending");
            if leave {
                tokio::select! { // Cancel-safe: signals are kept, and the sleep is not needed again.
                    () = sleep(LEAVE_WAIT) => {}
                    _ = signals.next() => {}
                }
            }
        }
        ended = upkeep => ended??,
    }
    // The receiver is there as long as the task is.
    let _ = close.send(true);
    let finished = serving.await?;
    if !finished {
        warn!("reviews under way were cut off");
    }
    info!("ended");
    Ok(if finished { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The routes for probes and scrapers.
fn health(state: Arc<State>) -> Router {
    Router::new()
        .route("/live", get("live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

async fn ready(Shared(state): Shared<Arc<State>>) -> Response {
    match state.readiness(SystemTime::now()) {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(Shared(state): Shared<Arc<State>>) -> Response {
    let of = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (of, state.metrics(SystemTime::now())).into_response()
}

/// A listening socket. `[::]` takes IPv4 too, and is `0.0.0.0` where there is no IPv6.
fn bind(purpose: &str, address: SocketAddr) -> Result<TcpListener, String> {
    const EAFNOSUPPORT: i32 = 97;
    let lacks = |error: &io::Error| {
        error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
    };
    let bound = match bound(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && lacks(&error) => {
            self::bound(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        bound => bound,
    };
    let told = |error: io::Error| format!("{address} can't be listened on for {purpose}: {error}");
    let listener = bound.map_err(told)?;
    info!("listening on {} for {purpose}", listener.local_addr().map_err(told)?);
    Ok(listener)
}

fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

// === impl Upkeep ===

impl Upkeep {
    fn new(certificate: Certificate, account: &std::path::Path) -> Result<Self, String> {
        match certificate {
            Certificate::Files { cert, key } => Ok(Self::Files(Files { cert, key })),
            Certificate::SelfSigned { configuration, service, namespace, lifetime } => {
                let namespace = namespace.or_else(|| ApiServer::namespace(account)).ok_or_else(|| {
                    let path = account.join("namespace");
                    format!("{}: no namespace there; name it by --namespace", path.display())
                })?;
                let api = ApiServer::of_pod(account.to_owned())?;
                Ok(Self::Trust(Trust { api, configuration, service: (service, namespace), lifetime }))
            }
        }
    }

    async fn run(self, state: Arc<State>) -> Result<(), String> {
        match self {
            Self::Files(files) => {
                files.follow(state).await;
                Ok(())
            }
            Self::Trust(trust) => trust.keep(state).await,
        }
    }
}

/// The signals to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

// === impl Signals ===

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one. Out: whether it is the polite one, after which reviews still come.
    async fn next(&mut self) -> bool {
        tokio::select! { // Cancel-safe: signals that were not taken are kept.
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => false,
        }
    }
}
