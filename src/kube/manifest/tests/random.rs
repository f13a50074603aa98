//! Manifests of every kind and style, and what must hold for all of them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Documents, source, value, values};
use crate::kube::{Settings, inject, plan, uninject};

/// Choices made of bytes, so that a failure shrinks; when they end, always the first.
struct Choices<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Choices<'_> {
    fn of(&mut self, count: usize) -> usize {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        usize::from(byte) % count
    }

    fn often(&mut self) -> bool {
        self.of(3) == 1
    }

    fn rarely(&mut self) -> bool {
        self.of(12) == 11
    }

    fn pick<'p>(&mut self, among: &[&'p str]) -> &'p str {
        among[self.of(among.len())]
    }
}

const STRINGS: &[&str] = &[
    "plain",
    "on",
    "012",
    "1e3",
    "",
    "a: b",
    "# no comment",
    "multi\nline\n",
    "no end\nof line",
    "é ü",
    "'\"\\",
    "- x",
    "{a}",
    "true",
    "~",
    "trailing ",
    "a #b",
    "blank\n\nlines\n\n",
    "  indented\n",
    "\u{1f600}",
];

fn string(choices: &mut Choices) -> Value {
    choices.pick(STRINGS).into()
}

fn scalar(choices: &mut Choices) -> Value {
    match choices.of(5) {
        0 | 1 => string(choices),
        2 => json!(choices.of(9000)),
        3 => json!(choices.often()),
        _ => json!({}),
    }
}

/// A container with this name.
fn container(choices: &mut Choices, name: &str) -> Value {
    let mut map = Map::from_iter([("name".to_owned(), name.into())]);
    if choices.often() {
        map.insert("image".to_owned(), "nginx:1.27".into());
    }
    if choices.often() {
        map.insert("args".to_owned(), (0..choices.of(4)).map(|_| string(choices)).collect());
    }
    if choices.often() {
        let env =
            (0..choices.of(3)).map(|index| json!({"name": format!("V{index}"), "value": string(choices)}));
        map.insert("env".to_owned(), env.collect());
    }
    if choices.often() {
        map.insert("x".to_owned(), scalar(choices));
    }
    shuffled(choices, map)
}

fn shuffled(choices: &mut Choices, map: Map<String, Value>) -> Value {
    let mut entries: Vec<(String, Value)> = map.into_iter().collect();
    for index in (1..entries.len()).rev() {
        entries.swap(index, choices.of(index + 1));
    }
    Value::Object(Map::from_iter(entries))
}

/// Metadata and spec of a pod.
fn pod(choices: &mut Choices, name: bool) -> Map<String, Value> {
    let mut metadata = Map::new();
    if name {
        metadata.insert("name".to_owned(), "web".into());
    }
    if choices.often() {
        metadata.insert("labels".to_owned(), json!({"app": string(choices)}));
    }
    if choices.often() {
        let all = (0..choices.of(3)).map(|index| (format!("example.com/{index}"), string(choices)));
        metadata.insert("annotations".to_owned(), Value::Object(Map::from_iter(all)));
    }
    let mut spec = Map::new();
    let count = choices.of(3) + 1;
    spec.insert(
        "containers".to_owned(),
        (0..count).map(|index| container(choices, &format!("c{index}"))).collect(),
    );
    if choices.often() {
        let all = (0..choices.of(3)).map(|index| container(choices, &format!("i{index}")));
        spec.insert("initContainers".to_owned(), all.collect());
    }
    if choices.often() {
        spec.insert(
            "volumes".to_owned(),
            (0..choices.of(3)).map(|index| json!({"name": format!("v{index}"), "emptyDir": {}})).collect(),
        );
    }
    if choices.often() {
        spec.insert("x".to_owned(), json!([[scalar(choices), string(choices)], {"deep": scalar(choices)}]));
    }
    if choices.often() {
        spec.insert("terminationGracePeriodSeconds".to_owned(), 20.into());
    }
    let mut pod = Map::from_iter([("spec".to_owned(), shuffled(choices, spec))]);
    if name || choices.often() {
        if metadata.is_empty() {
            metadata.insert("labels".to_owned(), json!({"a": "b"}));
        }
        pod.insert("metadata".to_owned(), shuffled(choices, metadata));
    }
    pod
}

