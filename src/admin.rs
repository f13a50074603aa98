//! The admin API: what the process knows, over HTTP, and the few changes people may make.
//!
//! In: requests on loopback (`admin.listen`) or from probes and scrapers (`health.listen`). Out:
//! JSON, metrics, plain words. Runs on the control thread, so that it answers while the workers are
//! busy. Nothing on the road of a call depends on it.
//!
//! A web page may make its reader's browser send requests here. Therefore changes are POST only, a
//! request must name this host as an address or by a name of its own, and a POST must not come from
//! another origin (see `guard`).

mod config;
mod explain;
mod guard;
mod history;
mod metrics;
mod page;
mod reply;
mod services;
mod status;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::mesh::{ForceError, Mesh};
use crate::policy::Force;
use crate::telemetry::export::ExportStats;
use crate::telemetry::metrics::{Format, Process};
use crate::telemetry::{Reports, Totals};

pub use crate::listen::{CONNECTIONS_MAX, IDLE_MAX, LIFETIME_MAX, serve};
pub use crate::telemetry::explain::{clean, time_of_day};
pub use history::{History, SAMPLE_EVERY};
pub use metrics::{ProcessFacts, render};
pub use status::{Listener, Rejection, Reload, Reloads, Status, Told};

use guard::OwnNames;
use reply::{problem, reply_json};

/// What `/` says.
const INDEX: &str = "\
Outrigger admin API; a browser shows the dashboard here

GET  /live                          is the process alive
GET  /ready                         does it want calls
GET  /metrics                       OpenMetrics
GET  /config                        the configuration in force, and the last one that was rejected
GET  /services                      every service as it is now
GET  /explain                       the latest faults and retries; ?id= one call, by trace id or request id
GET  /explain/dry?method=..&url=..  what would happen to such a call now
GET  /history                       what each did in the last 5 s; ?service=NAME: in the last 10 minutes
POST /services/{name}/breaker?state=open|closed|auto
POST /drain                         end when nothing is in flight any more
";

/// What the admin API shows and may change.
#[derive(Debug, Clone)]
pub struct Control {
    /// The services.
    pub mesh: Arc<Mesh>,
    /// Asks the workers for their counts.
    pub reports: Reports,
    /// What the process says of itself.
    pub status: Arc<Status>,
    /// What the services did lately.
    pub history: History,
    /// A message here begins the drain.
    pub drain: mpsc::Sender<()>,
    /// What became of the spans; `None` when none are exported.
    pub export: Option<Arc<ExportStats>>,
}

// === impl Control ===

impl Control {
    /// The routes of `admin.listen`.
    pub fn admin(self) -> Router {
        let names = OwnNames::of(&self.mesh.snapshot().config.service);
        probes()
            .route("/", get(page::index))
            .route("/page/{name}", get(page::part))
            .route("/config", get(show_config))
            .route("/services", get(show_services))
            .route("/explain", get(show_explanations))
            .route("/explain/dry", get(show_dry))
            .route("/history", get(show_history))
            .route("/services/{name}/breaker", post(force_breaker))
            .route("/drain", post(drain))
            .fallback(not_found)
            .method_not_allowed_fallback(wrong_method)
            .layer(from_fn_with_state(Arc::new(names), guard::check))
            .with_state(self)
    }

    /// The routes of `health.listen`: probes and scrapers come by the pod's address or any name.
    pub fn health(self) -> Router {
        probes().fallback(not_found).method_not_allowed_fallback(wrong_method).with_state(self)
    }

    fn facts(&self) -> ProcessFacts {
        let told = self.status.told();
        ProcessFacts {
            started: self.status.started(),
            process: Process::read(),
            replay_bytes: self.mesh.replay.used(),
            reloads: self.status.reloads(),
            last_reload_ok: told.last_reload != Some(Reload::Rejected),
            config_version: told.version,
            ready: self.status.readiness().is_ok(),
            draining: self.status.is_draining(),
            export: self.export.clone(),
        }
    }
}

fn probes() -> Router<Control> {
    Router::new()
        .route("/live", get("live\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(show_metrics))
}

async fn ready(State(control): State<Control>) -> Response {
    match control.status.readiness() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn show_metrics(State(control): State<Control>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let reports = control.reports.collect().await;
    let page = render(&reports, &control.mesh.view(Instant::now()), &control.facts(), format);
    ([(header::CONTENT_TYPE, format.content_type())], page).into_response()
}

async fn show_config(State(control): State<Control>) -> Response {
    let snapshot = control.mesh.snapshot();
    reply_json(StatusCode::OK, &config::show(&snapshot.config, &control.status))
}

/// With `?counts=1` also the latencies behind the quantiles, for whoever wants those of a moment.
async fn show_services(
    State(control): State<Control>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let with_counts = query.get("counts").is_some_and(|value| value == "1");
    let totals = Totals::of(&control.reports.collect().await);
    let config = Arc::clone(&control.mesh.snapshot().config);
    let view = control.mesh.view(Instant::now());
    reply_json(StatusCode::OK, &services::show(&view, &config, &totals, with_counts))
}

async fn show_explanations(
    State(control): State<Control>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let stories = control.reports.stories().await;
    let config = Arc::clone(&control.mesh.snapshot().config);
    explain::show(stories, &query, &config).await
}

async fn show_dry(State(control): State<Control>, Query(query): Query<HashMap<String, String>>) -> Response {
    explain::dry::show(&control.mesh, &query, Instant::now())
}

async fn show_history(
    State(control): State<Control>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let page = match query.get("service") {
        Some(service) => control.history.of_service(service),
        None => control.history.latest(),
    };
    reply_json(StatusCode::OK, &page)
}

async fn force_breaker(
    State(control): State<Control>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let force = match query.get("state").map(String::as_str) {
        Some("open") => Force::Open,
        Some("closed") => Force::Closed,
        Some("auto") => Force::Auto,
        Some(_) | None => {
            return problem(StatusCode::BAD_REQUEST, "bad_state", "state must be open, closed or auto");
        }
    };
    let now = Instant::now();
    match control.mesh.force(&name, force, now) {
        Ok(()) => {
            tracing::warn!(service = %name, state = force.name(), "breaker forced through the admin API");
            let view = control.mesh.view(now).into_iter().find(|view| *view.name == *name);
            let breaker = view.map(|view| services::breaker(view.breaker.as_ref(), None));
            reply_json(StatusCode::OK, &json!({"service": name, "breaker": breaker}))
        }
        Err(ForceError::NoSuchService) => {
            problem(StatusCode::NOT_FOUND, "no_such_service", "no service in the configuration has this name")
        }
        Err(ForceError::NoBreaker) => {
            problem(StatusCode::CONFLICT, "no_breaker", "the circuit breaker of this service is off")
        }
    }
}

async fn drain(State(control): State<Control>) -> Response {
    match control.drain.try_send(()) {
        // A full queue holds the same wish already.
        Ok(()) | Err(mpsc::error::TrySendError::Full(())) => {
            tracing::info!("drain asked for through the admin API");
            reply_json(StatusCode::ACCEPTED, &json!({"draining": true}))
        }
        Err(mpsc::error::TrySendError::Closed(())) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "ending", "the process is ending already")
        }
    }
}

async fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "not_found", "no such page; / lists them")
}

async fn wrong_method() -> Response {
    problem(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "see the Allow header")
}

#[cfg(test)]
mod tests;
