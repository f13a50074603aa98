//! The road of one call, readable from top to bottom.
//!
//! In: a planned request and the application's connection. Out: exactly one reply and exactly one
//! record. The loop here asks the policies and obeys; what an attempt does is in `attempt`.

mod attempt;
mod client;
mod dial;
mod download;
mod exchange;
mod hold;
mod reply;
mod retry;
mod tunnel;
mod upload;

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Fault;
use crate::head::{Method, RequestHead, Version};
use crate::mesh::{Local, Plan};
use crate::telemetry::{CallRecord, Line, Outcome};

pub use client::Client;
pub use reply::{refuse, refuse_raw};
pub use tunnel::{Opening, tunnel};
pub use upload::Upload;

use attempt::{Answer, Failed};
use retry::Next;

/// What becomes of the application's connection after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next request may come.
    Again,
    /// It ends, at once.
    Close,
    /// It ends, but the application may still be sending: the reply must reach it first.
    Linger,
}

/// A request on its way.
#[derive(Debug)]
pub struct Request {
    /// What decides over it.
    pub plan: Plan,
    /// What is known of it.
    pub head: RequestHead,
    /// Its head as it is sent on, and its body as it arrives.
    pub upload: Upload,
    /// When its head was whole.
    pub started: Instant,
}

/// One call, while it runs.
struct Call<'a> {
    local: &'a Local,
    plan: &'a Plan,
    head: RequestHead,
    upload: &'a mut Upload,
    client: &'a mut Client,
    record: CallRecord<'a>,
    /// No reply may be awaited after this; `None` without `timeout`, or while a long body arrives.
    deadline: Option<Instant>,
    /// Status of the last answer that was given up for a retry, 0 without one.
    last_status: u16,
    /// Where the last attempt failed: the next one goes elsewhere if it can.
    avoid: Option<std::net::SocketAddr>,
    /// A dead pooled connection was replaced already: the next one is a retry like any other.
    redialled: bool,
    /// The next attempt must not use a pooled connection.
    dial_anew: bool,
    retries: u32,
}

/// Runs one call to its end: exactly one reply, exactly one record.
pub async fn run(local: &Local, client: &mut Client, mut request: Request) -> Flow {
    let mut call = Call::new(local, client, &mut request);
    call.deadline = call.plan.policy().timeout.map(|timeout| call.record.started() + timeout);
    if let Some(budget) = &call.plan.service.state.budget {
        budget.deposit(local.worker, call.record.started());
    }
    let (outcome, flow, ended) = if call.head.upgrade { call.upgrade().await } else { call.attempts().await };
    call.record(outcome, ended);
    flow
}

impl<'a> Call<'a> {
    /// A call that has made no attempt yet and has no deadline.
    fn new(local: &'a Local, client: &'a mut Client, request: &'a mut Request) -> Self {
        let Request { plan, head, upload, started } = request;
        Self {
            local,
            plan,
            head: *head,
            upload,
            client,
            record: CallRecord::start(&plan.route().stats, local.access_log.as_ref(), *started),
            deadline: None,
            last_status: 0,
            avoid: None,
            redialled: false,
            dial_anew: false,
            retries: 0,
        }
    }

    /// Ends the call's record.
    fn record(self, outcome: Outcome, ended: Instant) {
        let line = Line {
            service: &self.plan.service.state.name,
            route: &self.plan.route().name,
            request: self.upload.request_line(),
            trace: self.head.trace,
        };
        self.record.finish(outcome, ended, &line);
    }
}

impl Call<'_> {
    /// Attempt, decide, back off; the only way out is a reply or a client that left.
    async fn attempts(&mut self) -> (Outcome, Flow, Instant) {
        loop {
            let next = match self.attempt().await {
                Ok(mut answer) => match self.after_answer(&mut answer) {
                    Next::GiveUp => return self.reply(answer).await,
                    Next::Again { after } => {
                        self.last_status = answer.head.status;
                        self.discard(answer);
                        after
                    }
                },
                Err(failed) if failed.fault == Fault::ClientCancelled => return self.cancelled(),
                Err(failed) => match self.after_failure(&failed) {
                    Next::GiveUp => return self.fault(failed).await,
                    Next::Again { after } => after,
                },
            };
            if let Err(fault) = self.back_off(next).await {
                return self.gave_up(fault).await;
            }
            self.upload.rewind();
        }
    }

    /// The wait for another attempt was in vain.
    async fn gave_up(&mut self, fault: Fault) -> (Outcome, Flow, Instant) {
        if fault == Fault::ClientCancelled {
            return self.cancelled();
        }
        self.fault(Failed::local(fault)).await
    }

    /// Waits before the next attempt, holding nothing.
    async fn back_off(&mut self, wait: Duration) -> Result<(), Fault> {
        if wait.is_zero() {
            return Ok(());
        }
        let until = Instant::now() + wait;
        self.client
            .watching(self.head.half_close_ends(), self.deadline, tokio::time::sleep_until(until))
            .await
    }

    /// The application went away: no reply, and no vote about the service.
    fn cancelled(&mut self) -> (Outcome, Flow, Instant) {
        self.record.status = Fault::ClientCancelled.status();
        (Outcome::Fault(Fault::ClientCancelled), Flow::Close, Instant::now())
    }

    /// Our own reply, with the reason.
    async fn fault(&mut self, failed: Failed) -> (Outcome, Flow, Instant) {
        let now = Instant::now();
        let (status, _) = failed.fault.reply();
        self.record.status = status;
        // After CONNECT come bytes of a tunnel, which must not be read as requests; an HTTP/1.0 client
        // may take the end of the connection for the reply's.
        let may_go_on = self.head.method != Method::Connect && self.head.version == Version::Http11;
        let keep_alive = self.head.keep_alive && may_go_on && self.upload.is_read() && !self.client.closing();
        reply::write_fault(self, &failed, keep_alive);
        let flow = match self.client.flush_within(self.plan.policy().idle_timeout).await {
            Ok(()) if keep_alive => Flow::Again,
            Ok(()) => Flow::Linger,
            Err(_) => Flow::Close,
        };
        (Outcome::Fault(failed.fault), flow, now)
    }

    /// Gives up an answer that a retry replaces. Its body is not worth reading: the connection goes.
    fn discard(&mut self, answer: Answer<'_>) {
        self.avoid = Some(answer.connection.address);
        drop(answer);
    }
}

impl RequestHead {
    /// Whether the end of the client's side ends the call: an HTTP/1.1 client that waits for a
    /// reply keeps its side open.
    fn half_close_ends(&self) -> bool {
        self.keep_alive && self.version == Version::Http11 && self.method != Method::Connect
    }
}