/// A document and the way to its pod, if it has one.
fn document(choices: &mut Choices) -> (Value, Option<&'static str>) {
    let object = |kind: &str, version: &str, spec: Value| json!({"kind": kind, "apiVersion": version, "metadata": {"name": "web"}, "spec": spec});
    let kind = choices.of(9);
    if kind == 0 {
        let mut whole = pod(choices, true);
        whole.insert("kind".to_owned(), "Pod".into());
        whole.insert("apiVersion".to_owned(), "v1".into());
        return (shuffled(choices, whole), Some(""));
    }
    let template = pod(choices, false);
    let template = shuffled(choices, template);
    match kind {
        1..=4 => {
            let kind = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"][kind - 1];
            (object(kind, "apps/v1", json!({"replicas": 2, "template": template})), Some("/spec/template"))
        }
        5 => (object("Job", "batch/v1", json!({"template": template})), Some("/spec/template")),
        6 => {
            let spec = json!({"jobTemplate": {"spec": {"template": template}}, "schedule": "* * * * *"});
            (object("CronJob", "batch/v1", spec), Some("/spec/jobTemplate/spec/template"))
        }
        7 => {
            let item = object("Deployment", "apps/v1", json!({"template": template}));
            let list =
                json!({"apiVersion": "v1", "kind": "List", "items": [{"kind": "Service"}, item, null]});
            (list, Some("/items/1/spec/template"))
        }
        _ => (object("Rollout", "argoproj.io/v1", json!({"template": template})), None),
    }
}

/// Writes values in the styles that people use.
struct Writer<'a, 'b> {
    choices: &'a mut Choices<'b>,
    out: String,
    step: usize,
    dash: usize,
    comments: usize,
    /// Whether the last line is of a block of text.
    after_block: bool,
}

impl Writer<'_, '_> {
    fn line(&mut self, column: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', column));
    }

    fn comment(&mut self) {
        self.comments += 1;
        self.out.push_str(&format!("#c{}.", self.comments));
    }

    /// Comments and blank lines before a line whose text begins in `column`.
    fn between(&mut self, column: usize) {
        let after_block = std::mem::take(&mut self.after_block);
        // There it would be part of the text.
        if self.choices.rarely() && !after_block {
            self.out.push('\n');
        }
        if self.choices.rarely() {
            let deeper = if after_block { 0 } else { 3 };
            let column = [column, column + deeper / 2, column + deeper, 0][self.choices.of(4)];
            self.line(column);
            self.comment();
        }
    }

    fn end_of_line(&mut self) {
        if self.choices.rarely() {
            self.out.push_str("  ");
            self.comment();
        }
    }

    /// Keys in `column`; the first where the text ends now, if `here`.
    fn map(&mut self, map: &Map<String, Value>, column: usize, mut here: bool) {
        for (key, value) in map {
            if !std::mem::take(&mut here) {
                self.between(column);
                self.line(column);
            }
            // An empty list under a key in quotes looks as if it were ours.
            let empty =
                value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
            match self.choices.rarely() && !empty {
                true => self.out.push_str(&format!("\"{key}\" :")),
                false => self.out.push_str(&format!("{key}:")),
            }
            self.value(value, column);
        }
    }

