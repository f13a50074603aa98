//! Durations, ratios and sizes: text in, values out, and back to the shortest text.
//!
//! In: the text of one value. Out: the value, or nothing when the text has another form. Never
//! guesses a unit: a bare number is refused, because `timeout: 5` means seconds to one reader and
//! milliseconds to another. The duration form is that of the Kubernetes Gateway API.

use std::time::Duration;

/// Most groups of digits in one duration.
const GROUPS_MAX: usize = 4;

/// Most digits of one group.
const DIGITS_MAX: usize = 5;

/// Units of time, longest first, in milliseconds.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size, largest first, in bytes.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// The form of a duration, for the schema.
pub(super) const DURATION_PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// The form of a ratio, for the schema.
pub(super) const RATIO_PATTERN: &str = r"^[0-9]{1,3}(\.[0-9]{1,6})?%$";

/// The form of a size, for the schema.
pub(super) const SIZE_PATTERN: &str = "^[0-9]{1,12}(B|KiB|MiB|GiB)$";

/// A duration such as `250ms`, `1s` or `1m30s`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis: u64 = 0;
    for _ in 0..GROUPS_MAX {
        let (number, after) = split_digits(rest, DIGITS_MAX)?;
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (_, scale) = TIMES.iter().find(|(name, _)| *name == unit)?;
        // At most 4 x 99,999 hours: far from the end of u64.
        millis += number * scale;
        rest = after;
        if rest.is_empty() {
            return Some(Duration::from_millis(millis));
        }
    }
    None
}

/// A share such as `20%` or `0.5%`, from 0.0 to 1.0.
pub(super) fn parse_ratio(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 3) || !digits(fraction, 6) {
        return None;
    }
    let percent: f64 = number.parse().ok()?;
    (percent <= 100.0).then_some(percent / 100.0)
}

/// A size such as `512B`, `64KiB` or `16MiB`, in bytes.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_digits(text, 12)?;
    let (_, scale) = SIZES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*scale)
}

/// The shortest text of a duration, down to milliseconds: `1m30s`.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, scale) in TIMES {
        if millis >= scale {
            text.push_str(&format!("{}{unit}", millis / scale));
            millis %= scale;
        }
    }
    text
}

/// The text of a share: `20%`.
pub(super) fn show_ratio(ratio: f64) -> String {
    // Six decimals of a percent are all that can be written; more would show binary rounding.
    let percent = (ratio * 100.0 * 1e6).round() / 1e6;
    format!("{percent}%")
}

/// The text of a size, in the largest unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    for (unit, scale) in SIZES {
        if bytes > 0 && bytes.is_multiple_of(scale) {
            return format!("{}{unit}", bytes / scale);
        }
    }
    format!("{bytes}B")
}

/// The number that `text` begins with, of 1 to `most` digits, and what follows.
fn split_digits(text: &str, most: usize) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if !(1..=most).contains(&end) {
        return None;
    }
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_the_gateway_form() {
        let millis = |text: &str| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("1m30s"), Some(90_000));
        assert_eq!(millis("1h1m1s1ms"), Some(3_661_001));
        assert_eq!(millis("0s"), Some(0));
        assert_eq!(millis("99999h99999h99999h99999h"), Some(4 * 99_999 * 3_600_000));
        for wrong in
            ["", "5", "5 s", "1.5s", "-1s", "+1s", "100000s", "1d", "s", "1s1s1s1s1s", "1S", "1sec", "٣s"]
        {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ratios_carry_a_percent_sign() {
        assert_eq!(parse_ratio("20%"), Some(0.2));
        assert_eq!(parse_ratio("0.5%"), Some(0.005));
        assert_eq!(parse_ratio("100%"), Some(1.0));
        for wrong in ["20", "0.2", "101%", "-1%", "%", "1e1%", "20 %", "20%%", ".5%", "5.%"] {
            assert_eq!(parse_ratio(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_carry_a_binary_unit() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("16MiB"), Some(16 << 20));
        assert_eq!(parse_size("0B"), Some(0));
        for wrong in ["64", "64KB", "64kib", "1.5KiB", "9999999999999B", "KiB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["0s", "1ms", "1s500ms", "1m30s", "15s", "1h", "27h46m39s"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["0%", "0.1%", "20%", "33.3%", "57%", "100%"] {
            assert_eq!(show_ratio(parse_ratio(text).unwrap()), text);
        }
        for text in ["0B", "1B", "1000B", "64KiB", "1025KiB", "4MiB", "1GiB"] {
            assert_eq!(show_size(parse_size(text).unwrap()), text);
        }
    }
}
