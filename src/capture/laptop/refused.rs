//! Why there is no namespace for an ordinary user here.
//!
//! In: what `unshare` said, and switches of the kernel. Out: one sentence for people. The system call
//! gives one error for all reasons, so the switches are looked at.

use std::fs;

/// What the system says of itself, where it says it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Switches {
    /// `kernel.apparmor_restrict_unprivileged_userns`
    apparmor: Option<String>,
    /// `kernel.unprivileged_userns_clone`
    clone: Option<String>,
    /// `user.max_user_namespaces`
    most: Option<String>,
    /// `Seccomp` of `/proc/self/status`
    seccomp: Option<String>,
}

/// The reason, of what `unshare` said to it.
pub(super) fn why(said: &str) -> String {
    explain(said, &Switches::now())
}

// === impl Switches ===

impl Switches {
    fn now() -> Self {
        let switch = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
            Some(text.trim().to_owned())
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        Self {
            apparmor: switch("kernel/apparmor_restrict_unprivileged_userns"),
            clone: switch("kernel/unprivileged_userns_clone"),
            most: switch("user/max_user_namespaces"),
            seccomp: seccomp.map(|mode| mode.trim().to_owned()),
        }
    }
}

fn explain(said: &str, switches: &Switches) -> String {
    let is = |switch: &Option<String>, value: &str| switch.as_deref() == Some(value);
    let known = if is(&switches.most, "0") {
        "user namespaces are off (user.max_user_namespaces is 0)"
    } else if is(&switches.clone, "0") {
        "user namespaces are for root alone (kernel.unprivileged_userns_clone is 0)"
    } else if is(&switches.apparmor, "1") {
        "AppArmor keeps user namespaces from ordinary programs (kernel.apparmor_restrict_unprivileged_userns is 1)"
    } else if is(&switches.seccomp, "2") {
        "a seccomp filter is in place, and those of containers refuse user namespaces"
    } else {
        "user namespaces are refused"
    };
    match said.lines().next() {
        Some(line) => format!("{known}: `{line}`"),
        None => known.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_switch_is_named() {
        let said = "unshare: unshare failed: Operation not permitted\nmore";
        let on = |value: &str| Some(value.to_owned());
        let none = Switches::default();
        for (switches, word) in [
            (Switches { most: on("0"), ..none.clone() }, "user.max_user_namespaces is 0"),
            (Switches { clone: on("0"), most: on("9"), ..none.clone() }, "unprivileged_userns_clone is 0"),
            (Switches { apparmor: on("1"), clone: on("1"), ..none.clone() }, "AppArmor"),
            (Switches { seccomp: on("2"), apparmor: on("0"), ..none.clone() }, "seccomp"),
            (none, "user namespaces are refused"),
        ] {
            let why = explain(said, &switches);
            assert!(why.contains(word), "{why}");
            assert!(why.ends_with(": `unshare: unshare failed: Operation not permitted`"), "{why}");
        }
        assert_eq!(explain("", &Switches::default()), "user namespaces are refused");
    }
}
