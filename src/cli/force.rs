//! `outrigger force`: holds a service's breaker open or closed, or lets it decide by itself again.
//!
//! In: a service, a state, and where the admin API listens. Out: the API's answer, on standard
//! output and exit code 0, or on standard error and 1.

use std::process::ExitCode;

use clap::ValueEnum;

use super::ask;

/// What the breaker is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum State {
    /// Refuse every call.
    Open,
    /// Let every call through.
    Closed,
    /// Decide by itself again.
    Auto,
}

/// Asks the admin API at `admin` and tells what it said.
pub(super) fn force(service: &str, state: State, admin: &str) -> ExitCode {
    match ask::post(admin, &path(service, state)) {
        Ok(answer) if answer.status == 200 => {
            super::print(&answer.body);
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            super::complain(&format!("{admin} answered {}: {}\n", answer.status, answer.body.trim_end()));
            ExitCode::FAILURE
        }
        Err(error) => {
            super::complain(&format!("no answer from the admin API at {admin}: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn path(service: &str, state: State) -> String {
    let state = match state {
        State::Open => "open",
        State::Closed => "closed",
        State::Auto => "auto",
    };
    format!("/services/{}/breaker?state={state}", ask::escape(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_one_segment_of_the_path_whatever_it_is_called() {
        assert_eq!(path("a/../b c\r\n", State::Auto), "/services/a%2F..%2Fb%20c%0D%0A/breaker?state=auto");
    }
}
