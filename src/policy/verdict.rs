//! What an attempt's ending says about the service.
//!
//! In: how an attempt ended, and which endings the user calls failures. Out: success, failure, or
//! no vote. Never looks at policies' own refusals as if the service had failed: a breaker that
//! counted them would keep itself open.

use crate::config::FailOn;
use crate::error::Fault;

/// What an attempt says about the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The service answered as it should; a 4xx is an answer.
    Success,
    /// The service failed.
    Failure,
    /// Nothing is learned about the service.
    Neutral,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With a whole response of this status.
    Status(u16),
    /// With a gRPC answer that carried this status code; 0 is OK.
    Grpc(u32),
    /// Without one, for this reason.
    Fault(Fault),
    /// The application went away first.
    ClientGone,
    /// The caller's own deadline, shorter than the service's `timeout`, ran out.
    CallersDeadline,
}

/// The classes of `failOn` that have no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Timeout,
    Transport,
    /// Ours or the application's: says nothing about the service.
    Local,
}

/// Judges an ending. A class of faults left out of `failOn` is neutral: there was no answer to call a success.
pub fn verdict(fail_on: &FailOn, ending: Ending) -> Verdict {
    match ending {
        Ending::Status(status) => of_status(fail_on, status),
        Ending::Grpc(code) => of_code(fail_on, code),
        Ending::Fault(fault) => match class(fault) {
            Class::Timeout if fail_on.timeout => Verdict::Failure,
            Class::Transport if fail_on.transport => Verdict::Failure,
            Class::Timeout | Class::Transport | Class::Local => Verdict::Neutral,
        },
        Ending::ClientGone | Ending::CallersDeadline => Verdict::Neutral,
    }
}

fn of_status(fail_on: &FailOn, status: u16) -> Verdict {
    let server_error = fail_on.server_error && (500..600).contains(&status);
    if server_error || fail_on.statuses.contains(&status) { Verdict::Failure } else { Verdict::Success }
}

/// A code that the gRPC specification does not know is UNKNOWN (code 2), as its clients read it.
fn of_code(fail_on: &FailOn, code: u32) -> Verdict {
    /// The highest code of the specification: UNAUTHENTICATED.
    const KNOWN_MAX: u32 = 16;
    /// UNKNOWN.
    const UNKNOWN: u32 = 2;
    let code = if code > KNOWN_MAX { UNKNOWN } else { code };
    if fail_on.grpc & (1 << code) != 0 { Verdict::Failure } else { Verdict::Success }
}

const fn class(fault: Fault) -> Class {
    match fault {
        Fault::PerTryTimeout | Fault::DeadlineExceeded | Fault::IdleTimeout => Class::Timeout,
        // A connect timeout is a way to the service that does not work, like a refused connection.
        Fault::ConnectFailed
        | Fault::ConnectTimeout
        | Fault::TlsFailed
        | Fault::DnsFailed
        | Fault::NoEndpoints
        | Fault::ResetBeforeResponse
        | Fault::ResetMidResponse
        | Fault::ProtocolError => Class::Transport,
        Fault::NoRoute
        | Fault::Denied
        | Fault::LoopDetected
        | Fault::BulkheadFull
        | Fault::BulkheadTimeout
        | Fault::BreakerOpen
        | Fault::Overloaded
        | Fault::RequestMalformed
        | Fault::RequestTimeout
        | Fault::HeaderTooLarge
        | Fault::ClientCancelled
        | Fault::ShuttingDown => Class::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Side;

    fn usual() -> FailOn {
        FailOn {
            server_error: true,
            timeout: true,
            transport: true,
            statuses: Vec::new(),
            grpc: 1 << 2 | 1 << 4 | 1 << 13 | 1 << 14 | 1 << 15,
        }
    }

    fn nothing() -> FailOn {
        FailOn { server_error: false, timeout: false, transport: false, statuses: Vec::new(), grpc: 0 }
    }

    #[test]
    fn any_5xx_is_a_failure_and_a_4xx_is_an_answer() {
        for status in [200, 204, 302, 400, 404, 429, 499] {
            assert_eq!(verdict(&usual(), Ending::Status(status)), Verdict::Success, "{status}");
        }
        for status in [500, 501, 503, 599] {
            assert_eq!(verdict(&usual(), Ending::Status(status)), Verdict::Failure, "{status}");
        }
    }

    #[test]
    fn a_listed_status_is_a_failure() {
        let fail_on = FailOn { statuses: vec![429], ..nothing() };
        assert_eq!(verdict(&fail_on, Ending::Status(429)), Verdict::Failure);
        assert_eq!(verdict(&fail_on, Ending::Status(500)), Verdict::Success);
    }

    #[test]
    fn a_grpc_answer_is_judged_by_its_code_alone() {
        for code in [2, 4, 13, 14, 15] {
            assert_eq!(verdict(&usual(), Ending::Grpc(code)), Verdict::Failure, "{code}");
            assert_eq!(verdict(&nothing(), Ending::Grpc(code)), Verdict::Success, "{code}");
        }
        for code in [0, 1, 3, 5, 6, 7, 8, 9, 10, 11, 12, 16] {
            assert_eq!(verdict(&usual(), Ending::Grpc(code)), Verdict::Success, "{code}");
        }
        let exhausted = FailOn { grpc: 1 << 8, ..nothing() };
        assert_eq!(verdict(&exhausted, Ending::Grpc(8)), Verdict::Failure);
        assert_eq!(verdict(&exhausted, Ending::Grpc(14)), Verdict::Success);
    }

    #[test]
    fn a_grpc_code_that_nobody_knows_is_unknown() {
        for code in [17, 31, 32, 64, u32::MAX] {
            assert_eq!(verdict(&usual(), Ending::Grpc(code)), Verdict::Failure, "{code}");
            assert_eq!(verdict(&nothing(), Ending::Grpc(code)), Verdict::Success, "{code}");
        }
    }

    #[test]
    fn faults_of_the_service_are_failures_and_local_ones_never() {
        for fault in Fault::ALL {
            let expected = match fault.side() {
                Side::Upstream => Verdict::Failure,
                Side::Local => Verdict::Neutral,
            };
            assert_eq!(verdict(&usual(), Ending::Fault(fault)), expected, "{}", fault.reason());
        }
    }

    #[test]
    fn a_class_left_out_has_no_vote() {
        let no_timeouts = FailOn { timeout: false, ..usual() };
        assert_eq!(verdict(&no_timeouts, Ending::Fault(Fault::PerTryTimeout)), Verdict::Neutral);
        assert_eq!(verdict(&no_timeouts, Ending::Fault(Fault::ConnectTimeout)), Verdict::Failure);
        let no_transport = FailOn { transport: false, ..usual() };
        assert_eq!(verdict(&no_transport, Ending::Fault(Fault::ConnectFailed)), Verdict::Neutral);
        assert_eq!(verdict(&no_transport, Ending::Fault(Fault::DeadlineExceeded)), Verdict::Failure);
    }

    #[test]
    fn a_caller_that_leaves_or_was_in_a_hurry_has_no_vote() {
        assert_eq!(verdict(&usual(), Ending::ClientGone), Verdict::Neutral);
        assert_eq!(verdict(&usual(), Ending::CallersDeadline), Verdict::Neutral);
    }
}
