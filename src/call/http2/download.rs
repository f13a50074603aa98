//! The answer on its way to the application, frame by frame.
//!
//! In: an answer's head, and its body as it arrives. Out: the same on the application's stream, in
//! step with what the application takes. The verdict falls when the answer is whole, before its
//! last frame goes on; for gRPC at the first message, and a bad status after it is one failure more.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, StatusCode};
use tokio::time::Instant;

use crate::error::Fault;
use crate::policy::Ending;
use crate::telemetry::{Outcome, RetryDecision};
use crate::upstream::http2::Lease;
use crate::wire::grpc;

use super::super::attempt::Answer;
use super::super::hold::Hold;
use super::super::{Call, Ended, Flow};
use super::upload::{SendError, poll_room};
use super::{Http2, Http2Reply, refuse};

/// The body on its way.
struct Download<'a> {
    from: RecvStream,
    to: SendStream<Bytes>,
    /// The rest of the request, while there is one.
    to_service: Option<SendStream<Bytes>>,
    lease: Option<Lease>,
    hold: Hold<'a>,
    /// Read, and not yet taken by the application.
    pending: Option<Bytes>,
    trailers: Option<HeaderMap>,
    status: u16,
    grpc: bool,
    /// The status of gRPC, once it is known.
    code: Option<u32>,
    slow: bool,
    moved: u64,
    /// What `moved` was when something last moved, and when that was.
    mark: u64,
    moved_at: Instant,
    end: Option<Instant>,
}

/// Why a reply was cut.
enum Cut {
    /// The service's side: our reason, and the code of its own reset.
    Service(Fault, Option<Reason>),
    /// The application's side.
    Client,
}

impl<'p> Call<'p, Http2> {
    /// Passes the answer on: head, body, verdict.
    pub(super) async fn reply(&mut self, answer: Answer<'p, Http2Reply>) -> Ended {
        let Answer { reply, hold, at, slow } = answer;
        self.record.status = reply.head.status().as_u16();
        let mut download = match self.begin_reply(reply, hold, at, slow) {
            Ok(download) => download,
            Err((outcome, ended)) => return (outcome, Flow::Again, ended),
        };
        let passed = std::future::poll_fn(|cx| self.poll_reply(cx, &mut download)).await;
        self.record.reply_bytes = download.moved;
        self.ended(download, passed)
    }

