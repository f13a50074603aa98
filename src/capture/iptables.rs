//! The same rules for `iptables-restore` and `ip6tables-restore`, for images without nft.
//!
//! In: rules. Out: one text for each family, loaded with `--noflush`: naming our chain empties it, and
//! everybody else's stay. Each family is one transaction; if the second fails, the first is taken back.

use super::program::Program;
use super::rules::{Family, Rule, What};
use super::standing::{self, Standing};
use super::{Findings, Rules, Trouble, foreign, nft, open};
use crate::config::capture::{PortRange, TEST_PORT};

/// Our chain in the table `nat`.
pub(super) const CHAIN: &str = "OUTRIGGER";

/// How outgoing connections come to it.
const JUMP: &str = "-A OUTPUT -p tcp -j OUTRIGGER";

/// Most ports of one `multiport`; a range takes the place of two.
const PORTS_MAX: usize = 15;

/// Leaves all other chains as they are, and waits 5 s for whoever else changes rules.
const RESTORE: [&str; 3] = ["--noflush", "--wait", "5"];

/// The table all of it stands in.
const SAVE: [&str; 2] = ["-t", "nat"];

/// Where the kernel lists IPv6 addresses; absent or empty where there is no IPv6.
const IPV6_ADDRESSES: &str = "/proc/net/if_inet6";

/// The two programs of a family.
struct Tools {
    family: Family,
    restore: Program,
    save: Program,
}

/// The texts of both families, each after a line that says which program takes it.
pub(super) fn texts(rules: &Rules) -> String {
    let text_of = |family| {
        // Where it can't be asked, the jump is taken to be absent.
        let saved = Tools::find(family).and_then(|tools| tools.save.run(&SAVE, "")).unwrap_or_default();
        format!("# {} --noflush\n{}", restore_name(family), text(rules, family, !has_jump(&saved)))
    };
    families().into_iter().map(text_of).collect()
}

/// The text of one family; `jump` when outgoing connections do not come to our chain yet.
pub(super) fn text(rules: &Rules, family: Family, jump: bool) -> String {
    let digest = rules.digest();
    let mut text = format!("*nat\n:{CHAIN} - [0:0]\n");
    for rule in rules.list().iter().filter(|rule| rule.concerns(family)) {
        for matches in matches(rule) {
            let target = match rule.what {
                What::Test(_) | What::Rest => format!("REDIRECT --to-ports {}", rules.port()),
                What::NotNew | What::OwnAddress | What::Users(_) | What::Ports(_) | What::Networks(..) => {
                    "RETURN".to_owned()
                }
            };
            let comment = rule.comment(&digest);
            text.push_str(&format!("-A {CHAIN} {matches} -m comment --comment \"{comment}\" -j {target}\n"));
        }
    }
    if jump {
        text.push_str(&format!("{JUMP}\n"));
    }
    text.push_str("COMMIT\n");
    text
}

/// What a rule looks at; some take more than one rule here.
fn matches(rule: &Rule) -> Vec<String> {
    match &rule.what {
        What::NotNew => vec!["-p tcp ! --syn".to_owned()],
        What::Test(address) => vec![format!("-d {address} -p tcp --dport {TEST_PORT}")],
        What::OwnAddress => vec!["-m addrtype --dst-type LOCAL".to_owned()],
        What::Users(users) => users.iter().map(|user| format!("-m owner --uid-owner {user}")).collect(),
        What::Ports(ports) => {
            chunks(ports).iter().map(|ports| format!("-p tcp -m multiport --dports {ports}")).collect()
        }
        What::Networks(networks, _) => networks.iter().map(|network| format!("-d {network}")).collect(),
        What::Rest => vec!["-p tcp".to_owned()],
    }
}

/// Lists of ports, each short enough for one `multiport`.
fn chunks(ports: &[PortRange]) -> Vec<String> {
    let mut chunks: Vec<(usize, String)> = Vec::new();
    for ports in ports {
        let (places, text) = if ports.first() == ports.last() {
            (1, ports.first().to_string())
        } else {
            (2, format!("{}:{}", ports.first(), ports.last()))
        };
        match chunks.last_mut() {
            Some((taken, chunk)) if *taken + places <= PORTS_MAX => {
                *taken += places;
                chunk.push_str(&format!(",{text}"));
            }
            Some(_) | None => chunks.push((places, text)),
        }
    }
    chunks.into_iter().map(|(_, chunk)| chunk).collect()
}

/// Loads both families, and takes away the same rules in the other form.
pub(super) fn apply(rules: &Rules, findings: &mut Findings) -> Result<(), Trouble> {
    let mut loaded: Vec<Tools> = Vec::new();
    for tools in all_tools()? {
        let saved = tools.save.run(&SAVE, "")?;
        findings.notes.extend(foreign::in_iptables(program(tools.family), &saved, &[CHAIN]));
        let text = text(rules, tools.family, !has_jump(&saved));
        if let Err(trouble) = tools.restore.run(&RESTORE, &text) {
            for before in &loaded {
                // What failed is what the user must hear of.
                let _ = before.remove();
            }
            return Err(trouble);
        }
        findings.notes.push(format!(
            "{} chain {CHAIN}: loaded; new TCP connections go to port {}",
            program(tools.family),
            rules.port()
        ));
        loaded.push(tools);
    }
    if !has_ipv6() {
        findings.notes.push("no IPv6 here: ip6tables was left alone".to_owned());
    }
    if nft::stands() {
        nft::remove(findings)?;
    }
    Ok(())
}

