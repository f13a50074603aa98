//! Sends a request over HTTP/2 and waits for the head of its answer, both at once.
//!
//! In: room on a connection. Out: the head of the final answer; interim ones have been passed on.
//! One poll function looks at everything, in an order that names the true reason when several
//! things are ready at once.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::time::Instant;

use crate::error::{Fault, Sent};
use crate::upstream::http2::{HEADER_LIST_BYTES_MAX, Lease};
use crate::wire::grpc;

use super::super::Call;
use super::super::attempt::{Detail, Failed};
use super::upload::SendError;
use super::{Http2, Http2Reply};

/// How long the head of a gRPC answer waits for the next frame: trailers then mean a failure that
/// may still be retried, a message means that it is under way.
const FIRST_FRAME_WAIT_MAX: Duration = Duration::from_millis(10);

/// Most bytes of interim answers that are passed on in one call: nobody says whether they were taken.
const INTERIM_BYTES_MAX: usize = HEADER_LIST_BYTES_MAX as usize;

/// Progress of one exchange.
struct Exchange {
    response: ResponseFuture,
    to_service: SendStream<Bytes>,
    /// The service takes no more of the request; it may have answered all the same.
    send_failed: bool,
    /// No further interim answers will come.
    interim_over: bool,
    /// Bytes of those that were passed on.
    interim_bytes: usize,
    /// When this attempt must have its answer.
    give_up: Option<Instant>,
    /// The application keeps the request waiting, which is no fault of this attempt.
    awaits_client: bool,
    /// Bytes written when something last moved, and when that was.
    moved: Option<(u64, Instant)>,
}

