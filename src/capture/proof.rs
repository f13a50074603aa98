//! Shows that rules work, by connections that only they could bring back.
//!
//! In: rules that were loaded. Out: what came back and what did not, one line each. Where nobody listens
//! on the proxy's port yet, this process does for the moment and must accept its own connection; where
//! the proxy does, its answer must say so. Sends nothing beyond this machine when the rules work, and
//! one connection attempt to an address kept for documentation when they do not.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use socket2::SockRef;

use super::{Findings, Rules};
use crate::config::capture::{CANARY, PROOF, TEST_PORT};

/// Longest wait for a connection, and for what is to be read on it. A captured one goes over loopback.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(2);

/// The same for one that must not come back: pods start later by this.
const ABSENCE_WAIT: Duration = Duration::from_millis(300);

/// Most connections of others that are accepted, and closed, before our own is given up.
const OTHERS_MAX: usize = 1_000;

/// Longest answer that is read: the line of the proxy with the longest address.
const LINE_BYTES_MAX: usize = 128;

/// Exit code of the child whose connection came back.
const CAPTURED: i32 = 3;

/// What came of a connection to a test address.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The proxy answered: it was captured.
    Captured,
    /// It was refused.
    Refused,
    /// It went out and nothing came back.
    Lost(String),
    /// Somebody answered who is not the proxy.
    Stranger,
}

/// Shows that this process is captured and the proxy's user is not, for each family that has a route.
pub(super) fn prove(rules: &Rules) -> Findings {
    let mut findings = Findings::default();
    let captured_here = rules.captures_user(rustix::process::geteuid().as_raw());
    let targets = if captured_here { PROOF } else { CANARY };
    // Held until the end: a connection of the proxy's user must not arrive at these.
    let mut listeners = Vec::new();
    let mut routes = 0;
    for address in targets {
        let (name, target) = (family(address), SocketAddr::new(address, TEST_PORT));
        if !has_route(target) {
            findings.notes.push(format!("{name}: no route, so there is nothing to capture"));
            continue;
        }
        routes += 1;
        let local = SocketAddr::new(loopback(address), rules.port());
        let proven = match TcpListener::bind(local) {
            Ok(listener) => {
                let proven = comes_back(&listener, target);
                listeners.push(listener);
                proven
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => proxy_answers(target, local),
            Err(error) => {
                Err(format!("nothing can listen on {local}, where captured connections arrive: {error}"))
            }
        };
        match proven {
            Ok(()) => findings.notes.push(format!("{name}: proven, a connection to {target} came back")),
            Err(wrong) => findings.wrongs.push(format!("{name}: {wrong}")),
        }
    }
    if routes > 0 && findings.wrongs.is_empty() {
        prove_user(rules.user(), &listeners, &mut findings);
    }
    if !listeners.is_empty() && findings.wrongs.is_empty() {
        let port = rules.port();
        findings.notes.push(format!(
            "no proxy listens on port {port} yet: until one does, captured connections are refused"
        ));
    }
    findings
}

/// Asks the canary of each family, whoever asks; `findings` already has what is known of the rules.
pub(super) fn ask_canary(rules: &Rules, findings: &mut Findings) {
    for address in CANARY {
        let (name, target) = (family(address), SocketAddr::new(address, TEST_PORT));
        if !has_route(target) {
            findings.notes.push(format!("{name}: no route, so there is nothing to capture"));
            continue;
        }
        let local = SocketAddr::new(loopback(address), rules.port());
        match ask(target, ANSWER_WAIT_MAX) {
            Answer::Captured => findings.notes.push(format!("{name}: captured, the proxy answers")),
            Answer::Refused => findings.wrongs.push(format!(
                "{name}: a connection to {target} is refused: no proxy listens on {local}, so all captured calls are refused until one does or `outrigger capture remove` lets them go direct"
            )),
            Answer::Lost(why) => findings.wrongs.push(format!("{name}: not captured: a connection to {target} left this machine ({why})")),
            Answer::Stranger => findings.wrongs.push(format!("{name}: a connection to {target} is answered by something that is not Outrigger")),
        }
    }
}

/// The child's part: exit code 3 if the proxy answers a connection of this user to the proof.
pub fn probe() -> u8 {
    let targets = PROOF.map(|address| SocketAddr::new(address, TEST_PORT));
    let captured = std::thread::scope(|scope| {
        let asked = targets.map(|target| {
            scope.spawn(move || has_route(target) && ask(target, ABSENCE_WAIT) == Answer::Captured)
        });
        asked.into_iter().any(|asked| asked.join().unwrap_or(false))
    });
    if captured { CAPTURED as u8 } else { 0 }
}

/// Connects to `target`, and must find itself at the other end.
fn comes_back(listener: &TcpListener, target: SocketAddr) -> Result<(), String> {
    let not_back = |error: std::io::Error| format!("a connection to {target} did not come back: {error}");
    let mut sent = TcpStream::connect_timeout(&target, ANSWER_WAIT_MAX).map_err(not_back)?;
    sent.set_write_timeout(Some(ANSWER_WAIT_MAX)).map_err(not_back)?;
    let word = fastrand::u64(..).to_be_bytes();
    sent.write_all(&word).map_err(not_back)?;
    // On a listener this bounds accept.
    SockRef::from(listener).set_read_timeout(Some(ANSWER_WAIT_MAX)).map_err(not_back)?;
    for _ in 0..OTHERS_MAX {
        let (mut accepted, _) = listener.accept().map_err(not_back)?;
        if original(&accepted) != Some(target) {
            continue;
        }
        let mut read = [0; 8];
        accepted.set_read_timeout(Some(ANSWER_WAIT_MAX)).map_err(not_back)?;
        if accepted.read_exact(&mut read).is_ok() && read == word {
            return Ok(());
        }
    }
    Err(format!("a connection to {target} did not come back among {OTHERS_MAX} others"))
}

/// Where the port is taken: by the proxy, which must answer.
fn proxy_answers(target: SocketAddr, local: SocketAddr) -> Result<(), String> {
    match ask(target, ANSWER_WAIT_MAX) {
        Answer::Captured => Ok(()),
        Answer::Refused => Err(format!("a connection to {target} is refused, though {local} is taken")),
        Answer::Lost(why) => Err(format!("a connection to {target} did not come back: {why}")),
        Answer::Stranger => Err(format!("{local} is taken by something that is not Outrigger")),
    }
}

/// Connects and reads the line with which the proxy answers.
fn ask(target: SocketAddr, wait: Duration) -> Answer {
    let mut stream = match TcpStream::connect_timeout(&target, wait) {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Answer::Refused,
        Err(error) => return Answer::Lost(error.to_string()),
    };
    let mut line = Vec::new();
    let wanted = format!("outrigger captured {target}\n");
    let bounded = stream.set_read_timeout(Some(wait));
    let mut part = [0; LINE_BYTES_MAX];
    while bounded.is_ok() && line.len() < wanted.len() {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(read) => line.extend_from_slice(&part[..read]),
        }
    }
    if line == wanted.as_bytes() { Answer::Captured } else { Answer::Stranger }
}

