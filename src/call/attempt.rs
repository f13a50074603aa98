//! One attempt: breaker, bulkhead, endpoint, connection, send, answer.
//!
//! In: a call. Out: the head of an answer with everything the attempt still holds, or the fault
//! that ended it with how much the service may have seen.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Bulkhead as BulkheadSettings, Mode};
use crate::error::{Fault, Sent};
use crate::mesh::{LocalService, ServiceState};
use crate::policy::{Ending, Entry, Refused, Verdict, verdict};
use crate::telemetry::add_one;
use crate::upstream::{Endpoint, TlsFault};

use super::Call;
use super::hold::{Hold, Place, Slot, Ticket, announce};
use super::side::{Reply, Side};
use super::told::judged;

/// The head of an answer, and what is held until its body ends.
pub(super) struct Answer<'a, R> {
    pub(super) reply: R,
    pub(super) hold: Hold<'a>,
    /// When its head was read.
    pub(super) at: Instant,
    /// The head took longer than `slowCallDuration`.
    pub(super) slow: bool,
}

/// Why an attempt has no answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed {
    pub(super) fault: Fault,
    /// How much the service may have seen.
    pub(super) sent: Sent,
    /// The connection had waited in the pool and ended before a byte of response.
    pub(super) stale: bool,
    /// For a reply of ours: when asking again makes sense.
    pub(super) retry_after: Option<Duration>,
    /// One clause with the numbers, for the reply.
    pub(super) detail: Detail,
}

/// What to say besides the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// The reason says it all.
    None,
    /// What was wrong with bytes that came in.
    Text(&'static str),
    /// The address that could not be reached.
    Address(std::net::SocketAddr),
    /// The address with which no TLS came about, and why.
    Tls(std::net::SocketAddr, TlsFault),
}

// === impl Failed ===

impl Failed {
    /// A refusal of ours, or the application's doing: the service saw nothing.
    pub(super) fn local(fault: Fault) -> Self {
        Self { fault, sent: Sent::No, stale: false, retry_after: None, detail: Detail::None }
    }

    fn refused(refused: Refused) -> Self {
        Self { retry_after: Some(refused.retry_after), ..Self::local(Fault::BreakerOpen) }
    }
}

// === impl Call ===

