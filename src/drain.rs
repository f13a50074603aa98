//! When a process that was asked to end may end.
//!
//! In: what is still open, time and again. Out: wait, or end. Pure: the application beside us is
//! ending too and may still call out, so the end is not "no more connections now" but "nothing in
//! flight, none open, and none came for a while".

use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Drain as Settings, Environment};

/// What is still going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// Calls and tunnels in flight.
    pub in_flight: u64,
    /// Application connections open.
    pub open: u64,
    /// Application connections accepted since the start.
    pub accepted: u64,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM: the application still needs us until it has ended itself.
    Drain,
    /// SIGINT: what is in flight ends, nothing new begins.
    Close,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Look again a little later.
    Wait,
    /// Everything has ended.
    Done,
    /// `drain.timeout` is over, and something is still going on.
    TimedOut,
}

/// A process on its way to its end.
#[derive(Debug)]
pub struct Draining {
    ending: Ending,
    settings: Settings,
    since: Instant,
    quiet_since: Instant,
    accepted: u64,
}

// === impl Draining ===

impl Draining {
    /// The end was asked for at `now`.
    pub fn new(ending: Ending, settings: Settings, now: Instant) -> Self {
        Self { ending, settings, since: now, quiet_since: now, accepted: 0 }
    }

    /// The same, but over before the process is killed in `environment`. The time by which
    /// `drain.timeout` was cut is returned, if it was.
    pub fn within(mut self, environment: &Environment) -> (Self, Option<Duration>) {
        let Some(most) = environment.drain_most() else { return (self, None) };
        let cut = self.settings.timeout.checked_sub(most).filter(|cut| !cut.is_zero());
        self.settings.timeout = self.settings.timeout.min(most);
        (self, cut)
    }

    /// Takes note of what is going on at `now`, and says whether the process may end.
    pub fn look(&mut self, activity: Activity, now: Instant) -> Step {
        let busy = match self.ending {
            Ending::Drain => {
                activity.in_flight > 0 || activity.open > 0 || activity.accepted != self.accepted
            }
            Ending::Close => activity.in_flight > 0,
        };
        self.accepted = activity.accepted;
        if busy {
            self.quiet_since = now;
        }
        let quiet = match self.ending {
            Ending::Drain => now.saturating_duration_since(self.quiet_since) >= self.settings.quiet,
            Ending::Close => !busy,
        };
        if quiet {
            Step::Done
        } else if now.saturating_duration_since(self.since) >= self.settings.timeout {
            // With nothing going on, only quiet was still waited for: nothing is lost.
            if busy { Step::TimedOut } else { Step::Done }
        } else {
            Step::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings {
        quiet: Duration::from_secs(2),
        timeout: Duration::from_secs(25),
        timeout_origin: crate::config::Origin::BUILT_IN,
    };
    const NOTHING: Activity = Activity { in_flight: 0, open: 0, accepted: 7 };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_drain_waits_until_nothing_came_for_a_while() {
        let start = Instant::now();
        let mut draining = Draining::new(Ending::Drain, SETTINGS, start);
        assert_eq!(draining.look(Activity { open: 1, ..NOTHING }, after(start, 0)), Step::Wait);
        assert_eq!(draining.look(NOTHING, after(start, 1)), Step::Wait);
        assert_eq!(
            draining.look(Activity { accepted: 8, ..NOTHING }, after(start, 2)),
            Step::Wait,
            "one came and went"
        );
        assert_eq!(draining.look(Activity { accepted: 8, ..NOTHING }, after(start, 3)), Step::Wait);
        assert_eq!(draining.look(Activity { accepted: 8, ..NOTHING }, after(start, 4)), Step::Done);
    }

    #[test]
    fn a_drain_ends_at_its_timeout_whatever_is_in_flight() {
        let start = Instant::now();
        let mut draining = Draining::new(Ending::Drain, SETTINGS, start);
        let busy = Activity { in_flight: 1, open: 1, ..NOTHING };
        assert_eq!(draining.look(busy, after(start, 24)), Step::Wait);
        assert_eq!(draining.look(busy, after(start, 25)), Step::TimedOut);
    }

    #[test]
    fn a_drain_ends_before_the_pod_is_killed() {
        let start = Instant::now();
        let busy = Activity { in_flight: 1, open: 1, ..NOTHING };
        let pod = |grace| Environment {
            grace: Duration::from_secs(grace),
            is_killed: true,
            ..Environment::default()
        };
        let (mut draining, cut) = Draining::new(Ending::Drain, SETTINGS, start).within(&pod(10));
        assert_eq!(cut, Some(Duration::from_secs(16)));
        assert_eq!(draining.look(busy, after(start, 8)), Step::Wait);
        assert_eq!(draining.look(busy, after(start, 9)), Step::TimedOut);
        let (mut draining, cut) = Draining::new(Ending::Drain, SETTINGS, start).within(&pod(26));
        assert_eq!(cut, None, "25 s fit into 26");
        assert_eq!(draining.look(busy, after(start, 24)), Step::Wait);
    }

    #[test]
    fn nobody_cuts_a_drain_that_nobody_kills() {
        let nobody =
            Environment { grace: Duration::from_secs(10), is_killed: false, ..Environment::default() };
        let start = Instant::now();
        let (mut draining, cut) = Draining::new(Ending::Drain, SETTINGS, start).within(&nobody);
        assert_eq!(cut, None);
        let busy = Activity { in_flight: 1, open: 1, ..NOTHING };
        assert_eq!(draining.look(busy, after(start, 24)), Step::Wait);
    }

    #[test]
    fn a_timeout_shorter_than_the_quiet_time_is_no_failure_when_nothing_goes_on() {
        let start = Instant::now();
        let settings = Settings { timeout: Duration::from_secs(1), ..SETTINGS };
        let mut draining = Draining::new(Ending::Drain, settings, start);
        let noted = Activity { accepted: 7, ..NOTHING };
        assert_eq!(draining.look(noted, start), Step::Wait);
        assert_eq!(draining.look(noted, after(start, 1)), Step::Done);
    }

    #[test]
    fn a_close_waits_for_calls_and_not_for_idle_connections() {
        let start = Instant::now();
        let mut draining = Draining::new(Ending::Close, SETTINGS, start);
        assert_eq!(draining.look(Activity { in_flight: 1, open: 3, ..NOTHING }, start), Step::Wait);
        assert_eq!(draining.look(Activity { open: 3, ..NOTHING }, start), Step::Done);
    }
}
