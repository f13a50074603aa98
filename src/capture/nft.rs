//! Rules as one table of nftables.
//!
//! In: rules. Out: text for `nft -f -`, loaded as one transaction; the table as it stands. One table
//! `inet` holds both families, so they cannot come to differ. Sets of ports, users and networks are
//! written into their rule: such a set cannot be changed behind its comment.

use serde_json::Value;

use super::program::Program;
use super::rules::{Family, Rule, What};
use super::standing::{self, Standing};
use super::{Findings, Rules, Trouble, foreign, iptables, open};
use crate::config::capture::{PortRange, TEST_PORT};

/// Our table; its family is `inet`.
const TABLE: &str = "outrigger";

/// Its one chain.
const CHAIN: &str = "out";

/// What the listing of everything is asked with.
const LIST: [&str; 3] = ["-j", "list", "ruleset"];

/// What a transaction is given with.
const LOAD: [&str; 2] = ["-f", "-"];

/// The text that makes the table, whatever stands: made, so that it can be deleted, and made again.
/// (`destroy` would say it in one word; nft 1.0.6 does not know it.)
pub(super) fn text(rules: &Rules) -> String {
    let digest = rules.digest();
    let list = rules.list();
    let lines: String = list.iter().map(|rule| line(rule, rules.port(), &digest)).collect();
    table(&lines)
}

/// The text that leaves the chain with one rule that captures nothing. It asks for the state of a
/// connection, which is why the kernel goes on following connections, and translating those that are
/// captured: with the last rule that needs it the kernel stops, and each of them is reset.
fn text_of_removal(port: u16) -> String {
    let comment = standing::removed(port);
    format!(
        "flush chain inet {TABLE} {CHAIN}\n\
         add rule inet {TABLE} {CHAIN} ct state established return comment \"{comment}\"\n"
    )
}

fn table(lines: &str) -> String {
    format!(
        "table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n\tchain {CHAIN} {{\n\
         \t\ttype nat hook output priority -100; policy accept;\n{lines}\t}}\n}}\n"
    )
}

fn line(rule: &Rule, port: u16, digest: &str) -> String {
    let what = match &rule.what {
        What::NotNew => "tcp flags & (fin | syn | rst | ack) != syn return".to_owned(),
        What::Test(address) => {
            format!(
                "{} daddr {address} tcp dport {TEST_PORT} redirect to :{port}",
                word(Family::of(*address))
            )
        }
        What::OwnAddress => "fib daddr type local return".to_owned(),
        What::Users(users) => format!("meta skuid {} return", set(users.iter().map(u32::to_string))),
        What::Ports(ports) => format!("tcp dport {} return", set(ports.iter().map(PortRange::to_string))),
        What::Networks(networks, family) => {
            format!("{} daddr {} return", word(*family), set(networks.iter().cloned()))
        }
        What::Rest => format!("meta l4proto tcp redirect to :{port}"),
    };
    format!("\t\t{what} comment \"{}\"\n", rule.comment(digest))
}

const fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn set(items: impl Iterator<Item = String>) -> String {
    format!("{{ {} }}", items.collect::<Vec<_>>().join(", "))
}

/// Loads the table, and takes away the same rules in the other form.
pub(super) fn apply(rules: &Rules, findings: &mut Findings) -> Result<(), Trouble> {
    let nft = Program::find("nft")?;
    let objects = list(&nft)?;
    findings.notes.extend(foreign::in_nft(&objects, &[TABLE, iptables::CHAIN]));
    nft.run(&LOAD, &text(rules))?;
    findings.notes.push(format!(
        "nft table inet {TABLE}: {} rules; new TCP connections go to port {}",
        rules.list().len(),
        rules.port()
    ));
    if iptables::stands() {
        iptables::remove(findings)?;
    }
    Ok(())
}

/// Holds the table that stands against the rules asked for.
pub(super) fn check(rules: &Rules, findings: &mut Findings) -> Result<(), Trouble> {
    let objects = list(&Program::find("nft")?)?;
    findings.notes.extend(foreign::in_nft(&objects, &[TABLE, iptables::CHAIN]));
    let list = rules.list();
    let wanted: Vec<String> = list.iter().map(|rule| rule.comment(&rules.digest())).collect();
    let wrong =
        standing(&objects).map_or_else(|| Some(standing::absent()), |standing| standing.wrong(&wanted));
    match wrong {
        Some(wrong) => findings.wrongs.push(wrong),
        None => findings.notes.push(format!("nft table inet {TABLE}: {} rules, as asked for", list.len())),
    }
    Ok(())
}

/// Whether the table is there, in whatever state; no, if that may not be asked.
pub(super) fn stands() -> bool {
    let objects = Program::find("nft").and_then(|nft| list(&nft));
    objects.is_ok_and(|objects| standing(&objects).is_some())
}

/// Stops new capture. What keeps open connections translated goes only when none is open.
pub(super) fn remove(findings: &mut Findings) -> Result<(), Trouble> {
    let nft = Program::find("nft")?;
    let Some(standing) = standing(&list(&nft)?) else {
        return Ok(());
    };
    let port = standing.port_of_open();
    if standing.removed().is_none() {
        nft.run(&LOAD, &text_of_removal(port))?;
    }
    // Counted after the flush: no new one can come in between.
    let open = open::count(port);
    if open == 0 {
        nft.run(&LOAD, &format!("delete table inet {TABLE}\n"))?;
    }
    findings.notes.push(standing::told_removed(&format!("nft table inet {TABLE}"), open, port));
    Ok(())
}

/// The text that `remove` would load.
pub(super) fn removal() -> Result<Option<String>, Trouble> {
    let standing = standing(&list(&Program::find("nft")?)?);
    Ok(standing.map(|standing| match standing.port_of_open() {
        port if open::count(port) > 0 => text_of_removal(port),
        _ => format!("delete table inet {TABLE}\n"),
    }))
}

/// Everything that stands, ours and others'.
fn list(nft: &Program) -> Result<Vec<Value>, Trouble> {
    let listing = nft.run(&LIST, "")?;
    let unreadable = |what: String| Trouble::Unreadable { program: "nft", what };
    let mut listing: Value = serde_json::from_str(&listing).map_err(|error| unreadable(error.to_string()))?;
    match listing.get_mut("nftables").and_then(Value::as_array_mut) {
        Some(objects) => Ok(std::mem::take(objects)),
        None => Err(unreadable("no list of objects".to_owned())),
    }
}

/// Our table in a listing.
fn standing(objects: &[Value]) -> Option<Standing> {
    let ours = |object: &&Value, key: &str| object["family"] == "inet" && object[key] == TABLE;
    objects.iter().filter_map(|object| object.get("table")).find(|table| ours(table, "name"))?;
    let chain = objects.iter().filter_map(|object| object.get("chain"));
    let chain = chain.filter(|chain| ours(chain, "table")).find(|chain| chain["name"] == CHAIN);
    let rules = objects.iter().filter_map(|object| object.get("rule"));
    let rules: Vec<_> = rules.filter(|rule| ours(rule, "table") && rule["chain"] == CHAIN).collect();
    let ports = rules.iter().flat_map(|rule| rule["expr"].as_array().into_iter().flatten());
    Some(Standing {
        hooked: chain.is_some_and(|chain| chain["type"] == "nat" && chain["hook"] == "output"),
        comments: rules.iter().map(|rule| rule["comment"].as_str().unwrap_or_default().to_owned()).collect(),
        port: ports
            .filter_map(|part| part["redirect"]["port"].as_u64())
            .find_map(|port| u16::try_from(port).ok()),
    })
}

#[cfg(test)]
mod tests;
