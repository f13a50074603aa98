//! `outrigger force`: holds a service's breaker open or closed, or lets it decide by itself again.
//!
//! In: a service, a state, and where the admin API listens. Out: the API's answer, on standard
//! output and exit code 0, or on standard error and 1.

use std::process::ExitCode;

use clap::ValueEnum;

use super::ask::{Question, ask, escape};

/// Most bytes of an answer. The API's own are below 1 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

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
    let path = path(service, state);
    match ask(&Question { method: "POST", path: &path, admin, bytes_max: ANSWER_BYTES_MAX }) {
        Ok(body) => {
            super::print(&body);
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

fn path(service: &str, state: State) -> String {
    let state = match state {
        State::Open => "open",
        State::Closed => "closed",
        State::Auto => "auto",
    };
    format!("/services/{}/breaker?state={state}", escape(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_one_segment_of_the_path_whatever_it_is_called() {
        let path = path("a/../b c\r\n", State::Auto);
        assert_eq!(path, "/services/a%2F..%2Fb%20c%0D%0A/breaker?state=auto");
    }
}
