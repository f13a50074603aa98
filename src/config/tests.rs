//! What a user sees of the configuration as a whole: the example, the mistakes, the bounds.

mod corpus;
mod export;
mod hostile;
mod inheritance;
mod lints;
mod merging;
mod reference;
mod tls;

use super::*;

/// An environment that is the same on every machine.
fn options() -> Options {
    let environment = Environment {
        service: None,
        hostname: Some("laptop".to_owned()),
        in_pod: false,
        cpus: 2,
        grace: std::time::Duration::from_secs(30),
        grace_misread: None,
        is_killed: true,
        variables: Variables::default(),
    };
    Options { unknown_keys: UnknownKeys::Error, environment, ..Options::default() }
}

/// The configuration, or a panic with all its problems.
fn good(text: &str) -> Config {
    load_str("mesh.yaml", text, &options()).unwrap_or_else(|problems| panic!("{}", told(&problems)))
}

/// The problems as the user sees them.
fn bad(text: &str) -> String {
    told(&load_str("mesh.yaml", text, &options()).expect_err("a problem was expected"))
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
