//! What the control thread waits for.
//!
//! In: signals, changes of files, the clock, the admin API, the command beside us. Out: one event at a
//! time. With a command beside us signals are the command's: it decides what they mean.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, interval_at};

use crate::capture::laptop::signals::{is_from_terminal, is_ignored};
use crate::config::Watcher;

use super::beside::Companion;
use super::certificates;

/// What happens to a process.
pub(super) enum Event {
    /// The configuration may be another one.
    Changed,
    /// A day has passed.
    DayPassed,
    /// It shall end when the application has.
    Terminate,
    /// It shall end soon.
    Interrupt,
    /// The admin API asked for the end.
    DrainAsked,
    /// A signal for the command, by its number.
    PassOn(i32),
    /// The command has ended, with this exit code.
    CommandEnded(u8),
}

/// The signals that matter.
pub(super) struct Signals {
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    hangup: Option<Signal>,
    /// Those that would end us, and mean nothing to us; caught if a command is beside us.
    others: [Option<Signal>; 3],
    days: Interval,
}

// === impl Signals ===

impl Signals {
    pub(super) fn new(has_command: bool) -> io::Result<Self> {
        // What is ignored stays so for the command, which it would not if we caught it.
        let caught = |kind: SignalKind| match has_command && is_ignored(kind.as_raw_value()) {
            true => Ok(None),
            false => signal(kind).map(Some),
        };
        let other = |kind| if has_command { caught(kind) } else { Ok(None) };
        Ok(Self {
            terminate: caught(SignalKind::terminate())?,
            interrupt: caught(SignalKind::interrupt())?,
            hangup: caught(SignalKind::hangup())?,
            others: [
                other(SignalKind::quit())?,
                other(SignalKind::user_defined1())?,
                other(SignalKind::user_defined2())?,
            ],
            days: interval_at(Instant::now() + certificates::WARN_EVERY, certificates::WARN_EVERY),
        })
    }

    /// What happens next.
    pub(super) async fn next(
        &mut self,
        watcher: &mut Watcher,
        drain_asked: &mut mpsc::Receiver<()>,
        command: &mut Option<Companion>,
    ) -> Event {
        let has_command = command.is_some();
        loop {
            let number = tokio::select! { // Cancel-safe: signals and channels keep what was not taken; a change stays a change, a day too, an end too.
                () = came(&mut self.terminate) => SignalKind::terminate(),
                () = came(&mut self.interrupt) => SignalKind::interrupt(),
                () = came(&mut self.hangup) => SignalKind::hangup(),
                kind = other(&mut self.others) => kind,
                () = watcher.changed() => return Event::Changed,
                _ = self.days.tick() => return Event::DayPassed,
                Some(()) = drain_asked.recv() => return Event::DrainAsked,
                code = ended(command) => return Event::CommandEnded(code),
            };
            match number {
                kind if has_command => {
                    let keyboard = kind == SignalKind::interrupt() || kind == SignalKind::quit();
                    if !(keyboard && is_from_terminal()) {
                        return Event::PassOn(kind.as_raw_value());
                    }
                }
                kind if kind == SignalKind::terminate() => return Event::Terminate,
                kind if kind == SignalKind::interrupt() => return Event::Interrupt,
                _ => return Event::Changed,
            }
        }
    }

    /// A signal to end, of either kind.
    pub(super) async fn any(&mut self) {
        tokio::select! { // Cancel-safe, as above.
            () = came(&mut self.terminate) => {}
            () = came(&mut self.interrupt) => {}
        }
    }
}

async fn other([quit, first, second]: &mut [Option<Signal>; 3]) -> SignalKind {
    tokio::select! { // Cancel-safe, as above.
        () = came(quit) => SignalKind::quit(),
        () = came(first) => SignalKind::user_defined1(),
        () = came(second) => SignalKind::user_defined2(),
    }
}

/// Waits for a signal; for ever, if it is not caught.
async fn came(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// The end of the command; never, without one.
async fn ended(command: &mut Option<Companion>) -> u8 {
    match command {
        // What can't be waited for is gone.
        Some(command) => command.ended().await.unwrap_or(1),
        None => std::future::pending().await,
    }
}
