//! Puts the parts together and takes them apart again: one process from start to end.
//!
//! In: a path to a configuration. Out: an exit code. The main thread is the control thread: signals,
//! reloads, the admin API and name lookups run on it; calls never do.

mod beside;
mod captured;
mod certificates;
mod export;
mod listeners;
mod names;
mod ports;
mod reload;
mod signals;

use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::admin::{self, Control, History, Status};
use crate::config::{Config, Options, Watcher, load};
use crate::drain::{Activity, Draining, Ending, Step};
use crate::mesh::Mesh;
use crate::telemetry::{AccessLogSender, Outlet, Reports};
use crate::upstream::discover::dns::Names;
use crate::worker::{self, Order, Outputs};

use beside::Companion;
use export::Exporting;
use listeners::Listeners;
use reload::Reloading;
use signals::{Event, Signals};

pub use beside::Beside;
pub use ports::Ports;

/// How often a process that is ending looks whether it may.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Longest wait for calls in flight after the command beside us has ended: they are of what it left
/// behind. `drain.timeout` if that is less.
const AFTER_COMMAND_MAX: Duration = Duration::from_secs(2);

/// The number of SIGTERM.
const TERMINATE: i32 = SignalKind::terminate().as_raw_value();

/// Names that wait to be looked up. A full queue only delays: the next call asks again.
const LOOKUPS_MAX: usize = 1024;

/// The running workers, as the control thread sees them.
#[derive(Debug, Clone)]
struct Workers(Vec<mpsc::Sender<Order>>);

/// What a process is started with.
#[derive(Debug)]
pub struct Start<'a> {
    /// The configuration: a file, or a directory of them.
    pub path: &'a Path,
    /// How it is read.
    pub options: &'a Options,
    /// The application's connections are captured, and the process is not ready while they are not.
    pub captured: bool,
    /// A command that runs as long as we do, and we as long as it does.
    pub beside: Option<Beside>,
}

