//! The answer on its way to the application.
//!
//! In: an answer's head, and its body as it arrives. Out: the reply, written in step with what the
//! application takes. The verdict falls when the answer is whole, before its last byte goes on, so
//! that whoever has read a reply also sees what it did to the breaker and the bulkhead.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use tokio::time::Instant;

use crate::error::Fault;
use crate::policy::Ending;
use crate::stream::{BODY_READ_BYTES, Taken};
use crate::telemetry::{Gauge, Outcome, RetryDecision};
use crate::upstream::Connection;
use crate::wire::{BodyDecoder, BodyEncoder, ClientSide, Moved, client_response, transcode};

use super::super::attempt::Answer;
use super::super::hold::Hold;
use super::super::{Call, Ended, Flow};
use super::direct::Direct;
use super::upload::SendError;
use super::{Client, Http1, Http1Reply};

/// Most bytes of a body on their way to the application at once.
const OUT_BYTES_MAX: usize = 64 * 1024;

/// The body on its way.
struct Download<'a> {
    connection: Option<Connection>,
    hold: Hold<'a>,
    decoder: BodyDecoder,
    encoder: BodyEncoder,
    /// Body that passes through without being copied; goes out after `client.out`.
    direct: Direct,
    status: u16,
    slow: bool,
    /// The application learns the body's end from the end of the connection.
    ends_with_connection: bool,
    /// The service lets the connection be used again, for this long.
    reuse: bool,
    idle_hint: Option<Duration>,
    /// Bytes the application has taken.
    moved: u64,
    /// What `moved` was when something last moved, and when that was.
    mark: u64,
    moved_at: Instant,
    /// When the answer was whole.
    whole_at: Instant,
    end: Option<Instant>,
}

/// Why a reply was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The service's side.
    Service(Fault),
    /// The application's side.
    Client,
}

