//! From the characters of a text to its bytes.
//!
//! In: a text, and the number of a character, which is what the YAML crate counts. Out: its byte offset.
//! Pure; finding one takes no longer in a long text.

/// Characters between two known byte offsets: a place is found by counting at most so many.
const STRIDE: usize = 64;

/// Where the characters of a text stand in its bytes.
pub(super) struct Offsets {
    /// The byte offset of every 64th character; empty if all characters are single bytes.
    every: Vec<usize>,
}

// === impl Offsets ===

impl Offsets {
    pub(super) fn new(text: &str) -> Self {
        let every = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().step_by(STRIDE).map(|(at, _)| at).collect(),
        };
        Self { every }
    }

    /// The byte offset of a character; the end for one that is not there.
    pub(super) fn of(&self, text: &str, index: usize) -> usize {
        let Some(&base) = self.every.get(index / STRIDE) else {
            return if self.every.is_empty() { index.min(text.len()) } else { text.len() };
        };
        let rest = &text[base..];
        rest.char_indices().nth(index % STRIDE).map_or(text.len(), |(at, _)| base + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_found_where_it_stands() {
        for text in ["", "plain", &"aé🚢".repeat(100)] {
            let offsets = Offsets::new(text);
            for (index, (at, _)) in text.char_indices().enumerate() {
                assert_eq!(offsets.of(text, index), at);
            }
            assert_eq!(offsets.of(text, text.chars().count()), text.len());
            assert_eq!(offsets.of(text, text.len() + 1000), text.len());
        }
    }
}