impl Call<'_, Http2> {
    /// Sends the request on `lease` until the head of the final answer is in.
    pub(super) async fn exchange(
        &mut self,
        lease: Lease,
        give_up: Option<Instant>,
    ) -> Result<Http2Reply, Failed> {
        let reused = lease.reused;
        let (response, to_service) = self.start(&lease)?;
        let mut exchange = Exchange {
            response,
            to_service,
            send_failed: false,
            interim_over: false,
            interim_bytes: 0,
            give_up,
            awaits_client: false,
            moved: None,
        };
        let answered = std::future::poll_fn(|cx| self.poll_exchange(cx, &mut exchange)).await;
        let response = answered.map_err(|failed| Failed { stale: reused && failed.stale, ..failed })?;
        let mut reply = Http2Reply::new(response, exchange.to_service, lease, self.side.grpc);
        if self.side.grpc && self.side.upload.is_read() && !reply.from.is_end_stream() {
            self.first_frame(&mut reply).await?;
        }
        Ok(reply)
    }

    /// Opens a stream with the request's head.
    fn start(&mut self, lease: &Lease) -> Result<(ResponseFuture, SendStream<Bytes>), Failed> {
        let ends = self.side.upload.is_empty();
        let request = self.request();
        match lease.start(request, ends) {
            Ok(started) => {
                if ends {
                    self.side.upload.head_was_all();
                }
                Ok(started)
            }
            Err(error) if error.is_go_away() || error.is_io() => {
                // The connection ended between the look at it and now: nothing was written.
                Err(Failed { stale: true, ..Failed::local(Fault::ResetBeforeResponse) })
            }
            Err(_) => Err(Failed {
                detail: Detail::Text("the request can't be written as HTTP/2"),
                ..Failed::local(Fault::RequestMalformed)
            }),
        }
    }

    /// The head as this attempt sends it.
    fn request(&mut self) -> Request<()> {
        let span_id = self.new_span();
        let side = &self.side;
        let mut request = Request::new(());
        *request.version_mut() = http::Version::HTTP_2;
        *request.method_mut() = side.method.clone();
        *request.uri_mut() = side.uri.clone();
        *request.headers_mut() = side.fields.clone();
        if let Some(protocol) = &side.protocol {
            request.extensions_mut().insert(protocol.clone());
        }
        self.head.trace.put(span_id, request.headers_mut());
        if let Some(deadline) = side.callers_deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            request.headers_mut().insert("grpc-timeout", grpc::timeout_value(left));
        }
        request
    }

    /// Biased: what has arrived counts before what has ended, and both before what has timed out.
    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
    ) -> Poll<Result<Response<RecvStream>, Failed>> {
        if let Poll::Ready(Err(failed)) = self.poll_send(cx, exchange) {
            return Poll::Ready(Err(failed));
        }
        if let Err(failed) = self.poll_interim(cx, exchange) {
            return Poll::Ready(Err(failed));
        }
        if let Poll::Ready(answered) = std::pin::Pin::new(&mut exchange.response).poll(cx) {
            return Poll::Ready(answered.map_err(|error| self.failed_by(&error)));
        }
        if self.side.respond.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(self.failed(Fault::ClientCancelled)));
        }
        self.poll_clocks(cx, exchange)
    }

    /// Sends more of the request. Ready with a failure when the application gave it up.
    fn poll_send(&mut self, cx: &mut Context<'_>, exchange: &mut Exchange) -> Poll<Result<(), Failed>> {
        if exchange.send_failed || self.side.upload.is_sent() {
            return Poll::Pending;
        }
        let was_read = self.side.upload.is_read();
        let sent = self.side.upload.poll(cx, &mut exchange.to_service);
        if !was_read && self.side.upload.is_read() {
            self.request_is_read();
        }
        match ready!(sent) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(SendError::ClientGone) => Poll::Ready(Err(self.failed(Fault::ClientCancelled))),
            Err(SendError::Upstream) => {
                exchange.send_failed = true;
                Poll::Pending
            }
        }
    }

    /// Interim answers (RFC 9110 section 15.2) go on as they come.
    fn poll_interim(&mut self, cx: &mut Context<'_>, exchange: &mut Exchange) -> Result<(), Failed> {
        while !exchange.interim_over {
            match exchange.response.poll_informational(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(interim))) => {
                    exchange.interim_bytes += size_of(interim.headers());
                    if exchange.interim_bytes > INTERIM_BYTES_MAX {
                        let failed = self.failed(Fault::ProtocolError);
                        return Err(Failed { detail: Detail::Text("too many interim answers"), ..failed });
                    }
                    // An application that has gone is noticed elsewhere.
                    let _ = self.side.respond.send_informational(interim);
                }
                Poll::Ready(Some(Err(_)) | None) => exchange.interim_over = true,
            }
        }
        Ok(())
    }

    fn poll_clocks(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
    ) -> Poll<Result<Response<RecvStream>, Failed>> {
        let awaits_client = self.side.upload.awaits_client();
        if exchange.awaits_client && !awaits_client {
            exchange.give_up = self.per_try_end(Instant::now());
        }
        exchange.awaits_client = awaits_client;
        let idle_end = self.idle_end(exchange);
        let give_up = if awaits_client { None } else { exchange.give_up };
        let soonest = [self.deadline, give_up, idle_end].into_iter().flatten().min();
        ready!(self.side.alarm.poll(cx, soonest));
        let fault = if soonest == self.deadline {
            Fault::DeadlineExceeded
        } else if awaits_client {
            Fault::RequestTimeout
        } else if soonest == give_up {
            Fault::PerTryTimeout
        } else {
            Fault::IdleTimeout
        };
        Poll::Ready(Err(self.failed(fault)))
    }

    /// Only while a body is on its way may it be that nothing else bounds a silence.
    fn idle_end(&self, exchange: &mut Exchange) -> Option<Instant> {
        if self.side.upload.is_read() {
            return None;
        }
        let written = self.side.upload.written();
        let since = match exchange.moved {
            Some((before, since)) if before == written => since,
            Some(_) | None => exchange.moved.insert((written, Instant::now())).1,
        };
        self.side.idle_timeout(self.plan.policy()).map(|idle| since + idle)
    }

    pub(super) fn failed(&self, fault: Fault) -> Failed {
        Failed { sent: Sent::Maybe, ..Failed::local(fault) }
    }

    /// What an error of the stream or its connection says.
    fn failed_by(&self, error: &h2::Error) -> Failed {
        let refused = error.is_remote()
            && (error.is_go_away() || (error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM)));
        if refused {
            // RFC 9113 sections 6.8 and 8.7: not processed, whatever it was.
            return Failed { sent: Sent::No, ..self.failed(Fault::ResetBeforeResponse) };
        }
        if error.is_library() {
            let failed = self.failed(Fault::ProtocolError);
            return Failed { detail: Detail::Text("its HTTP/2 is broken"), ..failed };
        }
        Failed { stale: error.is_io(), ..self.failed(Fault::ResetBeforeResponse) }
    }

    /// Waits a moment for what follows the head of a gRPC answer.
    async fn first_frame(&mut self, reply: &mut Http2Reply) -> Result<(), Failed> {
        let until = Some(Instant::now() + FIRST_FRAME_WAIT_MAX);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(looked) = reply.poll_look(cx) {
                let lost = |_| Failed { sent: Sent::Yes, ..self.failed(Fault::ResetMidResponse) };
                return Poll::Ready(looked.map_err(lost));
            }
            if self.side.respond.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(self.failed(Fault::ClientCancelled)));
            }
            self.side.alarm.poll(cx, until).map(Ok)
        })
        .await
    }

    /// The application has ended its request: from here on a clock may run.
    pub(super) fn request_is_read(&mut self) {
        if self.side.clock_waits() || self.side.upload.is_long {
            self.side.upload.is_long = false;
            let policy = self.plan.policy().timeout.map(|timeout| Instant::now() + timeout);
            self.deadline = [policy, self.side.callers_deadline].into_iter().flatten().min();
        }
    }
}

/// Bytes of fields as RFC 9113 section 6.5.2 counts them.
fn size_of(fields: &HeaderMap) -> usize {
    const OVERHEAD: usize = 32;
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD).sum()
}