    /// What comes after a key in `column`.
    fn value(&mut self, value: &Value, column: usize) {
        self.after_block = false;
        match value {
            Value::Object(map) if !map.is_empty() && !self.choices.rarely() => {
                self.properties();
                self.end_of_line();
                self.map(map, column + self.step, false);
            }
            Value::Array(items) if !items.is_empty() && !self.choices.rarely() => {
                self.properties();
                self.end_of_line();
                self.list(items, column + self.dash, false);
            }
            Value::String(text) if self.choices.often() && is_block(text) => self.block(text, column),
            Value::Null => self.end_of_line(),
            Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.out.push(' ');
                self.flow(value, column + 1);
                self.end_of_line();
            }
        }
    }

    /// An anchor that nobody names, or a tag that says nothing new.
    fn properties(&mut self) {
        if self.choices.rarely() {
            self.out.push_str(" &anchor");
        }
    }

    fn list(&mut self, items: &[Value], column: usize, mut here: bool) {
        for item in items {
            if !std::mem::take(&mut here) {
                self.between(column);
                self.line(column);
            }
            self.out.push('-');
            self.after_block = false;
            match item {
                Value::Object(map) if !map.is_empty() && !self.choices.rarely() => {
                    let spaces = if self.choices.rarely() { 3 } else { 1 };
                    self.out.extend(std::iter::repeat_n(' ', spaces));
                    self.map(map, column + 1 + spaces, true);
                }
                Value::Array(items) if !items.is_empty() && !self.choices.rarely() => {
                    self.out.push(' ');
                    self.list(items, column + 2, true);
                }
                Value::Null => self.end_of_line(),
                Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    self.out.push(' ');
                    self.flow(item, column + 1);
                    self.end_of_line();
                }
            }
        }
    }

    fn block(&mut self, text: &str, column: usize) {
        self.after_block = true;
        let chomp = match text.len() - text.trim_end_matches('\n').len() {
            0 => "-",
            1 => "",
            _ => "+",
        };
        self.out.push_str(&format!(" |{chomp}"));
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            match line.is_empty() {
                true => self.out.push('\n'),
                false => {
                    self.line(column + self.step);
                    self.out.push_str(line);
                }
            }
        }
    }

    /// A value in brackets, which may go on in lines deeper than `column`.
    fn flow(&mut self, value: &Value, column: usize) {
        match value {
            Value::Array(items) => {
                self.out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.gap(index, column);
                    self.flow(item, column);
                }
                self.close(!items.is_empty(), column, ']');
            }
            Value::Object(map) => {
                self.out.push('{');
                for (index, (key, value)) in map.iter().enumerate() {
                    self.gap(index, column);
                    self.out.push_str(&format!("{key}: "));
                    self.flow(value, column);
                }
                self.close(!map.is_empty(), column, '}');
            }
            Value::String(text) => self.string(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.out.push_str(&value.to_string()),
        }
    }

    fn gap(&mut self, index: usize, column: usize) {
        if index > 0 {
            self.out.push_str([", ", ",", " , "][self.choices.of(3)]);
        }
        self.wrap(column);
    }

    fn wrap(&mut self, column: usize) {
        if self.choices.rarely() {
            if self.choices.often() {
                self.out.push(' ');
                self.comment();
            }
            self.line(column + 2);
        }
    }

    fn close(&mut self, any: bool, column: usize, bracket: char) {
        if any && self.choices.rarely() {
            self.out.push(',');
        }
        if any {
            self.wrap(column);
        }
        self.out.push(bracket);
    }

    fn string(&mut self, text: &str) {
        let plain =
            !text.is_empty() && text.chars().all(|char| char.is_ascii_alphabetic() || ".:/".contains(char));
        let means_more = ["on", "true"].contains(&text);
        match self.choices.of(3) {
            0 if plain && !means_more && !text.ends_with(':') => self.out.push_str(text),
            1 if !text.contains('\n') => self.out.push_str(&format!("'{}'", text.replace('\'', "''"))),
            _ => self.out.push_str(&Value::from(text).to_string()),
        }
    }
}

/// Whether a text can be written as a block without saying how deep it is.
fn is_block(text: &str) -> bool {
    !text.trim().is_empty() && !text.starts_with(' ')
}

