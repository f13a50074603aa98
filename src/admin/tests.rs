//! The admin API over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::config::{Options, Problem, load_str};
use crate::telemetry::{Ask, WorkerStats};

const YAML: &str = "
version: v1
service: order-service
services:
  cart:
    endpoints: {static: [127.0.0.1:1]}
    circuitBreaker: {}
    bulkhead: {maxConcurrent: 7}
    routes:
      - {name: check, match: {method: POST, path: /check}, timeout: 300ms}
  bare:
    endpoints: {static: [127.0.0.1:2]}
    circuitBreaker: off
    bulkhead: off
    retries: off
";

struct Api {
    control: Control,
    address: SocketAddr,
    drains: mpsc::Receiver<()>,
}

impl Api {
    /// The admin API, or the health one, of a process with one idle worker.
    async fn start(routes: fn(Control) -> Router) -> Self {
        let config = load_str("mesh.yaml", YAML, &Options::default()).expect("a valid configuration");
        let (resolver, _) = mpsc::channel(1);
        let mesh = Mesh::new(Arc::new(config), Vec::new(), resolver, Vec::new(), Instant::now());
        let (worker, mut questions) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Some(question) = questions.recv().await {
                let unknown = vec![("a.example:80".to_owned(), 1), ("b.example:80".to_owned(), 3)];
                match question {
                    Ask::Report(sender) => {
                        drop(sender.send(WorkerStats::default().report(Vec::new(), unknown)));
                    }
                    Ask::Stories(sender) => drop(sender.send(Vec::new())),
                }
            }
        });
        let (drain, drains) = mpsc::channel(1);
        let control = Control {
            mesh: Arc::new(mesh),
            reports: Reports::new(vec![worker]),
            status: Arc::new(Status::new("v-1")),
            history: History::default(),
            drain,
            export: None,
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, routes(control.clone())));
        Self { control, address, drains }
    }

    /// One request on a connection of its own; the head and the body of the answer.
    async fn ask(&self, line: &str, headers: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer));
        read.await.expect("an answer in time").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        (head.to_owned(), body.to_owned())
    }

    async fn status(&self, line: &str, headers: &str) -> u16 {
        let (head, _) = self.ask(line, headers).await;
        head[9..12].parse().unwrap()
    }

    async fn json(&self, line: &str) -> Value {
        let (head, body) = self.ask(line, LOCAL).await;
        assert!(head.contains("content-type: application/json"), "{head}");
        serde_json::from_str(&body).unwrap()
    }
}

const LOCAL: &str = "Host: localhost\r\n";

