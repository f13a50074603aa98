//! Connections that the proxy holds open on its outbound port.
//!
//! In: the port. Out: how many, as the kernel lists the sockets of this network namespace. No privilege
//! is needed, and explicit connections count too: they cannot be told apart, and one too many only
//! means that an empty table stays a little longer.

use std::fs;

/// TIME_WAIT, CLOSE and LISTEN as the kernel writes them: nothing is sent on these any more, or not yet.
const QUIET: [&str; 3] = ["06", "07", "0A"];

/// Where the kernel lists them.
const LISTS: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// How many connections to this port are open.
pub(super) fn count(port: u16) -> usize {
    LISTS.iter().filter_map(|path| fs::read_to_string(path).ok()).map(|text| count_in(&text, port)).sum()
}

/// Lines are `sl local remote state ...`; addresses end in `:` and the port in hex.
fn count_in(text: &str, port: u16) -> usize {
    let port = format!(":{port:04X}");
    let open = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next().is_some_and(|local| local.ends_with(&port));
        local && words.nth(1).is_some_and(|state| !QUIET.contains(&state))
    };
    text.lines().skip(1).filter(open).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_ones_are_told_from_the_listener_and_from_those_that_are_over() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            0: 0100007F:3A99 00000000:0000 0A 00000000:00000000\n\
            1: 0100007F:3A99 0200000A:C001 01 00000000:00000000\n\
            2: 0100007F:3A99 0200000A:C002 06 00000000:00000000\n\
            3: 0100007F:3A99 0200000A:C003 08 00000000:00000000\n\
            4: 0200000A:C001 0100007F:3A99 01 00000000:00000000\n";
        assert_eq!(count_in(text, 15001), 2);
        assert_eq!(count_in(text, 15000), 0);
        assert_eq!(count_in("", 15001), 0);
    }
}
