//! A command with the proxy beside it on a laptop, without root.
//!
//! In: a command, and whether it shall have a network namespace of its own. Out: a helper process that
//! holds the command and does for the proxy what only can be done where the command is: opening
//! sockets inside, passing signals on, telling how it ended.
//!
//! ```text
//! outrigger run --capture -- COMMAND      the proxy, in the user's own network
//!   `- outrigger inside                   the helper, in the namespace (started by `unshare`)
//!        `- COMMAND                       without the privileges that the helper has there
//! ```
//!
//! A listening socket keeps the namespace it was opened in, whoever accepts from it. So the helper
//! opens the listeners and passes them out, and neither interfaces nor routes join the two networks.

mod ask;
pub mod helper;
mod lo;
mod refused;
mod rules;
pub mod signals;
pub mod variables;

use std::ffi::OsString;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::program::find;

use ask::{Answer, Ask, Line};

/// Where the rules inside send questions for names: UDP and TCP, of both families.
pub const DNS_PORT: u16 = 15053;

/// Longest time for the helper to do what it is asked; loading the rules takes most, some 10 ms.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Most bytes of what `unshare` or the helper says when it fails.
const COMPLAINT_BYTES_MAX: u64 = 4 * 1024;

const EPIPE: i32 = 32;
const ECONNRESET: i32 = 104;

/// What to run.
#[derive(Debug, Clone)]
pub struct CommandLine {
    /// The command and its arguments.
    pub words: Vec<OsString>,
    /// Most open files it has by default, as the user's shell says; ours may be raised.
    pub descriptors: Option<u64>,
}

/// The helper, as the proxy talks to it.
#[derive(Debug, Clone)]
pub struct Inside {
    asking: Arc<Mutex<Asking>>,
}

/// One question at a time: answers come in the order of questions.
#[derive(Debug)]
struct Asking {
    line: Line,
    /// Of the next question. An answer with another number came too late for its own.
    number: u64,
}

/// The helper, as a process. It ends when the command has ended, and the other way round.
#[derive(Debug)]
pub struct Running {
    child: Child,
    children: Signal,
}

// === impl CommandLine ===

impl CommandLine {
    /// The end of the helper's command line.
    fn arguments(&self) -> Vec<OsString> {
        let descriptors = self.descriptors.map(|most| format!("--descriptors={most}").into());
        descriptors.into_iter().chain([OsString::from("--")]).chain(self.words.iter().cloned()).collect()
    }
}

// === impl Inside ===

impl Inside {
    /// Starts a helper for a command in a network namespace of its own, whose TCP connections and
    /// questions for names are redirected to `outbound` and [`DNS_PORT`] of the loopback address there.
    ///
    /// # Errors
    /// Why that can't be done here, for people.
    pub async fn namespace(command: &CommandLine, outbound: u16) -> Result<(Self, Running), String> {
        let unshare = find("unshare").ok_or("there is no `unshare` (package util-linux)")?;
        let nft = find("nft").ok_or("there is no `nft` (package nftables)")?;
        let helper = std::env::current_exe().map_err(|error| format!("own program: {error}"))?;
        let mut start = Command::new(unshare);
        start.args(["--user", "--map-current-user", "--keep-caps", "--net", "--mount", "--"]);
        start.arg(helper).args(["inside", "--nft"]).arg(nft).args(command.arguments());
        start.stderr(Stdio::piped());
        let (inside, mut running) = Self::start(start).map_err(|error| format!("`unshare`: {error}"))?;
        let complaints = running.child.stderr.take();
        match inside.ask(&Ask::Prepare { outbound }, &[]).await {
            Ok(_) => Ok((inside, running)),
            Err(error) => {
                let never_came = error.kind() == io::ErrorKind::UnexpectedEof;
                // It holds nothing yet, and must not stay whatever it waits for.
                let _ = running.child.kill().and_then(|()| running.child.wait());
                let said = complaints.map_or_else(String::new, read_complaints);
                Err(if never_came { refused::why(&said) } else { error.to_string() })
            }
        }
    }

