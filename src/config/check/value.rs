//! One value: the form its key asks for, and its bounds.
//!
//! In: a kind and a node. Out: a [`Value`], or what is wrong with it. Built-in values are read here
//! too, so a default in the table cannot have a form that a user may not write.

use std::time::Duration;

use super::{any_of, found};
use crate::config::FailOn;
use crate::config::grpc;
use crate::config::keys::Kind;
use crate::config::raw::{Node, Place, Shape};
use crate::config::units::{parse_duration, parse_ratio, parse_size, show_duration, show_size};

/// The value of one policy key or simple process key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Switched off.
    Off,
    /// A block that is switched on.
    On,
    /// A duration.
    Time(Duration),
    /// A share, 0.0 to 1.0.
    Share(f64),
    /// A size in bytes.
    Size(u64),
    /// A whole number.
    Count(u64),
    /// A number.
    Number(f64),
    /// Yes or no.
    Bool(bool),
    /// One of the words of the kind.
    Word(&'static str),
    /// Some of the words of the kind, by index.
    Words(u8),
    /// What a breaker counts as failure.
    FailOn(FailOn),
}

/// What is wrong with a value.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) place: Place,
    pub(super) found: String,
    pub(super) want: String,
}

const FAIL_ON_WANT: &str = "a list of 5xx, timeout, transport, statuses from 400 to 599, and codes such as grpc-8 or grpc-unavailable";

/// Whether the value says `off`, or `false` which YAML 1.1 makes of it.
pub(super) fn is_off(node: &Node) -> bool {
    match &node.shape {
        Shape::Scalar { text, plain } => text == "off" || (*plain && text == "false"),
        Shape::List(_) | Shape::Map(_) => false,
    }
}

/// Reads a value of `kind`; a list may be wrong in several places.
pub(super) fn read(kind: Kind, node: &Node) -> Result<Value, Vec<Wrong>> {
    if can_be_off(kind) && is_off(node) {
        return Ok(Value::Off);
    }
    match kind {
        Kind::Block { .. } => Ok(Value::On),
        Kind::Words(words) => read_words(words, node),
        Kind::FailOn => read_fail_on(node),
        Kind::Bool | Kind::Word(_) => read_word(kind, node).ok_or_else(|| vec![wrong(kind, node)]),
        Kind::Duration { .. } | Kind::Ratio { .. } | Kind::Size { .. } => {
            node.text().and_then(|text| read_unit(kind, text)).ok_or_else(|| vec![wrong(kind, node)])
        }
        Kind::Count { .. } | Kind::Number { .. } => {
            let plain = matches!(node.shape, Shape::Scalar { plain: true, .. });
            let text = node.text().filter(|_| plain);
            text.and_then(|text| read_number(kind, text)).ok_or_else(|| vec![wrong(kind, node)])
        }
        Kind::Text
        | Kind::PemFile
        | Kind::GrpcMethod
        | Kind::AccessLog
        | Kind::Addresses
        | Kind::Ports
        | Kind::Networks
        | Kind::Users
        | Kind::Hosts
        | Kind::NamePort
        | Kind::Url
        | Kind::Headers
        | Kind::Fields
        | Kind::Policy
        | Kind::Services
        | Kind::Routes => Err(vec![wrong(kind, node)]),
    }
}

fn can_be_off(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Block { off: true }
            | Kind::Duration { off: true, .. }
            | Kind::Ratio { off: true }
            | Kind::Count { off: true, .. }
    )
}

fn wrong(kind: Kind, node: &Node) -> Wrong {
    Wrong { place: node.place, found: found(node), want: want(kind, node.text().unwrap_or_default()) }
}

fn read_word(kind: Kind, node: &Node) -> Option<Value> {
    let text = node.text()?;
    if let Kind::Word(words) = kind {
        return words.iter().find(|word| **word == text).map(|word| Value::Word(word));
    }
    match text {
        "true" | "on" => Some(Value::Bool(true)),
        _ => is_off(node).then_some(Value::Bool(false)),
    }
}

fn read_unit(kind: Kind, text: &str) -> Option<Value> {
    if let Kind::Duration { min, max, .. } = kind {
        let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
        parse_duration(text).filter(|time| (min..=max).contains(time)).map(Value::Time)
    } else if let Kind::Size { min, max } = kind {
        parse_size(text).filter(|size| (min..=max).contains(size)).map(Value::Size)
    } else {
        parse_ratio(text).map(Value::Share)
    }
}

fn read_number(kind: Kind, text: &str) -> Option<Value> {
    let digits = |byte: u8| byte.is_ascii_digit();
    if let Kind::Number { min, max } = kind {
        let number: f64 =
            text.bytes().all(|byte| digits(byte) || byte == b'.').then(|| text.parse().ok())??;
        (f64::from(min)..=f64::from(max)).contains(&number).then_some(Value::Number(number))
    } else if let Kind::Count { min, max, .. } = kind {
        // `010` is eight to one YAML reader and ten to another.
        let plain = text.bytes().all(digits) && (text == "0" || !text.starts_with('0'));
        let count: u64 = plain.then(|| text.parse().ok())??;
        (min..=max).contains(&count).then_some(Value::Count(count))
    } else {
        None
    }
}

