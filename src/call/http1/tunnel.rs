//! Bytes both ways: CONNECT, opaque services, and connections that left HTTP by an upgrade.
//!
//! In: two streams. Out: the same bytes on the other side, each side's end passed on, within an
//! idle timeout. Layer-4 policies only: a breaker that counts connections that come about and say something,
//! places for connections. What turns out to be HTTP is given back untouched.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::time::Instant;

use crate::error::Fault;
use crate::policy::{Ending, verdict};
use crate::stream::{Alarm, READ_BYTES, Splice, Stream, Taken};
use crate::telemetry::Outcome;
use crate::telemetry::story::Judged;
use crate::wire::{ClientSide, client_response};

use super::super::attempt::{Answer, Failed};
use super::super::hold::Hold;
use super::super::retry::Next;
use super::super::{Call, Ended, Flow};
use super::{Client, Http1, Http1Reply};

/// A read of a tunnel that gives as much tells that bytes come in bulk: the next ones are not copied.
/// As a ratio to copying always, exchanges of 16 KiB then cost as much CPU, of 32 KiB 0.7, of 128 KiB 0.45.
const BULK_BYTES_MIN: usize = READ_BYTES / 2;

impl<'p> Call<'p, Http1<'_>> {
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
        self.judge(&mut hold, Ending::Status(101), slow, at);
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
        let outcome = self.carry(connection.stream, &mut hold).await;
        drop(hold);
        outcome
    }

    /// Carries bytes until both sides have ended, one has failed or nothing moves any more.
    /// The service's first byte is its success; what fails after it is one failure more.
    pub(super) async fn carry(&mut self, mut service: Stream, hold: &mut Hold<'p>) -> Outcome {
        let policy = self.plan.policy();
        let Client { stream, out, alarm, .. } = &mut *self.side.client;
        let mut up = Half::default();
        // What is ours goes first, and is no byte of the service.
        let own = out.len() as u64;
        let mut down = Half { out: std::mem::take(out), ..Half::default() };
        let mut hung_up = false;
        let counters = &self.plan.service.stats.tunnel_bytes;
        let (record, local) = (&mut self.record, self.local);
        let watch = |up: &Half, down: &Half| {
            hung_up |= down.ended && !up.ended;
            let moved = [up.bytes, down.bytes.saturating_sub(own)];
            let before = [record.request_bytes, record.reply_bytes];
            for ((counter, moved), before) in counters.iter().zip(moved).zip(before) {
                counter.set(counter.get() + moved - before);
            }
            [record.request_bytes, record.reply_bytes] = moved;
            if before[1] == 0 && moved[1] > 0 {
                let now = Instant::now();
                record.first_byte.get_or_insert(now.saturating_duration_since(record.started()));
                if let Some(settings) = &policy.circuit_breaker {
                    record.trail.judge(Judged::Success);
                    hold.ticket.judge(local, verdict(&settings.fail_on, Ending::Status(200)), false, now);
                }
                if let Some(in_flight) = &hold.in_flight {
                    in_flight.endpoint().penalty.worked();
                }
            }
        };
        let idle = policy.tunnel_idle_timeout;
        let ended = carry_both(stream, &mut service, &mut up, &mut down, alarm, idle, watch).await;
        let answered = self.record.reply_bytes > 0;
        match ended {
            // The application had asked for something and was still listening.
            Ok(()) if hung_up && !answered && up.bytes > 0 => self.died(hold),
            Ok(()) => Outcome::Success,
            Err(broken) => self.broken(broken, &mut service, hold),
        }
    }

    /// One side broke off, or nothing moved any more: the other side is told in the same way.
    pub(super) fn broken(&mut self, broken: Broken, service: &mut Stream, hold: &mut Hold<'p>) -> Outcome {
        match broken {
            Broken::IdleTimeout => Outcome::Fault(Fault::IdleTimeout),
            Broken::Service => {
                self.side.client.stream.reset_on_close();
                if self.record.reply_bytes == 0 {
                    return self.died(hold);
                }
                self.judge(hold, Ending::Fault(Fault::ResetMidResponse), false, Instant::now());
                Outcome::Fault(Fault::ResetMidResponse)
            }
            Broken::Client => {
                service.reset_on_close();
                Outcome::Fault(Fault::ClientCancelled)
            }
        }
    }

    /// The service ended the connection before it had said anything.
    fn died(&mut self, hold: &mut Hold<'p>) -> Outcome {
        let (fault, now) = (Fault::ResetBeforeResponse, Instant::now());
        if let Some(in_flight) = &hold.in_flight {
            let endpoint = in_flight.endpoint();
            endpoint.penalty.failed(now);
            self.avoid = Some(endpoint.address);
        }
        self.judge_failure(hold, &Failed::local(fault), now);
        Outcome::Fault(fault)
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
pub(super) enum Broken {
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
    mut watch: impl FnMut(&Half, &Half),
) -> Result<(), Broken> {
    let mut seen = u64::MAX;
    let mut until = None;
    std::future::poll_fn(|cx| {
        let sent = up.poll(cx, client, service);
        if let Poll::Ready(Err(side)) = sent {
            return Poll::Ready(Err(if side == Side::Source { Broken::Client } else { Broken::Service }));
        }
        let received = down.poll(cx, service, client);
        watch(up, down);
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
