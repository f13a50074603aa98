use serde_json::json;

use super::*;
use crate::kube::edit::{Edit, Step};

fn only<'t>(text: &'t str) -> Tree<'t> {
    Documents::new("a.yaml", text).next().unwrap().expect("a document")
}

fn edit(pointer: &str, value: serde_json::Value) -> Edit {
    let step = |part: &str| match part.parse::<usize>() {
        Ok(index) => Step::Index(index),
        Err(_) => Step::Key(part.to_owned().into()),
    };
    Edit { at: pointer.split('/').skip(1).map(step).collect(), value }
}

/// The text after these edits of its root; what it means is compared with the edits' own meaning.
fn edited(text: &str, edits: &[(&str, serde_json::Value)]) -> Result<String, String> {
    let tree = only(text);
    let edits: Vec<Edit> = edits.iter().map(|(at, value)| edit(at, value.clone())).collect();
    let mut splices = put(&tree, tree.root, &edits)?;
    sort(&mut splices);
    let out = apply(text, 0..text.len(), &splices).expect("replacements apart");
    let mut wanted = value(&tree, tree.root).unwrap();
    for edit in &edits {
        assert!(edit.apply(&mut wanted), "{edit:?}");
    }
    let again = only(&out);
    assert_eq!(value(&again, again.root).unwrap(), wanted, "{out}");
    Ok(out)
}

const POD: &str = "\
# head
kind: Pod
metadata:
  name: a   # its name
spec:
  # the application
  containers:
  # first
  - name: app # here
    image: x
    # its end

  # second
  - name: two
# between
  tolerations: []   # none
# foot
";

#[test]
fn new_keys_come_after_what_belongs_to_a_block() {
    let out = edited(
        POD,
        &[
            ("/spec/initContainers", json!([{"name": "i", "args": ["run", "on"], "emptyDir": {}}])),
            ("/spec/containers/0/env", json!([{"name": "A", "value": "1"}])),
            ("/metadata/annotations", json!({"outrigger.dev/status": "{\"a\":1}"})),
        ],
    )
    .unwrap();
    assert_eq!(
        out,
        "\
# head
kind: Pod
metadata:
  name: a   # its name
  annotations:
    outrigger.dev/status: '{\"a\":1}'
spec:
  # the application
  containers:
  # first
  - name: app # here
    image: x
    # its end
    env:
    - name: A
      value: \"1\"

  # second
  - name: two
# between
  tolerations: []   # none
  initContainers:
  - name: i
    args:
    - run
    - \"on\"
    emptyDir: {}
# foot
"
    );
}

