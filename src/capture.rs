//! The kernel's part: rules that send an application's connections to the proxy.
//!
//! In: a port, a user, and what is left out. Out: a rule set that stands, or falls, as a whole, and
//! lines that say what was found. Never touches a rule of anybody else, and never cuts a connection
//! that is open: rules look at new ones alone, and what translates old ones stays while there are any.
//!
//! With the proxy down captured connections are refused: calls that no policy saw, and that no trace
//! shows, would be worse. `outrigger capture remove` is the way to open.

mod foreign;
mod iptables;
mod nft;
mod open;
mod program;
mod proof;
mod rules;
mod standing;
mod trouble;

use program::Program;

pub use proof::probe;
pub use rules::Rules;
pub use trouble::Trouble;

/// How rules are told to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// One table of nftables, for IPv4 and IPv6 at once.
    Nft,
    /// `iptables-restore` and `ip6tables-restore`, one after the other.
    Iptables,
}

/// What a look at the rules and at their effect found, one line each.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is as it should be, or only worth knowing.
    pub notes: Vec<String>,
    /// What is wrong.
    pub wrongs: Vec<String>,
}

/// The text that `apply` would load. Changes nothing; rules that stand are looked at if that may be done.
///
/// # Errors
/// When the backend that was asked for is not installed.
pub fn text(rules: &Rules, backend: Option<Backend>) -> Result<String, Trouble> {
    Ok(match backend.unwrap_or_else(usual) {
        Backend::Nft => nft::text(rules),
        Backend::Iptables => iptables::texts(rules),
    })
}

/// Loads the rules and shows that they work; without that, takes them away again. Safe to run twice.
///
/// # Errors
/// No privilege, no program, a kernel that refuses, or a proof that failed.
pub fn apply(rules: &Rules, backend: Option<Backend>) -> Result<Findings, Trouble> {
    let backend = backend.unwrap_or_else(usual);
    let mut findings = Findings::default();
    match backend {
        Backend::Nft => nft::apply(rules, &mut findings)?,
        Backend::Iptables => iptables::apply(rules, &mut findings)?,
    }
    let proof = proof::prove(rules);
    findings.notes.extend(proof.notes);
    if proof.wrongs.is_empty() {
        return Ok(findings);
    }
    let removed = match remove(Some(backend)) {
        Ok(_) => "the rules were removed again".to_owned(),
        Err(trouble) => format!("the rules could not be removed again: {trouble}"),
    };
    Err(Trouble::Unproven { wrongs: proof.wrongs, removed })
}

/// Whether the rules stand, are those asked for, and work. Says what it may not look at.
///
/// # Errors
/// When the backend that was asked for is not installed.
pub fn check(rules: &Rules, backend: Option<Backend>) -> Result<Findings, Trouble> {
    let mut findings = Findings::default();
    let seen = match backend.unwrap_or_else(standing_backend) {
        Backend::Nft => nft::check(rules, &mut findings),
        Backend::Iptables => iptables::check(rules, &mut findings),
    };
    match seen {
        Ok(()) => {}
        Err(Trouble::Missing { program, .. }) if backend.is_none() => {
            findings.notes.push(format!(
                "the rules were not looked at: {program} is not installed; only the canary was asked"
            ));
        }
        Err(Trouble::NoPrivilege { .. }) => {
            findings.notes.push(
                "the rules were not looked at, which needs CAP_NET_ADMIN; only the canary was asked"
                    .to_owned(),
            );
        }
        Err(trouble) => return Err(trouble),
    }
    proof::ask_canary(rules, &mut findings);
    Ok(findings)
}

/// Takes rules away, of both backends unless one is named. New connections go direct from then on.
///
/// # Errors
/// No privilege, no program at all, or a kernel that refuses.
pub fn remove(backend: Option<Backend>) -> Result<Findings, Trouble> {
    let mut findings = Findings::default();
    for backend in to_remove(backend) {
        match backend {
            Backend::Nft => nft::remove(&mut findings)?,
            Backend::Iptables => iptables::remove(&mut findings)?,
        }
    }
    if findings.notes.is_empty() {
        findings.notes.push("no rules of Outrigger stand".to_owned());
    }
    Ok(findings)
}

/// The text that `remove` comes to as things stand; empty when nothing of ours does. Changes nothing.
///
/// # Errors
/// No privilege to look, or no program.
pub fn text_of_removal(backend: Option<Backend>) -> Result<String, Trouble> {
    let mut text = String::new();
    for backend in to_remove(backend) {
        let part = match backend {
            Backend::Nft => nft::removal()?,
            Backend::Iptables => iptables::removal()?,
        };
        text.push_str(&part.unwrap_or_default());
    }
    Ok(text)
}

/// The one that is named, or all that are installed; nft if none is, so that the error names it.
fn to_remove(backend: Option<Backend>) -> Vec<Backend> {
    if let Some(backend) = backend {
        return vec![backend];
    }
    let (nft, iptables) = (Program::find("nft").is_ok(), Program::find("iptables-restore").is_ok());
    let mut backends = Vec::new();
    if nft || !iptables {
        backends.push(Backend::Nft);
    }
    if iptables {
        backends.push(Backend::Iptables);
    }
    backends
}

/// nft if it is there, else iptables; nft too if neither is, so that the error names it.
fn usual() -> Backend {
    if Program::find("nft").is_err() && Program::find("iptables-restore").is_ok() {
        return Backend::Iptables;
    }
    Backend::Nft
}

/// The backend whose rules stand; the usual one if none do.
fn standing_backend() -> Backend {
    let usual = usual();
    if usual == Backend::Nft && !nft::stands() && iptables::stands() {
        return Backend::Iptables;
    }
    usual
}
