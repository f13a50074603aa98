//! What a call tells of itself: notes while it runs, and its story when it has ended.
//!
//! In: what the stages of an attempt come to know. Out: a story, if anybody is told. The notes are
//! a few words each in memory that is used again; the texts are made for those calls alone that are
//! kept or exported.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::config::Balance;
use crate::error::{Fault, Sent};
use crate::mesh::ServiceState;
use crate::policy::{State, Verdict};
use crate::telemetry::story::{BreakerSeen, Judged, Pick, Rules, Story, clipped};
use crate::telemetry::{Fate, Outcome, RetryDecision, Traits};

use super::Call;
use super::attempt::{Answer, Failed};
use super::fault::message;
use super::side::{Reply, Side};

/// The verdict as it is told.
pub(super) fn judged(verdict: Verdict) -> Judged {
    match verdict {
        Verdict::Success => Judged::Success,
        Verdict::Failure => Judged::Failure,
        Verdict::Neutral => Judged::Neutral,
    }
}

/// The value of a field of a head of HTTP/1, if there is one that is text.
pub(super) fn head_field(head: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(head).ok()?;
    let mut fields = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| field.eq_ignore_ascii_case(name))?;
    Some(value.trim().to_owned())
}

fn seen(state: &ServiceState) -> Option<BreakerSeen> {
    let (state, generation, forced) = state.breaker.as_ref()?.seen();
    Some(BreakerSeen { state: state.name(), generation, forced: forced.is_some(), refused: false })
}

impl<S> Call<'_, S> {
    /// An attempt begins.
    pub(super) fn note_start(&mut self, now: Instant) {
        let breaker = seen(self.plan.state());
        self.record.trail.begin(now);
        self.record.trail.note(|attempt| attempt.breaker = breaker);
    }

    /// Where the attempt goes; of so many endpoints.
    pub(super) fn note_endpoint(&mut self, address: SocketAddr, of: usize) {
        let pick = match self.plan.policy().balance {
            _ if of == 1 => Pick::Only,
            _ if self.avoid.is_some_and(|failed| failed != address) => Pick::Elsewhere,
            Balance::LeastRequest => Pick::LeastRequest,
            Balance::RoundRobin => Pick::RoundRobin,
        };
        self.record.trail.note(|attempt| {
            attempt.endpoint = Some(address);
            attempt.pick = pick;
        });
    }

    /// A span for the attempt, which the service is told.
    pub(super) fn new_span(&mut self) -> u64 {
        let span_id = self.local.random_id();
        self.record.trail.note(|attempt| attempt.span_id = span_id);
        span_id
    }

    /// The retry policy is asked, with so much time left.
    pub(super) fn note_asked(&mut self, time_left: Option<Duration>, now: Instant) {
        let budget = self.plan.state().budget.as_ref().map(|budget| budget.tokens(now));
        self.record.trail.note(|attempt| {
            attempt.deadline_left = time_left;
            attempt.budget_left = budget;
        });
    }

    /// The attempt has no answer.
    pub(super) fn note_failure(&mut self, failed: &Failed) {
        let ended = self.record.trail.since(Instant::now());
        self.record.trail.note(|attempt| {
            attempt.ended = ended;
            attempt.fault = Some(failed.fault);
            attempt.sent = failed.sent;
        });
        if failed.fault == Fault::BreakerOpen {
            self.note_refusal();
        }
    }

    /// The breaker refuses the attempt, or would: as it stands now, for it may have opened while the
    /// attempt waited for its place.
    pub(super) fn note_refusal(&mut self) {
        let breaker = seen(self.plan.state()).map(|seen| BreakerSeen { refused: true, ..seen });
        self.record.trail.note(|attempt| attempt.breaker = breaker);
    }

    /// A tunnel has carried bytes and ended so.
    pub(super) fn note_carried(&mut self, outcome: Outcome) {
        let ended = self.record.trail.since(Instant::now());
        let sent = if self.record.request_bytes > 0 { Sent::Yes } else { Sent::No };
        self.record.trail.note(|attempt| {
            attempt.ended = ended;
            attempt.fault = outcome.fault();
            attempt.sent = sent;
        });
    }

    /// Whether a call that has come to this is told of, and to whom.
    fn fate(&mut self, outcome: Outcome, ended: Instant) -> Fate {
        let closed = State::Closed.name();
        let mut traits = Traits {
            outcome,
            sampled: self.head.trace.is_sampled(),
            retried: false,
            breaker: false,
            slow: false,
        };
        for attempt in self.record.trail.attempts() {
            traits.retried |= attempt.decision == Some(RetryDecision::Retried);
            traits.slow |= attempt.slow;
            traits.breaker |= attempt.breaker.is_some_and(|seen| seen.refused || seen.state != closed);
        }
        self.local.stories.fate(&traits, ended)
    }
}

