//! What the proxy and the helper say to each other.
//!
//! In: a question or an answer, and open descriptors. Out: the same on the other side. One message is
//! one packet of a Unix socket: a number, a word, what belongs to it; descriptors travel along.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Longest message: an address, or why something failed.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// Most descriptors that travel with one message: standard input and error.
const DESCRIPTORS_MAX: usize = 2;

/// What the proxy wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Bring the loopback interface up and redirect connections to this port.
    Prepare { outbound: u16 },
    /// A listening TCP socket.
    Listen(SocketAddr),
    /// The same where one of ours listens already.
    ListenAgain(SocketAddr),
    /// A UDP socket.
    Bind(SocketAddr),
    /// A TCP socket that is not connected yet.
    Socket { v6: bool },
    /// Start the command.
    Run,
    /// Send the command this signal.
    Signal(i32),
}

/// What the helper says to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Done; what was asked for is with it.
    Done,
    /// Not done: the system's number of the error, or 0, and a text.
    Failed(i32, String),
}

/// One side's end. A socket that keeps the bounds of messages, as datagrams do, and tells the end, as
/// they do not.
#[derive(Debug)]
pub(super) struct Line(UnixDatagram);

/// A message and what came with it.
pub(super) type Message = (String, Vec<OwnedFd>);

// === impl Ask ===

impl Ask {
    pub(super) fn text(self) -> String {
        match self {
            Self::Prepare { outbound } => format!("prepare {outbound}"),
            Self::Listen(address) => format!("listen {address}"),
            Self::ListenAgain(address) => format!("listen-again {address}"),
            Self::Bind(address) => format!("bind {address}"),
            Self::Socket { v6 } => format!("socket {v6}"),
            Self::Run => "run ".to_owned(),
            Self::Signal(number) => format!("signal {number}"),
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ')?;
        match word {
            "prepare" => rest.parse().ok().map(|outbound| Self::Prepare { outbound }),
            "listen" => rest.parse().ok().map(Self::Listen),
            "listen-again" => rest.parse().ok().map(Self::ListenAgain),
            "bind" => rest.parse().ok().map(Self::Bind),
            "socket" => rest.parse().ok().map(|v6| Self::Socket { v6 }),
            "run" => Some(Self::Run),
            "signal" => rest.parse().ok().map(Self::Signal),
            _ => None,
        }
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn of(error: &io::Error) -> Self {
        Self::Failed(error.raw_os_error().unwrap_or_default(), error.to_string())
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Done => "done".to_owned(),
            Self::Failed(number, text) => format!("failed {number} {text}"),
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        if text == "done" {
            return Self::Done;
        }
        let failed = text.strip_prefix("failed ").and_then(|rest| rest.split_once(' '));
        match failed.map(|(number, text)| (number.parse(), text)) {
            Some((Ok(number), text)) => Self::Failed(number, text.to_owned()),
            Some((Err(_), _)) | None => Self::Failed(0, format!("the helper said {text:?}")),
        }
    }

    pub(super) fn result(self) -> io::Result<()> {
        match self {
            Self::Done => Ok(()),
            Self::Failed(0, text) => Err(io::Error::other(text)),
            Self::Failed(number, _) => Err(io::Error::from_raw_os_error(number)),
        }
    }
}

/// The number of a message, and the rest.
pub(super) fn numbered(text: &str) -> Option<(u64, &str)> {
    let (number, rest) = text.split_once(' ')?;
    Some((number.parse().ok()?, rest))
}

// === impl Line ===

impl Line {
    /// The socket must not block.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        UnixDatagram::from_std(socket.into()).map(Self)
    }

    /// Sends one message, or none of it. A longer one loses its end.
    pub(super) async fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut end = text.len().min(MESSAGE_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let bytes = &text.as_bytes()[..end];
        self.0
            .async_io(Interest::WRITABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut along = SendAncillaryBuffer::new(&mut space);
                if !descriptors.is_empty() && !along.push(SendAncillaryMessage::ScmRights(descriptors)) {
                    return Err(io::Error::other("too many descriptors for one message"));
                }
                Ok(sendmsg(&self.0, &[IoSlice::new(bytes)], &mut along, SendFlags::NOSIGNAL).map(drop)?)
            })
            .await
    }

    /// The next message, or `None` when the other side has ended. Cancel-safe.
    pub(super) async fn receive(&self) -> io::Result<Option<Message>> {
        self.0
            .async_io(Interest::READABLE, || {
                let mut bytes = [0; MESSAGE_BYTES_MAX];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut along = RecvAncillaryBuffer::new(&mut space);
                let flags = RecvFlags::CMSG_CLOEXEC;
                let got = recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut along, flags)?;
                let mut descriptors = Vec::new();
                for message in along.drain() {
                    if let RecvAncillaryMessage::ScmRights(received) = message {
                        descriptors.extend(received);
                    }
                }
                let text = String::from_utf8_lossy(&bytes[..got.bytes]).into_owned();
                // No message of ours is empty.
                Ok((got.bytes > 0).then_some((text, descriptors)))
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn lines() -> (Line, Line) {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::NONBLOCK, None).unwrap();
        (Line::new(one).unwrap(), Line::new(other).unwrap())
    }

    #[test]
    fn what_is_said_is_what_is_understood() {
        let address = "[::1]:15001".parse().unwrap();
        for ask in [
            Ask::Prepare { outbound: 15001 },
            Ask::Listen(address),
            Ask::ListenAgain(address),
            Ask::Bind(address),
            Ask::Socket { v6: true },
            Ask::Run,
            Ask::Signal(15),
        ] {
            assert_eq!(Ask::parse(&ask.text()), Some(ask));
        }
        for wrong in ["", "run", "prepare", "prepare x", "prepare 70000", "listen 1", "dance now"] {
            assert_eq!(Ask::parse(wrong), None, "{wrong}");
        }
        for answer in
            [Answer::Done, Answer::Failed(98, "in use".to_owned()), Answer::Failed(0, String::new())]
        {
            assert_eq!(Answer::parse(&answer.text()), answer);
        }
        assert_eq!(
            Answer::parse("failed x y"),
            Answer::Failed(0, "the helper said \"failed x y\"".to_owned())
        );
        assert_eq!(numbered("7 run "), Some((7, "run ")));
        assert_eq!(numbered("run"), None);
    }

    #[test]
    fn an_error_keeps_its_kind_on_the_way() {
        let error = Answer::of(&io::Error::from_raw_os_error(98)).result().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(Answer::of(&io::Error::other("nft: no")).result().unwrap_err().to_string(), "nft: no");
    }

    #[tokio::test]
    async fn descriptors_travel_with_messages() {
        let (here, there) = lines();
        let (mut kept, sent) = UnixStream::pair().unwrap();
        here.send("1 run ", &[sent.as_fd(), sent.as_fd()]).await.unwrap();
        drop(sent);
        let (text, mut received) = there.receive().await.unwrap().unwrap();
        assert_eq!((text.as_str(), received.len()), ("1 run ", 2));
        UnixStream::from(received.pop().unwrap()).write_all(b"hello").unwrap();
        drop(received);
        let mut read = String::new();
        kept.read_to_string(&mut read).unwrap();
        assert_eq!(read, "hello");
    }

    #[tokio::test]
    async fn long_messages_are_cut_and_the_end_is_told() {
        let (here, there) = lines();
        here.send(&"ä".repeat(MESSAGE_BYTES_MAX), &[]).await.unwrap();
        assert_eq!(there.receive().await.unwrap().unwrap().0.len(), MESSAGE_BYTES_MAX);
        drop(here);
        assert!(there.receive().await.unwrap().is_none());
    }
}
