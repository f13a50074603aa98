//! The order service: the application of the demo, which knows nothing of resilience.
//!
//! In: `POST /orders` and `GET /catalog`. Out: 200, or 502 naming the service that did not
//! answer 200. It has no timeouts, no retries, no breaker, and like most applications a bounded
//! number of handlers that all kinds of requests share: that is how one slow service takes
//! everything down. With a sidecar it differs in one thing: it was started with `HTTP_PROXY`.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use crate::http::{Client, Request};
use crate::services::{listen, serve};

/// Requests handled at once, of all kinds: a small thread pool. 100 orders a second of 20 ms each
/// keep 2 busy; a payment that takes a second asks for 100.
const HANDLERS: usize = 40;

/// How the order service reaches others.
#[derive(Debug)]
pub enum Network {
    /// It resolves names and connects by itself.
    Direct(HashMap<&'static str, SocketAddr>),
    /// `HTTP_PROXY` is set.
    Proxy(SocketAddr),
}

#[derive(Debug)]
struct OrderService {
    handlers: Semaphore,
    client: Client,
    network: Network,
}

/// A service that did not answer 200: a bad answer for whoever placed the order.
#[derive(Debug)]
struct Failed(String);

/// Starts an order service on `port`, or on a free port if that is taken.
pub async fn start(port: u16, network: Network) -> io::Result<SocketAddr> {
    let listener = listen(port).await?;
    let address = listener.local_addr()?;
    let service = OrderService { handlers: Semaphore::new(HANDLERS), client: Client::default(), network };
    let router = Router::new().route("/orders", post(place)).route("/catalog", get(catalog));
    serve(listener, router.with_state(Arc::new(service)));
    Ok(address)
}

// === handlers ===

async fn place(State(service): State<Arc<OrderService>>) -> (StatusCode, String) {
    let _handler = service.handlers.acquire().await;
    reply(service.place().await)
}

async fn catalog(State(service): State<Arc<OrderService>>) -> (StatusCode, String) {
    let _handler = service.handlers.acquire().await;
    reply(service.catalog().await)
}

fn reply(result: Result<&'static str, Failed>) -> (StatusCode, String) {
    match result {
        Ok(text) => (StatusCode::OK, text.to_owned()),
        Err(Failed(why)) => (StatusCode::BAD_GATEWAY, why),
    }
}

// === impl OrderService ===

impl OrderService {
    async fn place(&self) -> Result<&'static str, Failed> {
        self.call("GET", "user-service", "/users/7", "").await?;
        self.call("POST", "inventory-service", "/check", r#"{"sku": "hat", "count": 1}"#).await?;
        self.call("POST", "payment-service", "/charge", r#"{"user": 7, "cents": 4200}"#).await?;
        self.call("POST", "notification-service", "/send", r#"{"user": 7, "mail": "thanks"}"#).await?;
        Ok("{\"order\": \"placed\"}\n")
    }

    async fn catalog(&self) -> Result<&'static str, Failed> {
        self.call("GET", "user-service", "/users/7", "").await?;
        self.call("GET", "inventory-service", "/stock", "").await?;
        Ok("{\"catalog\": [\"hat\"]}\n")
    }

    async fn call(&self, method: &str, host: &str, path: &str, body: &str) -> Result<(), Failed> {
        let (to, target) = match &self.network {
            Network::Direct(addresses) => (addresses.get(host).copied(), path.to_owned()),
            Network::Proxy(proxy) => (Some(*proxy), format!("http://{host}{path}")),
        };
        let to = to.ok_or_else(|| Failed(format!("{host} does not resolve\n")))?;
        match self.client.send(to, Request { method, target: &target, host, body }).await {
            Ok(response) if response.status == 200 => Ok(()),
            Ok(response) => Err(Failed(format!("{host} answered {}: {}\n", response.status, response.body))),
            Err(error) => Err(Failed(format!("{host}: {error}\n"))),
        }
    }
}