impl<S: Side> Call<'_, S> {
    /// The attempt has come to an answer, or to none.
    pub(super) fn note_end(&mut self, tried: &Result<Answer<'_, S::Reply>, Failed>) {
        let answer = match tried {
            Ok(answer) => answer,
            Err(failed) => return self.note_failure(failed),
        };
        let ended = self.record.trail.since(answer.at);
        let (status, slow) = (answer.reply.status(), answer.slow);
        self.record.trail.note(|attempt| {
            attempt.ended = ended;
            attempt.status = status;
            attempt.sent = Sent::Yes;
            attempt.slow = slow;
        });
    }

    /// Tells the story of a call that has ended, if anybody is told.
    pub(super) fn tell(&mut self, outcome: Outcome, ended: Instant) {
        let fate = self.fate(outcome, ended);
        if fate.is_told() {
            let story = self.story(outcome, ended);
            if fate.export.is_some() {
                let stats = &self.plan.route().stats;
                stats.exemplify(story.duration, story.trace.trace_id, story.started + story.duration);
            }
            self.local.stories.tell(story, fate, &self.local.stats);
        }
    }

    fn story(&mut self, outcome: Outcome, ended: Instant) -> Story {
        let (asked, plan) = (self.side.asked(), self.plan);
        let duration = self.record.trail.since(ended);
        let elapsed = self.record.trail.since(Instant::now());
        let message = outcome.fault().map(|fault| {
            let failed = self.failed.filter(|failed| failed.fault == fault);
            message(self, &failed.unwrap_or(Failed::local(fault)))
        });
        let rules = Rules {
            policy: Arc::clone(&plan.route().policy),
            files: Arc::clone(&plan.service.files),
            service: plan.service.origin,
            route: plan.route().origin,
            host_mismatch: plan.service.host_mismatch,
        };
        let callers_deadline = self.is_callers_deadline();
        let mut attempts = self.record.trail.take();
        for attempt in attempts.iter_mut().filter(|attempt| attempt.span_id == 0 && attempt.is_span()) {
            // It told nobody an id, but whoever reads of it twice must see the same one.
            attempt.span_id = self.local.random_id();
        }
        let record = &mut self.record;
        Story {
            trace: self.head.trace,
            span_id: self.local.random_id(),
            export: None,
            request_id: asked.request_id.map(clipped),
            started: SystemTime::now().checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH),
            duration,
            service: Arc::clone(&plan.service.state.name),
            route: Arc::clone(&plan.route().name),
            rules: Some(rules),
            protocol: asked.protocol,
            method: clipped(asked.method),
            path: clipped(asked.path),
            host: clipped(asked.host),
            outcome,
            status: record.status,
            grpc_status: record.trail.grpc_status(),
            message: message.map(Box::from),
            queued: record.queued,
            request_bytes: record.request_bytes,
            reply_bytes: record.reply_bytes,
            first_byte: record.first_byte,
            deadline: self.deadline.map(|deadline| record.trail.since(deadline)),
            callers_deadline,
            attempts,
        }
    }
}
