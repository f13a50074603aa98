//! Another configuration while calls go on.
//!
//! In: word that the files have changed. Out: the new configuration in force everywhere, or the old
//! one untouched and every problem said loudly. No connection is closed either way.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use crate::admin::Status;
use crate::config::{Config, Options, Problem, load};
use crate::mesh::Mesh;
use crate::worker::Order;

use super::listeners::Listeners;
use super::{Workers, certificates, version};

/// A worker that has not taken a configuration over in this time takes it over later.
const REFRESH_WAIT_MAX: Duration = Duration::from_secs(1);

/// Everything a reload touches.
pub(super) struct Reloading<'a> {
    pub(super) path: &'a Path,
    pub(super) options: &'a Options,
    pub(super) mesh: Arc<Mesh>,
    pub(super) workers: Workers,
    pub(super) status: Arc<Status>,
    pub(super) listeners: Listeners,
    /// Version of the configuration as it was last read; parts of it may wait for a restart.
    pub(super) read_version: String,
}

impl Reloading<'_> {
    /// Reads the files again and puts what they say in force.
    pub(super) async fn reload(&mut self) {
        let before = Arc::clone(&self.mesh.snapshot().config);
        let config = match load(self.path, self.options) {
            Ok(config) => config,
            Err(problems) => return self.reject(&problems),
        };
        let next = version(&config);
        if next == self.read_version {
            self.status.unchanged();
            return info!("the configuration is unchanged");
        }
        let difference = match self.listeners.difference(&config).await {
            Ok(difference) => difference,
            Err(error) => return self.reject(&[problem_of(self.path, &error)]),
        };
        for warning in &config.warnings {
            warn!("{warning}");
        }
        certificates::prepare(&config);
        certificates::warn(&config);
        warn_of_restarts(&before, &config);
        let closed = self.listeners.take_over(difference);
        let config = Arc::new(keep_what_needs_a_restart(&before, config));
        self.mesh.apply(Arc::clone(&config), self.listeners.own(), Instant::now());
        self.refresh_workers().await;
        for (door, sockets) in self.listeners.take_doors() {
            self.workers.listen(&door, sockets).await;
        }
        for address in closed {
            self.workers.tell(|| Order::Unlisten(address)).await;
        }
        self.status.set_listeners(self.listeners.shown());
        self.read_version.clone_from(&next);
        self.status.applied(next);
        info!(services = config.services.len(), "the configuration was reloaded");
    }

    fn reject(&self, problems: &[Problem]) {
        for problem in problems {
            error!("{problem}");
        }
        error!(problems = problems.len(), "the configuration was rejected; the one before stays in force");
        self.status.rejected(problems);
    }

    /// Waits until every worker uses the new configuration, so that "applied" is true when it is said.
    async fn refresh_workers(&self) {
        let mut waiting = Vec::new();
        for worker in &self.workers.0 {
            let (done, refreshed) = oneshot::channel();
            if worker.send(Order::Refresh(done)).await.is_ok() {
                waiting.push(refreshed);
            }
        }
        for refreshed in waiting {
            if timeout(REFRESH_WAIT_MAX, refreshed).await.is_err() {
                warn!("a worker is slow to take the configuration over");
            }
        }
    }
}

fn problem_of(path: &Path, error: &std::io::Error) -> Problem {
    Problem::of_file(path.display().to_string(), error.to_string(), "an address that can be listened on")
}

/// Values that are fixed for the life of the process: the old ones stay.
fn keep_what_needs_a_restart(before: &Config, mut config: Config) -> Config {
    config.workers = before.workers;
    config.outbound.listen.clone_from(&before.outbound.listen);
    config.admin.clone_from(&before.admin);
    config.health.clone_from(&before.health);
    config.access_log.clone_from(&before.access_log);
    config.dns_servers.clone_from(&before.dns_servers);
    config.tracing.export.clone_from(&before.tracing.export);
    config
}

fn warn_of_restarts(before: &Config, config: &Config) {
    let changed = [
        ("workers", before.workers != config.workers),
        ("outbound.listen", before.outbound.listen != config.outbound.listen),
        ("admin.listen", before.admin != config.admin),
        ("health", before.health != config.health),
        ("accessLog", before.access_log != config.access_log),
        ("dns.servers", before.dns_servers != config.dns_servers),
        ("the export of tracing", before.tracing.export != config.tracing.export),
    ];
    if before.capture != config.capture {
        warn!(
            "capture has changed: the rules of the kernel stay as they are until `outrigger capture apply` runs again"
        );
    }
    for (key, _) in changed.iter().filter(|(_, changed)| *changed) {
        warn!("{key} has changed, which needs a restart; the old value stays");
    }
}
