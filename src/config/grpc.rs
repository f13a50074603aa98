//! The status codes of gRPC, as `failOn` spells them.
//!
//! In: `grpc-8` or `grpc-resource-exhausted`. Out: a code, or a name for one. Never 0: that is OK.

/// What every code in the YAML begins with.
pub(super) const PREFIX: &str = "grpc-";

/// What `5xx` means for gRPC.
pub(super) use crate::error::GRPC_FAILURES as FAILURES;

use crate::error::GRPC_CODES;

/// `RESOURCE_EXHAUSTED` is `resource-exhausted`.
fn spelled(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

/// The code that `text` names, prefix and all. `None` for OK and for what is no code.
pub(super) fn parse(text: &str) -> Option<u32> {
    let word = text.strip_prefix(PREFIX)?;
    let code = GRPC_CODES.iter().position(|name| spelled(name) == word).or_else(|| {
        let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && !word.starts_with('0');
        word.parse().ok().filter(|code| plain && *code < GRPC_CODES.len())
    })?;
    u32::try_from(code).ok().filter(|code| *code > 0)
}

/// The codes of a bit mask as `failOn` spells them.
pub(super) fn names(codes: u32) -> impl Iterator<Item = String> {
    GRPC_CODES
        .iter()
        .enumerate()
        .filter(move |(code, _)| codes & (1 << code) != 0)
        .map(|(_, name)| format!("{PREFIX}{}", spelled(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_number_or_a_name() {
        assert_eq!(parse("grpc-8"), Some(8));
        assert_eq!(parse("grpc-resource-exhausted"), Some(8));
        assert_eq!(parse("grpc-16"), Some(16));
        for wrong in ["grpc-0", "grpc-ok", "grpc-17", "grpc-08", "grpc-+8", "grpc-", "grpc-UNAVAILABLE", "8"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_code_reads_back_as_it_is_shown() {
        for code in 1..=16 {
            let shown: Vec<String> = names(1 << code).collect();
            assert_eq!(shown.len(), 1);
            assert_eq!(parse(&shown[0]), Some(code));
        }
    }
}
