//! What the acts hand in, as text: the promises of one act, and the one table of them all.
//!
//! In: rows and promises. Out: lines. Never decides whether a promise was kept.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use crate::load::Summary;

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    /// The act.
    pub act: &'static str,
    /// Which calls are summed up.
    pub calls: &'static str,
    /// With the sidecar or without, and when.
    pub side: &'static str,
    /// What the customers saw.
    pub summary: Summary,
    /// Calls that reached the sick service; none in an act where all are well.
    pub reached: Option<u64>,
}

/// Something an act says it will show, and whether it did.
#[derive(Debug)]
pub struct Promise {
    /// What was expected, with its number.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Whether that is what was expected.
    pub kept: bool,
}

/// What an act ends with.
#[derive(Debug, Default)]
pub struct Report {
    /// Its lines of the table.
    pub rows: Vec<Row>,
    /// What it had to show.
    pub promises: Vec<Promise>,
}

/// All rows as one table.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Row]);

// === impl Report ===

impl Report {
    /// Adds a promise.
    pub fn promise(&mut self, expected: impl Into<String>, seen: impl Into<String>, kept: bool) {
        self.promises.push(Promise { expected: expected.into(), seen: seen.into(), kept });
    }

    /// Whether the act showed all it had to.
    pub fn kept(&self) -> bool {
        self.promises.iter().all(|promise| promise.kept)
    }
}

// === impl Promise ===

impl Display for Promise {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let Self { expected, seen, kept } = self;
        let verdict = if *kept { "shown    " } else { "NOT SHOWN" };
        write!(out, "   {verdict} {expected}: {seen}")
    }
}

// === impl Table ===

impl Display for Table<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        writeln!(
            out,
            "{:<16} {:<8} {:<18} {:>5} {:>8} {:>9} {:>9}  reached the sick service",
            "act", "calls", "sidecar", "sent", "success", "p50", "p99"
        )?;
        let mut act = "";
        for row in self.0 {
            let name = if row.act == act { "" } else { row.act };
            act = row.act;
            let Row { calls, side, summary, reached, .. } = row;
            let reached = reached.map_or_else(|| "-".to_owned(), |reached| reached.to_string());
            writeln!(
                out,
                "{name:<16} {calls:<8} {side:<18} {:>5} {:>6.1} % {:>9} {:>9}  {reached:>10}",
                summary.calls,
                summary.success_percent(),
                ms(summary.p50),
                ms(summary.p99)
            )?;
        }
        Ok(())
    }
}

/// A latency as people read it.
pub fn ms(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}
