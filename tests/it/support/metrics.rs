//! `/metrics` as a table: name and labels to value.

use std::collections::BTreeMap;

/// Parsed samples of one scrape.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

// === impl Metrics ===

impl Metrics {
    /// Reads OpenMetrics text; panics on a line that is no sample.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.map(sample).collect() }
    }

    /// The sum of every sample called `name` that carries all of `labels`.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let carries = |set: &BTreeMap<String, String>| {
            labels.iter().all(|(key, value)| set.get(*key).is_some_and(|found| found == value))
        };
        let found = self.samples.iter().filter(|(key, set, _)| key == name && carries(set));
        found.map(|(_, _, value)| value).sum::<f64>() + 0.0 // the sum of nothing is -0.0
    }

    /// The sum of every sample with `word` in its name or in the value of a label.
    pub(crate) fn sum_mentioning(&self, word: &str) -> f64 {
        let mentions = |name: &String, set: &BTreeMap<String, String>| {
            name.contains(word) || set.values().any(|value| value.contains(word))
        };
        self.samples.iter().filter(|(name, set, _)| mentions(name, set)).map(|(_, _, value)| value).sum()
    }

    /// Every sample whose name starts with `prefix`, for the message of a failed test.
    pub(crate) fn matching(&self, prefix: &str) -> String {
        let found = self.samples.iter().filter(|(name, _, _)| name.starts_with(prefix));
        found.map(|(name, labels, value)| format!("{name}{labels:?} {value}\n")).collect()
    }

    /// The names of all samples.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.iter().map(|(name, _, _)| name.as_str())
    }
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let number = |text: &str| -> f64 {
        let first = text.split_whitespace().next().unwrap_or_default();
        first.parse().unwrap_or_else(|_| panic!("not a value: {line:?}"))
    };
    let Some((name, rest)) = line.split_once('{') else {
        let (name, rest) = line.split_once(' ').unwrap_or_else(|| panic!("not a sample: {line:?}"));
        return (name.to_owned(), BTreeMap::new(), number(rest));
    };
    let (mut labels, mut rest) = (BTreeMap::new(), rest);
    while !rest.starts_with('}') {
        let (key, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("not a label: {line:?}"));
        let (value, after) = quoted(after);
        labels.insert(key.trim_start_matches(',').to_owned(), value);
        rest = after;
    }
    (name.to_owned(), labels, number(&rest[1..]))
}

/// The text up to the closing quote, unescaped, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, other)) => other,
                None => panic!("a label ends in a backslash: {text:?}"),
            }),
            other => value.push(other),
        }
    }
    panic!("a label without an end: {text:?}")
}
