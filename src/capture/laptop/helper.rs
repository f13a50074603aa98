//! The helper process, and the short life of the command before it is the command.
//!
//! In: the proxy's questions on standard input, which is a socket. Out: sockets of this namespace, a
//! running command, and in the end its exit code as our own. When the proxy is gone the command is
//! ended; when we are, the kernel ends it.

use std::io::{self, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, getppid, getrlimit, kill_process, set_parent_process_death_signal,
    setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};
use socket2::{Domain, Socket, Type};
use tokio::signal::unix::{self, SignalKind};
use tokio::time::timeout;

use crate::listen::bind;

use super::ask::{self, Answer, Ask, Line};
use super::signals::is_ignored;
use super::{CommandLine, exit_code, lo, rules};

/// Time between the request to end and the order to, for a command whose proxy has gone.
const END_WAIT: Duration = Duration::from_secs(5);

/// Exit codes of shells: the command is there and can't be run; there is no such command.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Sockets of programs that look names up outside: with them a name would pass the proxy by.
const NAME_SERVICES: [&str; 2] = ["/run/systemd/resolve/io.systemd.Resolve", "/run/nscd/socket"];

/// What the helper holds.
struct Helper {
    command: CommandLine,
    /// The program that loads rules, in a namespace of our own; else none are loaded.
    nft: Option<PathBuf>,
    running: Option<Held>,
}

/// The command while it runs.
struct Held {
    child: Child,
    children: unix::Signal,
    /// The user's standard error; ours leads to the proxy or to nowhere.
    stderr: OwnedFd,
}

/// Serves the proxy that started us until the command has ended; its exit code is ours.
pub fn serve(command: CommandLine, nft: Option<PathBuf>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let helper = Helper { command, nft, running: None };
    match runtime.and_then(|runtime| runtime.block_on(helper.serve())) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&mut io::stderr(), &format!("the helper inside: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Becomes the command: a child of `parent` that ends with it, without privileges that are `inside`
/// its namespace alone. Returns only when that fails.
pub fn become_command(command: &CommandLine, parent: u32, inside: bool) -> ExitCode {
    let Some((file, arguments)) = command.words.split_first() else { return ExitCode::from(NOT_FOUND) };
    if let Some(most) = command.descriptors {
        let limit = getrlimit(Resource::Nofile);
        // The proxy has raised its own; a program that uses `select` must not find more than it can.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit });
    }
    let prepared = (if inside { give_up_privileges() } else { Ok(()) })
        // After the privileges: giving them up takes the order back.
        .and_then(|()| set_parent_process_death_signal(Some(Signal::KILL)));
    if let Err(error) = prepared {
        complain(&mut io::stderr(), &format!("the command's process can't be prepared: {error}"));
        return ExitCode::from(CANNOT_RUN);
    }
    if getppid().and_then(|now| u32::try_from(now.as_raw_nonzero().get()).ok()) != Some(parent) {
        // It ended before it could end us.
        return ExitCode::FAILURE;
    }
    let error = Command::new(file).args(arguments).exec();
    complain(&mut io::stderr(), &format!("{}: {error}", Path::new(file).display()));
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN })
}

/// Gives up what is needed inside alone. Root, who gets all of the bounding set again with the next program,
/// must not find there what changes the rules.
fn give_up_privileges() -> rustix::io::Result<()> {
    for capability in [CapabilitySet::NET_ADMIN, CapabilitySet::SYS_ADMIN] {
        remove_capability_from_bounding_set(capability)?;
    }
    clear_ambient_capability_set()?;
    let sets = CapabilitySets { inheritable: CapabilitySet::empty(), ..capabilities(None)? };
    set_capabilities(None, sets)
}

// === impl Helper ===

impl Helper {
    async fn serve(mut self) -> io::Result<u8> {
        survive_signals()?;
        let line = Line::new(io::stdin().as_fd().try_clone_to_owned()?)?;
        loop {
            // Both arms are cancel-safe: a message not taken stays, and so does an exit status.
            tokio::select! {
                biased; // The end of a command that was asked for goes before what else is asked.
                status = ended(&mut self.running) => return status.map(exit_code),
                message = line.receive() => match message? {
                    Some((text, descriptors)) => self.hear(&line, &text, descriptors).await?,
                    None => return self.end().await,
                },
            }
        }
    }

    /// Does what a message asks for and answers it.
    async fn hear(&mut self, line: &Line, text: &str, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let Some((number, rest)) = ask::numbered(text) else { return Ok(()) };
        let done = match Ask::parse(rest) {
            Some(ask) => self.answer(ask, descriptors),
            None => Err(io::Error::other(format!("{rest:?} is no question of this version"))),
        };
        let (answer, socket) = match done {
            Ok(socket) => (Answer::Done, socket),
            Err(error) => (Answer::of(&error), None),
        };
        let along: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
        match line.send(&format!("{number} {}", answer.text()), &along).await {
            // The proxy is gone; the line says so too.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            sent => sent,
        }
    }