impl<'p, S: Side> Call<'p, S> {
    /// One attempt, from the breaker's check to the head of the answer.
    pub(super) async fn attempt(&mut self) -> Result<Answer<'p, S::Reply>, Failed> {
        let started = if self.record.attempts == 0 { self.record.started() } else { Instant::now() };
        self.note_start(started);
        let tried = self.admitted(started).await;
        self.note_end(&tried);
        tried
    }

    /// The attempt, once it has begun.
    async fn admitted(&mut self, started: Instant) -> Result<Answer<'p, S::Reply>, Failed> {
        let plan = self.plan;
        let state = plan.state();
        self.check_breaker(state, started)?;
        let place = self.enter_bulkhead(started).await?;
        let now = if self.record.queued.is_zero() { started } else { Instant::now() };
        let ticket = self.permit(state, now)?;
        let mut hold = Hold { ticket, in_flight: None, place };
        let give_up = self.per_try_end(now);
        let result = self.send(&mut hold, now, give_up).await;
        self.record.attempts += 1;
        add_one(&plan.service.stats.attempts);
        match result {
            Ok((reply, at)) => {
                let took = at.saturating_duration_since(now);
                plan.service.stats.attempt_duration.record(took);
                self.record.first_byte = Some(at.saturating_duration_since(self.record.started()));
                let slow = slow_after(state, plan.policy()).is_some_and(|limit| took > limit);
                Ok(Answer { reply, hold, at, slow })
            }
            Err(failed) => {
                self.judge_failure(&mut hold, &failed, now);
                Err(failed)
            }
        }
    }

    /// For a tunnel: the breaker's permit, and no place in the bulkhead.
    pub(super) fn permit_only(&mut self, now: Instant) -> Result<Hold<'p>, Failed> {
        let plan = self.plan;
        let state = plan.state();
        self.check_breaker(state, now)?;
        Ok(Hold { ticket: self.permit(state, now)?, in_flight: None, place: None })
    }

    /// A place among the service's long-lived connections.
    pub(super) fn slot(&self) -> Result<Option<Slot<'p>>, Failed> {
        let plan = self.plan;
        let (Some(slots), Some(settings)) = (&plan.service.state.connections, &plan.policy().bulkhead) else {
            return Ok(None);
        };
        if !slots.try_take() {
            if settings.mode == Mode::Enforce {
                add_one(&plan.service.stats.bulkhead_refused);
                return Err(Failed::local(Fault::BulkheadFull));
            }
            add_one(&plan.service.stats.observed);
            slots.take_over();
        }
        Ok(Some(Slot(slots)))
    }

    /// The breaker's word before any wait.
    fn check_breaker(&self, state: &ServiceState, now: Instant) -> Result<(), Failed> {
        let Some(breaker) = &state.breaker else { return Ok(()) };
        breaker.check(now).map_err(|refused| {
            if let Some(transition) = &refused.transition {
                announce(state, transition);
            }
            Failed::refused(refused)
        })
    }

    /// The breaker's permit for this attempt.
    fn permit(&mut self, state: &'p ServiceState, now: Instant) -> Result<Ticket<'p>, Failed> {
        let Some(breaker) = &state.breaker else { return Ok(Ticket::new(state, None)) };
        match breaker.permit(now) {
            Ok(permit) => {
                if permit.would_refuse {
                    add_one(&self.plan.service.stats.observed);
                    self.note_refusal();
                }
                Ok(Ticket::new(state, Some(permit)))
            }
            Err(refused) => {
                if let Some(transition) = &refused.transition {
                    announce(state, transition);
                }
                Err(Failed::refused(refused))
            }
        }
    }

    /// A place in the bulkhead, after a wait if need be.
    async fn enter_bulkhead(&mut self, now: Instant) -> Result<Option<Place<'p>>, Failed> {
        let plan = self.plan;
        let service: &'p LocalService = &plan.service;
        let (Some(bulkhead), Some(settings)) = (&service.state.bulkhead, &plan.policy().bulkhead) else {
            return Ok(None);
        };
        let refuse = |fault| {
            add_one(&service.stats.bulkhead_refused);
            Failed::local(fault)
        };
        match bulkhead.try_enter() {
            Entry::Admitted => Ok(Some(Place(bulkhead))),
            Entry::MustWait | Entry::Full if settings.mode == Mode::Observe => {
                add_one(&service.stats.observed);
                bulkhead.enter_over();
                Ok(Some(Place(bulkhead)))
            }
            Entry::Full => Err(refuse(Fault::BulkheadFull)),
            Entry::MustWait => match Box::pin(self.wait_for_place(settings, now)).await {
                Ok(place) => Ok(Some(place)),
                Err(fault @ (Fault::BulkheadFull | Fault::BulkheadTimeout)) => Err(refuse(fault)),
                Err(Fault::BreakerOpen) => {
                    // It knows when to come back.
                    self.check_breaker(&service.state, Instant::now())?;
                    Err(Failed::local(Fault::BreakerOpen))
                }
                Err(fault) => Err(Failed::local(fault)),
            },
        }
    }

    async fn wait_for_place(
        &mut self,
        settings: &BulkheadSettings,
        now: Instant,
    ) -> Result<Place<'p>, Fault> {
        let plan = self.plan;
        let state = plan.state();
        let Some(bulkhead) = &state.bulkhead else { return Err(Fault::BulkheadFull) };
        let mut waiting = bulkhead.wait().map_err(|_| Fault::BulkheadFull)?;
        let queue_end = now + settings.max_wait;
        let until = self.deadline.map_or(queue_end, |deadline| deadline.min(queue_end));
        let waited = self.watching(Some(until), std::future::poll_fn(|cx| waiting.poll(cx))).await;
        let ended = Instant::now();
        let queued = ended.saturating_duration_since(now).max(Duration::from_nanos(1));
        self.record.queued += queued;
        self.record.trail.note(|attempt| attempt.queued = queued);
        match waited {
            Ok(Ok(())) => Ok(Place(bulkhead)),
            // The breaker opened meanwhile; forced or not, it is the breaker that refuses.
            Ok(Err(_)) => Err(Fault::BreakerOpen),
            Err(Fault::DeadlineExceeded) if until == queue_end => Err(Fault::BulkheadTimeout),
            Err(fault) => Err(fault),
        }
    }

    /// When this attempt must have its answer, whatever the call's deadline says.
    pub(super) fn per_try_end(&self, now: Instant) -> Option<Instant> {
        let retries = self.plan.policy().retries.as_ref()?;
        retries.per_try_timeout.map(|limit| now + limit)
    }

    /// Endpoint, connection, request, head of the answer.
    async fn send(
        &mut self,
        hold: &mut Hold<'p>,
        now: Instant,
        give_up: Option<Instant>,
    ) -> Result<(S::Reply, Instant), Failed> {
        let connection = self.connect(hold, now, give_up).await?;
        match S::exchange(self, connection, give_up).await {
            Ok(reply) => Ok((reply, Instant::now())),
            Err(failed) => {
                if let Some(in_flight) = &hold.in_flight {
                    let endpoint = in_flight.endpoint();
                    let hung_up = matches!(failed.fault, Fault::ResetBeforeResponse | Fault::TlsFailed);
                    if hung_up && !failed.stale {
                        endpoint.penalty.failed(Instant::now());
                    }
                    self.avoid = Some(endpoint.address);
                }
                Err(failed)
            }
        }
    }

    /// What a failed attempt says of the service.
    pub(super) fn judge_failure(&self, hold: &mut Hold<'p>, failed: &Failed, started: Instant) {
        let Some(settings) = &self.plan.policy().circuit_breaker else { return };
        // A pooled connection that the service closed while it idled says nothing about its health.
        let now = Instant::now();
        let neutral =
            failed.stale || failed.fault == Fault::RequestTimeout || self.is_one_endpoints_fault(failed, now);
        let ending = if failed.fault == Fault::ClientCancelled {
            Ending::ClientGone
        } else if failed.fault == Fault::DeadlineExceeded && self.is_callers_deadline() {
            Ending::CallersDeadline
        } else {
            Ending::Fault(failed.fault)
        };
        let verdict = if neutral { Verdict::Neutral } else { verdict(&settings.fail_on, ending) };
        self.record.trail.judge(judged(verdict));
        let slow = now.saturating_duration_since(started) > settings.trip.slow_call_duration;
        hold.ticket.judge(self.local, verdict, slow && verdict == Verdict::Failure, now);
    }

    /// What an ending says of the service.
    pub(super) fn judge(&self, hold: &mut Hold<'p>, ending: Ending, slow: bool, now: Instant) {
        if let Ending::Grpc(code) = ending {
            self.record.trail.answer_grpc(code);
        }
        if let Some(settings) = &self.plan.policy().circuit_breaker {
            let verdict = verdict(&settings.fail_on, ending);
            self.record.trail.judge(judged(verdict));
            hold.ticket.judge(self.local, verdict, slow, now);
        }
    }

    /// An answer is whole: verdict, bulkhead, endpoint. Then its last bytes may go.
    pub(super) fn settle(&self, hold: &mut Hold<'p>, ending: Ending, slow: bool, now: Instant) {
        self.judge(hold, ending, slow, now);
        hold.place = None;
        if let Some(in_flight) = hold.in_flight.take() {
            in_flight.endpoint().penalty.worked();
        }
    }

    /// A status that is a failure is one however the body fares; any other waits for the body's end.
    pub(super) fn judge_answer(&self, answer: &mut Answer<'p, S::Reply>) {
        let Some(settings) = &self.plan.policy().circuit_breaker else { return };
        let verdict = verdict(&settings.fail_on, answer.reply.ending());
        if verdict == Verdict::Failure {
            self.record.trail.judge(judged(verdict));
            answer.hold.ticket.judge(self.local, verdict, answer.slow, answer.at);
        }
    }

    /// Whether one endpoint failed to connect or hung up while the service has others left: that
    /// endpoint is chosen last from now on, and the service as a whole is not to blame.
    fn is_one_endpoints_fault(&self, failed: &Failed, now: Instant) -> bool {
        (failed.is_unreachable() || failed.fault == Fault::ResetBeforeResponse)
            && self.plan.service.state.endpoints.peek().is_some_and(|list| {
                let well = |endpoint: &&Arc<Endpoint>| {
                    Some(endpoint.address) != self.avoid && !endpoint.penalty.is_penalised(now)
                };
                list.endpoints.iter().find(well).is_some()
            })
    }
}

fn slow_after(state: &ServiceState, policy: &crate::config::Policy) -> Option<Duration> {
    state.breaker.as_ref()?;
    policy.circuit_breaker.as_ref().map(|settings| settings.trip.slow_call_duration)
}