impl<'p> Call<'p, Http1<'_>> {
    /// Passes the answer on: head, body, verdict.
    pub(super) async fn reply(&mut self, answer: Answer<'p, Http1Reply>) -> Ended {
        let Answer { reply: Http1Reply { head, mut connection }, hold, at, slow } = answer;
        self.record.status = head.status;
        let body_ends = head.ends_by_itself(self.head.version);
        let keep_alive =
            self.head.keep_alive && self.side.upload.is_read() && body_ends && !self.side.client.closing();
        let side = ClientSide { version: self.head.version, keep_alive };
        self.side.client.make_room();
        let out = &mut self.side.client.out;
        let encoder = client_response(&head, &connection.stream.input, &self.side.client.fields, side, out);
        let head_out = out.len();
        connection.stream.input.advance(head.length);
        let mut download = Download {
            reuse: head.keep_alive,
            connection: Some(connection),
            hold,
            decoder: BodyDecoder::new(head.framing),
            encoder,
            direct: Direct::default(),
            status: head.status,
            slow,
            ends_with_connection: !body_ends,
            idle_hint: head.idle_hint,
            moved: 0,
            mark: 0,
            moved_at: at,
            whole_at: at,
            end: self.plan.policy().body_timeout.map(|limit| at + limit),
        };
        if head.event_stream {
            self.judge(&mut download.hold, Ending::Status(head.status), slow, at);
        }
        let passed = std::future::poll_fn(|cx| self.poll_reply(cx, &mut download)).await;
        self.record.reply_bytes = download.moved.saturating_sub(head_out as u64);
        self.ended(download, passed, keep_alive)
    }

    /// What the call has come to.
    fn ended(&mut self, mut download: Download<'p>, passed: Result<(), Cut>, keep_alive: bool) -> Ended {
        let waited = download.mark > 0 || passed.is_err();
        let ended = if waited { Instant::now() } else { download.whole_at };
        match passed {
            Ok(()) => {
                let outcome = if download.status >= 500 { Outcome::ServiceFailure } else { Outcome::Success };
                let flow = if keep_alive { Flow::Again } else { Flow::Linger };
                (outcome, flow, ended)
            }
            Err(Cut::Service(fault)) => {
                if self.plan.policy().retries.is_some() {
                    self.count(RetryDecision::Started, Duration::ZERO);
                }
                self.judge(&mut download.hold, Ending::Fault(fault), download.slow, ended);
                if download.ends_with_connection {
                    // A polite end would look like the whole body.
                    self.side.client.stream.reset_on_close();
                }
                (Outcome::Fault(fault), Flow::Close, ended)
            }
            Err(Cut::Client) => (Outcome::Fault(Fault::ClientCancelled), Flow::Close, ended),
        }
    }

    /// One look at everything: body in, body out, the rest of the request, the clocks.
    fn poll_reply(&mut self, cx: &mut Context<'_>, download: &mut Download<'p>) -> Poll<Result<(), Cut>> {
        loop {
            let service = self.poll_body(cx, download);
            if let Poll::Ready(Err(fault)) = service {
                // What came before the cut still goes out, as far as it can without waiting.
                let _ = self.side.client.poll_flush(cx);
                return Poll::Ready(Err(Cut::Service(fault)));
            }
            match self.poll_write(cx, download) {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Cut::Client)),
                Poll::Ready(Ok(())) if download.decoder.is_done() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if service.is_ready() => continue,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if self.poll_rest_of_request(cx, download).is_ready() {
                return Poll::Ready(Err(Cut::Client));
            }
            let end_is_gone = self.side.end_is_gone;
            if self.side.upload.is_read() && self.side.client.poll_gone(cx, end_is_gone).is_ready() {
                return Poll::Ready(Err(Cut::Client));
            }
            return self.poll_patience(cx, download);
        }
    }

    /// Moves body from the service into `client.out`, as far as it fits. Ready when there is
    /// something to write or the body is over.
    fn poll_body(&mut self, cx: &mut Context<'_>, download: &mut Download<'p>) -> Poll<Result<(), Fault>> {
        while !download.decoder.is_done() {
            let Some(connection) = &mut download.connection else { return Poll::Ready(Ok(())) };
            let Download { decoder, encoder, direct, .. } = download;
            if direct.splice.held() > 0 {
                return Poll::Ready(Ok(()));
            }
            let out = &mut self.side.client.out;
            let moved = transcode(decoder, *encoder, &mut connection.stream.input, out, OUT_BYTES_MAX)
                .map_err(|_| Fault::ProtocolError)?;
            match moved {
                Moved::End => break,
                Moved::Full => return Poll::Ready(Ok(())),
                Moved::NeedMore if !out.is_empty() => return Poll::Ready(Ok(())),
                Moved::NeedMore => {}
            }
            let (service, client) = (&mut connection.stream, &self.side.client.stream);
            match ready!(direct.poll_take(cx, service, client, decoder)) {
                Ok(Taken::Bytes(_)) => continue,
                Ok(Taken::Nothing) => {}
                Ok(Taken::End) | Err(_) => return Poll::Ready(Err(Fault::ResetMidResponse)),
            }
            match ready!(connection.stream.poll_fill(cx, BODY_READ_BYTES)) {
                Ok(read) if read > 0 => {}
                Ok(_) => {
                    decoder.ended().map_err(|_| Fault::ResetMidResponse)?;
                    encoder.end(b"", out).map_err(|_| Fault::ProtocolError)?;
                }
                Err(_) => return Poll::Ready(Err(Fault::ResetMidResponse)),
            }
        }
        self.came_whole(download);
        Poll::Ready(Ok(()))
    }

    /// Writes all that the application has to get so far.
    fn poll_write(&mut self, cx: &mut Context<'_>, download: &mut Download<'p>) -> Poll<io::Result<()>> {
        loop {
            let before = self.side.client.out.len();
            let flushed = self.side.client.poll_flush(cx);
            download.moved += (before - self.side.client.out.len()) as u64;
            ready!(flushed)?;
            if download.direct.splice.held() == 0 {
                return Poll::Ready(Ok(()));
            }
            let Client { stream, out, .. } = &mut *self.side.client;
            download.moved += ready!(download.direct.splice.poll_give(cx, stream, out))? as u64;
        }
    }

    /// The answer is whole: what was held is given back, its connection too; then its last bytes may go.
    fn came_whole(&mut self, download: &mut Download<'p>) {
        let Some(connection) = download.connection.take() else { return };
        let now = if download.moved == 0 { download.whole_at } else { Instant::now() };
        download.whole_at = now;
        self.settle(&mut download.hold, Ending::Status(download.status), download.slow, now);
        if download.reuse && self.side.upload.is_sent() && !connection.is_shared() {
            let service = &self.plan.service;
            let idle = Gauge::enter(&service.stats, |stats| &stats.idle);
            service.pools.put(connection, &self.plan.policy().pool, download.idle_hint, now, idle);
        }
    }

    /// A service may answer before it has read the request; what is left of it still goes there.
    /// Ready when the application has gone away inside its request.
    fn poll_rest_of_request(&mut self, cx: &mut Context<'_>, download: &mut Download<'p>) -> Poll<()> {
        let Some(connection) = &mut download.connection else { return Poll::Pending };
        if self.side.upload.is_sent() {
            return Poll::Pending;
        }
        match ready!(self.side.upload.poll(cx, &mut self.side.client.stream, &mut connection.stream)) {
            Ok(()) => Poll::Pending,
            Err(SendError::ClientGone) => Poll::Ready(()),
            Err(SendError::Upstream | SendError::Body) => {
                // The answer decides; a request that can't be finished only spends the connection.
                download.reuse = false;
                Poll::Pending
            }
        }
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>, download: &mut Download<'p>) -> Poll<Result<(), Cut>> {
        download.note_progress();
        let idle_end = self.plan.policy().idle_timeout.map(|idle| download.moved_at + idle);
        let soonest = [idle_end, download.end].into_iter().flatten().min();
        ready!(self.side.client.alarm.poll(cx, soonest));
        // An application that does not read is no fault of the service.
        let stuck_client = !self.side.client.out.is_empty() || download.direct.splice.held() > 0;
        Poll::Ready(Err(if stuck_client { Cut::Client } else { Cut::Service(Fault::IdleTimeout) }))
    }
}

// === impl Download ===

impl Download<'_> {
    /// Notes when something last moved. Called only when there is nothing to do but wait.
    fn note_progress(&mut self) {
        if self.mark != self.moved {
            self.mark = self.moved;
            self.moved_at = Instant::now();
        }
    }
}
