//! Whom a signal is for, when a command is beside us.
//!
//! In: what the system says of this process. Out: whether a signal is ours to catch, and whether the
//! command got it already.

use std::fs::{self, File};

use rustix::process::getpgrp;

/// Whether a signal was ignored by whoever started us (`nohup`, a shell's `&`). Then the command must
/// find it ignored too: one that is caught here is not ignored there.
pub fn is_ignored(number: i32) -> bool {
    is_ignored_in(&fs::read_to_string("/proc/self/status").unwrap_or_default(), number)
}

/// Whether the terminal sends what we got to the command as well: both are in its foreground. A
/// signal of the keyboard must not arrive twice.
pub fn is_from_terminal() -> bool {
    let Ok(terminal) = File::open("/dev/tty") else { return false };
    rustix::termios::tcgetpgrp(terminal).is_ok_and(|foreground| foreground == getpgrp())
}

/// `status` has a mask of 64 bits in hexadecimal digits; signal 1 is the lowest.
fn is_ignored_in(status: &str, number: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or_default();
    (1..=64).contains(&number) && mask >> (number - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_read_bit_by_bit() {
        let status = "Name:\tsh\nSigBlk:\tffffffffffffffff\nSigIgn:\t8000000000001001\nSigCgt:\t0\n";
        for (number, ignored) in
            [(1, true), (13, true), (64, true), (2, false), (15, false), (0, false), (65, false)]
        {
            assert_eq!(is_ignored_in(status, number), ignored, "signal {number}");
        }
        assert!(!is_ignored_in("", 1));
        assert!(is_ignored(13), "Rust programs ignore SIGPIPE");
    }
}
