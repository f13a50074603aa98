//! What the control thread waits for.
//!
//! In: signals, changes of files, the clock, the admin API, the command beside us. Out: one event at a
//! time. With a command beside us signals are the command's: it decides what they mean.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, interval_at};

use crate::capture::laptop::is_from_terminal;
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
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Those that would end us, and mean nothing to us; caught if a command is beside us.
    others: Option<[Signal; 3]>,
    days: Interval,
}

// === impl Signals ===

impl Signals {
    pub(super) fn new(has_command: bool) -> io::Result<Self> {
        let others = || {
            io::Result::Ok([
                signal(SignalKind::quit())?,
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
            ])
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            others: if has_command { Some(others()?) } else { None },
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
                _ = self.terminate.recv() => SignalKind::terminate(),
                _ = self.interrupt.recv() => SignalKind::interrupt(),
                _ = self.hangup.recv() => SignalKind::hangup(),
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
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn other(signals: &mut Option<[Signal; 3]>) -> SignalKind {
    let Some([quit, first, second]) = signals else { return std::future::pending().await };
    tokio::select! { // Cancel-safe, as above.
        _ = quit.recv() => SignalKind::quit(),
        _ = first.recv() => SignalKind::user_defined1(),
        _ = second.recv() => SignalKind::user_defined2(),
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
