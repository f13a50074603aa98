//! Connections that were just dialled, to know them again when they come back.
//!
//! In: both ends of each new connection, once anything is captured. Out: whether a captured one is
//! ours: capture rules that do not spare the proxy's own user would send it round for ever.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Most connections remembered; one that comes back does so at once.
const REMEMBERED_MAX: usize = 1024;

/// How long one is remembered: a pair of addresses may be used again later.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// The latest dials of all workers; none while nothing was captured.
#[derive(Debug, Default)]
pub struct Dials {
    on: AtomicBool,
    latest: Mutex<VecDeque<Dial>>,
}

#[derive(Debug)]
struct Dial {
    from: SocketAddr,
    to: SocketAddr,
    at: Instant,
}

// === impl Dials ===

impl Dials {
    /// Something was captured, so dials are remembered from now on.
    pub fn watch(&self) {
        if !self.on.load(Ordering::Relaxed) {
            self.on.store(true, Ordering::Relaxed);
        }
    }

    /// Whether dials are remembered.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// A connection was opened, and nothing was sent yet.
    pub fn note(&self, from: SocketAddr, to: SocketAddr, at: Instant) {
        let mut latest = self.lock();
        if latest.len() >= REMEMBERED_MAX {
            latest.pop_front();
        }
        latest.push_back(Dial { from: canonical(from), to: canonical(to), at });
    }

    /// Whether a connection between these addresses is one of ours.
    pub fn is_ours(&self, from: SocketAddr, to: SocketAddr, now: Instant) -> bool {
        let (from, to) = (canonical(from), canonical(to));
        self.lock().iter().rev().any(|dial| {
            dial.from == from && dial.to == to && now.saturating_duration_since(dial.at) < REMEMBERED_FOR
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Dial>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An IPv4 address in IPv6 clothing is that address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn a_dial_is_known_again_by_both_its_ends_and_for_a_while() {
        let (dials, now) = (Dials::default(), Instant::now());
        dials.note(address(40_000), address(80), now);
        assert!(dials.is_ours(address(40_000), address(80), now + Duration::from_secs(1)));
        assert!(!dials.is_ours(address(40_000), address(81), now), "an application may use the same port");
        assert!(!dials.is_ours(address(40_001), address(80), now));
        assert!(!dials.is_ours(address(40_000), address(80), now + REMEMBERED_FOR));
    }

    #[test]
    fn the_number_remembered_is_bounded() {
        let (dials, now) = (Dials::default(), Instant::now());
        for port in 0..=u16::try_from(REMEMBERED_MAX).unwrap() {
            dials.note(address(port), address(80), now);
        }
        assert_eq!(dials.lock().len(), REMEMBERED_MAX);
        assert!(!dials.is_ours(address(0), address(80), now), "the oldest went");
    }
}