    /// The head goes on. An answer without a body ends here.
    fn begin_reply(
        &mut self,
        reply: Http2Reply,
        hold: Hold<'p>,
        at: Instant,
        slow: bool,
    ) -> Result<Download<'p>, (Outcome, Instant)> {
        let Http2Reply { mut head, from, to_service, lease, grpc, first, trailers } = reply;
        rename_reason(&mut head);
        let status = head.status();
        let over = from.is_end_stream() && first.is_none() && trailers.is_none();
        let code = if over && grpc && status == StatusCode::OK { grpc::status(head.headers()) } else { None };
        if !self.side.upload.is_replayable() || !self.side.upload.is_sent() {
            self.side.upload.stop_keeping();
        }
        let mut hold = hold;
        let upload_open = !self.side.upload.is_sent();
        let ending = ending_of(status.as_u16(), grpc, code, over);
        if over {
            self.settle(&mut hold, ending, slow, at);
        }
        let tunnel = self.side.protocol.is_some() && status.is_success();
        let Ok(to) = self.side.respond.send_response(head, over) else {
            return Err((Outcome::Fault(Fault::ClientCancelled), Instant::now()));
        };
        if over {
            return Err((outcome_of(status.as_u16(), ending), at));
        }
        if tunnel {
            hold.place = None;
        }
        let mut download = Download {
            from,
            to,
            to_service: upload_open.then_some(to_service),
            lease: Some(lease),
            hold,
            pending: first,
            trailers,
            status: status.as_u16(),
            grpc,
            code,
            slow,
            moved: 0,
            mark: 0,
            moved_at: at,
            end: self.plan.policy().body_timeout.filter(|_| !tunnel).map(|limit| at + limit),
        };
        if tunnel || (grpc && download.pending.is_some()) {
            self.judge(&mut download.hold, Ending::Status(status.as_u16()), slow, at);
        }
        Ok(download)
    }

    /// What the call has come to.
    fn ended(&mut self, mut download: Download<'p>, passed: Result<(), Cut>) -> Ended {
        let now = Instant::now();
        let outcome = match passed {
            Ok(()) => outcome_of(download.status, download.ending()),
            Err(Cut::Service(fault, reason)) => {
                if self.plan.policy().retries.is_some() {
                    self.count(RetryDecision::Started, Duration::ZERO);
                }
                self.judge(&mut download.hold, Ending::Fault(fault), download.slow, now);
                self.cut(&mut download, fault, reason);
                Outcome::Fault(fault)
            }
            Err(Cut::Client) => Outcome::Fault(Fault::ClientCancelled),
        };
        (outcome, Flow::Again, now)
    }

    /// Tells the application that there is no more: its gRPC library by a status, others by a reset.
    fn cut(&self, download: &mut Download<'p>, fault: Fault, reason: Option<Reason>) {
        match reason {
            None if download.grpc && download.pending.is_none() => {
                let service = &self.plan.service.state.name;
                let message = format!("the answer of {service} was cut");
                if download.to.send_trailers(refuse::cut_trailers(fault, &message)).is_err() {
                    download.to.send_reset(Reason::INTERNAL_ERROR);
                }
            }
            Some(_) | None => download.to.send_reset(reason.unwrap_or(Reason::INTERNAL_ERROR)),
        }
    }

    /// One look at everything: body, the rest of the request, the clocks.
    fn poll_reply(&mut self, cx: &mut Context<'_>, download: &mut Download<'p>) -> Poll<Result<(), Cut>> {
        let moved = self.poll_move(cx, download);
        if moved.is_ready() {
            return moved;
        }
        if self.poll_rest_of_request(cx, download).is_ready() || download.to.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Cut::Client));
        }
        self.poll_patience(cx, download)
    }

    /// Moves frames until one side makes us wait. Ready when the answer is over.
    fn poll_move(&mut self, cx: &mut Context<'_>, download: &mut Download<'p>) -> Poll<Result<(), Cut>> {
        loop {
            if let Some(piece) = &download.pending {
                let after = download.moved + piece.len() as u64;
                ready!(poll_room(cx, &mut download.to, after)).map_err(|()| Cut::Client)?;
                if self.send_piece(download)? {
                    return Poll::Ready(Ok(()));
                }
            } else if let Some(trailers) = download.trailers.take() {
                return Poll::Ready(self.send_trailers(download, trailers));
            } else {
                match ready!(download.from.poll_data(cx)) {
                    Some(Ok(piece)) => self.receive(download, piece),
                    Some(Err(error)) => return Poll::Ready(Err(cut_by(&error))),
                    None => match ready!(download.from.poll_trailers(cx)) {
                        Ok(Some(trailers)) => download.trailers = Some(trailers),
                        Ok(None) => return Poll::Ready(self.send_end(download)),
                        Err(error) => return Poll::Ready(Err(cut_by(&error))),
                    },
                }
            }
        }
    }

    /// The first message of a gRPC answer commits it: success at that moment.
    fn receive(&self, download: &mut Download<'p>, piece: Bytes) {
        if download.grpc && download.moved == 0 && !piece.is_empty() {
            let (ending, slow) = (Ending::Status(download.status), download.slow);
            self.judge(&mut download.hold, ending, slow, Instant::now());
        }
        download.pending = Some(piece);
    }

    /// Sends what is pending. `true`: that was the end.
    fn send_piece(&mut self, download: &mut Download<'p>) -> Result<bool, Cut> {
        let Some(piece) = download.pending.take() else { return Ok(false) };
        let (size, last) = (piece.len(), download.from.is_end_stream() && download.trailers.is_none());
        if last {
            self.came_whole(download);
        }
        download.to.send_data(piece, last).map_err(|_| Cut::Client)?;
        // The service may send as much again.
        let _ = download.from.flow_control().release_capacity(size);
        download.moved += size as u64;
        Ok(last)
    }

    fn send_trailers(&mut self, download: &mut Download<'p>, trailers: HeaderMap) -> Result<(), Cut> {
        if download.grpc {
            download.code = Some(grpc::status(&trailers).unwrap_or(grpc::UNKNOWN));
        }
        self.came_whole(download);
        download.to.send_trailers(trailers).map_err(|_| Cut::Client)
    }

    fn send_end(&mut self, download: &mut Download<'p>) -> Result<(), Cut> {
        self.came_whole(download);
        download.to.send_data(Bytes::new(), true).map_err(|_| Cut::Client)
    }

    /// The answer is whole: what was held is given back, its connection too; then its last frame may go.
    fn came_whole(&self, download: &mut Download<'p>) {
        let now = if download.moved == 0 { download.moved_at } else { Instant::now() };
        let ending = download.ending();
        self.settle(&mut download.hold, ending, download.slow, now);
        download.lease = None;
    }

    /// A service may answer before it has read the request; what is left of it still goes there.
    /// Ready when the application has gone away inside its request.
    fn poll_rest_of_request(&mut self, cx: &mut Context<'_>, download: &mut Download<'p>) -> Poll<()> {
        let Some(to_service) = &mut download.to_service else { return Poll::Pending };
        let before = self.side.upload.written();
        let sent = self.side.upload.poll(cx, to_service);
        if self.side.upload.written() != before {
            // A stream that is talked to in one direction alone is not idle.
            download.mark = u64::MAX;
        }
        match ready!(sent) {
            Ok(()) => download.to_service = None,
            Err(SendError::ClientGone) => return Poll::Ready(()),
            Err(SendError::Upstream) => download.to_service = None,
        }
        Poll::Pending
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>, download: &mut Download<'p>) -> Poll<Result<(), Cut>> {
        if download.mark != download.moved {
            download.mark = download.moved;
            download.moved_at = Instant::now();
        }
        let idle_end = self.side.idle_timeout(self.plan.policy()).map(|idle| download.moved_at + idle);
        let soonest = [idle_end, download.end].into_iter().flatten().min();
        ready!(self.side.alarm.poll(cx, soonest));
        // An application that does not read is no fault of the service.
        let stuck_client = download.pending.is_some();
        if stuck_client {
            download.to.send_reset(Reason::CANCEL);
            return Poll::Ready(Err(Cut::Client));
        }
        Poll::Ready(Err(Cut::Service(Fault::IdleTimeout, None)))
    }
}

