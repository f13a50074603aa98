//! Whether the kernel sends the application's connections here.
//!
//! In: nothing but the network. Out: what `/ready` says. Without privileges rules can't be read, but
//! they can be tried: one address is captured whoever dials it, another for everybody but this process.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use crate::admin::Status;
use crate::config::capture::{CANARY, PROOF, TEST_PORT};
use crate::upstream::is_exhaustion;

/// How often the rules are tried.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often while they are missing: whoever waits for them should not wait longer.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Longest time for a captured connection to come about and be answered: it never leaves the host.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);

/// The same for one that should not be captured, and most often leads nowhere.
const PROOF_WAIT_MAX: Duration = Duration::from_millis(250);

/// What `/ready` says.
pub(super) const MISSING: &str =
    "not captured: the rules that send connections here are missing; `outrigger capture check` tells more";

/// Fails when this process's own connections come back to it: each call would go round for ever.
///
/// # Errors
/// With what to do about it.
pub(super) async fn prove_spared() -> io::Result<()> {
    let tried = tokio::join!(tried(PROOF[0], PROOF_WAIT_MAX), tried(PROOF[1], PROOF_WAIT_MAX));
    if tried.0 != Tried::Captured && tried.1 != Tried::Captured {
        return Ok(());
    }
    let user = rustix::process::getuid().as_raw();
    let what = format!(
        "the capture rules do not spare this process (user {user}): its own calls would come back to it; \
         run it as the user of the rules, or apply them with `--user {user}`"
    );
    Err(io::Error::other(what))
}

/// Tries the rules until the process ends, and tells `status` when that changes. They stand when
/// connections of either family are captured, and none that were captured before are not. That they are gone
/// is believed the second time.
pub(super) async fn watch(status: Arc<Status>) {
    let (mut seen, mut stood, mut missed) = ([false; 2], None, false);
    // A process that ends counts its connections, and ours must not keep it.
    while !status.is_draining() {
        let now = tokio::join!(tried(CANARY[0], ANSWER_WAIT_MAX), tried(CANARY[1], ANSWER_WAIT_MAX));
        let now = [now.0, now.1];
        for (seen, now) in seen.iter_mut().zip(now) {
            *seen |= now == Tried::Captured;
        }
        let lost = seen.iter().zip(now).any(|(seen, now)| *seen && now == Tried::Elsewhere);
        let stand = !lost && seen.contains(&true);
        let believed = stand || missed || stood.is_none();
        missed = !stand;
        if believed && stood != Some(stand) {
            status.set_capture(if stand { None } else { Some(MISSING) });
            match (stand, stood) {
                (true, _) => info!("connections are captured"),
                (false, None) => error!("{MISSING}"),
                (false, Some(_)) => error!("{MISSING}: they stood before"),
            }
            stood = Some(stand);
        }
        sleep(if stand { LOOK_EVERY } else { LOOK_AGAIN_AFTER }).await;
    }
}

/// What became of a connection to a test address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tried {
    /// It came here: our own answer proves it.
    Captured,
    /// It went where it was going, or nowhere.
    Elsewhere,
    /// It could not be tried: this process has no descriptor left, say.
    Unknown,
}

async fn tried(ip: IpAddr, wait: Duration) -> Tried {
    match timeout(wait, answer(SocketAddr::new(ip, TEST_PORT))).await {
        Ok(Ok(())) => Tried::Captured,
        Ok(Err(error)) if is_exhaustion(&error) => Tried::Unknown,
        Ok(Err(_)) | Err(_) => Tried::Elsewhere,
    }
}

async fn answer(address: SocketAddr) -> io::Result<()> {
    let wanted = format!("outrigger captured {address}\n");
    let mut told = vec![0; wanted.len()];
    TcpStream::connect(address).await?.read_exact(&mut told).await?;
    if told == wanted.as_bytes() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
