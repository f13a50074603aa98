//! The command line.
//!
//! In: the process' arguments. Out: an exit code: 0 done, 1 problems, 2 wrong use. Each subcommand
//! is one file; nothing here does work of its own.

mod ask;
mod capture;
mod check;
mod explain;
mod force;
mod inject;
mod inside;
mod run;
mod schema;
mod sidecar;
mod top;
mod webhook;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::{Options, UnknownKeys};

/// Exit code of a wrong use, as clap's own.
const USAGE: u8 = 2;

/// A sidecar proxy: deadlines, retries, circuit breaking and bulkheads for outbound calls, declared
/// in one YAML file and explained.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy; with --capture, a command beside it whose calls come to it.
    Run(run::Arguments),
    /// Tell every problem of a configuration, or the values in effect.
    Check {
        #[command(flatten)]
        source: Source,
        /// Show values in effect with the line that set each: what the files set, or all values of
        /// SERVICE, or those of the route that takes METHOD PATH.
        #[arg(long, num_args = 0..=3, value_names = ["SERVICE", "METHOD", "PATH"])]
        effective: Option<Vec<String>>,
    },
    /// Hold a command for a proxy outside; started by `run --capture`.
    #[command(hide = true)]
    Inside(inside::Arguments),
    /// Send an application's connections to the proxy by rules of the kernel (Linux, root).
    ///
    /// Outgoing TCP connections of this network namespace, a pod's or a machine's, go to the proxy's outbound port; those
    /// of the proxy's own user, to own addresses and to link-local ones do not, nor what the block `capture` of the
    /// YAML or a flag leaves out. Connections that are open are left alone. While no proxy runs, captured
    /// connections are refused, so that no call goes past its policies unseen; `remove` opens the way.
    Capture {
        #[command(subcommand)]
        action: capture::Action,
    },
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Hold a service's circuit breaker open or closed, or let it decide by itself again.
    Force {
        /// The service's name in the configuration.
        service: String,
        /// What the breaker is told.
        state: force::State,
        /// Where the admin API of the proxy listens.
        #[arg(long, value_name = "HOST:PORT", default_value = ask::ADMIN, value_parser = ask::host_port)]
        admin: String,
    },
    /// Tell why calls went as they did: the latest faults, or one call, or one that is not sent.
    Explain {
        /// The trace id or request id of a call; the first 8 digits of a trace id are enough if no
        /// other trace has them.
        id: Option<String>,
        /// Tell what would happen to such a call now, without sending it.
        #[arg(long, num_args = 2, value_names = ["METHOD", "URL"], conflicts_with = "id")]
        dry: Option<Vec<String>>,
        /// Print the JSON of the admin API.
        #[arg(long)]
        json: bool,
        /// Where the admin API of the proxy listens.
        #[arg(long, value_name = "HOST:PORT", default_value = ask::ADMIN, value_parser = ask::host_port)]
        admin: String,
    },
    /// Put the sidecar into the pods of manifests.
    ///
    /// The same YAML comes out on standard output, with the sidecar added. Comments, order and layout stay.
    #[command(after_help = inject::INJECT_EXAMPLE)]
    Inject {
        /// YAML with any number of documents, or JSON with one, such as a List; `-` is standard input.
        #[arg(required_unless_present = "policy", value_name = "FILE|-")]
        files: Vec<PathBuf>,
        /// The namespace of pods that name none.
        #[arg(long, value_name = "NAME")]
        namespace: Option<String>,
        /// Print a MutatingAdmissionPolicy instead: the API server of Kubernetes 1.36 or newer then makes the
        /// same changes to pods as they are created.
        #[arg(long, conflicts_with_all = ["files", "namespace"])]
        policy: bool,
        #[command(flatten)]
        sidecar: Box<sidecar::Flags>,
    },
    /// Take the sidecar out of the pods of manifests again.
    #[command(after_help = inject::UNINJECT_EXAMPLE)]
    Uninject {
        /// YAML with any number of documents, or JSON with one, such as a List; `-` is standard input.
        #[arg(required = true, value_name = "FILE|-")]
        files: Vec<PathBuf>,
    },
    /// Put the sidecar into pods as they are made: a mutating admission webhook.
    #[command(after_help = webhook::EXAMPLE)]
    Webhook {
        #[command(flatten)]
        webhook: webhook::Flags,
        #[command(flatten)]
        sidecar: Box<sidecar::Flags>,
    },
    /// Show the state of every service, live; those in trouble come first.
    Top {
        /// Where the admin API of the proxy listens.
        #[arg(long, value_name = "HOST:PORT", default_value = ask::ADMIN, value_parser = ask::host_port)]
        admin: String,
        /// How often to look, 100ms to 1h; rates and latencies are of that time.
        #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = top::every)]
        every: Duration,
        /// Print one table after that time and end; for pipes and scripts.
        #[arg(long)]
        once: bool,
    },
}

