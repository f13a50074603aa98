//! `outrigger run`: the proxy itself, perhaps with a command beside it.
//!
//! In: what to start with. Out: the exit code of the process. Sets up the process's own log, on
//! standard error so that an access log may have standard output.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::app::{self, Beside, Ports, Start};
use crate::capture::laptop::CommandLine;

use super::Unknown;

/// The configuration of a working folder, for a command that is run there.
const CONFIG: &str = "outrigger.yaml";

/// What to run, and how.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The YAML file, or a directory of them. With --capture it may be left out: `outrigger.yaml` is
    /// taken if there is one, else a configuration without services.
    #[arg(required_unless_present = "capture")]
    config: Option<PathBuf>,
    /// What unknown keys are; `warn` helps while some proxies are older than the file.
    #[arg(long, value_enum, default_value = "error")]
    unknown_keys: Unknown,
    /// The application's connections are captured (`outrigger capture apply`): not ready while they are not.
    #[arg(long, conflicts_with = "capture")]
    captured: bool,
    /// Serve probes and scrapers on this port of every address, where the YAML has no `health`.
    #[arg(long, value_name = "PORT")]
    health_port: Option<u16>,
    /// Run a command beside the proxy whose calls come to it, without root and without a change: in a
    /// network namespace of its own where that is allowed, else by HTTP_PROXY and its like.
    #[arg(long, requires = "command")]
    capture: bool,
    /// Let 127.0.0.1:PORT lead to the command's server on PORT, or on INNER. May be given again.
    #[arg(long, value_name = "PORT[:INNER]", requires = "capture")]
    publish: Vec<Ports>,
    /// Let 127.0.0.1:PORT of the command lead to PORT, or OUTER, of this machine. May be given again.
    #[arg(long, value_name = "PORT[:OUTER]", requires = "capture")]
    host_port: Vec<Ports>,
    /// The command and its arguments, after `--`.
    #[arg(last = true, requires = "capture")]
    command: Vec<OsString>,
}

/// Runs until told to stop, or until the command has ended.
pub(super) fn run(arguments: Arguments) -> ExitCode {
    start_log(arguments.capture);
    let mut options = arguments.unknown_keys.options();
    options.health_port = arguments.health_port;
    // Only what was not there at the start may be absent: a file that vanishes is no wish for nothing.
    options.may_be_absent = arguments.config.is_none() && !Path::new(CONFIG).exists();
    let path = arguments.config.unwrap_or_else(|| CONFIG.into());
    let beside = arguments.capture.then(|| Beside {
        command: CommandLine { words: arguments.command, descriptors: getrlimit(Resource::Nofile).current },
        publish: arguments.publish,
        host_ports: arguments.host_port,
    });
    app::run(&Start { path: &path, options: &options, captured: arguments.captured, beside })
}

/// The process's own log. Beside a command it is quiet: the terminal is the command's.
pub(super) fn start_log(quiet: bool) {
    let level = if quiet { LevelFilter::WARN } else { LevelFilter::INFO };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var("OUTRIGGER_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
