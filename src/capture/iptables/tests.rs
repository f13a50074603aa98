//! The texts word for word, and what is read back of a saved table.

use super::*;
use crate::capture::rules::tests::rules;

#[test]
fn each_family_has_its_own_text() {
    let rules = rules(&[1001, 1002], &["3306", "9000-9009"], &["10.9.0.0/16", "2001:db8:9::/48"]);
    let text_of = |family| text(&rules, family, true).replace(&rules.digest(), "DIGEST");
    let wanted = r#"*nat
:OUTRIGGER - [0:0]
-A OUTRIGGER -p tcp ! --syn -m comment --comment "outrigger DIGEST open connections" -j RETURN
-A OUTRIGGER -d 192.0.2.77 -p tcp --dport 15001 -m comment --comment "outrigger DIGEST the canary" -j REDIRECT --to-ports 15001
-A OUTRIGGER -m addrtype --dst-type LOCAL -m comment --comment "outrigger DIGEST own addresses" -j RETURN
-A OUTRIGGER -m owner --uid-owner 1337 -m comment --comment "outrigger DIGEST the proxy" -j RETURN
-A OUTRIGGER -d 192.0.2.78 -p tcp --dport 15001 -m comment --comment "outrigger DIGEST the proof" -j REDIRECT --to-ports 15001
-A OUTRIGGER -m owner --uid-owner 1001 -m comment --comment "outrigger DIGEST skipped users" -j RETURN
-A OUTRIGGER -m owner --uid-owner 1002 -m comment --comment "outrigger DIGEST skipped users" -j RETURN
-A OUTRIGGER -p tcp -m multiport --dports 3306,9000:9009 -m comment --comment "outrigger DIGEST skipped ports" -j RETURN
-A OUTRIGGER -d 10.9.0.0/16 -m comment --comment "outrigger DIGEST skipped networks" -j RETURN
-A OUTRIGGER -d 169.254.0.0/16 -m comment --comment "outrigger DIGEST link-local" -j RETURN
-A OUTRIGGER -p tcp -m comment --comment "outrigger DIGEST the rest" -j REDIRECT --to-ports 15001
-A OUTPUT -p tcp -j OUTRIGGER
COMMIT
"#;
    assert_eq!(text_of(Family::V4), wanted);
    let second = text_of(Family::V6);
    assert!(second.contains("-d 2001:db8:9::/48 ") && second.contains("-d fe80::/10 "), "{second}");
    assert!(!second.contains("192.0.2.") && !second.contains("10.9."), "{second}");
    assert!(!text(&rules, Family::V4, false).contains("-A OUTPUT"));
}

#[test]
fn a_list_of_ports_is_cut_where_multiport_ends() {
    let ports: Vec<String> = (1..=16).map(|port| (port * 10).to_string()).collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let lines = |ports: &[&str]| {
        let text = text(&rules(&[], ports, &[]), Family::V4, false);
        let lines = text.lines().filter_map(|line| line.split_once("--dports "));
        lines.map(|(_, rest)| rest.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&ports), ["10,20,30,40,50,60,70,80,90,100,110,120,130,140,150", "160"]);
    let mut with_range = ports[..14].to_vec();
    with_range.push("1000-1001");
    assert_eq!(lines(&with_range), ["10,20,30,40,50,60,70,80,90,100,110,120,130,140", "1000:1001"]);
}

#[test]
fn a_saved_table_shows_our_chain_and_what_takes_it_away() {
    let saved = "*nat\n:OUTPUT ACCEPT [0:0]\n:OUTRIGGER - [0:0]\n-A OUTPUT -p tcp -j OUTRIGGER\n\
        -A OUTRIGGER -m owner --uid-owner 1337 -m comment --comment \"outrigger x the proxy\" -j RETURN\n\
        -A OUTRIGGER -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n";
    let standing_now = standing(saved).unwrap();
    assert!(standing_now.hooked);
    assert_eq!(standing_now.comments, ["outrigger x the proxy", ""]);
    let removal = "*nat\n-D OUTPUT -p tcp -j OUTRIGGER\n-F OUTRIGGER\n-X OUTRIGGER\nCOMMIT\n";
    assert_eq!(text_of_deletion(saved), removal);
    assert_eq!(standing_now.port, Some(15001));
    assert_eq!(standing("*nat\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"), None);
}
