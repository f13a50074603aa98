//! Bytes both ways: CONNECT, opaque services, and connections that left HTTP by an upgrade.
//!
//! In: two streams. Out: the same bytes on the other side, each side's end passed on, within an
//! idle timeout. Layer-4 policies only: a breaker that counts connects, places for connections.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::time::Instant;

use crate::error::Fault;
use crate::mesh::Local;
use crate::policy::{Ending, verdict};
use crate::stream::{Alarm, READ_BYTES, Splice, Stream, Taken};
use crate::telemetry::{Outcome, add_one};
use crate::upstream::Connection;
use crate::wire::{ClientSide, client_response};

use super::super::attempt::{Answer, Failed};
use super::super::hold::Hold;
use super::super::retry::Next;
use super::super::{Call, Ended, Flow};
use super::{Client, Http1, Http1Reply, Request};

/// A read of a tunnel that gives as much tells that bytes come in bulk: the next ones are not copied.
/// As a ratio to copying always, exchanges of 16 KiB then cost as much CPU, of 32 KiB 0.7, of 128 KiB 0.45.
const BULK_BYTES_MIN: usize = READ_BYTES / 2;

/// How a tunnel begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The application asked for it by CONNECT and waits for an answer.
    Connect,
    /// The application knows of nothing: bytes flow at once, and a failure is a reset.
    Silent,
}

/// Opens a tunnel to the plan's service and carries bytes until both sides have ended.
pub async fn tunnel(local: &Local, client: &mut Client, mut request: Request, opening: Opening) -> Flow {
    let mut call = Call::http1(local, client, &mut request);
    call.dial_anew = true;
    let (outcome, flow, ended) = call.open_tunnel(opening).await;
    call.record(outcome, ended);
    flow
}

impl<'p> Call<'p, Http1<'_>> {
    async fn open_tunnel(&mut self, opening: Opening) -> Ended {
        let slot = match self.slot() {
            Ok(slot) => slot,
            Err(failed) => return self.no_tunnel(failed, opening).await,
        };
        let (connection, hold) = match self.open().await {
            Ok(opened) => opened,
            Err(failed) => return self.no_tunnel(failed, opening).await,
        };
        if opening == Opening::Connect {
            self.side.client.out.extend_from_slice(b"HTTP/1.1 200 Connection established\r\n\r\n");
            self.record.status = 200;
        }
        let outcome = self.carry(connection.stream, BytesMut::new()).await;
        drop((slot, hold));
        (outcome, Flow::Close, Instant::now())
    }

    /// Breaker, endpoint, connection; the connection is the verdict.
    async fn open(&mut self) -> Result<(Connection, Hold<'p>), Failed> {
        let now = self.record.started();
        let mut hold = self.permit_only(now)?;
        let connected = self.connect(&mut hold, now, None).await;
        self.record.attempts += 1;
        add_one(&self.plan.service.stats.attempts);
        let ending = match &connected {
            Ok(_) => Ending::Status(200),
            Err(failed) if failed.fault == Fault::ClientCancelled => Ending::ClientGone,
            Err(failed) => Ending::Fault(failed.fault),
        };
        if let Some(settings) = &self.plan.policy().circuit_breaker {
            hold.ticket.judge(self.local, verdict(&settings.fail_on, ending), false, Instant::now());
        }
        connected.map(|connection| (connection, hold))
    }

    async fn no_tunnel(&mut self, failed: Failed, opening: Opening) -> Ended {
        if failed.fault == Fault::ClientCancelled {
            return self.cancelled();
        }
        if opening == Opening::Connect {
            return self.fault(failed).await;
        }
        self.side.client.stream.reset_on_close();
        (Outcome::Fault(failed.fault), Flow::Close, Instant::now())
    }

    /// A request that asks to leave HTTP: an ordinary call until the answer is 101.
    pub(super) async fn upgrade(&mut self) -> Ended {
        let slot = match self.slot() {
            Ok(slot) => slot,
            Err(failed) => return self.fault(failed).await,
        };
        loop {
            match self.attempt().await {
                Ok(answer) if answer.reply.head.status == 101 => {
                    let outcome = self.switch(answer).await;
                    drop(slot);
                    return (outcome, Flow::Close, Instant::now());
                }
                Ok(answer) => return self.reply(answer).await,
                Err(failed) if failed.fault == Fault::ClientCancelled => return self.cancelled(),
                Err(failed) => match self.after_failure(&failed) {
                    Next::GiveUp => return self.fault(failed).await,
                    Next::Again { after } => {
                        if let Err(fault) = self.back_off(after).await {
                            return self.gave_up(fault).await;
                        }
                        self.side.upload.rewind();
                    }
                },
            }
        }
    }

    /// The service agreed: its head goes on, and from here on bytes.
    async fn switch(&mut self, answer: Answer<'p, Http1Reply>) -> Outcome {
        let Answer { reply: Http1Reply { head, mut connection }, mut hold, at, slow } = answer;
        self.record.status = head.status;
        if let Some(settings) = &self.plan.policy().circuit_breaker {
            hold.ticket.judge(self.local, verdict(&settings.fail_on, Ending::Status(101)), slow, at);
        }
        hold.place = None;
        let side = ClientSide { version: self.head.version, keep_alive: true };
        client_response(
            &head,
            &connection.stream.input,
            &self.side.client.fields,
            side,
            &mut self.side.client.out,
        );
        connection.stream.input.advance(head.length);
        let outcome = self.carry(connection.stream, BytesMut::new()).await;
        drop(hold);
        outcome
    }

    /// Carries bytes until both sides have ended, one has failed or nothing moves any more.
    async fn carry(&mut self, mut service: Stream, to_service: BytesMut) -> Outcome {
        let idle = self.plan.policy().tunnel_idle_timeout;
        let Client { stream, out, alarm, .. } = &mut *self.side.client;
        let mut up = Half { out: to_service, ..Half::default() };
        let mut down = Half { out: std::mem::take(out), ..Half::default() };
        let ended = carry_both(stream, &mut service, &mut up, &mut down, alarm, idle).await;
        self.record.reply_bytes = down.bytes;
        match ended {
            Ok(()) => Outcome::Success,
            Err(Broken::IdleTimeout) => Outcome::Fault(Fault::IdleTimeout),
            Err(Broken::Service) => {
                self.side.client.stream.reset_on_close();
                Outcome::Fault(Fault::ResetMidResponse)
            }
            Err(Broken::Client) => {
                service.reset_on_close();
                Outcome::Fault(Fault::ClientCancelled)
            }
        }
    }
}

