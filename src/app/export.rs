//! The export of spans, as the process starts it.
//!
//! In: the configuration. Out: the workers' way to the telemetry thread and its owner's, or neither.

use std::io;
use std::sync::Arc;

use crate::config::Config;
use crate::telemetry::Outlet;
use crate::telemetry::export::{self, ExportStats, Exporter, FLUSH_WAIT_MAX};
use crate::upstream::system_roots;

/// The export, if the configuration asks for one.
pub(super) struct Exporting(Option<Exporter>);

// === impl Exporting ===

impl Exporting {
    /// Starts it. Stories that wait share the memory with those that are kept, half for each.
    pub(super) fn start(config: &Config) -> io::Result<(Self, Option<Outlet>)> {
        let Some(settings) = &config.tracing.export else { return Ok((Self(None), None)) };
        let (outlet, exporter) = export::start(settings, config.limits.explanations_bytes / 2, system_roots)
            .map_err(|error| io::Error::new(error.kind(), format!("tracing.otlp: {error}")))?;
        Ok((Self(Some(exporter)), Some(outlet)))
    }

    /// What became of the spans.
    pub(super) fn stats(&self) -> Option<Arc<ExportStats>> {
        self.0.as_ref().map(Exporter::stats)
    }

    /// Sends what waits, in bounded time.
    pub(super) async fn end(self) {
        if let Some(exporter) = self.0 {
            exporter.end(FLUSH_WAIT_MAX).await;
        }
    }
}
