//! The breaker's state in one atomic word, so that a call reads it once.
//!
//! In: state, force, mode, generation. Out: 64 bits, and back. Two loads could see the state of
//! one generation with the number of another.

use super::{Force, State};

const STATE_MASK: u64 = 0b11;
const FORCED_OPEN: u64 = 1 << 2;
const FORCED_CLOSED: u64 = 1 << 3;
const OBSERVING: u64 = 1 << 4;
const GENERATION_SHIFT: u32 = 32;

/// State (2 bits), force (2), mode (1), generation (upper 32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

// === impl Word ===

impl Word {
    /// Packs the four parts.
    pub(super) fn new(state: State, forced: Option<Force>, observing: bool, generation: u32) -> Self {
        let state = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        let forced = match forced {
            Some(Force::Open) => FORCED_OPEN,
            Some(Force::Closed) => FORCED_CLOSED,
            Some(Force::Auto) | None => 0,
        };
        let observing = if observing { OBSERVING } else { 0 };
        Self(state | forced | observing | u64::from(generation) << GENERATION_SHIFT)
    }

    /// Where the breaker stands.
    pub(super) fn state(self) -> State {
        match self.0 & STATE_MASK {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    /// Open or closed if forced, `None` if automatic.
    pub(super) fn forced(self) -> Option<Force> {
        if self.0 & FORCED_OPEN != 0 {
            Some(Force::Open)
        } else if self.0 & FORCED_CLOSED != 0 {
            Some(Force::Closed)
        } else {
            None
        }
    }

    /// Whether the mode is `observe`.
    pub(super) fn is_observing(self) -> bool {
        self.0 & OBSERVING != 0
    }

    /// Number of transitions, wrapping.
    pub(super) fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_comes_back_as_it_went_in() {
        for state in [State::Closed, State::Open, State::HalfOpen] {
            for forced in [None, Some(Force::Open), Some(Force::Closed)] {
                for (observing, generation) in [(false, 0), (true, 7), (false, u32::MAX)] {
                    let word = Word::new(state, forced, observing, generation);
                    assert_eq!(word.state(), state);
                    assert_eq!(word.forced(), forced);
                    assert_eq!(word.is_observing(), observing);
                    assert_eq!(word.generation(), generation);
                }
            }
        }
    }
}