// === impl Download ===

impl Download<'_> {
    fn ending(&self) -> Ending {
        ending_of(self.status, self.grpc, self.code, true)
    }
}

/// What an answer says of the service. Without a `grpc-status` at its end, a gRPC answer failed.
fn ending_of(status: u16, is_grpc: bool, code: Option<u32>, over: bool) -> Ending {
    if is_grpc && over && status == 200 {
        return Ending::Grpc(code.unwrap_or(grpc::UNKNOWN));
    }
    Ending::Status(status)
}

fn outcome_of(status: u16, ending: Ending) -> Outcome {
    if let Ending::Grpc(code) = ending {
        return if grpc::is_failure(code) { Outcome::GrpcFailure } else { Outcome::Success };
    }
    if status >= 500 { Outcome::ServiceFailure } else { Outcome::Success }
}

/// A reset of the service's goes on with its own code; without one its connection was lost.
fn cut_by(error: &h2::Error) -> Cut {
    let reason = error.reason().filter(|_| error.is_reset() && error.is_remote());
    Cut::Service(if error.is_library() { Fault::ProtocolError } else { Fault::ResetMidResponse }, reason)
}

/// The service's own sidecar spoke: its word is passed on under another name than ours.
fn rename_reason(head: &mut Response<()>) {
    if let Some(reason) = head.headers_mut().remove("outrigger-reason") {
        head.headers_mut().insert("outrigger-upstream-reason", reason);
    }
}
