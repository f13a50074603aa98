//! The name server of a command in a network namespace of its own.
//!
//! In: questions on sockets that were opened inside. Out: answers. Runs on the control thread; what
//! is asked beyond a bound is dropped, and the application asks again.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::capture::laptop::{DNS_PORT, Inside};
use crate::upstream::discover::dns::answer::{Answers, Over};

/// Most questions that are looked up at a time, and most connections with questions.
const QUESTIONS_MAX: usize = 128;

/// Longest question. One name and what resolvers add to it take a few hundred bytes.
const QUESTION_BYTES_MAX: usize = 4096;

/// A connection on which no question comes for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Wait after a failed receive or accept: a busy loop would make it worse.
const ERROR_WAIT: Duration = Duration::from_millis(50);

/// What answers, and how much of it at a time.
#[derive(Clone)]
struct Desk {
    answers: Arc<Answers>,
    places: Arc<Semaphore>,
}

/// Opens the sockets inside and answers on them from now on.
///
/// # Errors
/// When a socket of IPv4 can't be opened. A host without IPv6 has none of it inside.
pub(super) async fn serve(inside: &Inside, answers: Answers) -> io::Result<()> {
    let desk = Desk { answers: Arc::new(answers), places: Arc::new(Semaphore::new(QUESTIONS_MAX)) };
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        let address = SocketAddr::new(ip, DNS_PORT);
        let sockets = async { io::Result::Ok((inside.bind(address).await?, inside.listen(address).await?)) };
        let (datagrams, connections) = match sockets.await {
            Err(error) if address.is_ipv6() => {
                debug!(%error, "no name server for IPv6 inside");
                continue;
            }
            sockets => sockets?,
        };
        tokio::spawn(desk.clone().datagrams(UdpSocket::from_std(datagrams)?));
        tokio::spawn(desk.clone().connections(TcpListener::from_std(connections)?));
    }
    Ok(())
}

// === impl Desk ===

impl Desk {
    async fn datagrams(self, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let mut question = vec![0; QUESTION_BYTES_MAX];
        loop {
            match socket.recv_from(&mut question).await {
                Ok((length, from)) => {
                    let (question, socket) = (question[..length].to_vec(), Arc::clone(&socket));
                    let answers = Arc::clone(&self.answers);
                    self.with_place(async move {
                        if let Some(answer) = answers.answer(&question, Over::Udp).await {
                            // Who asked may have gone.
                            let _ = socket.send_to(&answer, from).await;
                        }
                    });
                }
                Err(_) => sleep(ERROR_WAIT).await,
            }
        }
    }

    async fn connections(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let answers = Arc::clone(&self.answers);
                    // What is wrong with a connection is its own matter, and ends it.
                    self.with_place(async move {
                        let _ = answer_on(stream, &answers).await;
                    });
                }
                Err(_) => sleep(ERROR_WAIT).await,
            }
        }
    }

    /// Does it beside, if there is a place; else not at all.
    fn with_place(&self, job: impl Future<Output = ()> + Send + 'static) {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            tokio::spawn(async move {
                job.await;
                drop(place);
            });
        }
    }
}

/// One question after the other, each with its length before it (RFC 1035 section 4.2.2).
async fn answer_on(mut stream: TcpStream, answers: &Answers) -> io::Result<()> {
    loop {
        let Ok(length) = timeout(IDLE_MAX, stream.read_u16()).await else { return Ok(()) };
        let length = usize::from(length?);
        if length > QUESTION_BYTES_MAX {
            return Ok(());
        }
        let mut question = vec![0; length];
        let Ok(read) = timeout(IDLE_MAX, stream.read_exact(&mut question)).await else { return Ok(()) };
        read?;
        let Some(answer) = answers.answer(&question, Over::Tcp).await else { return Ok(()) };
        let mut bytes = u16::try_from(answer.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
        bytes.extend(answer);
        let Ok(written) = timeout(IDLE_MAX, stream.write_all(&bytes)).await else { return Ok(()) };
        written?;
    }
}
