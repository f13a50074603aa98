//! The block `capture`: what the kernel's rules leave out.
//!
//! In: its keys. Out: users, ports and networks in range, or a problem for each item that is wrong.
//! Never asks whether such a user exists: the file is for a container, not for the machine it is checked on.

use std::str::FromStr;

use super::value::want_form;
use super::{Checker, Leaf, found};
use crate::config::Capture;
use crate::config::capture::USER_MAX;
use crate::config::raw::{Node, Shape};

/// Most items of one list. The kernel takes more, but every `apply` carries the text.
const ITEMS_MAX: usize = 2_000;

impl Checker<'_> {
    /// One key of the block.
    pub(super) fn capture_key(&mut self, leaf: &Leaf<'_>, capture: &mut Capture) {
        match leaf.key.path {
            "capture.user" => {
                if let Some(user) = self.item(leaf, leaf.node, parse_user) {
                    if user == 0 {
                        let want = "a user of its own: whatever runs as root would go direct too";
                        self.warning(leaf.node.place, &leaf.at, "0", want);
                    }
                    capture.user = user;
                }
            }
            "capture.skipUsers" => capture.skip_users = self.list(leaf, parse_user),
            "capture.skipPorts" => capture.skip_ports = self.list(leaf, FromStr::from_str),
            "capture.skipNetworks" => capture.skip_networks = self.list(leaf, FromStr::from_str),
            // The block itself.
            _ => {}
        }
    }

    fn list<T>(&mut self, leaf: &Leaf<'_>, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let Shape::List(items) = &leaf.node.shape else {
            self.problem(leaf.node.place, &leaf.at, found(leaf.node), want_form(leaf.key.kind));
            return Vec::new();
        };
        if items.len() > ITEMS_MAX {
            let found = format!("{} items", items.len());
            self.problem(leaf.node.place, &leaf.at, found, format!("at most {ITEMS_MAX}"));
            return Vec::new();
        }
        items.iter().filter_map(|item| self.item(leaf, item, &parse)).collect()
    }

    fn item<T>(
        &mut self,
        leaf: &Leaf<'_>,
        item: &Node,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match item.text().ok_or_else(|| want_form(leaf.key.kind)).and_then(parse) {
            Ok(value) => Some(value),
            Err(want) => {
                self.problem(item.place, &leaf.at, found(item), want);
                None
            }
        }
    }
}

fn parse_user(text: &str) -> Result<u32, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let user = text.parse().ok().filter(|user| plain && *user <= USER_MAX);
    user.ok_or_else(|| format!("a user id from 0 to {USER_MAX}; names are not looked up"))
}
