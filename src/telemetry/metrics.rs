//! Metrics: their names, and the text a scraper reads.
//!
//! In: numbers, from whoever has them. Out: OpenMetrics text, or the older text format for tools
//! that know nothing else. Every name, unit, label and help text is in `table`, once.

mod process;
mod table;
mod text;

pub use process::Process;
pub use table::*;
pub use text::{BUCKETS_SECONDS, Format, Text};
