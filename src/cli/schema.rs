//! `outrigger schema`: the JSON Schema of the configuration.
//!
//! In: nothing. Out: JSON on standard output.

use std::process::ExitCode;

use crate::config;

/// Prints the schema.
pub(super) fn schema() -> ExitCode {
    super::print(&format!("{:#}\n", config::schema()));
    ExitCode::SUCCESS
}
