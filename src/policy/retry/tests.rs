//! The retry table of the reference, row by row, and the order of the questions.

use super::*;
use crate::config::{Backoff, Jitter, Mode, RetryBudget, RetryOn};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn settings() -> Retries {
    Retries {
        mode: Mode::Enforce,
        max_retries: 2,
        per_try_timeout: None,
        retry_on: RetryOn { gateway_error: true, reset: true, per_try_timeout: true },
        backoff: Backoff { base: millis(100), factor: 2.0, max: millis(800), jitter: Jitter::None },
        budget: RetryBudget { ratio: 0.2, min_per_second: 1.0, window: Duration::from_secs(10) },
        max_body_bytes: 65536,
    }
}

fn question(failure: Failure) -> Question {
    Question {
        failure,
        idempotent: true,
        retries_made: 0,
        body_replayable: true,
        breaker_admits: true,
        retry_after: None,
        time_left: Some(Duration::from_secs(10)),
        overload_signal: false,
        pushback: None,
        random: 0.5,
    }
}

fn ask(question: &Question) -> Decision {
    decide(&settings(), question, || true)
}

fn skip_of(question: &Question) -> Option<Skip> {
    match decide(&settings(), question, || panic!("the budget is asked last")) {
        Decision::No(skip) => Some(skip),
        Decision::Retry { .. } => None,
    }
}

#[test]
fn an_idempotent_call_is_retried_after_the_back_off() {
    for failure in [Failure::NoResponse, Failure::GatewayError, Failure::PerTryTimeout, Failure::NeverSent] {
        assert_eq!(ask(&question(failure)), Decision::Retry { after: millis(100) }, "{failure:?}");
    }
    let second = Question { retries_made: 1, ..question(Failure::NoResponse) };
    assert_eq!(ask(&second), Decision::Retry { after: millis(200) });
}

#[test]
fn a_call_that_is_not_idempotent_is_retried_only_if_never_sent() {
    for failure in [Failure::NoResponse, Failure::GatewayError, Failure::PerTryTimeout] {
        let question = Question { idempotent: false, ..question(failure) };
        assert_eq!(skip_of(&question), Some(Skip::NotIdempotent), "{failure:?}");
    }
    let unsent = Question { idempotent: false, body_replayable: false, ..question(Failure::NeverSent) };
    assert_eq!(ask(&unsent), Decision::Retry { after: millis(100) });
}

#[test]
fn a_500_is_never_retried() {
    assert_eq!(skip_of(&question(Failure::Other)), Some(Skip::Status));
}

#[test]
fn retry_on_narrows_but_never_for_what_was_never_sent() {
    let none = RetryOn { gateway_error: false, reset: false, per_try_timeout: false };
    let settings = Retries { retry_on: none, ..settings() };
    for failure in [Failure::NoResponse, Failure::GatewayError, Failure::PerTryTimeout] {
        assert_eq!(decide(&settings, &question(failure), || true), Decision::No(Skip::Status));
    }
    let decision = decide(&settings, &question(Failure::NeverSent), || true);
    assert_eq!(decision, Decision::Retry { after: millis(100) });
}

#[test]
fn retries_end_at_the_maximum() {
    let question = Question { retries_made: 2, ..question(Failure::NeverSent) };
    assert_eq!(skip_of(&question), Some(Skip::Exhausted));
}

#[test]
fn a_body_that_is_gone_cannot_be_sent_again() {
    let question = Question { body_replayable: false, ..question(Failure::GatewayError) };
    assert_eq!(skip_of(&question), Some(Skip::Body));
}

#[test]
fn an_open_breaker_stops_retries_of_every_kind() {
    for failure in [Failure::NeverSent, Failure::GatewayError] {
        let question = Question { breaker_admits: false, ..question(failure) };
        assert_eq!(skip_of(&question), Some(Skip::Breaker));
    }
}

#[test]
fn retry_after_lengthens_the_wait() {
    let longer = Question { retry_after: Some(millis(1_500)), ..question(Failure::GatewayError) };
    assert_eq!(ask(&longer), Decision::Retry { after: millis(1_500) });
    let shorter = Question { retry_after: Some(Duration::ZERO), ..longer };
    assert_eq!(ask(&shorter), Decision::Retry { after: millis(100) });
}

#[test]
fn a_retry_after_past_five_seconds_or_the_deadline_is_passed_on() {
    let asked =
        |secs| Question { retry_after: Some(Duration::from_secs(secs)), ..question(Failure::GatewayError) };
    assert_eq!(ask(&asked(5)), Decision::Retry { after: Duration::from_secs(5) });
    assert_eq!(skip_of(&asked(6)), Some(Skip::RetryAfter));
    let short = Question { time_left: Some(Duration::from_secs(2)), ..asked(2) };
    assert_eq!(skip_of(&short), Some(Skip::RetryAfter));
    let endless = Question { time_left: None, ..asked(6) };
    assert_eq!(skip_of(&endless), Some(Skip::RetryAfter));
}

#[test]
fn the_deadline_must_leave_time_for_the_back_off() {
    let question = |left| Question { time_left: Some(left), ..question(Failure::NoResponse) };
    assert_eq!(skip_of(&question(millis(100))), Some(Skip::Deadline));
    assert_eq!(ask(&question(millis(101))), Decision::Retry { after: millis(100) });
    let endless = Question { time_left: None, ..question(millis(0)) };
    assert_eq!(ask(&endless), Decision::Retry { after: millis(100) });
}

#[test]
fn an_overloaded_service_is_left_alone() {
    let question = Question { overload_signal: true, ..question(Failure::GatewayError) };
    assert_eq!(skip_of(&question), Some(Skip::Pushback));
}

#[test]
fn the_budget_has_the_last_word() {
    assert_eq!(decide(&settings(), &question(Failure::NoResponse), || false), Decision::No(Skip::Budget));
}

#[test]
fn of_many_reasons_the_first_in_order_is_told() {
    let mut question = Question {
        idempotent: false,
        retries_made: 2,
        body_replayable: false,
        breaker_admits: false,
        retry_after: Some(Duration::from_secs(9)),
        time_left: Some(Duration::ZERO),
        overload_signal: true,
        ..question(Failure::Other)
    };
    assert_eq!(skip_of(&question), Some(Skip::Status));
    question.failure = Failure::GatewayError;
    assert_eq!(skip_of(&question), Some(Skip::Pushback));
    question.overload_signal = false;
    assert_eq!(skip_of(&question), Some(Skip::NotIdempotent));
    question.idempotent = true;
    assert_eq!(skip_of(&question), Some(Skip::Exhausted));
    question.retries_made = 1;
    assert_eq!(skip_of(&question), Some(Skip::Body));
    question.body_replayable = true;
    assert_eq!(skip_of(&question), Some(Skip::Breaker));
    question.breaker_admits = true;
    assert_eq!(skip_of(&question), Some(Skip::RetryAfter));
    question.retry_after = None;
    assert_eq!(skip_of(&question), Some(Skip::Deadline));
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let names: std::collections::HashSet<_> = Skip::ALL.map(Skip::name).into_iter().collect();
    assert_eq!(names.len(), Skip::ALL.len());
    assert!(names.iter().all(|name| name.starts_with("skipped_")));
}
