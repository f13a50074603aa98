//! The demo: a shop whose order service gets a sidecar, in five acts of about ten seconds.
//!
//! `cargo run --release --example shop` plays every act twice, without the sidecar and with it,
//! and ends with one table. It ends by itself within a minute, with exit code 0 if each act showed
//! what it promises and 1 if not, so that it is a test as well as a story.
//!
//! ```text
//! load --> order service --> user, inventory, payment, notification            (without)
//! load --> order service --> sidecar --> user, inventory, payment, notification   (with)
//! ```
//!
//! Both order services are the same code ([`order`]) and call the same four services
//! ([`services`]); one has `HTTP_PROXY` set. Options: `--hold`, `--only ACT`, `--help`.

#![allow(unreachable_pub, reason = "a demo exports nothing; `pub` says what a module offers the others")]

mod acts;
mod hold;
mod http;
mod load;
mod order;
mod services;
mod sidecar;
mod table;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use acts::{Act, Stage};
use order::Network;
use services::Services;
use sidecar::Sidecar;
use table::Table;
use tokio::time::Instant;

const HELP: &str = "\
A shop whose order service gets a sidecar, in five acts.

cargo run --release --example shop -- [--hold] [--only ACT]

  --hold       afterwards, keep everything running to play with
  --only ACT   play one act: healthy, flaky, slow, down or live; `none` with --hold plays none
  --help       this

Exit code: 0 if every act showed what it promises, 1 if not, 2 for wrong options.";

/// Writes a line to standard output; a reader that went away is no reason to fail.
macro_rules! say {
    ($($words:tt)*) => { $crate::write_line(format_args!($($words)*)) };
}
pub(crate) use say;

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    hold: bool,
    acts: Vec<Act>,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == "--sidecar") {
        return sidecar::main(args);
    }
    let options = match options(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            say!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            complain(&format!("{problem}\n\n{HELP}"));
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options { hold: false, acts: Act::ALL.to_vec() };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--hold" => options.hold = true,
            "--help" | "-h" => return Ok(None),
            "--only" => {
                let name = args.next().unwrap_or_default();
                options.acts.retain(|act| act.name() == name);
                if options.acts.is_empty() && name != "none" {
                    return Err(format!("no act is called {name:?}"));
                }
            }
            other => return Err(format!("unknown option {other:?}")),
        }
    }
    Ok(Some(options))
}

/// Plays until the end or Ctrl-C; true when every promise was kept.
fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let started = Instant::now();
        let Some(stage) = until_interrupted(open()).await? else { return Ok(false) };
        let Some(kept) = until_interrupted(play(options, &stage, started)).await? else { return Ok(false) };
        if options.hold {
            until_interrupted(hold::hold(&stage)).await?;
        }
        Ok(kept)
    })
}

/// Does the work, or none of it any more when Ctrl-C is pressed.
async fn until_interrupted<T>(
    work: impl Future<Output = Result<T, Box<dyn Error>>>,
) -> Result<Option<T>, Box<dyn Error>> {
    // Dropping either arm is safe: the sidecar is ended by its guard, the rest is the demo's own.
    tokio::select! {
        done = work => done.map(Some),
        pressed = tokio::signal::ctrl_c() => {
            pressed?;
            say!("\nThe shop is closed.");
            Ok(None)
        }
    }
}

async fn play(options: &Options, stage: &Stage, started: Instant) -> Result<bool, Box<dyn Error>> {
    let (mut rows, mut kept) = (Vec::new(), true);
    for (n, act) in options.acts.iter().enumerate() {
        say!("\nAct {} of {}, {}. {}", n + 1, options.acts.len(), act.name(), act.story());
        let report = act.play(stage).await.map_err(|error| format!("act {}: {error}", act.name()))?;
        for promise in &report.promises {
            say!("{promise}");
        }
        kept &= report.kept();
        rows.extend(report.rows);
    }
    if !rows.is_empty() {
        say!("\n{}", Table(&rows));
        let verdict =
            if kept { "Every act showed what it promises" } else { "Not every act showed what it promises" };
        say!("{verdict}; {:.0} s.", started.elapsed().as_secs_f64());
    }
    if !kept {
        say!("\nThe sidecar said last:\n{}", stage.sidecar.log());
    }
    Ok(kept)
}

/// Opens the shop: four services, the sidecar, and the order service with and without it.
async fn open() -> Result<Stage, Box<dyn Error>> {
    let services = Services::start().await?;
    let sidecar = Sidecar::start(services.moves()).await?;
    let alone = order::start(9100, Network::Direct(services.addresses())).await?;
    let meshed = order::start(9110, Network::Proxy(sidecar.proxy)).await?;
    say!("The shop is open: order service at {alone} without a sidecar, at {meshed} with one.");
    say!("Sidecar: proxy {}, admin {}, policy {}", sidecar.proxy, sidecar.admin, sidecar.yaml().display());
    for (port, address) in services.moves() {
        if port != address.port() {
            say!("Port {port} is taken; {address} stands in for it.");
        }
    }
    Ok(Stage { services, alone, meshed, sidecar })
}

/// Writes one line; used through [`say!`].
fn write_line(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Writes one line to standard error.
fn complain(problem: &str) {
    let _ = writeln!(std::io::stderr(), "shop: {problem}");
}
