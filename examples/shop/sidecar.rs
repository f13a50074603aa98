//! The sidecar beside the order service: a process of its own, started from this very binary.
//!
//! In: `mesh-config/shop.yaml`. Out: a running sidecar, its admin API as a few questions, and a
//! working copy of the YAML that can be edited while it runs. The demo's binary starts itself
//! with `--sidecar`, so that one `cargo run` builds and runs everything.

use std::collections::VecDeque;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::complain;
use crate::http::Client;

/// The policy as users read it.
const YAML: &str = include_str!("../../mesh-config/shop.yaml");
/// Ports in that file the sidecar listens on: the application's proxy, and the admin API.
const PROXY_PORT: u16 = 15001;
const ADMIN_PORT: u16 = 15000;
/// A sidecar that is not ready by then has a problem; it takes milliseconds.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Lines of its log kept to show why it ended.
const LOG_LINES_MAX: usize = 20;

/// The running sidecar; ends when dropped.
#[derive(Debug)]
pub struct Sidecar {
    /// What the application's `HTTP_PROXY` says.
    pub proxy: SocketAddr,
    /// The admin API.
    pub admin: SocketAddr,
    child: Child,
    folder: TempDir,
    log: Log,
    client: Client,
}

/// The last lines of a process's log.
type Log = Arc<Mutex<VecDeque<String>>>;

// === impl Sidecar ===

impl Sidecar {
    /// Starts it with a copy of the YAML in which each `moves` port is replaced by its address.
    ///
    /// Fails when the process ends or is not ready in time, with the last lines of its log.
    pub async fn start(moves: Vec<(u16, SocketAddr)>) -> Result<Self, Box<dyn Error>> {
        let (proxy, admin) = (free(PROXY_PORT)?, free(ADMIN_PORT)?);
        let folder = tempfile::Builder::new().prefix("outrigger-shop-").tempdir()?;
        let yaml = moves
            .into_iter()
            .chain([(PROXY_PORT, proxy), (ADMIN_PORT, admin)])
            .fold(YAML.to_owned(), |yaml, (port, address)| {
                yaml.replace(&format!("127.0.0.1:{port}"), &address.to_string())
            });
        fs::write(folder.path().join("shop.yaml"), yaml)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--sidecar", "run"])
            .arg(folder.path().join("shop.yaml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let (log, ready) = follow(child.stderr.take());
        let sidecar = Self { proxy, admin, child, folder, log, client: Client::default() };
        match ready_in_time(ready).await {
            true => Ok(sidecar),
            false => Err(format!("the sidecar did not become ready; it said:\n{}", sidecar.log()).into()),
        }
    }

    /// The working copy of the YAML.
    pub fn yaml(&self) -> PathBuf {
        self.folder.path().join("shop.yaml")
    }

    /// The last lines of its log, indented.
    pub fn log(&self) -> String {
        let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("  {line}\n")).collect()
    }

    /// Edits the working copy as an editor would, and waits until it is in force. Returns how long
    /// that took from the save; fails when it is not applied within `within`.
    pub async fn edit(&self, from: &str, to: &str, within: Duration) -> Result<Duration, Box<dyn Error>> {
        let before = self.reloads_applied().await?;
        let yaml = fs::read_to_string(self.yaml())?;
        if yaml.matches(from).count() != 1 {
            return Err(format!("{from:?} should be in shop.yaml once").into());
        }
        let next = self.folder.path().join(".shop.yaml.next");
        fs::write(&next, yaml.replace(from, to))?;
        let saved = Instant::now();
        fs::rename(next, self.yaml())?;
        while saved.elapsed() < within {
            if self.reloads_applied().await? > before {
                return Ok(saved.elapsed());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Err(format!("the edit was not in force after {within:?}").into())
    }

    /// The state of a service's breaker: `closed`, `open` or `half_open`; `-` when it has none yet.
    pub async fn breaker(&self, service: &str) -> Result<String, Box<dyn Error>> {
        let body = self.client.get(self.admin, "/services").await?.body;
        let services: serde_json::Value = serde_json::from_str(&body)?;
        let found = services["services"].as_array().into_iter().flatten().find(|it| it["name"] == service);
        Ok(found.and_then(|it| it["breaker"]["state"].as_str()).unwrap_or("-").to_owned())
    }

    async fn reloads_applied(&self) -> Result<u64, Box<dyn Error>> {
        let body = self.client.get(self.admin, "/metrics").await?.body;
        let line = body.lines().find(|line| {
            line.starts_with("outrigger_config_reloads_total{") && line.contains("result=\"applied\"")
        });
        let value = line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or("0");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
        Ok(value.parse::<f64>()? as u64)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === the other process ===

/// What runs as `--sidecar`: Outrigger's own command line, until the demo that started it is gone.
pub fn main(args: impl Iterator<Item = std::ffi::OsString>) -> std::process::ExitCode {
    // The demo holds the other end of stdin, so its end, however it came, is seen here.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    outrigger_main(std::iter::once("outrigger".into()).chain(args))
}

/// The one place the demo and Outrigger's command line meet.
fn outrigger_main(args: impl Iterator<Item = std::ffi::OsString>) -> std::process::ExitCode {
    outrigger::cli::main_from(args)
}

// === its log ===

/// Reads the log on a thread of its own; the receiver hears of `ready`, and of the end by closing.
fn follow(stderr: Option<ChildStderr>) -> (Log, mpsc::Receiver<()>) {
    let log = Log::default();
    let (sender, receiver) = mpsc::channel(1);
    let kept = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines().map_while(Result::ok))
        {
            if line.split_whitespace().next_back() == Some("ready") {
                let _ = sender.try_send(());
            }
            if line.contains("ERROR") {
                complain(&format!("sidecar: {line}"));
            }
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == LOG_LINES_MAX {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    });
    (log, receiver)
}

async fn ready_in_time(mut ready: mpsc::Receiver<()>) -> bool {
    matches!(timeout(READY_WITHIN, ready.recv()).await, Ok(Some(())))
}

/// That port on loopback if it is free, else one that is.
fn free(port: u16) -> std::io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", port)).or_else(|_| TcpListener::bind(("127.0.0.1", 0)))?.local_addr()
}