#[tokio::test]
async fn ready_follows_the_life_of_the_process() {
    let api = Api::start(Control::admin).await;
    assert_eq!(api.ask("GET /live", LOCAL).await.1, "live\n");
    let (head, body) = api.ask("GET /ready", LOCAL).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert_eq!(body, "starting\n");
    api.control.status.set_ready();
    assert_eq!(api.ask("GET /ready", LOCAL).await.1, "ready\n");
    api.control.status.set_draining();
    assert_eq!(api.ask("GET /ready", LOCAL).await.1, "draining\n");
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let api = Api::start(Control::admin).await;
    let (head, body) = api.ask("GET /metrics", LOCAL).await;
    assert!(head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(body.contains("outrigger_breaker_state{service=\"cart\"} 0\n"), "{body}");
    assert!(body.ends_with("# EOF\n"));
    let (head, _) = api.ask("GET /metrics", "Host: [::1]:1\r\nAccept: text/plain\r\n").await;
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
}

#[tokio::test]
async fn services_are_listed_before_their_first_call() {
    let api = Api::start(Control::admin).await;
    let page = api.json("GET /services").await;
    let (cart, bare) = (&page["services"][0], &page["services"][1]);
    assert_eq!(cart["name"], "cart");
    assert_eq!(cart["breaker"]["state"], "closed");
    assert_eq!(cart["breaker"]["forced"], Value::Null);
    assert_eq!(cart["breaker"]["mode"], "enforce");
    assert_eq!(cart["bulkhead"]["maxConcurrent"], 7);
    assert_eq!(cart["calls"]["success"], 0);
    assert_eq!(cart["latency"]["p99"], 0.0);
    assert_eq!(cart["routes"], json!(["check"]));
    assert_eq!(
        (&bare["breaker"], &bare["bulkhead"], &bare["budget"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(page["unknown"][0], json!({"destination": "b.example:80", "calls": 3}));
}

#[tokio::test]
async fn a_breaker_is_forced_and_released() {
    let api = Api::start(Control::admin).await;
    let forced = api.json("POST /services/cart/breaker?state=open").await;
    assert_eq!((&forced["service"], &forced["breaker"]["forced"]), (&json!("cart"), &json!("open")));
    let page = api.json("GET /services").await;
    assert_eq!(page["services"][0]["breaker"]["state"], "open");
    assert_eq!(page["services"][0]["breaker"]["forced"], "open");
    assert_eq!(api.status("POST /services/cart/breaker?state=auto", LOCAL).await, 200);
    assert_eq!(api.json("GET /services").await["services"][0]["breaker"]["forced"], Value::Null);
}

#[tokio::test]
async fn a_breaker_that_can_not_be_forced_says_why() {
    let api = Api::start(Control::admin).await;
    assert_eq!(api.status("POST /services/cart/breaker?state=ajar", LOCAL).await, 400);
    assert_eq!(api.status("POST /services/cart/breaker", LOCAL).await, 400);
    assert_eq!(api.json("POST /services/none/breaker?state=open").await["error"], "no_such_service");
    assert_eq!(api.json("POST /services/bare/breaker?state=open").await["error"], "no_breaker");
}

#[tokio::test]
async fn the_drain_is_asked_for_once_however_often_it_is_asked() {
    let mut api = Api::start(Control::admin).await;
    assert_eq!(api.status("POST /drain", LOCAL).await, 202);
    assert_eq!(api.status("POST /drain", LOCAL).await, 202);
    assert_eq!(api.drains.try_recv(), Ok(()));
    assert!(api.drains.try_recv().is_err());
}

#[tokio::test]
async fn config_shows_what_is_in_force_and_what_was_rejected() {
    let api = Api::start(Control::admin).await;
    let listener = Listener { purpose: "admin".into(), address: api.address };
    api.control.status.set_listeners(vec![listener]);
    let place = |line| Problem {
        file: "mesh.yaml".into(),
        line,
        column: 1,
        key: "workers".into(),
        found: "0".into(),
        want: "1 to 1024".into(),
    };
    api.control.status.rejected(&[place(3), place(9)]);
    let page = api.json("GET /config").await;
    assert_eq!((&page["version"], &page["service"]), (&json!("v-1"), &json!("order-service")));
    assert_eq!(page["files"], json!(["mesh.yaml"]));
    assert_eq!(page["lastReload"], "rejected");
    assert_eq!(page["lastRejected"]["problems"][1], "mesh.yaml:9:1: workers: found 0, want 1 to 1024");
    assert_eq!(page["listeners"][0]["address"], api.address.to_string());
}

#[tokio::test]
async fn wrong_methods_and_pages_are_told_so() {
    let api = Api::start(Control::admin).await;
    let (head, body) = api.ask("GET /drain", LOCAL).await;
    assert!(head.starts_with("HTTP/1.1 405") && head.contains("allow: POST"), "{head}");
    assert!(body.contains("wrong_method"), "{body}");
    assert_eq!(api.status("POST /services", LOCAL).await, 405);
    assert_eq!(api.json("GET /nothing").await["error"], "not_found");
    assert!(api.ask("GET /", LOCAL).await.1.contains("/metrics"));
}

#[tokio::test]
async fn web_pages_of_others_are_kept_out() {
    let mut api = Api::start(Control::admin).await;
    assert_eq!(api.status("GET /config", "Host: evil.example:15000\r\n").await, 403);
    assert_eq!(api.status("GET /live", "Host: evil.example\r\n").await, 403);
    let cross = "Host: localhost\r\nOrigin: http://evil.example\r\n";
    assert_eq!(api.status("POST /drain", cross).await, 403);
    assert_eq!(api.status("POST /drain", "Host: localhost\r\nOrigin: null\r\n").await, 403);
    assert!(api.drains.try_recv().is_err(), "nothing was done");
    assert_eq!(api.status("POST /drain", "Host: localhost:1\r\nOrigin: http://localhost:1\r\n").await, 202);
    let large = "Host: localhost\r\nContent-Length: 65537\r\n";
    assert_eq!(api.status("POST /drain", large).await, 413);
}

#[tokio::test]
async fn health_answers_three_questions_whatever_it_is_called() {
    let api = Api::start(Control::health).await;
    let named = "Host: order-7d9f.shop.example\r\n";
    assert_eq!(api.status("GET /live", named).await, 200);
    assert_eq!(api.status("GET /ready", named).await, 503);
    assert_eq!(api.status("GET /metrics", named).await, 200);
    for page in ["GET /config", "GET /services", "GET /", "POST /drain"] {
        assert_eq!(api.status(page, named).await, 404, "{page}");
    }
    assert_eq!(api.status("POST /live", named).await, 405);
}

#[tokio::test]
async fn a_silent_client_loses_its_place_in_time() {
    let api = Api::start(Control::health).await;
    let mut silent = TcpStream::connect(api.address).await.unwrap();
    silent.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
    // Answers first, so that the connection before has been accepted by the real clock.
    assert_eq!(api.status("GET /live", LOCAL).await, 200);
    tokio::time::pause();
    tokio::time::advance(IDLE_MAX + Duration::from_secs(1)).await;
    tokio::time::resume();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), silent.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "still open after {IDLE_MAX:?}");
}

#[tokio::test]
async fn silent_clients_in_numbers_do_not_shut_others_out() {
    let api = Api::start(Control::health).await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX - 1 {
        silent.push(TcpStream::connect(api.address).await.unwrap());
    }
    assert_eq!(api.status("GET /live", LOCAL).await, 200);
}
