//! Exports stories as spans of OpenTelemetry, by OTLP.
//!
//! In: batches of stories from the workers, through a bounded queue. Out: spans at a collector, or counted
//! drops. A thread of its own with a runtime of its own: a collector that is dead, slow or wrong costs the
//! spans it does not take, and no call ever waits for one.

mod attributes;
mod collector;
mod connect;
mod spans;
mod stats;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use rustls::RootCertStore;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use crate::config::Export;

use super::stories::{BATCHES_MAX, Outlet};
use super::story::Story;

pub use stats::{Dropped, ExportStats};

use collector::{Collector, Failure};

/// Longest time the end of the process waits for the last spans.
pub const FLUSH_WAIT_MAX: Duration = Duration::from_secs(2);

/// Longest time that workers have at the end for their last stories.
const LAST_WORDS_MAX: Duration = Duration::from_millis(200);

/// How long the thread waits, once it has ended, for a name lookup that hangs.
const LINGER_MAX: Duration = Duration::from_millis(50);

/// The running export, as its owner sees it.
#[derive(Debug)]
pub struct Exporter {
    stats: Arc<ExportStats>,
    end: oneshot::Sender<oneshot::Sender<()>>,
}

/// The telemetry thread: what waits, and where it goes.
struct Thread {
    settings: Arc<Export>,
    queue: mpsc::Receiver<Vec<Arc<Story>>>,
    /// Stories that wait for others to go with; their bytes are still counted in `waiting`.
    pending: Vec<Arc<Story>>,
    /// When they go at the latest.
    due: Option<Instant>,
    waiting: Arc<AtomicUsize>,
    collector: Collector,
    stats: Arc<ExportStats>,
    /// How the last export failed; logged when it changes.
    trouble: Option<Dropped>,
}

/// Starts the telemetry thread. `waiting_max` bounds the stories that wait, in bytes; `system` gives the
/// roots that are trusted where the settings name none. The outlet is for the workers.
///
/// # Errors
/// When the TLS settings do not fit together or there is no thread to be had.
pub fn start(
    settings: &Arc<Export>,
    waiting_max: usize,
    system: fn() -> Arc<RootCertStore>,
) -> io::Result<(Outlet, Exporter)> {
    let (batches, queue) = mpsc::channel(BATCHES_MAX);
    let (end, ended) = oneshot::channel();
    let outlet = Outlet { batches, waiting: Arc::default(), waiting_max };
    let stats = Arc::new(ExportStats::default());
    let connector = connect::Connector::new(settings, system)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    let thread = Thread {
        settings: Arc::clone(settings),
        queue,
        pending: Vec::new(),
        due: None,
        waiting: Arc::clone(&outlet.waiting),
        collector: Collector::new(Arc::clone(settings), connector),
        stats: Arc::clone(&stats),
        trouble: None,
    };
    std::thread::Builder::new().name("telemetry".into()).spawn(move || {
        runtime.block_on(thread.run(ended));
        runtime.shutdown_timeout(LINGER_MAX);
    })?;
    info!("spans go to {} by {}", settings.endpoint, settings.protocol.name());
    Ok((outlet, Exporter { stats, end }))
}

// === impl Exporter ===

impl Exporter {
    /// What became of the spans so far.
    pub fn stats(&self) -> Arc<ExportStats> {
        Arc::clone(&self.stats)
    }

    /// Sends what waits, in at most `within` and never longer than [`FLUSH_WAIT_MAX`]; the rest is dropped.
    pub async fn end(self, within: Duration) {
        let (done, flushed) = oneshot::channel();
        if self.end.send(done).is_ok() {
            // Either way the process ends now.
            let _ = timeout(within.min(FLUSH_WAIT_MAX), flushed).await;
        }
    }
}

// === impl Thread ===

