//! The text word for word, and what is read back of a listing.

use serde_json::json;

use super::*;
use crate::capture::rules::tests::rules;

#[test]
fn the_text_is_one_transaction_in_the_order_of_the_rules() {
    let rules = rules(&[1001, 1002], &["3306", "9000-9009"], &["10.9.0.0/16", "2001:db8:9::/48"]);
    let text = text(&rules).replace(&rules.digest(), "DIGEST");
    let wanted = r#"table inet outrigger
delete table inet outrigger
table inet outrigger {
	chain out {
		type nat hook output priority -100; policy accept;
		tcp flags & (fin | syn | rst | ack) != syn return comment "outrigger DIGEST open connections"
		ip daddr 192.0.2.77 tcp dport 15001 redirect to :15001 comment "outrigger DIGEST the canary"
		ip6 daddr 2001:db8::77 tcp dport 15001 redirect to :15001 comment "outrigger DIGEST the canary"
		fib daddr type local return comment "outrigger DIGEST own addresses"
		meta skuid { 1337 } return comment "outrigger DIGEST the proxy"
		ip daddr 192.0.2.78 tcp dport 15001 redirect to :15001 comment "outrigger DIGEST the proof"
		ip6 daddr 2001:db8::78 tcp dport 15001 redirect to :15001 comment "outrigger DIGEST the proof"
		meta skuid { 1001, 1002 } return comment "outrigger DIGEST skipped users"
		tcp dport { 3306, 9000-9009 } return comment "outrigger DIGEST skipped ports"
		ip daddr { 10.9.0.0/16 } return comment "outrigger DIGEST skipped networks"
		ip6 daddr { 2001:db8:9::/48 } return comment "outrigger DIGEST skipped networks"
		ip daddr { 169.254.0.0/16 } return comment "outrigger DIGEST link-local"
		ip6 daddr { fe80::/10 } return comment "outrigger DIGEST link-local"
		meta l4proto tcp redirect to :15001 comment "outrigger DIGEST the rest"
	}
}
"#;
    assert_eq!(text, wanted);
}

#[test]
fn nothing_left_out_leaves_no_empty_set() {
    let text = text(&rules(&[], &[], &[]));
    assert!(!text.contains("{  }") && !text.contains("skipped"), "{text}");
}

#[test]
fn our_table_is_found_in_a_listing_and_no_other() {
    let rule = |table: &str, comment: &str, expr| json!({"rule": {"family": "inet", "table": table, "chain": "out", "comment": comment, "expr": [expr]}});
    let table = json!({"table": {"family": "inet", "name": "outrigger"}});
    let hook = json!({"chain": {"family": "inet", "table": "outrigger", "name": "out", "type": "nat", "hook": "output"}});
    let listing = [
        json!({"metainfo": {"version": "1.0.6"}}),
        table.clone(),
        hook,
        rule("istio", "theirs", json!({"redirect": {"port": 1}})),
        rule("outrigger", "outrigger x the proxy", json!({"return": null})),
        rule("outrigger", "outrigger x the rest", json!({"redirect": {"port": 15001}})),
    ];
    let standing_now = standing(&listing).unwrap();
    assert!(standing_now.hooked);
    assert_eq!(standing_now.comments, ["outrigger x the proxy", "outrigger x the rest"]);
    assert_eq!(standing_now.port, Some(15001));
    assert_eq!(standing(&[table]), Some(Standing::default()));
    assert_eq!(standing(&listing[3..4]), None);
}