    /// Starts a helper for a command in the network that we are in, with these variables.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn beside(command: &CommandLine, variables: Vec<(String, String)>) -> io::Result<(Self, Running)> {
        let mut start = Command::new(std::env::current_exe()?);
        start.arg("inside").args(command.arguments()).envs(variables).stderr(Stdio::null());
        Self::start(start)
    }

    /// The helper has our end of the line as standard input: that is the one descriptor a program can
    /// take over by name. The command's own standard input and error follow with [`Inside::run`].
    fn start(mut command: Command) -> io::Result<(Self, Running)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // Before there is one to end.
        let children = signal(SignalKind::child())?;
        let child = command.stdin(theirs).spawn()?;
        // It holds the other end too, and must not: the line ends when the helper does.
        drop(command);
        let asking = Asking { line: Line::new(ours)?, number: 0 };
        Ok((Self { asking: Arc::new(Mutex::new(asking)) }, Running { child, children }))
    }

    /// A listening TCP socket on an address inside.
    ///
    /// # Errors
    /// As `bind` and `listen` fail inside.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        self.socket(&Ask::Listen(address)).await.map(TcpListener::from)
    }

    /// The same on an address where we listen already: the sockets before are to be closed.
    ///
    /// # Errors
    /// As [`Inside::listen`].
    pub async fn listen_again(&self, address: SocketAddr) -> io::Result<TcpListener> {
        self.socket(&Ask::ListenAgain(address)).await.map(TcpListener::from)
    }

    /// A UDP socket on an address inside.
    ///
    /// # Errors
    /// As `bind` fails inside.
    pub async fn bind(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        self.socket(&Ask::Bind(address)).await.map(UdpSocket::from)
    }

    /// A TCP socket that can be connected to addresses inside, of the family of `address`.
    ///
    /// # Errors
    /// When the helper can't make one.
    pub async fn unconnected(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.socket(&Ask::Socket { v6: address.is_ipv6() }).await.map(TcpStream::from)
    }

    /// Starts the command, with our standard input and error; output it has already.
    ///
    /// # Errors
    /// When the helper can't start a process. That there is no such command is told by the exit code.
    pub async fn run(&self) -> io::Result<()> {
        let (stdin, stderr) = (io::stdin(), io::stderr());
        self.ask(&Ask::Run, &[stdin.as_fd(), stderr.as_fd()]).await.map(drop)
    }

    /// Passes a signal on to the command, by its number.
    ///
    /// # Errors
    /// When the helper has gone, and so has the command.
    pub async fn signal(&self, number: i32) -> io::Result<()> {
        self.ask(&Ask::Signal(number), &[]).await.map(drop)
    }

    async fn socket(&self, ask: &Ask) -> io::Result<OwnedFd> {
        self.ask(ask, &[]).await?.ok_or_else(|| io::Error::other("the helper sent no socket"))
    }

    async fn ask(&self, ask: &Ask, descriptors: &[BorrowedFd<'_>]) -> io::Result<Option<OwnedFd>> {
        let mut asking = self.asking.lock().await;
        match timeout(ANSWER_WAIT, asking.ask(ask, descriptors)).await {
            Ok(answer) => answer,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the helper does not answer")),
        }
    }
}

// === impl Asking ===

impl Asking {
    async fn ask(&mut self, ask: &Ask, descriptors: &[BorrowedFd<'_>]) -> io::Result<Option<OwnedFd>> {
        self.number += 1;
        let text = format!("{} {}", self.number, ask.text());
        self.line.send(&text, descriptors).await.map_err(unless_gone)?;
        loop {
            let Some((text, mut received)) = self.line.receive().await.map_err(unless_gone)? else {
                return Err(gone());
            };
            if let Some((number, answer)) = ask::numbered(&text)
                && number == self.number
            {
                return Answer::parse(answer).result().map(|()| received.pop());
            }
        }
    }
}

/// A helper that has ended without reading shows as one of two errors.
fn unless_gone(error: io::Error) -> io::Error {
    let is_gone = matches!(error.raw_os_error(), Some(EPIPE | ECONNRESET));
    if is_gone { gone() } else { error }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the helper has ended")
}

// === impl Running ===

impl Running {
    /// Waits until the command has ended: its exit code, as shells have it. Cancel-safe.
    pub async fn ended(&mut self) -> io::Result<u8> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(exit_code(status));
            }
            self.children.recv().await;
        }
    }
}

/// As shells have it: its own, or 128 and the number of the signal that ended it.
fn exit_code(status: ExitStatus) -> u8 {
    let killed = status.signal().map_or(1, |signal| 128 + signal);
    u8::try_from(status.code().unwrap_or(killed)).unwrap_or(1)
}

fn read_complaints(from: impl Read) -> String {
    let mut text = Vec::new();
    // What could be read is all that can be told.
    let _ = from.take(COMPLAINT_BYTES_MAX).read_to_end(&mut text);
    String::from_utf8_lossy(&text).trim().to_owned()
}