    fn answer(&mut self, ask: Ask, descriptors: Vec<OwnedFd>) -> io::Result<Option<OwnedFd>> {
        match ask {
            Ask::Prepare { outbound } => self.prepare(outbound).map(|()| None),
            Ask::Listen(address) => {
                // Without SO_REUSEPORT first: with it, two of ours would silently share the connections.
                drop(bind(address, false)?);
                bind(address, true).map(|socket| Some(socket.into()))
            }
            Ask::ListenAgain(address) => bind(address, true).map(|socket| Some(socket.into())),
            Ask::Bind(address) => {
                let socket = UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                Ok(Some(socket.into()))
            }
            Ask::Socket { v6 } => {
                let socket = Socket::new(if v6 { Domain::IPV6 } else { Domain::IPV4 }, Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                Ok(Some(socket.into()))
            }
            Ask::Run => self.run(descriptors).map(|()| None),
            Ask::Signal(number) => self.pass_on(number).map(|()| None),
        }
    }

    fn prepare(&self, outbound: u16) -> io::Result<()> {
        let Some(nft) = &self.nft else { return Err(io::Error::other("this is no namespace of our own")) };
        lo::prepare()
            .map_err(|error| io::Error::new(error.kind(), format!("lo can't be set up: {error}")))?;
        rules::load(nft, outbound)?;
        for socket in NAME_SERVICES {
            // Best effort: most hosts have neither.
            if Path::new(socket).exists() {
                let _ = rustix::mount::mount_bind("/dev/null", socket);
            }
        }
        Ok(())
    }

    /// Starts the command: first as ourselves, then as what it is.
    fn run(&mut self, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let mut descriptors = descriptors.into_iter();
        let (Some(stdin), Some(stderr)) = (descriptors.next(), descriptors.next()) else {
            return Err(io::Error::other("the command's input and error output did not come along"));
        };
        let mut start = Command::new(std::env::current_exe()?);
        start.args(["inside", "--child-of", &std::process::id().to_string()]);
        if let Some(nft) = &self.nft {
            start.arg("--nft").arg(nft);
        }
        start.args(self.command.arguments());
        // Before there is one to end.
        let children = unix::signal(SignalKind::child())?;
        let child = start.stdin(Stdio::from(stdin)).stderr(Stdio::from(stderr.try_clone()?)).spawn()?;
        self.running = Some(Held { child, children, stderr });
        Ok(())
    }

    fn pass_on(&mut self, number: i32) -> io::Result<()> {
        let Some(held) = &mut self.running else { return Err(io::Error::other("no command runs")) };
        let signal = Signal::from_named_raw(number)
            .ok_or_else(|| io::Error::other(format!("{number} is no signal that is passed on")))?;
        held.signal(signal)
    }

    /// The proxy is gone: nothing leads out of here any more.
    async fn end(mut self) -> io::Result<u8> {
        let Some(held) = &mut self.running else { return Ok(1) };
        let mut stderr = std::fs::File::from(held.stderr.try_clone()?);
        complain(&mut stderr, "the proxy has ended, and ends the command with it");
        held.signal(Signal::TERM)?;
        if timeout(END_WAIT, ended(&mut self.running)).await.is_err()
            && let Some(held) = &mut self.running
        {
            held.signal(Signal::KILL)?;
        }
        ended(&mut self.running).await.map(exit_code)
    }
}

// === impl Held ===

impl Held {
    /// Our own child, which nobody else waits for: its number is not another's yet.
    fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

/// Waits for the end of the command; for ever, if none runs.
async fn ended(running: &mut Option<Held>) -> io::Result<ExitStatus> {
    let Some(held) = running else { return std::future::pending().await };
    loop {
        if let Some(status) = held.child.try_wait()? {
            return Ok(status);
        }
        held.children.recv().await;
    }
}

/// The terminal, or a user who means the whole group, sends signals to us as well. The command decides
/// what they mean: it starts with them as they were for us, by default or ignored.
fn survive_signals() -> io::Result<()> {
    let ends = [
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    // Once caught they stay caught, whoever listens.
    let mut ours = ends.into_iter().filter(|kind| !is_ignored(kind.as_raw_value()));
    ours.try_for_each(|kind| unix::signal(kind).map(drop))
}

/// Says something where the user reads it. Nobody may be there to read.
fn complain(to: &mut impl Write, text: &str) {
    let _ = writeln!(to, "outrigger: {text}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
    }

    #[test]
    fn listeners_do_not_block_and_are_of_one_family() {
        let socket = bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = socket.local_addr().unwrap();
        assert_eq!(socket.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(bind(address, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        bind(address, true).unwrap();
    }
}