impl Thread {
    /// Until the owner says so or is gone.
    async fn run(mut self, mut ended: oneshot::Receiver<oneshot::Sender<()>>) {
        let done = loop {
            let due = self.due;
            tokio::select! { // Cancel-safe: a channel keeps what was not taken, a time stays that time.
                done = &mut ended => break done.ok(),
                Some(batch) = self.queue.recv() => self.take(batch),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            let overdue = self.due.is_some_and(|due| Instant::now() >= due);
            while self.is_full() || (overdue && !self.pending.is_empty()) {
                let stories = self.next();
                tokio::select! { // An export that is given up at the end of the process is counted as dropped.
                    done = &mut ended => {
                        self.give_up(&stories);
                        return self.flush(done.ok()).await;
                    }
                    result = self.collector.export(request(&self.settings, &stories)) => {
                        self.note(&stories, result);
                    }
                }
            }
        };
        self.flush(done).await;
    }

    /// The last batches. Nobody waits longer than [`FLUSH_WAIT_MAX`] for them.
    async fn flush(mut self, done: Option<oneshot::Sender<()>>) {
        let deadline = Instant::now() + FLUSH_WAIT_MAX;
        // Each worker sends what it has when it ends, and the queue closes with the last of them.
        let last = Instant::now() + LAST_WORDS_MAX;
        while let Ok(Some(batch)) = timeout_at(last, self.queue.recv()).await {
            self.take(batch);
        }
        while !self.pending.is_empty() {
            let stories = self.next();
            let export = self.collector.export(request(&self.settings, &stories));
            match timeout_at(deadline, export).await {
                Ok(result) => self.note(&stories, result),
                Err(_) => self.give_up(&stories),
            }
        }
        if let Some(done) = done {
            // The owner may have stopped waiting.
            let _ = done.send(());
        }
    }

    fn take(&mut self, batch: Vec<Arc<Story>>) {
        if self.pending.is_empty() {
            self.due = Some(Instant::now() + self.settings.delay);
        }
        self.pending.extend(batch);
    }

    /// Whether one request could be filled; spans are at least as many as stories.
    fn is_full(&self) -> bool {
        let mut spans = 0;
        self.pending.iter().any(|story| {
            spans += spans::count(story);
            spans >= self.settings.batch_max
        })
    }

    /// The stories of the next request.
    fn next(&mut self) -> Vec<Arc<Story>> {
        let mut spans = 0;
        let fit = self.pending.iter().take_while(|story| {
            spans += spans::count(story);
            spans <= self.settings.batch_max
        });
        // A story goes whole, even one of more spans than that.
        let fit = fit.count().max(1).min(self.pending.len());
        let rest = self.pending.split_off(fit);
        let stories = std::mem::replace(&mut self.pending, rest);
        self.due = (!self.pending.is_empty()).then(|| Instant::now() + self.settings.delay);
        stories
    }

    /// Counts what became of a request, and says so when it is news.
    fn note(&mut self, stories: &[Arc<Story>], result: Result<u64, Failure>) {
        let spans = self.release(stories);
        let trouble = match result {
            Ok(rejected) => {
                let rejected = rejected.min(spans);
                self.stats.add_exported(spans - rejected);
                self.stats.add_dropped(Dropped::Rejected, rejected);
                (rejected > 0)
                    .then(|| (Dropped::Rejected, format!("it rejected {rejected} of {spans} spans")))
            }
            Err(Failure { reason, told, .. }) => {
                self.stats.add_failed();
                self.stats.add_dropped(reason, spans);
                Some((reason, told))
            }
        };
        let before = std::mem::replace(&mut self.trouble, trouble.as_ref().map(|(reason, _)| *reason));
        match (before, trouble) {
            (before, Some((reason, told))) if before != Some(reason) => {
                warn!("spans are lost on their way to {}: {told}", self.settings.endpoint);
            }
            (Some(_), None) => info!("spans arrive at {} again", self.settings.endpoint),
            (_, _) => {}
        }
    }

    fn give_up(&mut self, stories: &[Arc<Story>]) {
        let spans = self.release(stories);
        self.stats.add_dropped(Dropped::Ended, spans);
    }

    /// Frees their share of the memory that may wait. Out: how many spans they were.
    fn release(&self, stories: &[Arc<Story>]) -> u64 {
        let bytes = stories.iter().map(|story| story.bytes()).sum();
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        stories.iter().map(|story| spans::count(story) as u64).sum()
    }
}

/// A request with the spans of these stories.
fn request(settings: &Export, stories: &[Arc<Story>]) -> ExportTraceServiceRequest {
    let mut spans = Vec::with_capacity(2 * stories.len());
    for story in stories {
        spans::append(story, &mut spans);
    }
    let scope = InstrumentationScope {
        name: "outrigger".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
    let resource = Resource { attributes: resource(settings), ..Resource::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans,
            schema_url: String::new(),
        }],
    }
}

/// What the spans are of, and who made them.
fn resource(settings: &Export) -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    let sdk = [
        ("telemetry.sdk.name", "outrigger"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    let given = settings.resource.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let given = given.filter(|(key, _)| !key.starts_with("telemetry.sdk."));
    given
        .chain(sdk)
        .map(|(key, value)| attributes::attribute(key, Value::StringValue(value.to_owned())))
        .collect()
}