/// Runs the proxy until it is told to stop. Exit code 0 after a clean drain, or that of the command
/// beside it.
pub fn run(start: &Start<'_>) -> ExitCode {
    let Start { path, options, .. } = start;
    let descriptors = raise_descriptor_limit();
    // Before the first load, so that no change falls between the two.
    let watcher = Watcher::new(path);
    let config = match load(path, options) {
        Ok(config) => config,
        Err(problems) => {
            for problem in &problems {
                error!("{problem}");
            }
            error!("{} problems; nothing was started", problems.len());
            return ExitCode::FAILURE;
        }
    };
    for warning in &config.warnings {
        warn!("{warning}");
    }
    if let Some(found) = &options.environment.grace_misread {
        let taken = options.environment.grace;
        warn!("OUTRIGGER_GRACE: found {found:?}, want a duration such as 30s; {taken:?} is taken");
    }
    certificates::prepare(&config);
    certificates::warn(&config);
    warn_of_descriptors(config.limits.connections, descriptors);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "no runtime for the control thread");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(control(start, Arc::new(config), watcher)) {
        Ok(code) => code,
        Err(error) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Raises the soft limit of open files to the hard one, as far as we may, and tells what it is now.
/// The soft one is 1,024 on many hosts for the sake of programs that use `select`.
fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// A call needs two descriptors: the application's connection and the service's.
fn warn_of_descriptors(connections: usize, descriptors: Option<u64>) {
    let needed = 2 * connections as u64;
    if let Some(descriptors) = descriptors.filter(|have| *have < needed) {
        warn!(
            "limits.connections is {connections}, which may need {needed} file descriptors; the process has {descriptors}"
        );
    }
}

/// Starts everything, then waits for what happens.
async fn control(start: &Start<'_>, config: Arc<Config>, mut watcher: Watcher) -> io::Result<ExitCode> {
    let Start { path, options, captured, beside } = start;
    let mut signals = Signals::new(beside.is_some())?;
    let mut companion = match beside {
        Some(beside) => Some(Companion::prepare(beside.clone(), &config).await?),
        None => None,
    };
    let inside = companion.as_ref().and_then(Companion::inside);
    let mut listeners = Listeners::open(&config, inside).await?;
    let status = Arc::new(Status::new(version(&config)));
    status.set_listeners(listeners.shown());
    let (resolver, lookups) = mpsc::channel(LOOKUPS_MAX);
    let names = Names::new(&config.dns_servers).map_err(io::Error::other)?;
    let mesh =
        Arc::new(Mesh::new(Arc::clone(&config), listeners.own(), resolver, names.search(), Instant::now()));
    tokio::spawn(names.serve(lookups));
    let (exporting, outlet) = Exporting::start(&config)?;
    let (workers, reports) = start_workers(&mesh, &config, outlet)?;
    let (drain, mut drain_asked) = mpsc::channel(1);
    let history = History::default();
    tokio::spawn(history.clone().keep(reports.clone()));
    let control = Control {
        mesh: Arc::clone(&mesh),
        reports: reports.clone(),
        status: Arc::clone(&status),
        history,
        drain,
        export: exporting.stats(),
    };
    for (listener, health_only) in listeners.take_admin() {
        let router = if health_only { control.clone().health() } else { control.clone().admin() };
        tokio::spawn(admin::serve(listener, router));
    }
    for (door, sockets) in listeners.take_doors() {
        workers.listen(&door, sockets).await;
    }
    if *captured {
        status.set_capture(Some(captured::MISSING));
        captured::prove_spared().await?;
        tokio::spawn(captured::watch(Arc::clone(&status)));
    }
    status.set_ready();
    info!(
        "{} with {} services on {} workers is ready",
        config.service,
        config.services.len(),
        config.workers
    );
    if let Some(companion) = &mut companion {
        let named = Arc::clone(&mesh);
        let claimed = Box::new(move |host: &str| named.virtual_address(host));
        companion.run(&config, &listeners.shown(), claimed).await?;
    }
    let read_version = version(&config);
    let mut reloading = Reloading { path, options, mesh, workers, status, listeners, read_version };
    let (ending, command_code) = loop {
        let event = signals.next(&mut watcher, &mut drain_asked, &mut companion).await;
        if let Some(end) = reloading.meet(event, &companion).await {
            break end;
        }
    };
    let most = command_code.map(|_| AFTER_COMMAND_MAX);
    let own_code = reloading.end(ending, most, &mut signals, &reports).await;
    exporting.end().await;
    Ok(command_code.map_or(own_code, ExitCode::from))
}

/// Starts the workers; they serve nothing until they are told where to listen.
fn start_workers(
    mesh: &Arc<Mesh>,
    config: &Config,
    outlet: Option<Outlet>,
) -> io::Result<(Workers, Reports)> {
    let access_log = AccessLogSender::open(&config.access_log).map_err(|error| {
        io::Error::new(error.kind(), format!("accessLog {:?}: {error}", config.access_log))
    })?;
    let outputs = Outputs { access_log, outlet };
    let (addresses, mailboxes): (Vec<_>, Vec<_>) = (0..config.workers).map(|_| worker::mailbox()).unzip();
    let peers: Vec<_> = addresses.iter().map(|address| address.peer.clone()).collect();
    for (index, mailbox) in mailboxes.into_iter().enumerate() {
        worker::start(Arc::clone(mesh), index, peers.clone(), mailbox, outputs.clone())?;
    }
    let reports = Reports::new(addresses.iter().map(|address| address.questions.clone()).collect());
    Ok((Workers(addresses.into_iter().map(|address| address.orders).collect()), reports))
}

/// A name for a configuration that changes whenever it does. Hashed as it is spelled out: the text
/// of a thousand services would be megabytes.
fn version(config: &Config) -> String {
    let mut spelled = Spelled(DefaultHasher::new());
    // Hashing cannot fail, so neither can writing to it.
    let _ = write!(spelled, "{config:?}");
    format!("{:016x}", spelled.0.finish())
}

/// Text that is hashed and not kept.
struct Spelled(DefaultHasher);

impl Write for Spelled {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

// === impl Workers ===

impl Workers {
    /// Tells every worker. One that is gone has said why itself.
    async fn tell(&self, order: impl Fn() -> Order) {
        for worker in &self.0 {
            let _ = worker.send(order()).await;
        }
    }

    /// Gives each worker its socket of one address.
    async fn listen(&self, door: &crate::serve::Door, sockets: Vec<std::net::TcpListener>) {
        for (worker, listener) in self.0.iter().zip(sockets) {
            let _ = worker.send(Order::Listen { listener, door: door.clone() }).await;
        }
    }
}

// === impl Reloading ===

impl Reloading<'_> {
    /// Does what an event asks for, or tells how to end, and with which exit code of the command.
    async fn meet(&mut self, event: Event, companion: &Option<Companion>) -> Option<(Ending, Option<u8>)> {
        match (event, companion) {
            (Event::Changed, _) => self.reload().await,
            (Event::DayPassed, _) => certificates::warn(&self.mesh.snapshot().config),
            (Event::PassOn(number), Some(companion)) => companion.signal(number).await,
            (Event::PassOn(_), None) => {}
            // Who asks for our end with a command beside us asks for its.
            (Event::DrainAsked, Some(companion)) => companion.signal(TERMINATE).await,
            (Event::DrainAsked, None) | (Event::Terminate, _) => return Some((Ending::Drain, None)),
            (Event::Interrupt, _) => return Some((Ending::Close, None)),
            (Event::CommandEnded(code), _) => return Some((Ending::Close, Some(code))),
        }
        None
    }

    /// Waits until the process may end. A second signal ends it at once.
    async fn end(
        &self,
        ending: Ending,
        most: Option<Duration>,
        signals: &mut Signals,
        reports: &Reports,
    ) -> ExitCode {
        self.status.set_draining();
        let mut settings = self.mesh.snapshot().config.drain;
        settings.timeout = most.map_or(settings.timeout, |most| settings.timeout.min(most));
        let draining = Draining::new(ending, settings, Instant::now());
        let (mut draining, cut) = draining.within(&self.options.environment);
        if let Some(cut) = cut {
            let grace = self.options.environment.grace;
            warn!("drain.timeout is cut by {cut:?}: the process is killed after {grace:?}");
        }
        info!(?ending, quiet = ?settings.quiet, timeout = ?settings.timeout, "ending");
        if ending == Ending::Close {
            self.workers.tell(|| Order::Close).await;
        }
        let code = loop {
            tokio::select! { // Both arms are cancel-safe: signals are kept, a sleep starts anew.
                () = signals.any() => {
                    warn!("a second signal: ending now");
                    break ExitCode::FAILURE;
                }
                () = sleep(DRAIN_LOOK_EVERY) => {}
            }
            match draining.look(activity(reports).await, Instant::now()) {
                Step::Wait => {}
                Step::Done => break ExitCode::SUCCESS,
                Step::TimedOut => {
                    warn!("drain.timeout is over with calls in flight: ending now");
                    break ExitCode::FAILURE;
                }
            }
        };
        self.workers.tell(|| Order::Stop).await;
        info!("ended");
        code
    }
}

async fn activity(reports: &Reports) -> Activity {
    let reports = reports.collect().await;
    Activity {
        in_flight: reports.iter().map(|report| report.in_flight).sum(),
        open: reports.iter().map(|report| report.open).sum(),
        accepted: reports.iter().map(|report| report.accepted).sum(),
    }
}
