//! Looks names up.
//!
//! In: endpoint sets that want addresses, one request each. Out: every address of their names, or
//! word that there is no answer. Never caches: an [`EndpointSet`] knows when it wants to know again,
//! and a cache between it and the name server would hide changes.
//!
//! Names are looked up side by side, so that a slow one holds up no other; what fails is logged when
//! it begins and when it ends, and not each time.

mod hosts;
mod lookup;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::upstream::{EndpointSet, Source};

use lookup::{Failure, Lookup, Timing};

/// Most lookups at a time; more wait. Enough that a few dozen dead names (each takes seconds) leave
/// room for the living ones.
pub const LOOKUPS_MAX: usize = 128;

/// Most failing names that are remembered, so that their failure is logged once. Beyond it all are
/// forgotten, and may be logged again.
const FAILING_MAX: usize = 1024;

/// The resolver.
#[derive(Debug)]
pub struct Names {
    lookup: Arc<Lookup>,
    failing: HashSet<String>,
}

/// One lookup that has ended.
struct Done {
    set: Arc<EndpointSet>,
    result: Result<lookup::Answer, Failure>,
}

// === impl Names ===

impl Names {
    /// A resolver that asks `servers`, or those of `/etc/resolv.conf` if there are none. The search
    /// list is that of `/etc/resolv.conf` in both cases; names in `/etc/hosts` are never asked for.
    ///
    /// # Errors
    /// When `/etc/resolv.conf` is there and can't be understood.
    pub fn new(servers: &[SocketAddr]) -> io::Result<Self> {
        Ok(Self::over(Lookup::new(servers, Timing::default())?))
    }

    fn over(lookup: Lookup) -> Self {
        Self { lookup: Arc::new(lookup), failing: HashSet::new() }
    }

    /// The domains that a short name is tried in, without trailing dots.
    pub fn search(&self) -> Vec<String> {
        self.lookup.search()
    }

    /// Answers requests until all senders are gone. At most [`LOOKUPS_MAX`] lookups run at a time.
    pub async fn serve(mut self, mut requests: mpsc::Receiver<Arc<EndpointSet>>) {
        let mut running = JoinSet::new();
        loop {
            // Both arms may be dropped: neither takes anything out before it is ready.
            tokio::select! {
                request = requests.recv(), if running.len() < LOOKUPS_MAX => match request {
                    Some(set) => {
                        let lookup = Arc::clone(&self.lookup);
                        running.spawn(async move { Done { result: look_up(&lookup, &set).await, set } });
                    }
                    None => return,
                },
                Some(done) = running.join_next() => {
                    // A panic, which alone makes an error here, has ended a release build already.
                    if let Ok(done) = done {
                        self.finish(done);
                    }
                }
            }
        }
    }

    fn finish(&mut self, done: Done) {
        let now = Instant::now();
        let Source::Dns { name, .. } = done.set.source() else { return };
        match done.result {
            Ok(answer) => {
                done.set.answer(&answer.addresses, answer.ttl, now);
                if self.failing.remove(name) {
                    tracing::info!(%name, addresses = answer.addresses.len(), "the name resolves again");
                }
            }
            Err(failure) => {
                if failure == Failure::NoAddress {
                    done.set.answer(&[], std::time::Duration::ZERO, now);
                } else {
                    done.set.no_answer(now);
                }
                if self.failing.len() >= FAILING_MAX {
                    self.failing.clear();
                }
                if self.failing.insert(name.clone()) {
                    let known = done.set.peek().map_or(0, |list| list.endpoints.len());
                    tracing::warn!(%name, %failure, addresses_kept = known, "the name does not resolve");
                }
            }
        }
    }
}

async fn look_up(lookup: &Lookup, set: &EndpointSet) -> Result<lookup::Answer, Failure> {
    match set.source() {
        Source::Dns { name, port } => lookup.addresses(name, *port).await,
        // Never asked for: their addresses do not expire.
        Source::Static(_) => Err(Failure::NoSuchName),
    }
}

#[cfg(test)]
mod tests;
