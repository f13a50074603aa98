//! The road of one call, readable from top to bottom.
//!
//! In: a planned request and the application's side of it. Out: exactly one reply and exactly one
//! record. The loop here asks the policies and obeys; what an attempt does is in `attempt`, and
//! what HTTP/1 and HTTP/2 do differently is behind `side`.

mod attempt;
mod bridge;
mod dial;
mod fault;
mod hold;
mod http1;
mod http2;
mod retry;
mod side;
mod told;

use std::borrow::Cow;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Fault;
use crate::head::RequestHead;
use crate::mesh::{Local, Plan};
use crate::telemetry::{CallRecord, Line, Outcome};

pub use http1::{
    Begin, Client, OPENING_WAIT_MAX, Request, Tunnelled, Upload, refuse, refuse_raw, run, tunnel,
};
pub use http2::{Http2Request, Ran, refuse_http2, run_http2};

use attempt::Failed;
use retry::Next;
use side::{Reply, Side};

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

/// What a call has come to: for its record, for its connection, and when.
type Ended = (Outcome, Flow, Instant);

/// One call, while it runs.
struct Call<'a, S> {
    local: &'a Local,
    plan: &'a Plan,
    head: RequestHead,
    side: S,
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
    /// Why the reply is one of ours.
    failed: Option<Failed>,
}

impl<'a, S: Side> Call<'a, S> {
    /// A call that has made no attempt yet and has no deadline.
    fn new(local: &'a Local, plan: &'a Plan, head: RequestHead, started: Instant, side: S) -> Self {
        Self {
            local,
            plan,
            head,
            side,
            record: CallRecord::start(&plan.route().stats, local.access_log.as_ref(), started),
            deadline: None,
            last_status: 0,
            avoid: None,
            redialled: false,
            dial_anew: false,
            retries: 0,
            failed: None,
        }
    }

    /// The call counts from here on: towards the budget for retries, and against its deadline.
    fn begin(&mut self) {
        self.deadline = self.plan.policy().timeout.map(|timeout| self.record.started() + timeout);
        if let Some(budget) = &self.plan.service.state.budget {
            budget.deposit(self.local.worker, self.record.started());
        }
    }

    /// Ends the call's record.
    fn record(mut self, outcome: Outcome, ended: Instant) {
        self.tell(outcome, ended);
        let logged = self.local.access_log.is_some();
        let line = Line {
            service: &self.plan.service.state.name,
            route: &self.plan.route().name,
            request: &if logged { self.side.request_line() } else { Cow::Borrowed(&b""[..]) },
            trace: self.head.trace,
        };
        self.record.finish(outcome, ended, &line);
    }

    /// Attempt, decide, back off; the only way out is a reply or a client that left.
    async fn attempts(&mut self) -> Ended {
        loop {
            let next = match self.attempt().await {
                Ok(mut answer) => match self.after_answer(&mut answer) {
                    Next::GiveUp => return S::reply(self, answer).await,
                    Next::Again { after } => {
                        self.last_status = answer.reply.status();
                        // Its body is not worth reading: what carries it goes too.
                        self.avoid = Some(answer.reply.address());
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
            self.side.rewind();
        }
    }

    /// The wait for another attempt was in vain.
    async fn gave_up(&mut self, fault: Fault) -> Ended {
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
        Box::pin(self.watching(self.deadline, tokio::time::sleep_until(until))).await
    }

    /// The application went away: no reply, and no vote about the service.
    fn cancelled(&mut self) -> Ended {
        self.record.status = Fault::ClientCancelled.status();
        (Outcome::Fault(Fault::ClientCancelled), Flow::Close, Instant::now())
    }

    /// Our own reply, with the reason.
    async fn fault(&mut self, failed: Failed) -> Ended {
        let now = Instant::now();
        self.record.status = failed.fault.status();
        self.failed = Some(failed);
        let flow = Box::pin(S::refuse(self, &failed)).await;
        (Outcome::Fault(failed.fault), flow, now)
    }
}
