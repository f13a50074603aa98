//! How long to wait before a retry.
//!
//! In: the settings, which retry it is, a random number. Out: a wait. Never sleeps.
//!
//! Waits grow so that a service gets air, and are spread so that callers which failed together do
//! not come back together.

use std::time::Duration;

use crate::config::{Backoff, Jitter};

/// The wait before retry number `retry` (0 is the first). `random` is from 0 to 1; anything else counts as 0.5.
pub fn delay(settings: &Backoff, retry: u32, random: f64) -> Duration {
    let random = unit(random);
    let wait = grown(settings, retry);
    match settings.jitter {
        Jitter::Full => wait.mul_f64(random),
        Jitter::Equal => wait / 2 + (wait / 2).mul_f64(random),
        Jitter::Additive => wait + settings.base.mul_f64(random),
        Jitter::None => wait,
    }
}

/// `base * factor^retry`, at most `max`.
fn grown(settings: &Backoff, retry: u32) -> Duration {
    let exponent = i32::try_from(retry).unwrap_or(i32::MAX);
    let seconds = settings.base.as_secs_f64() * settings.factor.powi(exponent);
    // An overflow to infinity is longer than any `max`.
    if seconds < settings.max.as_secs_f64() { Duration::from_secs_f64(seconds) } else { settings.max }
}

/// A random number made safe for arithmetic on durations, which panics on what is not a number.
pub(super) fn unit(random: f64) -> f64 {
    if (0.0..=1.0).contains(&random) { random } else { 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn settings(jitter: Jitter) -> Backoff {
        Backoff { base: millis(25), factor: 2.0, max: millis(250), jitter }
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let waits: Vec<_> = (0..6).map(|retry| delay(&settings(Jitter::None), retry, 0.7)).collect();
        assert_eq!(waits, [25, 50, 100, 200, 250, 250].map(millis));
    }

    #[test]
    fn full_jitter_goes_from_nothing_to_the_wait() {
        assert_eq!(delay(&settings(Jitter::Full), 1, 0.0), Duration::ZERO);
        assert_eq!(delay(&settings(Jitter::Full), 1, 0.5), millis(25));
        assert_eq!(delay(&settings(Jitter::Full), 1, 1.0), millis(50));
    }

    #[test]
    fn equal_jitter_keeps_half_the_wait() {
        assert_eq!(delay(&settings(Jitter::Equal), 1, 0.0), millis(25));
        assert_eq!(delay(&settings(Jitter::Equal), 1, 1.0), millis(50));
    }

    #[test]
    fn additive_jitter_comes_on_top_of_the_longest_wait_too() {
        assert_eq!(delay(&settings(Jitter::Additive), 0, 0.0), millis(25));
        assert_eq!(delay(&settings(Jitter::Additive), 0, 1.0), millis(50));
        assert_eq!(delay(&settings(Jitter::Additive), 9, 1.0), millis(275));
    }

    #[test]
    fn a_factor_of_one_keeps_the_wait() {
        let settings = Backoff { factor: 1.0, ..settings(Jitter::None) };
        assert_eq!(delay(&settings, 7, 0.0), millis(25));
    }

    #[test]
    fn odd_numbers_do_not_panic() {
        for random in [f64::NAN, -1.0, 2.0, f64::INFINITY] {
            assert_eq!(delay(&settings(Jitter::Full), u32::MAX, random), millis(125));
        }
    }
}