/// Holds the chains that stand against the rules asked for.
pub(super) fn check(rules: &Rules, findings: &mut Findings) -> Result<(), Trouble> {
    for tools in all_tools()? {
        let saved = tools.save.run(&SAVE, "")?;
        let name = program(tools.family);
        findings.notes.extend(foreign::in_iptables(name, &saved, &[CHAIN]));
        let digest = rules.digest();
        let list = rules.list();
        let mine = list.iter().filter(|rule| rule.concerns(tools.family));
        let wanted: Vec<String> =
            mine.flat_map(|rule| vec![rule.comment(&digest); matches(rule).len()]).collect();
        match standing(&saved).map_or_else(|| Some(standing::absent()), |standing| standing.wrong(&wanted)) {
            Some(wrong) => findings.wrongs.push(format!("{name}: {wrong}")),
            None => {
                findings.notes.push(format!("{name} chain {CHAIN}: {} rules, as asked for", wanted.len()));
            }
        }
    }
    Ok(())
}

/// Whether a chain of ours is there; no, if that may not be asked.
pub(super) fn stands() -> bool {
    let saved = |family| Tools::find(family).and_then(|tools| tools.save.run(&SAVE, ""));
    families().into_iter().any(|family| saved(family).is_ok_and(|saved| standing(&saved).is_some()))
}

/// Stops new capture. What keeps open connections translated goes only when none is open.
pub(super) fn remove(findings: &mut Findings) -> Result<(), Trouble> {
    for tools in all_tools()? {
        findings.notes.extend(tools.remove()?);
    }
    Ok(())
}

/// The texts that `remove` would load.
pub(super) fn removal() -> Result<Option<String>, Trouble> {
    let mut texts = String::new();
    for tools in all_tools()? {
        let saved = tools.save.run(&SAVE, "")?;
        let Some(standing) = standing(&saved) else {
            continue;
        };
        let port = standing.port_of_open();
        let text =
            if open::count(port) > 0 { text_of_emptying(&saved, port) } else { text_of_deletion(&saved) };
        texts.push_str(&format!("# {} --noflush\n{text}", restore_name(tools.family)));
    }
    Ok(Some(texts).filter(|texts| !texts.is_empty()))
}

/// Leaves the chain with one rule, to which nothing leads. It asks for the state of a connection, which
/// is why the kernel goes on following and translating them.
fn text_of_emptying(saved: &str, port: u16) -> String {
    let comment = standing::removed(port);
    format!(
        "*nat\n:{CHAIN} - [0:0]\n{}-A {CHAIN} -m conntrack --ctstate ESTABLISHED -m comment --comment \"{comment}\" -j RETURN\nCOMMIT\n",
        without_jumps(saved)
    )
}

fn text_of_deletion(saved: &str) -> String {
    format!("*nat\n{}-F {CHAIN}\n-X {CHAIN}\nCOMMIT\n", without_jumps(saved))
}

/// A line for each jump to our chain that stands.
fn without_jumps(saved: &str) -> String {
    let jumps = saved.lines().filter(|line| *line == JUMP).count();
    format!("{}\n", JUMP.replacen("-A", "-D", 1)).repeat(jumps)
}

/// Our chain in a saved table.
fn standing(saved: &str) -> Option<Standing> {
    let name = format!(":{CHAIN} ");
    saved.lines().find(|line| line.starts_with(&name))?;
    let rules: Vec<&str> = saved.lines().filter_map(|line| line.strip_prefix("-A OUTRIGGER ")).collect();
    let comment = |rule: &&str| {
        let quoted = rule.split_once("--comment \"").and_then(|(_, after)| after.split_once('"'));
        quoted.map_or_else(String::new, |(comment, _)| comment.to_owned())
    };
    let port = |rule: &&str| rule.split_once("--to-ports ")?.1.parse().ok();
    Some(Standing {
        hooked: has_jump(saved),
        comments: rules.iter().map(comment).collect(),
        port: rules.iter().find_map(port),
    })
}

fn has_jump(saved: &str) -> bool {
    saved.lines().any(|line| line == JUMP)
}

fn all_tools() -> Result<Vec<Tools>, Trouble> {
    families().into_iter().map(Tools::find).collect()
}

fn families() -> Vec<Family> {
    if has_ipv6() { vec![Family::V4, Family::V6] } else { vec![Family::V4] }
}

fn has_ipv6() -> bool {
    std::fs::read_to_string(IPV6_ADDRESSES).is_ok_and(|addresses| !addresses.is_empty())
}

const fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

const fn restore_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    }
}

// === impl Tools ===

impl Tools {
    fn find(family: Family) -> Result<Self, Trouble> {
        let save = match family {
            Family::V4 => "iptables-save",
            Family::V6 => "ip6tables-save",
        };
        Ok(Self { family, restore: Program::find(restore_name(family))?, save: Program::find(save)? })
    }

    /// Takes our chain away, and says so; nothing if there is none.
    fn remove(&self) -> Result<Option<String>, Trouble> {
        let saved = self.save.run(&SAVE, "")?;
        let Some(standing) = standing(&saved) else {
            return Ok(None);
        };
        let port = standing.port_of_open();
        if standing.removed().is_none() {
            self.restore.run(&RESTORE, &text_of_emptying(&saved, port))?;
        }
        // Counted after that: no new one can come in between.
        let open = open::count(port);
        if open == 0 {
            self.restore.run(&RESTORE, &text_of_deletion(&self.save.run(&SAVE, "")?))?;
        }
        Ok(Some(standing::told_removed(&format!("{} chain {CHAIN}", program(self.family)), open, port)))
    }
}

#[cfg(test)]
mod tests;
