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
    let (v4, v6) = tokio::join!(is_captured(PROOF[0], PROOF_WAIT_MAX), is_captured(PROOF[1], PROOF_WAIT_MAX));
    if !v4 && !v6 {
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
/// connections of either family are captured, and none that were captured before are not.
pub(super) async fn watch(status: Arc<Status>) {
    let (mut seen, mut stood) = ([false; 2], None);
    // A process that ends counts its connections, and ours must not keep it.
    while !status.is_draining() {
        let now =
            tokio::join!(is_captured(CANARY[0], ANSWER_WAIT_MAX), is_captured(CANARY[1], ANSWER_WAIT_MAX));
        let now = [now.0, now.1];
        seen = [seen[0] || now[0], seen[1] || now[1]];
        let stand = now == seen && now.contains(&true);
        if stood != Some(stand) {
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

/// Whether a connection to `ip` comes here, which our own answer proves.
async fn is_captured(ip: IpAddr, wait: Duration) -> bool {
    timeout(wait, answer(SocketAddr::new(ip, TEST_PORT))).await.is_ok_and(|answer| answer.is_ok())
}

async fn answer(address: SocketAddr) -> io::Result<()> {
    let wanted = format!("outrigger captured {address}\n");
    let mut told = vec![0; wanted.len()];
    TcpStream::connect(address).await?.read_exact(&mut told).await?;
    if told == wanted.as_bytes() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
