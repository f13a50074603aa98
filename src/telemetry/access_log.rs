//! The access log: one JSON line per call, fields in a fixed order.
//!
//! In: a finished record. Out: a line, handed to one writer thread through a bounded queue. A slow
//! disk or a blocked terminal costs lines, which are counted, and never a call.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use crate::config::AccessLog as Settings;

use super::record::{CallRecord, Line, Outcome};
use super::story::line_parts;
use super::{WorkerStats, add_one};

/// Lines waiting for the writer. At 350 bytes a line this is about 2.5 MiB at worst.
const QUEUE_LINES_MAX: usize = 8192;

/// One worker's end of the access log.
#[derive(Debug, Clone)]
pub struct AccessLog {
    lines: SyncSender<String>,
    stats: Rc<WorkerStats>,
}

/// The end that starts writers; it may cross threads.
#[derive(Debug, Clone)]
pub struct AccessLogSender(SyncSender<String>);

// === impl AccessLogSender ===

impl AccessLogSender {
    /// Starts the writer thread, or `None` when the log is off.
    ///
    /// # Errors
    /// When the file can't be opened or the thread not be started.
    pub fn open(settings: &Settings) -> io::Result<Option<Self>> {
        let sink: Box<dyn Write + Send> = match settings {
            Settings::Off => return Ok(None),
            Settings::Stdout => Box::new(io::stdout()),
            Settings::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        let (lines, queue) = sync_channel(QUEUE_LINES_MAX);
        std::thread::Builder::new().name("access-log".into()).spawn(move || write_all(&queue, sink))?;
        Ok(Some(Self(lines)))
    }

    /// One worker's end; `stats` counts lines that found the queue full.
    pub fn worker(&self, stats: Rc<WorkerStats>) -> AccessLog {
        AccessLog { lines: self.0.clone(), stats }
    }
}

/// Writes lines until every sender is gone; flushes whenever the queue runs empty.
fn write_all(queue: &Receiver<String>, sink: Box<dyn Write + Send>) {
    let mut sink = BufWriter::new(sink);
    while let Ok(line) = queue.recv() {
        let mut next = Some(line);
        while let Some(line) = next {
            if sink.write_all(line.as_bytes()).is_err() {
                return;
            }
            next = queue.try_recv().ok();
        }
        if sink.flush().is_err() {
            return;
        }
    }
}

// === impl AccessLog ===

impl AccessLog {
    /// Writes the line of one call.
    pub(super) fn write(
        &self,
        record: &CallRecord<'_>,
        outcome: Outcome,
        duration: Duration,
        line: &Line<'_>,
    ) {
        let text = format_line(record, outcome, duration, line, SystemTime::now());
        match self.lines.try_send(text) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => add_one(&self.stats.log_dropped),
        }
    }
}

fn format_line(
    record: &CallRecord<'_>,
    outcome: Outcome,
    duration: Duration,
    line: &Line<'_>,
    time: SystemTime,
) -> String {
    let (method, path) = line_parts(line.request);
    let unix = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let first_byte = record.first_byte.map(|wait| format!("{:.3}", wait.as_secs_f64() * 1e3));
    let mut text = String::with_capacity(384);
    let _ = writeln!(
        text,
        "{{\"time\":{}.{:03},\"service\":{},\"route\":{},\"method\":{},\"path\":{},\"status\":{},\"outcome\":\"{}\",\"reason\":\"{}\",\"attempts\":{},\"duration_ms\":{:.3},\"queued_ms\":{:.3},\"reply_bytes\":{},\"request_bytes\":{},\"first_byte_ms\":{},\"trace_id\":\"{}\"}}",
        unix.as_secs(),
        unix.subsec_millis(),
        quoted(line.service),
        quoted(line.route),
        quoted(&method),
        quoted(&path),
        record.status,
        outcome.name(),
        outcome.reason(),
        record.attempts,
        duration.as_secs_f64() * 1e3,
        record.queued.as_secs_f64() * 1e3,
        record.reply_bytes,
        record.request_bytes,
        first_byte.as_deref().unwrap_or("null"),
        line.trace.trace_text(),
    );
    text
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