/// A stream: its text, and for each document its value and the way to its pod.
type Stream = (String, Vec<(Value, Option<&'static str>)>);

fn stream(choices: &mut Choices) -> Stream {
    let step = [2, 2, 4, 3][choices.of(4)];
    let dash = [0, 2, step][choices.of(3)];
    let mut writer = Writer { choices, out: String::new(), step, dash, comments: 0, after_block: false };
    let mut documents = Vec::new();
    for index in 0..writer.choices.of(3) + 1 {
        let marked = index > 0 || writer.choices.often();
        if marked {
            writer.out.push_str("---");
            writer.end_of_line();
        }
        // A document of comments alone.
        if marked && writer.choices.rarely() {
            writer.line(0);
            writer.comment();
            writer.out.push_str("\n---");
            documents.push((Value::Null, None));
        }
        writer.after_block = false;
        let (value, way) = document(writer.choices);
        let whole = writer.choices.rarely();
        writer.out.push('\n');
        match &value {
            Value::Object(map) if !whole => {
                let at = writer.out.len();
                writer.map(map, 0, true);
                assert!(writer.out.len() > at);
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => {
                writer.flow(&value, 0);
            }
        }
        writer.out.push('\n');
        documents.push((value, way));
    }
    let mut text = writer.out.trim_start_matches('\n').to_owned();
    match writer.choices.of(6) {
        1 => text = text.replace('\n', "\r\n"),
        // Without its last break a text with lines at its end would say less.
        2 if !text.ends_with("\n\n") => text = text.trim_end_matches('\n').to_owned(),
        3 => text.insert(0, '\u{feff}'),
        4 => text.push_str("...\n"),
        _ => {}
    }
    (text, documents)
}

/// All comments of a text, in order.
fn comments(text: &str) -> Vec<&str> {
    text.match_indices("#c").map(|(at, _)| &text[at..][..text[at..].find('.').expect("an end")]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_manifest_is_injected_in_place(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        let mut choices = Choices { bytes: &bytes, at: 0 };
        let settings = Settings { capture: choices.of(4) < 3, ..Settings::default() };
        let (text, mut documents) = stream(&mut choices);
        let mut reader = Documents::new("a", text.trim_start_matches('\u{feff}'));
        for (wanted, _) in &documents {
            let tree = reader.next().expect(&text).expect("a document");
            prop_assert_eq!(&value(&tree, tree.root).unwrap(), wanted, "{}", text);
        }
        let done = inject(&[source(&text)], None, &settings).unwrap();
        for (document, way) in &mut documents {
            let pod = way.and_then(|way| document.pointer_mut(way));
            if let Some(pod) = pod {
                for edit in plan(pod, None, &settings).unwrap().edits {
                    prop_assert!(edit.apply(pod));
                }
            }
        }
        let wanted: Vec<Value> = documents.into_iter().map(|(document, _)| document).collect();
        prop_assert!(done.notes.iter().all(|note| !note.message.contains("skipped")), "{:?}\n{}", done.notes, text);
        prop_assert_eq!(values(&done.text), wanted, "{}", done.text);
        prop_assert_eq!(comments(&done.text), comments(&text), "{}", done.text);
        let again = inject(&[source(&done.text)], None, &settings).unwrap();
        prop_assert_eq!(&again.text, &done.text);
        let without = uninject(&[source(&done.text)]).unwrap();
        prop_assert_eq!(&without.text, &text, "{}", done.text);
    }

    #[test]
    fn nothing_panics_and_nothing_is_lost(
        pieces in proptest::collection::vec(prop::sample::select(vec![
            "kind: Pod\n", "apiVersion: v1\n", "spec:", " ", "\n", "  ", "containers:", "- ", "name: a", "{", "}", "[",
            "]", ",", "#", "---\n", "...\n", "&a ", "*a", "<<: ", "|\n", "\t", "\r\n", "\"", "'", "? ", ": ", "!!str ", "é",
            "\u{feff}", "metadata:", "annotations:", "initContainers:", "volumes:", "null", "env:", "%YAML 1.2\n",
        ]), 0..40)
    ) {
        let text = pieces.concat();
        let pod = format!("kind: Pod\napiVersion: v1\nspec:\n  containers:\n  - name: app\n{text}");
        for text in [text, pod] {
            if let Ok(done) = inject(&[source(&text)], None, &Settings::default()) {
                let kept = done.text.len() >= text.len().saturating_sub("null".len() * 4);
                prop_assert!(kept, "{text:?}: {:?}", done.text);
                let again = inject(&[source(&done.text)], None, &Settings::default()).expect("readable");
                prop_assert_eq!(again.text, done.text);
            }
        }
    }
}