/// Where the configuration is and how it is read.
#[derive(Debug, clap::Args)]
struct Source {
    /// The YAML file, or a directory of them.
    config: PathBuf,
    /// What unknown keys are; `warn` helps while some proxies are older than the file.
    #[arg(long, value_enum, default_value = "error")]
    unknown_keys: Unknown,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Unknown {
    Error,
    Warn,
}

/// Does what the arguments of the process say.
pub fn main() -> ExitCode {
    main_from(std::env::args_os())
}

/// Does what these arguments say; the first is the name of the program.
pub fn main_from(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Arguments::parse_from(arguments).command {
        Command::Run(arguments) => run::run(arguments),
        Command::Inside(arguments) => inside::inside(arguments),
        Command::Check { source, effective } => {
            check::check(&source.config, &source.options(), effective.as_deref())
        }
        Command::Capture { action } => capture::capture(&action),
        Command::Schema => schema::schema(),
        Command::Force { service, state, admin } => force::force(&service, state, &admin),
        Command::Inject { files, namespace, policy, sidecar } => match sidecar.settings() {
            Ok(settings) if policy => inject::policy(&settings),
            Ok(settings) => inject::inject(&files, namespace.as_deref(), &settings),
            Err(wrong) => {
                complain(&format!("{wrong}\n"));
                ExitCode::from(USAGE)
            }
        },
        Command::Uninject { files } => inject::uninject(&files),
        Command::Top { admin, every, once } => top::top(admin, every, once),
        Command::Webhook { webhook, sidecar } => match sidecar.settings() {
            Ok(settings) => webhook::webhook(webhook, settings),
            Err(wrong) => {
                complain(&format!("{wrong}\n"));
                ExitCode::from(USAGE)
            }
        },
        Command::Explain { id, dry, json, admin } => {
            let asked = match (&id, dry.as_deref()) {
                (_, Some([method, url])) => explain::Asked::Dry(method, url),
                (Some(id), _) => explain::Asked::Call(id),
                (None, _) => explain::Asked::Latest,
            };
            explain::explain(asked, json, &admin)
        }
    }
}

// === impl Source ===

impl Source {
    fn options(&self) -> Options {
        self.unknown_keys.options()
    }
}

// === impl Unknown ===

impl Unknown {
    fn options(self) -> Options {
        let unknown_keys = match self {
            Self::Error => UnknownKeys::Error,
            Self::Warn => UnknownKeys::Warn,
        };
        Options { unknown_keys, ..Options::default() }
    }
}

/// Prints to standard output. A reader that went away (`| head`) is no problem of ours.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints to standard error.
fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_hang_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn effective_takes_words_after_the_file() {
        let words =
            ["outrigger", "check", "mesh.yaml", "--unknown-keys=warn", "--effective", "cart", "GET", "/"];
        let Command::Check { source, effective } = Arguments::try_parse_from(words).unwrap().command else {
            panic!("check was asked for");
        };
        assert_eq!(source.options().unknown_keys, UnknownKeys::Warn);
        assert_eq!(effective.unwrap(), ["cart", "GET", "/"]);
    }

    #[test]
    fn a_command_is_what_follows_two_dashes() {
        let run = |words: &str| {
            let words = ["outrigger", "run"].into_iter().chain(words.split(' '));
            Arguments::try_parse_from(words).map_err(|error| error.to_string())
        };
        run("mesh.yaml").unwrap();
        run("mesh.yaml --capture -- python3 app.py --capture").unwrap();
        run("--capture --publish 8080 --publish 81:82 --host-port 5432 -- sh").unwrap();
        for (words, said) in [
            ("--unknown-keys warn", "<CONFIG>"),
            ("mesh.yaml --capture", "<COMMAND>"),
            ("mesh.yaml -- sh", "--capture"),
            ("mesh.yaml --publish 8080", "--capture"),
            ("mesh.yaml --captured --capture -- sh", "cannot be used with"),
            ("--capture --host-port db:5432 -- sh", "as in 8080 or 8080:80"),
        ] {
            let problem = run(words).unwrap_err();
            assert!(problem.contains(said), "{words}: {problem}");
        }
    }
}
