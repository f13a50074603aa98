//! Values as people write them in annotations and flags.
//!
//! In: text. Out: its words, checked, or nothing. Every list is of items with commas between. The
//! policy for the API server says the same forms in CEL, so none is cleverer than a pattern can be.

use crate::config::capture::{Network, PortRange, USER_MAX};

use super::settings::SkipLists;

/// Most items of a list: a pod that needs more has a case for the configuration.
pub(super) const ITEMS_MAX: usize = 100;

/// Longest name of an object of Kubernetes, in bytes (RFC 1123 subdomain).
pub(super) const OBJECT_NAME_BYTES_MAX: usize = 253;

/// Longest reference to an image, in bytes: a name of 255, a tag of 128, and a digest.
pub(super) const IMAGE_BYTES_MAX: usize = 512;

/// Longest quantity, in bytes; Kubernetes has no bound, and no sane one has more digits.
pub(super) const QUANTITY_BYTES_MAX: usize = 20;

/// Suffixes of quantities and what each stands for.
const SUFFIXES: &[(&str, f64)] = &[
    ("", 1.0),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("E", 1e18),
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
];

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `on` or `off`.
    Switch,
    /// The name of an object: labels of lower-case letters, digits and `-` with dots between.
    ObjectName,
    /// An image as a pod names it. What it may hold is the registry's to say; it is one word.
    Image,
    /// A quantity above zero, such as `10m` or `128Mi`.
    Quantity,
    /// `3306, 9000-9009`.
    Ports,
    /// `10.9.0.0/16, 2001:db8::/32, 10.0.0.7`.
    Networks,
    /// `1001, 1002`.
    Users,
}

// === impl Form ===

impl Form {
    /// What values it takes, for messages and documents.
    pub(super) const fn wanted(self) -> &'static str {
        match self {
            Self::Switch => "\"on\" or \"off\"",
            Self::ObjectName => "the name of a ConfigMap",
            Self::Image => "an image, such as \"registry.example/outrigger:0.1.0\"",
            Self::Quantity => "a quantity, such as \"10m\" or \"128Mi\"",
            Self::Ports => "ports or ranges with commas between, such as \"3306,9000-9009\"",
            Self::Networks => "networks with commas between, such as \"10.9.0.0/16,2001:db8:9::/48\"",
            Self::Users => "user ids with commas between, such as \"1001,1002\"",
        }
    }

    /// The words of `text`: its items without the spaces around them, or all of it.
    pub(super) fn read(self, text: &str) -> Option<Vec<String>> {
        let (is_list, good): (bool, fn(&str) -> bool) = match self {
            Self::Switch => (false, |text| text == "on" || text == "off"),
            Self::ObjectName => (false, is_object_name),
            Self::Image => (false, is_image),
            Self::Quantity => (false, |text| quantity(text).is_some_and(|number| number > 0.0)),
            Self::Ports => (true, |text| text.parse::<PortRange>().is_ok()),
            Self::Networks => (true, |text| text.parse::<Network>().is_ok()),
            Self::Users => (true, is_user),
        };
        let words: Vec<&str> = if is_list { text.split(',').map(str::trim).collect() } else { vec![text] };
        let good = words.len() <= ITEMS_MAX && words.iter().all(|word| good(word));
        good.then(|| words.into_iter().map(str::to_owned).collect())
    }
}

/// The number that a quantity stands for.
pub(super) fn quantity(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let (_, unit) = SUFFIXES.iter().find(|(suffix, _)| *suffix == &text[digits.len()..])?;
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let good = text.len() <= QUANTITY_BYTES_MAX && all_digits(whole) && all_digits(part);
    let number: f64 = digits.parse().ok().filter(|_| good)?;
    Some(number * unit)
}

/// What the capture command is told, one word for each item.
pub(super) fn skip_flags(skip: &SkipLists) -> Vec<String> {
    let ports = skip.ports.iter().map(|item| format!("--skip-port={item}"));
    let networks = skip.networks.iter().map(|item| format!("--skip-network={item}"));
    let users = skip.users.iter().map(|item| format!("--skip-user={item}"));
    ports.chain(networks).chain(users).collect()
}

fn is_object_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(letter)
            && bytes.last().copied().is_some_and(letter)
            && bytes.iter().all(|byte| letter(*byte) || *byte == b'-')
    };
    text.len() <= OBJECT_NAME_BYTES_MAX && text.split('.').all(label)
}

fn is_image(text: &str) -> bool {
    text.len() <= IMAGE_BYTES_MAX
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte))
}

/// A number without sign, and without a zero in front that some would read as octal.
fn is_user(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain && text.parse().is_ok_and(|user: u32| user <= USER_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_with_spaces_around_their_items() {
        let read = |form: Form, text: &str| form.read(text).unwrap();
        let ports = read(Form::Ports, "3306, 9000-9009");
        let networks = read(Form::Networks, "10.9.0.0/16,  2001:db8:9::/48,10.0.0.7");
        let users = read(Form::Users, "0,1001");
        assert_eq!(
            skip_flags(&SkipLists { ports, networks, users }),
            [
                "--skip-port=3306",
                "--skip-port=9000-9009",
                "--skip-network=10.9.0.0/16",
                "--skip-network=2001:db8:9::/48",
                "--skip-network=10.0.0.7",
                "--skip-user=0",
                "--skip-user=1001",
            ]
        );
    }

    #[test]
    fn what_has_not_the_form_is_refused() {
        let ports =
            ["", "0", "65536", "9-8", "80,", "http", "+80", "8 0", "80-", "-80", "1-2-3", "８０", "080"];
        let networks =
            ["", "10.0.0.0/33", "10.0.0/8", "::1/129", "10.0.0.0/", "cart", "10.0.0.1/8", "::ffff:1.2.3.4"];
        let users = ["", "-1", "root", "007", "4294967295"];
        let quantities =
            ["", "0", "0.0Mi", "m", "10mb", "-1", "1e3", "1 Gi", ".5", "5.", "1.2.3", "１", "1é"];
        let names = ["", "-a", "a-", "A", "a_b", "a..b", "a b"];
        let images = ["", " ", "a b", "/a", "a\nb", "a;b"];
        for (form, texts) in [
            (Form::Ports, ports.as_slice()),
            (Form::Networks, &networks),
            (Form::Users, &users),
            (Form::Quantity, &quantities),
            (Form::ObjectName, &names),
            (Form::Image, &images),
            (Form::Switch, &["", "On", "true", "no"]),
        ] {
            for text in texts {
                assert_eq!(form.read(text), None, "{form:?} {text:?}");
            }
        }
        assert_eq!(Form::Users.read(&vec!["1"; ITEMS_MAX + 1].join(",")), None);
        assert_eq!(Form::ObjectName.read(&"a".repeat(OBJECT_NAME_BYTES_MAX + 1)), None);
    }

    #[test]
    fn what_kubernetes_takes_is_taken() {
        for text in ["10m", "1", "0.5", "128Mi", "1G", "1.5Gi"] {
            assert!(Form::Quantity.read(text).is_some(), "{text:?}");
        }
        assert!(Form::ObjectName.read("shop.outrigger-v2").is_some());
        assert!(Form::Image.read("registry.example:5000/mesh/outrigger:0.1.0@sha256:0a").is_some());
        assert!(quantity("1Gi") > quantity("1G") && quantity("1000m") == quantity("1"));
    }
}
