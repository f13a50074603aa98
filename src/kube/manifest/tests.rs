use serde_json::{Value, json};

use super::*;
use crate::kube::{Settings, inject, uninject};

mod random;

fn source(text: &str) -> Source {
    Source::new("a.yaml", text.as_bytes().to_vec()).expect("a text")
}

/// What `inject` makes of one file, with the defaults.
fn injected(text: &str) -> Result<Rewritten, Vec<Problem>> {
    inject(&[source(text)], None, &Settings::default())
}

fn notes(done: &Rewritten) -> Vec<String> {
    done.notes.iter().map(Note::to_string).collect()
}

/// The values of all documents of a text.
fn values(text: &str) -> Vec<Value> {
    let mut documents = Documents::new("a.yaml", text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut found = Vec::new();
    while let Some(tree) = documents.next().expect("YAML") {
        found.push(value(&tree, tree.root).expect("no key twice"));
    }
    found
}

const POD: &str = "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec:\n  containers:\n  - name: app\n";

#[test]
fn what_is_no_pod_passes_through_untouched() {
    for text in [
        "",
        "\n\n",
        "# only\n# comments\n",
        "---\n---\n# c\n---\n",
        "---",
        "null\n",
        "just text",
        "- a\n- b: c\n",
        "kind: Service\nspec: {ports: [{port: 80}]}\n",
        "kind: Job\napiVersion: batch.volcano.sh/v1alpha1\nspec: {template: {spec: {containers: []}}}\n",
        "kind: [Pod]\n",
        "apiVersion: v1\nkind: PodList\n",
        "apiVersion: v1\nkind: List\nitems: null\n",
        "a: 1\na: 2\n",
        "%YAML 1.2\n---\na: b\n...\n# end\n",
        "data:\n  x.yaml: |\n    ---\n    kind: Pod\n    \ttab\n",
        "a: \t1\t# tab\n",
        "\u{feff}kind: Service\r\n---\r\n# c\r\n",
    ] {
        let done = injected(text).unwrap();
        assert_eq!((done.text.as_str(), done.notes.len()), (text, 0), "{text:?}");
    }
}

#[test]
fn broken_yaml_is_told_with_its_place() {
    for (text, told) in [
        (format!("{POD}\tkey: 1\n"), "found a tab), want valid YAML, with spaces in place of tabs"),
        ("a:\n\tb: 1\n".to_owned(), "a.yaml:2:2: found broken YAML (tabs"),
        ("a:\tb\n".to_owned(), "want valid YAML, with spaces in place of tabs"),
        (format!("{POD}---\nkind: [a\n---\n"), "a.yaml:9:1: found broken YAML ("),
        (format!("{POD}   x: y\n"), "a.yaml:7:4: found broken YAML ("),
        ("a: \"b\n".to_owned(), "a.yaml:1:4: found broken YAML ("),
        ("kind: {{ .Values.kind }\n".to_owned(), "want valid YAML; render a template first"),
        (
            format!("{POD}  hostNetwork: true\n  hostNetwork: false\n"),
            "a.yaml:8:3: found `hostNetwork` a second time, want each key once",
        ),
        ("a: *b\n".to_owned(), "a.yaml:1:4: found broken YAML ("),
        ("a: &b 1\n---\na: *b\n".to_owned(), "a.yaml:3:4: found an alias of an anchor"),
        ("a: &b [*b]\n".to_owned(), "a.yaml:1:8: found "),
        (format!("{POD}{{}}\n"), "a.yaml:8:1: found broken YAML ("),
        (
            format!("{POD}  x: {{{{ a }}}}\n"),
            "found a list or map as a key, want a name; if this is a template, render it first",
        ),
        ("[".repeat(300), "want less nesting"),
        (format!("{POD}  affinity: {}{}", "[".repeat(250), "]".repeat(250)), "levels, want less nesting"),
    ] {
        let problems = injected(&text).expect_err(&text);
        let found: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert!(found.len() == 1 && found[0].contains(told), "{text:?}: {found:?}");
    }
}

#[test]
fn every_file_is_told_of_and_none_given_out() {
    let broken = |name: &str| Source::new(name, b"a: [".to_vec()).unwrap();
    let all = [broken("x.yaml"), source(POD), broken("y.yaml")];
    let problems = inject(&all, None, &Settings::default()).unwrap_err();
    assert_eq!(
        problems.iter().map(|problem| problem.file.as_str()).collect::<Vec<_>>(),
        ["x.yaml", "y.yaml"]
    );
    let problem = Source::new("z", b"a: b\n\xc3\xa9: \xff".to_vec()).unwrap_err();
    assert_eq!(problem.to_string(), "z:2:4: found bytes that are not UTF-8, want YAML in UTF-8");
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = format!("{POD}  x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n");
    for level in 1..12 {
        let before = level - 1;
        let uses = vec![format!("*x{before}"); 10].join(", ");
        text.push_str(&format!("  x{level}: &x{level} [{uses}]\n"));
    }
    let problems = injected(&text).unwrap_err();
    assert!(problems[0].to_string().contains("want fewer, counting each use of an alias"), "{problems:?}");
}

#[test]
fn a_pod_that_is_repeated_is_left_alone() {
    let text = "\
apiVersion: v1
kind: List
items:
- kind: Deployment
  apiVersion: apps/v1
  metadata: {name: one}
  spec:
    template: &pod
      spec:
        containers: [{name: app}]
- kind: Deployment
  apiVersion: apps/v1
  metadata: {name: two}
  spec:
    template: *pod
- kind: Deployment
  apiVersion: apps/v1
  metadata: {name: three}
  spec:
    template: {spec: {containers: [{name: app}]}}
- kind: Deployment
  apiVersion: apps/v1
  metadata: {name: four}
  spec: {replicas: 2}
- {kind: Pod, apiVersion: v1, metadata: {generateName: five-}, spec: 1}
";
    let done = injected(text).unwrap();
    assert_eq!(
        notes(&done),
        [
            "a.yaml:4: Deployment/one: skipped: line 8: an alias repeats what is under `&pod`, and would change too",
            "a.yaml:11: Deployment/two: skipped: line 15: `*pod` stands for another place, which would change too",
            "a.yaml:21: Deployment/four: skipped: it has no spec.template",
            "a.yaml:25: Pod/five-: skipped: not-a-pod: its spec is no mapping",
        ]
    );
    let items = &values(&done.text)[0]["items"];
    assert_eq!(items[2]["spec"]["template"]["spec"]["initContainers"].as_array().map(Vec::len), Some(2));
    assert_eq!(items[0], values(text)[0]["items"][0]);
}

#[test]
fn an_anchor_that_nobody_repeats_is_no_obstacle() {
    let text = POD.replace("spec:\n", "spec: &spec\n").replace("containers:\n", "containers: !!seq\n");
    let done = injected(&text).unwrap();
    assert_eq!(done.notes, []);
    assert_eq!(values(&done.text)[0]["spec"]["initContainers"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_namespace_speaks_for_its_pods() {
    let pod = |namespace: &str| POD.replace("name: a}", &format!("name: a, namespace: {namespace}}}"));
    let text = format!(
        "{}---\n{}---\nkind: Namespace\napiVersion: v1\nmetadata:\n  name: quiet\n  labels:\n    outrigger.dev/inject: disabled\n---\n{POD}",
        pod("quiet"),
        pod("loud")
    );
    let done = injected(&text).unwrap();
    let why = "Pod/a: skipped: disabled: its namespace's label outrigger.dev/inject says disabled";
    assert_eq!(notes(&done), [format!("a.yaml:1: {why}")]);
    // Files share their namespaces; those that name none are of the one given.
    let done = inject(&[source(POD), source(&text)], Some("quiet"), &Settings::default()).unwrap();
    assert_eq!(
        notes(&done),
        [format!("a.yaml:1: {why}"), format!("a.yaml:1: {why}"), format!("a.yaml:22: {why}")]
    );
}

#[test]
fn files_are_joined_so_that_none_runs_into_the_next() {
    let join = |texts: &[&str]| {
        let sources: Vec<Source> = texts.iter().map(|text| source(text)).collect();
        uninject(&sources).unwrap().text
    };
    assert_eq!(join(&["a: 1", "b: 2\n"]), "a: 1\n---\nb: 2\n");
    assert_eq!(join(&["a: 1\r\n", "b: 2"]), "a: 1\r\n---\r\nb: 2");
    assert_eq!(join(&["a: 1\n", "# c\n---\nb: 2\n"]), "a: 1\n# c\n---\nb: 2\n");
    assert_eq!(join(&["a: 1\n", "--- {b: 2}\n"]), "a: 1\n--- {b: 2}\n");
    assert_eq!(join(&["a: 1\n", "----: 2\n"]), "a: 1\n---\n----: 2\n");
    assert_eq!(join(&["a: 1\n", "%YAML 1.2\n---\nb: 2\n"]), "a: 1\n...\n%YAML 1.2\n---\nb: 2\n");
    assert_eq!(join(&["\u{feff}a: 1\n", "", "\u{feff}b: 2\n"]), "\u{feff}a: 1\n---\nb: 2\n");
    assert_eq!(join(&["", "a: 1\n"]), "a: 1\n");
}

#[test]
fn the_line_breaks_of_a_file_are_kept() {
    let text = format!("\u{feff}# c\r\n{}", POD.replace('\n', "\r\n"));
    let done = injected(&text).unwrap();
    assert_eq!(done.text.matches('\n').count(), done.text.matches("\r\n").count());
    assert!(done.text.starts_with("\u{feff}# c\r\n"));
    let text = text.trim_end();
    let done = injected(text).unwrap();
    assert!(!done.text.ends_with('\n'));
    assert_eq!(uninject(&[source(&done.text)]).unwrap().text, text);
}

#[test]
fn what_only_looks_like_ours_is_not_taken_out() {
    let pod = POD.replace("{name: a}", "{name: a, annotations: {outrigger.dev/status: ours}}");
    let done = uninject(&[source(POD), source(&pod)]).unwrap();
    assert_eq!(
        notes(&done),
        [
            "a.yaml:1: Pod/a: skipped: not-injected: it has no annotation outrigger.dev/status",
            "a.yaml:1: Pod/a: skipped: bad-status: its annotation outrigger.dev/status is not ours",
        ]
    );
    assert_eq!(done.text, format!("{POD}---\n{pod}"));
    // What was added by hand since stays, wherever it was put.
    let mine = injected(POD)
        .unwrap()
        .text
        .replace("  initContainers:\n", "  initContainers:\n  # mine\n  - name: mine\n");
    let without = uninject(&[source(&mine)]).unwrap().text;
    assert_eq!(without, format!("{POD}  initContainers:\n  # mine\n  - name: mine\n"));
}

#[test]
fn what_was_changed_since_stays() {
    let settings = Settings { capture: false, ..Settings::default() };
    let pod = POD.replace("{name: a}", "\n  name: a");
    let text = inject(&[source(&pod)], None, &settings).unwrap().text;
    assert_eq!(uninject(&[source(&text)]).unwrap().text, pod);
    let (ours, theirs) = ("http://127.0.0.1:15001", "http://proxy.corp:3128");
    let mine = text.replacen(ours, theirs, 1).replace("default-container: app", "default-container: debug");
    let mine = mine.replacen("::1,169.254.0.0/16", "::1,.corp", 1);
    let without = uninject(&[source(&mine)]).unwrap().text;
    let left = &values(&without)[0];
    assert_eq!(left["metadata"]["annotations"], json!({"kubectl.kubernetes.io/default-container": "debug"}));
    let kept = json!([
        {"name": "HTTP_PROXY", "value": theirs},
        {"name": "NO_PROXY", "value": "localhost,127.0.0.1,::1,.corp"},
    ]);
    assert_eq!(left["spec"]["containers"][0]["env"], kept, "{without}");
    // Whatever port was asked for, it is ours.
    let other = text.replace("15001", "25001");
    assert_eq!(uninject(&[source(&other)]).unwrap().text, pod);
}

#[test]
fn nothing_where_something_is_added_is_filled() {
    let text = POD
        .replace("{name: a}", "\n  name: a\n  annotations: # none\n")
        .replace("spec:\n", "spec:\n  initContainers: ~ # none\n  volumes: null\n");
    let done = injected(&text).unwrap();
    assert_eq!(done.notes, []);
    assert!(
        done.text.contains("  annotations: # none\n    kubectl.kubernetes.io/default-container: app\n"),
        "{}",
        done.text
    );
    assert!(done.text.contains("  initContainers: # none\n  - name: outrigger-capture\n"), "{}", done.text);
    let again = &values(&uninject(&[source(&done.text)]).unwrap().text)[0];
    assert_eq!(
        *again,
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "app"}]}})
    );
}

/// Time is not asserted: the shape of the work is, which does not grow with the square of the input.
#[test]
fn ten_megabytes_pass() {
    let line = format!("  key-{}: \"{}\" # ü\n", "x".repeat(40), "y".repeat(150));
    let data: String = (0..34_000).map(|index| line.replacen("key", &format!("key{index}"), 1)).collect();
    let map = format!("kind: ConfigMap\napiVersion: v1\ndata:\n{data}---\n");
    let flow =
        format!("{{\"kind\": \"ConfigMap\", \"é\": [{}1]}}\n---\n", "{\"a\": \"b\"}, ".repeat(250_000));
    let text = format!("{map}{flow}{POD}");
    assert!(text.len() > 10_000_000, "{}", text.len());
    let done = injected(&text).unwrap();
    let pod = injected(POD).unwrap().text;
    assert!(done.text == format!("{map}{flow}{pod}"));
}
