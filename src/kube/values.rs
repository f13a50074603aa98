//! Values as people write them in annotations.
//!
//! In: text. Out: the value, or what is wanted instead. Every list is of items with commas between.

use std::net::IpAddr;

use super::settings::SkipLists;

/// Most items of a list: an annotation that needs more is a case for the configuration.
const ITEMS_MAX: usize = 100;

/// Longest name of an object of Kubernetes, in bytes (RFC 1123 subdomain).
const NAME_BYTES_MAX: usize = 253;

/// Longest reference to an image, in bytes: a name of 255, a tag of 128, and a digest.
const IMAGE_BYTES_MAX: usize = 512;

/// Longest quantity, in bytes; Kubernetes has no bound, and no sane one has more digits.
const QUANTITY_BYTES_MAX: usize = 20;

/// The greatest user id that Kubernetes takes.
const USER_MAX: u32 = i32::MAX.unsigned_abs();

/// Suffixes of quantities: thousandths, none, powers of 1000 and of 1024.
const SUFFIXES: &[&str] = &["m", "", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// `on` or `off`.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

/// `3306, 9000-9009`: 1 to 65535, the first not above the last.
pub(super) fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    items(text, |item| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let (first, last): (u16, u16) = (number(first)?, number(last)?);
        (first > 0 && first <= last).then_some((first, last))
    })
}

/// `10.9.0.0/16, 2001:db8::/32, 10.0.0.7`: an address alone is a network of one.
pub(super) fn networks(text: &str) -> Option<Vec<(IpAddr, u8)>> {
    items(text, |item| {
        let (address, bits) = match item.split_once('/') {
            Some((address, bits)) => (address, Some(number(bits)?)),
            None => (item, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        (bits <= width).then_some((address, bits))
    })
}

/// `1001, 1002`: 0 to 2147483647.
pub(super) fn users(text: &str) -> Option<Vec<u32>> {
    items(text, |item| number(item).filter(|user| *user <= USER_MAX))
}

/// A quantity of Kubernetes above zero, such as `10m` or `128Mi`.
pub(super) fn quantity(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let suffix = &text[digits.len()..];
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let good = text.len() <= QUANTITY_BYTES_MAX
        && SUFFIXES.contains(&suffix)
        && all_digits(whole)
        && all_digits(part)
        && digits.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    good.then(|| text.to_owned())
}

/// The name of an object: lower-case letters, digits, `-` and `.`, with a letter or digit at both ends of each label.
pub(super) fn object_name(text: &str) -> Option<String> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(letter)
            && bytes.last().copied().is_some_and(letter)
            && bytes.iter().all(|byte| letter(*byte) || *byte == b'-')
    };
    (text.len() <= NAME_BYTES_MAX && text.split('.').all(label)).then(|| text.to_owned())
}

/// An image as a pod names it. What it may hold is the registry's to say; it is one printable word.
pub(super) fn image(text: &str) -> Option<String> {
    let good = !text.is_empty()
        && text.len() <= IMAGE_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte))
        && text.as_bytes()[0].is_ascii_alphanumeric();
    good.then(|| text.to_owned())
}

/// What the capture command is told, one word for each item.
pub(super) fn skip_flags(skip: &SkipLists) -> Vec<String> {
    let ports = skip.ports.iter().map(|(first, last)| match first == last {
        true => format!("--skip-port={first}"),
        false => format!("--skip-port={first}-{last}"),
    });
    let networks = skip.networks.iter().map(|(address, bits)| format!("--skip-network={address}/{bits}"));
    let users = skip.users.iter().map(|user| format!("--skip-user={user}"));
    ports.chain(networks).chain(users).collect()
}

fn items<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let items = text.split(',').map(|item| one(item.trim())).collect::<Option<Vec<T>>>()?;
    (items.len() <= ITEMS_MAX).then_some(items)
}

/// A number of digits alone: no sign, no space.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_with_spaces_around_their_items() {
        assert_eq!(ports("3306, 9000-9009").unwrap(), [(3306, 3306), (9000, 9009)]);
        assert_eq!(users("0,1001").unwrap(), [0, 1001]);
        let networks = networks("10.9.0.0/16, 2001:db8:9::/48,10.0.0.7").unwrap();
        let flags = skip_flags(&SkipLists { networks, ports: vec![(1, 1), (2, 3)], users: vec![7] });
        assert_eq!(
            flags,
            [
                "--skip-port=1",
                "--skip-port=2-3",
                "--skip-network=10.9.0.0/16",
                "--skip-network=2001:db8:9::/48",
                "--skip-network=10.0.0.7/32",
                "--skip-user=7",
            ]
        );
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "0", "65536", "9-8", "80,", "http", "+80", "8 0", "80-", "-80", "1-2-3", "８０"] {
            assert_eq!(ports(text), None, "{text:?}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::1/129", "10.0.0.0/", "cart", "10.0.0.0/+8"] {
            assert_eq!(networks(text), None, "{text:?}");
        }
        for text in ["", "-1", "root", "2147483648", "4294967296"] {
            assert_eq!(users(text), None, "{text:?}");
        }
        assert_eq!(users(&vec!["1"; ITEMS_MAX + 1].join(",")), None);
    }

    #[test]
    fn quantities_names_and_images_are_what_kubernetes_takes() {
        for text in ["10m", "1", "0.5", "128Mi", "1G", "1.5Gi"] {
            assert!(quantity(text).is_some(), "{text:?}");
        }
        for text in ["", "0", "0.0Mi", "m", "10mb", "-1", "1e3", "1 Gi", ".5", "5.", "1.2.3", "１"] {
            assert_eq!(quantity(text), None, "{text:?}");
        }
        for text in ["", "-a", "a-", "A", "a_b", "a..b", &"a".repeat(254)] {
            assert_eq!(object_name(text), None, "{text:?}");
        }
        assert!(object_name("shop.outrigger-v2").is_some());
        for text in ["", " ", "a b", "/a", "a\nb", "a;b"] {
            assert_eq!(image(text), None, "{text:?}");
        }
        assert!(image("registry.example:5000/mesh/outrigger:0.1.0@sha256:0a").is_some());
    }
}
