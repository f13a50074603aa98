//! `outrigger check`: every problem of a configuration, or the values in effect.
//!
//! In: a path. Out: problems on standard error and exit code 1; or a summary, or effective values,
//! on standard output and 0. Starts nothing and changes nothing.

use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Config, Options, Problem};

/// Checks, and shows what is asked for.
pub(super) fn check(path: &Path, options: &Options, effective: Option<&[String]>) -> ExitCode {
    if effective.is_some_and(|words| words.len() == 2) {
        super::complain("--effective takes nothing, SERVICE, or SERVICE METHOD PATH\n");
        return ExitCode::from(super::USAGE);
    }
    match (config::load(path, options), effective) {
        (Err(problems), _) => {
            super::complain(&report(&problems));
            ExitCode::FAILURE
        }
        (Ok(config), None) => {
            super::print(&summary(path, &config));
            ExitCode::SUCCESS
        }
        (Ok(config), Some(words)) => show(&config, words),
    }
}

fn show(config: &Config, words: &[String]) -> ExitCode {
    super::complain(&lines(&config.warnings));
    let word = |index: usize| words.get(index).map(String::as_str);
    match config::effective(config, word(0), word(1), word(2)) {
        Ok(text) => {
            super::print(&text);
            ExitCode::SUCCESS
        }
        Err(reason) => {
            super::complain(&format!("{reason}\n"));
            ExitCode::FAILURE
        }
    }
}

/// All problems, then how many.
fn report(problems: &[Problem]) -> String {
    format!("{}{}\n", lines(problems), count(problems.len(), "problem"))
}

/// One line, then the warnings.
fn summary(path: &Path, config: &Config) -> String {
    let services = count(config.services.len(), "service");
    let warnings = count(config.warnings.len(), "warning");
    format!("{}: ok, {services}, {warnings}\n{}", path.display(), lines(&config.warnings))
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_one_per_line_and_counted() {
        let problems = config::load_str("mesh.yaml", "workers: x\nservice: []\n", &Options::default());
        let text = report(&problems.unwrap_err());
        assert_eq!(text.lines().count(), 3);
        assert!(text.ends_with("2 problems\n"), "{text}");
    }

    #[test]
    fn a_good_file_is_summed_up() {
        let text = "services: {a: {endpoints: {dns: a:80}}}\ntracing: {always: [error]}\n";
        let config = config::load_str("mesh.yaml", text, &Options::default()).unwrap();
        let text = summary(Path::new("mesh.yaml"), &config);
        assert!(
            text.starts_with("mesh.yaml: ok, 1 service, 1 warning\nmesh.yaml:2:11: tracing.always:"),
            "{text}"
        );
    }
}