#[test]
fn elements_are_put_before_their_comments_and_at_the_end() {
    let out = edited(
        POD,
        &[
            ("/spec/containers/0", json!({"name": "zero"})),
            ("/spec/containers/2", json!({"name": "between"})),
            ("/spec/containers/4", json!({"name": "last"})),
            ("/spec/tolerations/0", json!({"operator": "Exists"})),
        ],
    )
    .unwrap();
    let (_, list) = out.split_once("  containers:\n").unwrap();
    assert_eq!(
        list,
        "  \
  - name: zero
  # first
  - name: app # here
    image: x
    # its end

  - name: between
  # second
  - name: two
  - name: last
# between
  tolerations: [{\"operator\": \"Exists\"}]   # none
# foot
"
        .trim_start_matches("  ")
        .replacen("- name: zero", "  - name: zero", 1)
    );
}

#[test]
fn braces_stay_braces() {
    let out = edited(
        "{\"spec\": {\"containers\": [{\"name\": \"a\"}], \"volumes\": []}, \"metadata\": {}}",
        &[
            ("/metadata/annotations", json!({"a": "b"})),
            ("/spec/volumes/0", json!({"name": "v"})),
            ("/spec/containers/0", json!({"name": "new"})),
            ("/spec/containers/2", json!("on")),
            ("/spec/initContainers", json!([1])),
        ],
    )
    .unwrap();
    assert_eq!(
        out,
        "{\"spec\": {\"containers\": [{\"name\": \"new\"}, {\"name\": \"a\"}, \"on\"], \
         \"volumes\": [{\"name\": \"v\"}], \"initContainers\": [1]}, \
         \"metadata\": {\"annotations\": {\"a\": \"b\"}}}"
    );
}

#[test]
fn nothing_gets_something() {
    let out = edited(
        "metadata:\n  annotations: # none\n  labels: ~ # none\nspec: {volumes:, a: null}\nx:",
        &[
            ("/metadata/annotations", json!({"a": "b"})),
            ("/metadata/labels", json!({"c": "d"})),
            ("/spec/volumes", json!([1])),
            ("/spec/a", json!({})),
            ("/x", json!({"y": []})),
        ],
    );
    assert_eq!(
        out.unwrap(),
        "metadata:\n  annotations: # none\n    a: b\n  labels: # none\n    c: d\nspec: {volumes: [1], a: {}}\nx:\n  \"y\": []"
    );
}

#[test]
fn an_edit_may_reach_into_what_is_new() {
    let out = edited(
        "a:\n    b: 1",
        &[("/c", json!({})), ("/c/d", json!([1])), ("/c/d/0", json!(0)), ("/c/d/0", json!({"x": {"y": 1}}))],
    );
    assert_eq!(out.unwrap(), "a:\n    b: 1\nc:\n  d:\n    - x:\n        \"y\": 1\n    - 0\n    - 1");
}

#[test]
fn the_end_of_a_block_of_text_is_kept() {
    for (tail, value) in [
        ("|\n  x\n", "x\n"),
        ("|+\n  x\n\n\n", "x\n\n\n"),
        ("|\n  x\n    \n", "x\n  \n"),
        (">-\n  x\n\n", "x"),
        ("|\n", ""),
        ("|-\n\n", ""),
    ] {
        for end in ["", "b: 1\n"] {
            let text = format!("m:\n s: {}{end}", tail.replace("\n  ", "\n   "));
            assert_eq!(
                super::value(&only(&text), only(&text).root).unwrap()["m"]["s"],
                json!(value),
                "{text:?}"
            );
            edited(&text, &[("/m/new", json!("z"))]).unwrap();
        }
    }
}

#[test]
fn odd_layouts_are_edited_too() {
    for (text, at) in [
        ("--- {a: [b]}\n", "/a/0"),
        ("a: &x\n  # c\n  - 1\n", "/a/0"),
        ("a: !!seq\n- 1\n", "/a/1"),
        ("- - a\n  - b\n", "/0/0"),
        ("- - a\n  - b\n", "/0/2"),
        ("a:\n-\n  b: 1\n-\n  - c\n", "/a/1/0"),
        ("a:\n-   b: 1\n    c: 2\n", "/a/0/x"),
        ("a:\r\n  - b\r\n", "/a/0"),
        ("\"a\" :\n    - 'b # c'\n", "/a/0"),
        ("a: [b,\n  c, # d\n]\n", "/a/2"),
        ("a: [\n  b, # c\n]", "/a/0"),
        ("a: {b: \"\\\"d\" # c\n  }", "/a/x"),
        ("a: ['b\'\'' # c'\n  ]", "/a/1"),
        ("ü: \"öö\"\na:\n  - ß: 1\n", "/a/0/ü"),
        ("a: {b: c,}\n", "/a/x"),
        ("a: {}\n", "/a/x"),
        ("a: &b {}\n", "/a/x"),
        ("a: [x: y]\n", "/a/0"),
        ("a:\n  - \n  - 2\n", "/a/0"),
        ("a:\n  -\n", "/a/1"),
        ("a: # b - c\n  # d - e\n  - 1\n", "/a/0"),
        ("a: >\n  folded\n  text\n", "/new"),
        ("a: plain\n  text\n...\n", "/new"),
        ("  a: 1\n  b: 2\n", "/new"),
        ("? a\n: b\n", "/new"),
    ] {
        edited(text, &[(at, json!({"k": ["v", {"w": "on"}]}))])
            .unwrap_or_else(|why| panic!("{text:?}: {why}"));
    }
}

#[test]
fn what_an_alias_repeats_is_left_alone() {
    for (text, at, why) in [
        (
            "a: &x {b: 1}\nc: *x\n",
            "/a/d",
            "line 1: an alias repeats what is under `&x`, and would change too",
        ),
        ("a: &x {b: 1}\nc: *x\n", "/c/d", "line 2: `*x` stands for another place, which would change too"),
        (
            "a: &x {b: {}}\nc:\n  <<: *x\n",
            "/c/b/d",
            "line 3: `b` comes from `<<`, and what it names would change too",
        ),
    ] {
        assert_eq!(edited(text, &[(at, json!(1))]).unwrap_err(), why);
    }
    assert_eq!(
        edited("a: &x {b: {}}\nc:\n  <<: *x\n", &[("/c/d", json!(1))]).unwrap(),
        "a: &x {b: {}}\nc:\n  <<: *x\n  d: 1\n"
    );
}

/// The node that a pointer leads to.
fn find(tree: &Tree<'_>, pointer: &str) -> Id {
    pointer.split('/').skip(1).fold(tree.root, |at, part| match part.parse::<usize>() {
        Ok(index) => tree.items(at)[index],
        Err(_) => tree.get(at, part).expect(pointer),
    })
}

#[test]
fn what_was_put_can_be_cut() {
    let block =
        ["/spec/containers/0", "/spec/containers/2", "/spec/containers/4", "/spec/new", "/metadata/new"];
    let small = ["/m/a/0", "/m/a/2", "/m/new", "/new"];
    for (text, at) in [
        (POD, block.as_slice()),
        ("kind: x\nm: {a: [1], d: {e: f}}", &small),
        ("{\"m\": {\"a\": [1]}}", &small),
        ("{\"m\": {\"a\": [1] }, \"n\": 2}\n", &["/m/a/0", "/m/a/1", "/m/a/3", "/m/new"]),
        ("kind: a\r\nm:\r\n    a:\r\n      - 1\r\n      # c\r\n    # d\r\n", &small),
        ("m:\n  a: []\n  b: {}", &["/m/a/0", "/m/a/1", "/m/b/x"]),
        ("m:\n  a: # b\n  - 1 # c\nd: |+\n  x\n\n", &small),
    ] {
        let edits: Vec<_> = at.iter().map(|at| (*at, json!({"x": [{"y": 1}], "z": "w"}))).collect();
        let out = edited(text, &edits).unwrap();
        let tree = only(&out);
        let ours = at.iter().map(|at| find(&tree, at)).collect();
        let (mut splices, _) = cut(&tree, tree.root, ours).unwrap();
        sort(&mut splices);
        assert_eq!(apply(&out, 0..out.len(), &splices).unwrap(), text);
    }
}

#[test]
fn what_is_left_empty_goes_too_unless_it_was_there() {
    let cut_from = |text: &str, at: &[&str]| {
        let tree = only(text);
        let (mut splices, gone) =
            cut(&tree, tree.root, at.iter().map(|at| find(&tree, at)).collect()).unwrap();
        sort(&mut splices);
        let out = apply(text, 0..text.len(), &splices).unwrap();
        let wanted = value_without(&tree, tree.root, &gone).unwrap();
        assert_eq!(value(&only(&out), only(&out).root).unwrap(), wanted);
        out
    };
    assert_eq!(cut_from("a: 1\nb:\n  c:\n  - d\n  - e\n", &["/b/c/0", "/b/c/1"]), "a: 1\n");
    assert_eq!(cut_from("a: 1\nb: {\"c\": [d, e]}", &["/b/c/0", "/b/c/1"]), "a: 1\nb: {}");
    assert_eq!(cut_from("{\"a\": {\"c\": [1, 2]}, \"b\": 1}", &["/a/c/0", "/a/c/1"]), "{\"b\": 1}");
    assert_eq!(cut_from("{\"a\": [1, 2, 3], \"b\": []}", &["/a/0", "/a/2"]), "{\"a\": [2], \"b\": []}");
}
