//! Rules of others that redirect outgoing connections too.
//!
//! In: a listing of nft or of `iptables-save`. Out: one line for each place, by name. Only noticed: they
//! are never touched, and which of two rule sets takes a connection is the kernel's order of chains.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Parts of the names that the chains and tables of other meshes have.
const MESHES: [(&str, &str); 4] =
    [("istio", "Istio"), ("proxy_init", "Linkerd"), ("linkerd", "Linkerd"), ("kuma", "Kuma")];

/// Targets that lead a connection elsewhere.
const REDIRECTS: [&str; 2] = ["REDIRECT", "DNAT"];

/// The chains of one table.
#[derive(Default)]
struct Table<'l> {
    /// Those on the hook of outgoing connections.
    hooked: Vec<&'l str>,
    chains: BTreeMap<&'l str, Chain<'l>>,
}

#[derive(Default)]
struct Chain<'l> {
    redirects: bool,
    jumps: BTreeSet<&'l str>,
}

/// What `nft -j list ruleset` shows of others; `own` are our tables and chains.
pub(super) fn in_nft(objects: &[Value], own: &[&str]) -> Vec<String> {
    let mut tables: BTreeMap<(&str, &str), Table<'_>> = BTreeMap::new();
    for object in objects {
        let word = |value: &'_ Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        if let Some(chain) = object.get("chain") {
            let hooked = word(chain, "type") == "nat" && word(chain, "hook") == "output";
            if let (true, Some((table, name))) = (hooked, place(chain, "name")) {
                tables.entry(table).or_default().hooked.push(name);
            }
        } else if let Some(rule) = object.get("rule")
            && let Some((table, name)) = place(rule, "chain")
        {
            let chain = tables.entry(table).or_default().chains.entry(name).or_default();
            for part in rule["expr"].as_array().into_iter().flatten() {
                let target = part["xt"]["name"].as_str().unwrap_or_default();
                chain.redirects |= part.get("redirect").is_some()
                    || part.get("dnat").is_some()
                    || REDIRECTS.contains(&target);
                let jump = part["jump"]["target"].as_str().or(part["goto"]["target"].as_str());
                chain.jumps.extend(jump);
            }
        }
    }
    let others = tables.iter().filter(|((_, name), _)| !own.contains(name));
    others.flat_map(|((family, name), table)| table.told(&format!("table {family} {name}"), own)).collect()
}

/// What `iptables-save -t nat` shows of others.
pub(super) fn in_iptables(program: &str, saved: &str, own: &[&str]) -> Vec<String> {
    let mut table = Table { hooked: vec!["OUTPUT"], chains: BTreeMap::new() };
    for line in saved.lines() {
        let Some((name, rest)) = line.strip_prefix("-A ").and_then(|rule| rule.split_once(' ')) else {
            continue;
        };
        let mut words = rest.split(' ').skip_while(|word| !["-j", "-g"].contains(word));
        let chain = table.chains.entry(name).or_default();
        if let Some(target) = words.nth(1) {
            chain.redirects |= REDIRECTS.contains(&target);
            chain.jumps.insert(target);
        }
    }
    table.told(&format!("{program}, table nat"), own)
}

/// Table (family and name) and chain of a rule or chain of a listing.
fn place<'l>(object: &'l Value, chain: &str) -> Option<((&'l str, &'l str), &'l str)> {
    let word = |key: &str| object[key].as_str();
    Some(((word("family")?, word("table")?), word(chain)?))
}

// === impl Table ===

impl Table<'_> {
    /// One line for each chain on the hook from which a redirect is reached.
    fn told(&self, at: &str, own: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        for hooked in &self.hooked {
            let reached = self.reached(hooked, own);
            if !reached.iter().any(|name| self.chains.get(name).is_some_and(|chain| chain.redirects)) {
                continue;
            }
            let names = format!("{at} {}", reached.join(" ")).to_lowercase();
            let mesh = MESHES.iter().find(|(part, _)| names.contains(part));
            let whose = mesh.map_or_else(String::new, |(_, mesh)| format!(", of {mesh},"));
            lines.push(format!(
                "{at}, chain {hooked}{whose} redirects outgoing connections too: it was left alone, and takes those that it sees first"
            ));
        }
        lines
    }

    /// The chain and all that it leads to, each once.
    fn reached<'t>(&'t self, from: &'t str, own: &[&str]) -> Vec<&'t str> {
        let (mut reached, mut next) = (Vec::new(), vec![from]);
        while let Some(name) = next.pop() {
            if reached.contains(&name) || own.contains(&name) {
                continue;
            }
            reached.push(name);
            next.extend(self.chains.get(name).iter().flat_map(|chain| chain.jumps.iter().copied()));
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_redirect_behind_a_jump_is_found_and_whose_it_is() {
        let place = |chain: &str| json!({"family": "ip", "table": "nat", "chain": chain});
        let rule = |chain: &str, expr: Value| {
            let mut rule = place(chain);
            rule["expr"] = json!([expr]);
            json!({"rule": rule})
        };
        let hook = json!({"chain": {"family": "ip", "table": "nat", "name": "OUTPUT", "type": "nat", "hook": "output"}});
        let listing = [
            hook.clone(),
            rule("OUTPUT", json!({"jump": {"target": "ISTIO_OUTPUT"}})),
            rule("ISTIO_OUTPUT", json!({"jump": {"target": "OUTPUT"}})),
            rule("ISTIO_OUTPUT", json!({"xt": {"type": "target", "name": "REDIRECT"}})),
        ];
        let found = in_nft(&listing, &["outrigger", "OUTRIGGER"]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("table ip nat, chain OUTPUT, of Istio, redirects"), "{}", found[0]);
        let ours = [
            hook,
            rule("OUTPUT", json!({"jump": {"target": "OUTRIGGER"}})),
            rule("OUTRIGGER", json!({"redirect": {"port": 15001}})),
        ];
        assert_eq!(in_nft(&ours, &["outrigger", "OUTRIGGER"]), Vec::<String>::new());
    }

    #[test]
    fn a_saved_table_is_read_in_the_same_way() {
        let saved = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j PROXY_INIT_OUTPUT\n\
            -A PROXY_INIT_OUTPUT -m owner --uid-owner 2102 -j RETURN\n\
            -A PROXY_INIT_OUTPUT -p tcp -j REDIRECT --to-ports 4140\nCOMMIT\n";
        let found = in_iptables("iptables", saved, &["OUTRIGGER"]);
        assert!(found[0].starts_with("iptables, table nat, chain OUTPUT, of Linkerd,"), "{found:?}");
        let ours = "-A OUTPUT -p tcp -j OUTRIGGER\n-A OUTRIGGER -p tcp -j REDIRECT --to-ports 15001\n\
            -A PREROUTING -p tcp -j REDIRECT --to-ports 15006\n";
        assert_eq!(in_iptables("iptables", ours, &["OUTRIGGER"]), Vec::<String>::new());
    }
}