fn read_words(words: &'static [&'static str], node: &Node) -> Result<Value, Vec<Wrong>> {
    let Shape::List(items) = &node.shape else {
        return Err(vec![wrong(Kind::Words(words), node)]);
    };
    let (mut bits, mut wrongs) = (0, Vec::new());
    for item in items {
        match words.iter().position(|word| item.text() == Some(word)) {
            Some(index) => bits |= 1 << index,
            None => wrongs.push(wrong(Kind::Word(words), item)),
        }
    }
    if wrongs.is_empty() { Ok(Value::Words(bits)) } else { Err(wrongs) }
}

fn read_fail_on(node: &Node) -> Result<Value, Vec<Wrong>> {
    let Shape::List(items) = &node.shape else {
        return Err(vec![wrong(Kind::FailOn, node)]);
    };
    let mut fail_on =
        FailOn { server_error: false, timeout: false, transport: false, statuses: Vec::new(), grpc: 0 };
    let mut wrongs = Vec::new();
    for item in items {
        match item.text().unwrap_or_default() {
            "5xx" => {
                fail_on.server_error = true;
                fail_on.grpc |= grpc::FAILURES;
            }
            "timeout" => fail_on.timeout = true,
            "transport" => fail_on.transport = true,
            other if other.starts_with(grpc::PREFIX) => match grpc::parse(other) {
                Some(code) => fail_on.grpc |= 1 << code,
                None => wrongs.push(wrong(Kind::FailOn, item)),
            },
            other => match other.parse::<u16>() {
                Ok(status) if fail_on.statuses.contains(&status) => {}
                Ok(status) if (400..=599).contains(&status) => fail_on.statuses.push(status),
                Ok(_) | Err(_) => wrongs.push(wrong(Kind::FailOn, item)),
            },
        }
    }
    if wrongs.is_empty() { Ok(Value::FailOn(fail_on)) } else { Err(wrongs) }
}

/// What a kind asks for; `text` decides between form and bounds.
fn want(kind: Kind, text: &str) -> String {
    let plain = match kind {
        Kind::Duration { min, max, .. } => match parse_duration(text) {
            None => "a duration such as 250ms, 1s, 1m30s".to_owned(),
            Some(_) => {
                let show = |millis| show_duration(Duration::from_millis(millis));
                format!("{} to {}", show(min), show(max))
            }
        },
        Kind::Ratio { .. } => "a share from 0% to 100%, such as 20%".to_owned(),
        Kind::Size { min, max } => match parse_size(text) {
            None => "a size such as 512B, 64KiB, 16MiB".to_owned(),
            Some(_) => format!("{} to {}", show_size(min), show_size(max)),
        },
        Kind::Count { min, max, .. } => format!("a whole number from {min} to {max}"),
        Kind::Number { min, max } => format!("a number from {min} to {max}"),
        Kind::Bool => "true or false".to_owned(),
        Kind::Word(words) => any_of(words),
        Kind::Words(words) => format!("a list of {}", any_of(words)),
        Kind::FailOn if text.starts_with(grpc::PREFIX) => {
            "a code of gRPC from 1 to 16, as number or name, such as grpc-8 or grpc-unavailable".to_owned()
        }
        Kind::FailOn => FAIL_ON_WANT.to_owned(),
        Kind::Text => "a text".to_owned(),
        Kind::PemFile => "a path to a PEM file".to_owned(),
        Kind::GrpcMethod => "a method such as shop.Cart/Add, or a service such as shop.Cart".to_owned(),
        Kind::AccessLog => "off, stdout, or a path with a `/`".to_owned(),
        Kind::Addresses => "IP:port such as 127.0.0.1:9081, or a list of them".to_owned(),
        Kind::Ports => "a list of ports such as 3306 or 9000-9009".to_owned(),
        Kind::Networks => "a list of networks such as 10.9.0.0/16 or '2001:db8:9::/48'".to_owned(),
        Kind::Users => "a list of user ids such as 1001".to_owned(),
        Kind::Hosts => "a list of names such as cart, cart:8080 or cart:*".to_owned(),
        Kind::NamePort => "name:port such as cart:80".to_owned(),
        Kind::Url => "a URL such as http://collector:4318".to_owned(),
        Kind::Headers => "a block of header names, each with a value or '*'".to_owned(),
        Kind::Fields => "a block of header names, each with a value".to_owned(),
        Kind::Block { .. } | Kind::Policy | Kind::Services => "a block of keys".to_owned(),
        Kind::Routes => "a list of routes".to_owned(),
    };
    if can_be_off(kind) { format!("{plain}, or off") } else { plain }
}

/// What a kind asks for when the form is wrong.
pub(in crate::config) fn want_form(kind: Kind) -> String {
    want(kind, "")
}
