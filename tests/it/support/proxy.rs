//! The proxy as a process: started with a YAML text, watched through its log and its admin API,
//! killed when the test ends. Its log is printed when the test fails.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tempfile::TempDir;

use super::{BOUND, Client, H2Client, Metrics, Received, binary, eventually, get};

/// One running proxy.
#[derive(Debug)]
pub(crate) struct Outrigger {
    child: Child,
    folder: TempDir,
    config: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
}

// === impl Outrigger ===

impl Outrigger {
    /// Starts a proxy with this configuration and waits until it is ready.
    pub(crate) async fn start(yaml: &str) -> Self {
        Self::start_with("", yaml).await
    }

    /// The same, with shell words run before it (such as `ulimit -n 64`).
    pub(crate) async fn start_with(before: &str, yaml: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let config = folder.path().join("mesh.yaml");
        std::fs::write(&config, yaml).expect("writing the configuration");
        Self::start_in(folder, config, before).await
    }

    /// The same, with a configuration that the test has put into `folder` already.
    pub(crate) async fn start_in(folder: TempDir, config: PathBuf, before: &str) -> Self {
        let proxy = Self::spawn(folder, config, before);
        proxy.until_ready().await;
        proxy
    }

    /// Starts a proxy and waits for nothing.
    pub(crate) fn spawn(folder: TempDir, config: PathBuf, before: &str) -> Self {
        let binary = binary();
        let mut command = if before.is_empty() {
            Command::new(&binary)
        } else {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("{before}; exec \"$0\" \"$@\"")).arg(&binary);
            shell
        };
        command.arg("run").arg(&config).current_dir(folder.path());
        command.env_remove("RUST_LOG").env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("starting the proxy");
        let log = Arc::new(Mutex::new(Vec::new()));
        collect(child.stderr.take().expect("a pipe"), Arc::clone(&log));
        collect(child.stdout.take().expect("a pipe"), Arc::clone(&log));
        Self { child, folder, config, log }
    }

    async fn until_ready(&self) {
        // As a word of its own: "address already in use" is something else.
        let ready = || {
            let log = self.log();
            log.iter()
                .any(|line| line.split(|char: char| !char.is_alphanumeric()).any(|word| word == "ready"))
        };
        eventually("the proxy says that it is ready, or ends", async || ready() || self.ended_early()).await;
        assert!(ready(), "the proxy ended before it was ready");
    }

    /// A dead process is a zombie until it is waited for: `State: Z` in `/proc`.
    fn ended_early(&self) -> bool {
        self.proc_status("State:").is_none_or(|state| state.starts_with('Z'))
    }

    /// Whether a line of its output contains `text`.
    pub(crate) fn said(&self, text: &str) -> bool {
        self.log().iter().any(|line| line.contains(text))
    }

    /// Its output so far, standard error and standard output.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A file in the proxy's folder, which is also its working directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    // --- addresses ---

    /// The explicit proxy.
    pub(crate) fn outbound(&self) -> SocketAddr {
        self.listener("outbound").expect("the outbound listener is in the log")
    }

    /// The admin API.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.listener("admin").expect("the admin listener is in the log")
    }

    /// The port for probes.
    pub(crate) fn health(&self) -> SocketAddr {
        self.listener("health").expect("the health listener is in the log")
    }

    /// The newest port of a service's own.
    pub(crate) fn service(&self, name: &str) -> SocketAddr {
        self.listener(&format!("service {name}")).expect("the service's listener is in the log")
    }

    /// The newest address the log gives for a listener of this name.
    pub(crate) fn listener(&self, name: &str) -> Option<SocketAddr> {
        let log = self.log();
        let mut found = log.iter().filter_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            let (address, rest) = rest.split_once(" for ")?;
            let rest = rest.trim_end();
            (rest == name || rest.starts_with(&format!("{name} "))).then(|| address.parse().ok())?
        });
        found.next_back()
    }

    // --- calls ---

    /// A new connection of the application to the outbound port.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.outbound()).await
    }

    /// A new HTTP/2 connection of the application to the outbound port.
    pub(crate) async fn h2(&self) -> H2Client {
        H2Client::connect(self.outbound()).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn call(&self, request: impl AsRef<[u8]>) -> Received {
        self.client().await.call(request).await
    }

    /// `GET path` for `shop`, on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Received {
        self.call(get(path)).await
    }

    /// The same in the background: a call that is to be left hanging.
    pub(crate) fn get_later(&self, path: &str) -> tokio::task::JoinHandle<Received> {
        let (address, request) = (self.outbound(), get(path));
        tokio::spawn(async move { Client::connect(address).await.call(request).await })
    }

    // --- admin ---

    pub(crate) async fn get_admin(&self, path: &str) -> Received {
        self.ask_admin("GET", path).await
    }

    pub(crate) async fn post_admin(&self, path: &str) -> Received {
        self.ask_admin("POST", path).await
    }

    async fn ask_admin(&self, method: &str, path: &str) -> Received {
        let address = self.admin();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        Client::connect(address).await.call(request).await
    }

    /// The metrics now.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get_admin("/metrics").await.text())
    }

    /// Waits until the samples of `name` with `labels` sum up to exactly `want`.
    pub(crate) async fn counted(&self, name: &str, labels: &[(&str, &str)], want: f64) {
        let started = tokio::time::Instant::now();
        loop {
            let metrics = self.metrics().await;
            let found = metrics.sum(name, labels);
            if (found - want).abs() < 1e-9 {
                return;
            }
            let all = metrics.matching(name);
            assert!(
                started.elapsed() < BOUND / 4,
                "{name}{labels:?}: {found}, want {want}; all of it:\n{all}"
            );
            tokio::time::sleep(super::ms(20)).await;
        }
    }

    /// Waits until exactly `want` calls of `shop` have ended with this outcome and reason. An
    /// empty reason means any.
    pub(crate) async fn calls(&self, outcome: &str, reason: &str, want: u32) {
        let mut labels = vec![("service", "shop"), ("outcome", outcome)];
        if !reason.is_empty() {
            labels.push(("reason", reason));
        }
        self.counted("outrigger_calls_total", &labels, f64::from(want)).await;
    }

    /// Waits until exactly `want` retry decisions of `shop` were `decision`.
    pub(crate) async fn retries(&self, decision: &str, want: u32) {
        let labels = [("service", "shop"), ("decision", decision)];
        self.counted("outrigger_retries_total", &labels, f64::from(want)).await;
    }

    /// `/services` as it is.
    pub(crate) async fn services(&self) -> Value {
        self.get_admin("/services").await.json()
    }

    /// What `/services` says about `shop`; null if nothing.
    pub(crate) async fn shop(&self) -> Value {
        let all = self.services().await;
        let found = all["services"].as_array().and_then(|list| list.iter().find(|one| one["name"] == "shop"));
        found.cloned().unwrap_or(Value::Null)
    }

    /// Waits until the bulkhead of `shop` holds this many calls.
    pub(crate) async fn bulkhead(&self, in_flight: u64, queued: u64) {
        eventually(&format!("bulkhead at {in_flight} in flight and {queued} queued"), async || {
            let bulkhead = &self.shop().await["bulkhead"];
            bulkhead["inFlight"] == in_flight && bulkhead["queued"] == queued
        })
        .await;
    }

    /// Waits until the breaker of `shop` is in this state.
    pub(crate) async fn breaker(&self, state: &str) {
        eventually(&format!("breaker {state}"), async || self.shop().await["breaker"]["state"] == state)
            .await;
    }

    // --- life ---

    /// Replaces the configuration file as an editor does: written beside it, then renamed.
    pub(crate) fn rewrite_config(&self, yaml: &str) {
        let beside = self.path("mesh.yaml.new");
        std::fs::write(&beside, yaml).expect("writing the configuration");
        std::fs::rename(&beside, &self.config).expect("renaming the configuration");
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// Runs `change`, then waits until one more reload had this result.
    pub(crate) async fn reloaded(&self, result: &str, change: impl FnOnce()) {
        let count =
            async || self.metrics().await.sum("outrigger_config_reloads_total", &[("result", result)]);
        let before = count().await;
        change();
        eventually(&format!("a reload that is {result}"), async || count().await > before).await;
    }

    /// Sends a signal by its short name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for the process to end.
    pub(crate) async fn wait_exit(&mut self) -> ExitStatus {
        let mut ended = None;
        let child = &mut self.child;
        eventually("the proxy ends", async || {
            ended = child.try_wait().expect("waiting for our own child");
            ended.is_some()
        })
        .await;
        ended.expect("it has ended")
    }

    /// Resident memory in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let line = self.proc_status("VmRSS:").expect("the process lives");
        line.trim_end_matches(" kB").trim().parse().expect("a number of kB")
    }

    /// Pipes the process has open, two descriptors each.
    pub(crate) fn pipe_ends(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the process lives");
        let links = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("pipe:")).count()
    }

    fn proc_status(&self, key: &str) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        status.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.trim().to_owned())
    }
}

impl Drop for Outrigger {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the proxy's log ---\n{}\n-----------------------", self.log().join("\n"));
        }
    }
}

/// Appends the lines of a pipe to `log`, on a thread that ends with the pipe.
fn collect(pipe: impl Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
}
