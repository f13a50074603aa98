//! The four services the shop is made of, with knobs for their health.
//!
//! In: any request. Out: a small JSON answer after the service's usual time, or what its knobs
//! say. Counts the calls that reached it. The knobs are turned by the acts and, with `--hold`,
//! by whoever sends a POST to the control address.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::net::TcpListener;

/// Names the order service calls, the port each would like, and its usual time for an answer.
const SERVICES: [(&str, u16, Duration); 4] = [
    ("user-service", 9101, Duration::from_millis(5)),
    ("inventory-service", 9102, Duration::from_millis(3)),
    ("payment-service", 9103, Duration::from_millis(10)),
    ("notification-service", 9104, Duration::from_millis(2)),
];

/// What is wrong with a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sickness {
    /// Share of answers that are a 503, in percent.
    pub fail_percent: u8,
    /// Share of answers that take `delay` on top of the usual time, in percent.
    pub slow_percent: u8,
    /// The extra time.
    pub delay: Duration,
}

/// One service.
#[derive(Debug)]
pub struct Service {
    /// The name it is called by.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    usual: Duration,
    sickness: Mutex<Sickness>,
    reached: AtomicU64,
}

/// All four, running.
#[derive(Debug, Clone)]
pub struct Services(Arc<[Arc<Service>]>);

// === impl Sickness ===

impl Sickness {
    /// Nothing is wrong.
    pub const NONE: Self = Self { fail_percent: 0, slow_percent: 0, delay: Duration::ZERO };
}

// === impl Service ===

impl Service {
    /// Makes it sick, or well again.
    pub fn set(&self, sickness: Sickness) {
        *self.sickness.lock().unwrap_or_else(PoisonError::into_inner) = sickness;
    }

    /// Calls that reached it since it started.
    pub fn reached(&self) -> u64 {
        self.reached.load(Ordering::Relaxed)
    }

    async fn answer(&self) -> (StatusCode, String) {
        self.reached.fetch_add(1, Ordering::Relaxed);
        let sickness = *self.sickness.lock().unwrap_or_else(PoisonError::into_inner);
        let slow = fastrand::u8(0..100) < sickness.slow_percent;
        let fails = fastrand::u8(0..100) < sickness.fail_percent;
        tokio::time::sleep(self.usual + if slow { sickness.delay } else { Duration::ZERO }).await;
        let status = if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        (status, format!("{{\"service\": \"{}\", \"ok\": {}}}\n", self.name, !fails))
    }
}

// === impl Services ===

impl Services {
    /// Starts all four, each on the port it would like or, if that is taken, on a free one.
    pub async fn start() -> io::Result<Self> {
        let mut services = Vec::new();
        for (name, port, usual) in SERVICES {
            let listener = listen(port).await?;
            let address = listener.local_addr()?;
            let sickness = Mutex::new(Sickness::NONE);
            let service = Arc::new(Service { name, address, usual, sickness, reached: AtomicU64::new(0) });
            services.push(Arc::clone(&service));
            serve(listener, Router::new().fallback(move || async move { service.answer().await }));
        }
        Ok(Self(services.into()))
    }

    /// The service of that name; the acts name only services of [`SERVICES`].
    pub fn named(&self, name: &str) -> Option<&Arc<Service>> {
        self.0.iter().find(|service| service.name == name)
    }

    /// What DNS would say: where each name lives.
    pub fn addresses(&self) -> HashMap<&'static str, SocketAddr> {
        self.0.iter().map(|service| (service.name, service.address)).collect()
    }

    /// For each service, the address the YAML has and the one it really has.
    pub fn moves(&self) -> Vec<(u16, SocketAddr)> {
        SERVICES.iter().map(|(_, port, _)| *port).zip(self.0.iter().map(|service| service.address)).collect()
    }

    /// Everyone is well again.
    pub fn heal(&self) {
        for service in self.0.iter() {
            service.set(Sickness::NONE);
        }
    }

    /// Serves the knobs: `POST /payment-service?fail=30&slow=100&delay_ms=1000`, `GET /`.
    pub async fn control(&self, port: u16) -> io::Result<SocketAddr> {
        let listener = listen(port).await?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/", get(show)).route("/{name}", post(turn));
        serve(listener, router.with_state(self.clone()));
        Ok(address)
    }
}

// === control ===

async fn show(State(services): State<Services>) -> String {
    let lines = services.0.iter().map(|service| {
        let sickness = *service.sickness.lock().unwrap_or_else(PoisonError::into_inner);
        format!(
            "{} at {}: reached {} times, {sickness:?}\n",
            service.name,
            service.address,
            service.reached()
        )
    });
    lines.collect()
}

async fn turn(
    State(services): State<Services>,
    Path(name): Path<String>,
    Query(knobs): Query<HashMap<String, u64>>,
) -> (StatusCode, String) {
    let Some(service) = services.named(&name) else {
        return (StatusCode::NOT_FOUND, format!("no service is called {name}\n"));
    };
    let percent = |knob: &str, other: u64| {
        u8::try_from(knobs.get(knob).copied().unwrap_or(other).min(100)).unwrap_or(100)
    };
    let delay_ms = knobs.get("delay_ms").copied().unwrap_or(0);
    let sickness = Sickness {
        fail_percent: percent("fail", 0),
        slow_percent: percent("slow", if delay_ms > 0 { 100 } else { 0 }),
        delay: Duration::from_millis(delay_ms),
    };
    service.set(sickness);
    (StatusCode::OK, format!("{name}: {sickness:?}\n"))
}

// === listening ===

/// Binds the port on loopback or, if it is taken, a free one.
pub async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("127.0.0.1", 0)).await,
    }
}

/// Serves until the demo ends.
pub fn serve(listener: TcpListener, router: Router) {
    tokio::spawn(async move { axum::serve(listener, router).await });
}
