//! Sends a request and waits for the head of its answer, both at once.
//!
//! In: a connection. Out: the head of the final answer; interim ones (RFC 9110 section 15.2) have
//! been passed on. The service may answer before it has read the request; the application may
//! leave; two clocks run. One poll function looks at all of them, in an order that names the true
//! reason when several things are ready at once.

use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use crate::error::{Fault, Sent};
use crate::head::Version;
use crate::stream::READ_BYTES;
use crate::upstream::{Connection, TlsFault};
use crate::wire::{ClientSide, HEAD_BYTES_MAX, ResponseHead, client_response, head_end, parse_response};

use super::super::Call;
use super::super::attempt::{Detail, Failed};
use super::Http1;
use super::upload::SendError;

/// Interim answers on their way to the application at once: while it does not take them, the service
/// is not read. One head of the largest size fits.
const INTERIM_BYTES_MAX: usize = HEAD_BYTES_MAX;

/// Progress of one exchange.
#[derive(Default)]
struct Progress {
    /// Bytes of the answer's head that were searched for its end.
    searched: usize,
    /// The service takes no more of the request; it may have answered all the same.
    send_failed: bool,
    /// Something of an answer came in.
    answered: bool,
    /// When this attempt must have its answer.
    give_up: Option<Instant>,
    /// The application keeps the request waiting, which is no fault of this attempt.
    awaits_client: bool,
    /// Bytes written when something last moved, and when that was.
    moved: Option<(u64, Instant)>,
}

impl Call<'_, Http1<'_>> {
    /// Sends the request on `connection` until the head of the final answer is in.
    pub(super) async fn exchange(
        &mut self,
        connection: &mut Connection,
        give_up: Option<Instant>,
    ) -> Result<ResponseHead, Failed> {
        let mut progress = Progress { give_up, ..Progress::default() };
        std::future::poll_fn(|cx| self.poll_exchange(cx, connection, &mut progress)).await
    }