/// A child with the proxy's user connects to the proof, which must not arrive here.
fn prove_user(user: u32, listeners: &[TcpListener], findings: &mut Findings) {
    let later = "the proxy proves at its start that its own connections go direct";
    let me = rustix::process::geteuid();
    if me.as_raw() == user {
        return findings.notes.push(format!("user {user}: not tried, this is it; {later}"));
    }
    if !me.is_root() {
        let why = "only root may take another user's place";
        return findings.notes.push(format!("user {user}: not tried, {why}; {later}"));
    }
    let status = std::env::current_exe().and_then(|program| {
        let mut child = Command::new(program);
        child.args(["capture", "probe"]).uid(user);
        child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    });
    let arrived = listeners.iter().any(has_proof);
    match status.map(|status| status.code()) {
        Ok(Some(CAPTURED)) => findings.wrongs.push(captured_user(user)),
        _ if arrived => findings.wrongs.push(captured_user(user)),
        Ok(Some(0)) => findings.notes.push(format!("user {user}: proven, its connections go direct")),
        Ok(code) => {
            findings.notes.push(format!("user {user}: not tried, the child ended with {code:?}; {later}"))
        }
        Err(error) => findings
            .notes
            .push(format!("user {user}: not tried, no child with its rights ({error}); {later}")),
    }
}

fn captured_user(user: u32) -> String {
    format!(
        "connections of user {user}, which is the proxy's, are captured: its calls would come back to it for ever"
    )
}

/// Whether a connection to the proof waits to be accepted.
fn has_proof(listener: &TcpListener) -> bool {
    let proofs = PROOF.map(|address| Some(SocketAddr::new(address, TEST_PORT)));
    listener.set_nonblocking(true).is_ok()
        && std::iter::from_fn(|| listener.accept().ok())
            .take(OTHERS_MAX)
            .any(|(accepted, _)| proofs.contains(&original(&accepted)))
}

/// Where a redirected connection was going.
fn original(accepted: &TcpStream) -> Option<SocketAddr> {
    let socket = SockRef::from(accepted);
    let found = match accepted.local_addr().ok()?.ip() {
        IpAddr::V4(_) => socket.original_dst_v4(),
        IpAddr::V6(_) => socket.original_dst_v6(),
    };
    found.ok()?.as_socket()
}

/// Whether this machine would send anything there. Connecting UDP looks the route up and sends nothing.
fn has_route(target: SocketAddr) -> bool {
    let any = match target {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect(target).is_ok())
}

const fn loopback(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One connection that is answered with `line`, or refused when there is none.
    fn answer(line: Option<&str>) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let line = line.map(|line| line.replace("TARGET", &target.to_string()));
        let Some(line) = line else {
            drop(listener);
            return ask(target, ANSWER_WAIT_MAX);
        };
        std::thread::scope(|scope| {
            scope.spawn(move || listener.accept().unwrap().0.write_all(line.as_bytes()).unwrap());
            ask(target, ANSWER_WAIT_MAX)
        })
    }

    #[test]
    fn only_the_line_of_the_proxy_counts() {
        assert_eq!(answer(Some("outrigger captured TARGET\n")), Answer::Captured);
        assert_eq!(answer(Some("outrigger captured 192.0.2.77:15001\n")), Answer::Stranger);
        assert_eq!(answer(Some("HTTP/1.1 400 Bad Request\r\n\r\n")), Answer::Stranger);
        assert_eq!(answer(Some("")), Answer::Stranger);
        assert_eq!(answer(None), Answer::Refused);
    }

    #[test]
    fn a_connection_that_nobody_redirected_does_not_count_as_come_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        assert!(has_route(target));
        assert!(original(&TcpStream::connect(target).unwrap()).is_none_or(|address| address != target));
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let wrong = {
            SockRef::from(&other).set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            other.set_nonblocking(true).unwrap();
            comes_back(&other, target).unwrap_err()
        };
        assert!(wrong.contains("did not come back"), "{wrong}");
        assert!(!has_proof(&listener));
    }
}
