//! The rules inside a namespace that is the command's alone.
//!
//! In: the port of the proxy's listener there. Out: rules that stand, or what `nft` said. No user is
//! left out: the proxy is not in here.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::DNS_PORT;

/// The rules as text.
///
/// Names come first, for a name server may be a local address (127.0.0.53). What can't be captured is
/// refused at once: nothing of it leads anywhere from here, and silence would be waited for.
fn text(outbound: u16) -> String {
    format!(
        "table inet outrigger {{\n\
         \tchain out {{\n\
         \t\ttype nat hook output priority -100; policy accept;\n\
         \t\tudp dport 53 redirect to :{DNS_PORT}\n\
         \t\ttcp dport 53 redirect to :{DNS_PORT}\n\
         \t\tfib daddr type local return\n\
         \t\tmeta l4proto tcp redirect to :{outbound}\n\
         \t}}\n\
         \tchain other {{\n\
         \t\ttype filter hook output priority 0; policy accept;\n\
         \t\tfib daddr type local return\n\
         \t\tmeta l4proto tcp return\n\
         \t\treject\n\
         \t}}\n\
         }}\n"
    )
}

/// Loads them into the network namespace we are in.
pub(super) fn load(nft: &Path, outbound: u16) -> io::Result<()> {
    let mut child = Command::new(nft)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(nft, &error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read to the end says why itself.
        let _ = stdin.write_all(text(outbound).as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(nft, said.lines().next().unwrap_or("no reason given")))
}

fn failed(nft: &Path, why: &str) -> io::Error {
    io::Error::other(format!("`{}` could not load the rules: {why}", nft.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_captured_before_local_addresses_are_left_alone() {
        let text = text(16001);
        let place = |rule: &str| text.find(rule).unwrap_or_else(|| panic!("{rule} in {text}"));
        assert!(place("udp dport 53 redirect to :15053") < place("fib daddr type local"));
        assert!(place("fib daddr type local") < place("meta l4proto tcp redirect to :16001"));
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = load(Path::new("/bin/false"), 15001).unwrap_err().to_string();
        assert_eq!(error, "`/bin/false` could not load the rules: no reason given");
        assert!(load(Path::new("/nowhere/nft"), 15001).unwrap_err().to_string().contains("/nowhere/nft"));
    }
}