    /// Biased: what has arrived counts before what has ended, and both before what has timed out.
    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        progress: &mut Progress,
    ) -> Poll<Result<ResponseHead, Failed>> {
        if !progress.send_failed
            && !self.side.upload.is_sent()
            && let Poll::Ready(Err(error)) = self.poll_send(cx, connection)
        {
            match error {
                SendError::Upstream => progress.send_failed = true,
                SendError::ClientGone => return Poll::Ready(Err(self.failed(Fault::ClientCancelled))),
                SendError::Body => return Poll::Ready(Err(self.failed(Fault::RequestMalformed))),
            }
        }
        if let Poll::Ready(head) = self.poll_head(cx, connection, progress) {
            return Poll::Ready(head);
        }
        // The interim answers that were passed on; a client that does not read them waits for nothing.
        if self.side.client.poll_flush(cx).is_ready() && self.side.upload.is_read() {
            let end_is_gone = self.side.end_is_gone;
            if self.side.client.poll_gone(cx, end_is_gone).is_ready() {
                return Poll::Ready(Err(self.failed(Fault::ClientCancelled)));
            }
        }
        self.poll_clocks(cx, progress)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Poll<Result<(), SendError>> {
        let sent = self.side.upload.poll(cx, &mut self.side.client.stream, &mut connection.stream);
        if self.side.upload.is_long && self.side.upload.is_read() {
            // The clock of a call starts when a body that is too long to be kept has arrived.
            self.side.upload.is_long = false;
            self.deadline = self.plan.policy().timeout.map(|timeout| Instant::now() + timeout);
        }
        sent
    }

    /// Reads until a final head is whole.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        progress: &mut Progress,
    ) -> Poll<Result<ResponseHead, Failed>> {
        loop {
            if !connection.stream.input.is_empty() {
                match self.parse_head(connection, progress) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(what) => {
                        let failed = self.failed(Fault::ProtocolError);
                        return Poll::Ready(Err(Failed { detail: Detail::Text(what), ..failed }));
                    }
                }
            }
            if self.side.client.out.len() >= INTERIM_BYTES_MAX
                && ready!(self.side.client.poll_flush(cx)).is_err()
            {
                return Poll::Ready(Err(self.failed(Fault::ClientCancelled)));
            }
            match connection.stream.poll_fill(cx, READ_BYTES) {
                Poll::Ready(Ok(read)) if read > 0 => progress.answered = true,
                Poll::Ready(_) if connection.stream.is_refused_by_tls() => {
                    let detail = Detail::Tls(connection.address, TlsFault::ClientCertificate);
                    return Poll::Ready(Err(Failed { detail, ..Failed::local(Fault::TlsFailed) }));
                }
                Poll::Ready(_) => {
                    let unprocessed = connection.stream.is_unprocessed();
                    return Poll::Ready(Err(self.reset(progress, unprocessed)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The head at the front of the input; interim ones are passed on and taken away.
    fn parse_head(
        &mut self,
        connection: &mut Connection,
        progress: &mut Progress,
    ) -> Result<Option<ResponseHead>, &'static str> {
        loop {
            let input = &mut connection.stream.input;
            if progress.searched > 0
                && head_end(input, progress.searched).is_none()
                && input.len() < HEAD_BYTES_MAX
            {
                progress.searched = input.len();
                return Ok(None);
            }
            let Some(head) = parse_response(input, self.head.method, &mut self.side.client.fields)? else {
                progress.searched = input.len();
                return Ok(None);
            };
            match head.status {
                101 if !self.head.upgrade => return Err("the service switched protocols unasked"),
                // What is left of the request would be taken for bytes of the new protocol.
                101 if !self.side.upload.is_sent() => return Err("the service switched protocols too early"),
                101 | 200.. => return Ok(Some(head)),
                _ => {}
            }
            self.pass_interim(connection, &head);
            bytes::Buf::advance(&mut connection.stream.input, head.length);
            progress.searched = 0;
        }
    }

    /// Interim answers go to clients that know them; 100 only to those that wait for it, and once.
    fn pass_interim(&mut self, connection: &Connection, head: &ResponseHead) {
        let wanted = head.status != 100 || self.head.expects_continue;
        if self.head.version != Version::Http11 || !wanted {
            return;
        }
        if head.status == 100 {
            self.head.expects_continue = false;
        }
        let side = ClientSide { version: self.head.version, keep_alive: true };
        client_response(
            head,
            &connection.stream.input,
            &self.side.client.fields,
            side,
            &mut self.side.client.out,
        );
    }

    fn poll_clocks(
        &mut self,
        cx: &mut Context<'_>,
        progress: &mut Progress,
    ) -> Poll<Result<ResponseHead, Failed>> {
        self.excuse_waits(progress);
        let idle_end = self.idle_end(progress);
        let give_up = if progress.awaits_client { None } else { progress.give_up };
        let deadline = if self.side.upload.is_long { None } else { self.deadline };
        let soonest = [deadline, give_up, idle_end].into_iter().flatten().min();
        ready!(self.side.client.alarm.poll(cx, soonest));
        let fault = if progress.awaits_client {
            Fault::RequestTimeout
        } else if soonest == deadline {
            Fault::DeadlineExceeded
        } else if soonest == give_up {
            Fault::PerTryTimeout
        } else {
            Fault::IdleTimeout
        };
        Poll::Ready(Err(self.failed(fault)))
    }

    /// While the application keeps the request waiting the clock of the attempt stands still; it
    /// starts when the request goes on. One that waits for `100 Continue` is not what is late.
    fn excuse_waits(&self, progress: &mut Progress) {
        let held_back = self.head.expects_continue && !self.side.upload.has_body();
        let awaits_client = self.side.upload.awaits_client() && !held_back;
        if progress.awaits_client && !awaits_client {
            progress.give_up = self.per_try_end(Instant::now());
        }
        progress.awaits_client = awaits_client;
    }

    /// Only while a body is on its way may it be that nothing else bounds a silence.
    fn idle_end(&self, progress: &mut Progress) -> Option<Instant> {
        if !self.side.upload.is_long && !progress.awaits_client {
            return None;
        }
        let written = self.side.upload.written();
        let since = match progress.moved {
            Some((before, since)) if before == written => since,
            Some(_) | None => progress.moved.insert((written, Instant::now())).1,
        };
        self.plan.policy().idle_timeout.map(|idle| since + idle)
    }

    fn failed(&self, fault: Fault) -> Failed {
        let sent = if self.side.upload.is_untouched() { Sent::No } else { Sent::Maybe };
        Failed { sent, ..Failed::local(fault) }
    }

    /// The connection ended before a whole head.
    fn reset(&self, progress: &Progress, unprocessed: bool) -> Failed {
        let failed = self.failed(Fault::ResetBeforeResponse);
        if unprocessed {
            return Failed { sent: Sent::No, ..failed };
        }
        if progress.answered { Failed { sent: Sent::Yes, ..failed } } else { failed }
    }
}
