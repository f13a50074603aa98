//! What the process says of itself: ready or not, draining or not, how the last reloads went.
//!
//! In: the events of the process's life, from whoever makes them happen. Out: copies for the admin
//! API and the metrics. Decides nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::config::Problem;

/// The status of the process, shared by all that tell and all that ask.
#[derive(Debug)]
pub struct Status {
    started: SystemTime,
    ready: AtomicBool,
    draining: AtomicBool,
    capture: Mutex<Option<&'static str>>,
    applied: AtomicU64,
    unchanged: AtomicU64,
    rejected: AtomicU64,
    told: Mutex<Told>,
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// Another configuration is in force.
    Applied,
    /// The files mean the same as before.
    Unchanged,
    /// They are wrong, and the configuration before stays in force.
    Rejected,
}

/// Numbers of reloads since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reloads {
    /// See [`Reload::Applied`].
    pub applied: u64,
    /// See [`Reload::Unchanged`].
    pub unchanged: u64,
    /// See [`Reload::Rejected`].
    pub rejected: u64,
}

/// An address this process listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What for: `outbound`, `admin`, `health`, or the name of a service.
    pub purpose: String,
    /// The address as it was bound, so never port 0.
    pub address: SocketAddr,
}

/// A configuration that was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// When.
    pub at: SystemTime,
    /// All its problems, a line each: `file:line:column: key: found ..., want ...`.
    pub problems: Vec<String>,
}

/// What is told in words.
#[derive(Debug, Clone)]
pub struct Told {
    /// The version of the configuration in force.
    pub version: String,
    /// When it came into force.
    pub loaded_at: SystemTime,
    /// How the last reload ended; `None` before the first.
    pub last_reload: Option<Reload>,
    /// The last configuration that was rejected, which later successes do not erase.
    pub last_rejection: Option<Rejection>,
    /// Addresses this process listens on.
    pub listeners: Vec<Listener>,
}

// === impl Reload ===

impl Reload {
    /// The label value of `result`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
        }
    }
}

// === impl Status ===

impl Status {
    /// A process that is starting. `version` names the first configuration: any text that differs
    /// when the content does.
    pub fn new(version: impl Into<String>) -> Self {
        let now = SystemTime::now();
        let told = Told {
            version: version.into(),
            loaded_at: now,
            last_reload: None,
            last_rejection: None,
            listeners: Vec::new(),
        };
        Self {
            started: now,
            ready: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            capture: Mutex::default(),
            applied: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            told: Mutex::new(told),
        }
    }

    /// When the process started.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// All listeners are bound and the configuration is in force.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// The process has begun to end; there is no way back.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether it has.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Notes that connections which should be captured are not, in words; `None`: all is well.
    pub fn set_capture(&self, missing: Option<&'static str>) {
        *self.capture.lock().unwrap_or_else(PoisonError::into_inner) = missing;
    }

    /// Whether calls should be sent here.
    ///
    /// # Errors
    /// Why not: `starting`, `draining`, or what [`Status::set_capture`] was told.
    pub fn readiness(&self) -> Result<(), &'static str> {
        let capture = *self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        match capture {
            _ if self.is_draining() => Err("draining"),
            _ if !self.ready.load(Ordering::Acquire) => Err("starting"),
            Some(missing) => Err(missing),
            None => Ok(()),
        }
    }

    /// Notes where the process listens.
    pub fn set_listeners(&self, listeners: Vec<Listener>) {
        self.lock().listeners = listeners;
    }

    /// Notes that another configuration is in force, named `version`.
    pub fn applied(&self, version: impl Into<String>) {
        self.applied.fetch_add(1, Ordering::Relaxed);
        let mut told = self.lock();
        told.version = version.into();
        told.loaded_at = SystemTime::now();
        told.last_reload = Some(Reload::Applied);
    }

    /// Notes a reload that changed nothing.
    pub fn unchanged(&self) {
        self.unchanged.fetch_add(1, Ordering::Relaxed);
        self.lock().last_reload = Some(Reload::Unchanged);
    }

    /// Notes a configuration that was rejected.
    pub fn rejected(&self, problems: &[Problem]) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let problems = problems.iter().map(ToString::to_string).collect();
        let mut told = self.lock();
        told.last_reload = Some(Reload::Rejected);
        told.last_rejection = Some(Rejection { at: SystemTime::now(), problems });
    }

    /// Numbers of reloads since the start.
    pub fn reloads(&self) -> Reloads {
        Reloads {
            applied: self.applied.load(Ordering::Relaxed),
            unchanged: self.unchanged.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }

    /// A copy of what is told in words.
    pub fn told(&self) -> Told {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_between_the_start_and_the_drain() {
        let status = Status::new("1");
        assert_eq!(status.readiness(), Err("starting"));
        status.set_ready();
        assert_eq!(status.readiness(), Ok(()));
        status.set_capture(Some("not captured"));
        assert_eq!(status.readiness(), Err("not captured"));
        status.set_capture(None);
        assert_eq!(status.readiness(), Ok(()));
        status.set_draining();
        assert_eq!(status.readiness(), Err("draining"));
    }

    #[test]
    fn a_rejection_is_remembered_past_the_next_success() {
        let status = Status::new("1");
        let problem = Problem {
            file: "mesh.yaml".into(),
            line: 3,
            column: 5,
            key: "workers".into(),
            found: "0".into(),
            want: "1 to 1024".into(),
        };
        status.rejected(&[problem]);
        assert_eq!(status.told().version, "1");
        status.applied("2");
        let told = status.told();
        assert_eq!((told.version.as_str(), told.last_reload), ("2", Some(Reload::Applied)));
        let problems = told.last_rejection.unwrap().problems;
        assert_eq!(problems, ["mesh.yaml:3:5: workers: found 0, want 1 to 1024"]);
        assert_eq!(status.reloads(), Reloads { applied: 1, unchanged: 0, rejected: 1 });
    }
}
