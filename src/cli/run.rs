//! `outrigger run`: the proxy itself.
//!
//! In: what to start with. Out: the exit code of the process. Sets up the process's own log, on
//! standard error so that an access log may have standard output.

use std::io::IsTerminal;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::app::{self, Start};

/// Runs until told to stop.
pub(super) fn run(start: &Start<'_>) -> ExitCode {
    start_log();
    app::run(start)
}

/// Starts the log of a process that stays.
pub(super) fn start_log() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var("OUTRIGGER_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