/// One direction of a tunnel.
#[derive(Debug, Default)]
struct Half {
    out: BytesMut,
    /// Bytes on their way that are not copied.
    splice: Splice,
    /// Bytes come in bulk.
    bulk: bool,
    /// The source has ended, and so has the destination been told.
    ended: bool,
    bytes: u64,
}

/// Which side ended a tunnel before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Client,
    Service,
    IdleTimeout,
}

async fn carry_both(
    client: &mut Stream,
    service: &mut Stream,
    up: &mut Half,
    down: &mut Half,
    alarm: &mut Alarm,
    idle: Option<Duration>,
) -> Result<(), Broken> {
    let mut seen = u64::MAX;
    let mut until = None;
    std::future::poll_fn(|cx| {
        let sent = up.poll(cx, client, service);
        if let Poll::Ready(Err(side)) = sent {
            return Poll::Ready(Err(if side == Side::Source { Broken::Client } else { Broken::Service }));
        }
        let received = down.poll(cx, service, client);
        if let Poll::Ready(Err(side)) = received {
            return Poll::Ready(Err(if side == Side::Source { Broken::Service } else { Broken::Client }));
        }
        if up.ended && down.ended {
            return Poll::Ready(Ok(()));
        }
        if seen != up.bytes + down.bytes {
            seen = up.bytes + down.bytes;
            until = idle.map(|idle| Instant::now() + idle);
        }
        alarm.poll(cx, until).map(|()| Err(Broken::IdleTimeout))
    })
    .await
}

/// The side of one direction that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

// === impl Half ===

impl Half {
    /// Moves what can be moved. Ready when this direction has ended.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Stream, to: &mut Stream) -> Poll<Result<(), Side>> {
        while !self.ended {
            ready!(self.poll_write(cx, to)).map_err(|_| Side::Destination)?;
            if !from.input.is_empty() {
                // The buffers trade places: nothing is copied.
                std::mem::swap(&mut self.out, &mut from.input);
                continue;
            }
            let read = ready!(self.poll_read(cx, from, to)).map_err(|_| Side::Source)?;
            if read == 0 {
                ready!(to.poll_end(cx)).map_err(|_| Side::Destination)?;
                self.ended = true;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes all that was read.
    fn poll_write(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        loop {
            let before = self.out.len();
            let flushed = to.poll_flush(cx, &mut self.out);
            self.bytes += (before - self.out.len()) as u64;
            ready!(flushed)?;
            if self.splice.held() == 0 {
                return Poll::Ready(Ok(()));
            }
            self.bytes += ready!(self.splice.poll_give(cx, to, &mut self.out))? as u64;
        }
    }

    /// Reads once, when nothing waits to be written. 0 is the end of the source.
    fn poll_read(&mut self, cx: &mut Context<'_>, from: &mut Stream, to: &Stream) -> Poll<io::Result<usize>> {
        if self.bulk && Splice::can(from, to) {
            match ready!(self.splice.poll_take(cx, from, u64::MAX))? {
                Taken::Bytes(count) => {
                    self.bulk = count >= BULK_BYTES_MIN;
                    return Poll::Ready(Ok(count));
                }
                Taken::End => return Poll::Ready(Ok(0)),
                Taken::Nothing => {}
            }
        }
        let count = ready!(from.poll_fill(cx, READ_BYTES))?;
        self.bulk = count >= BULK_BYTES_MIN;
        Poll::Ready(Ok(count))
    }
}
