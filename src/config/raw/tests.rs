//! The tree: places, aliases, merge keys.

use super::*;

fn tree(text: &str) -> Rc<Node> {
    parse(0, "f", text.as_bytes(), &mut Vec::new()).unwrap()
}

/// The tree on one line, for comparison.
fn show(node: &Node) -> String {
    match &node.shape {
        Shape::Scalar { text, .. } => text.clone(),
        Shape::List(items) => {
            format!("[{}]", items.iter().map(|item| show(item)).collect::<Vec<_>>().join(" "))
        }
        Shape::Map(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|entry| format!("{}={}", entry.key, show(&entry.value))).collect();
            format!("{{{}}}", entries.join(" "))
        }
    }
}

#[test]
fn keys_and_values_know_their_places() {
    let root = tree("a:\n  é: [1,\n   two]\n");
    let a = &root.entries().unwrap()[0];
    assert_eq!((a.place.line, a.place.column), (1, 1));
    let inner = &a.value.entries().unwrap()[0];
    assert_eq!((inner.place.line, inner.place.column), (2, 3));
    assert_eq!((inner.value.place.line, inner.value.place.column), (2, 6), "columns count characters");
    let Shape::List(items) = &inner.value.shape else { panic!("a list") };
    assert_eq!((items[1].place.line, items[1].place.column), (3, 4));
}

#[test]
fn quotes_are_remembered() {
    let Shape::List(items) = &tree("[off, 'off', \"off\"]").shape else { panic!("a list") };
    let plain: Vec<bool> =
        items.iter().map(|item| matches!(item.shape, Shape::Scalar { plain: true, .. })).collect();
    assert_eq!(plain, [true, false, false]);
}

#[test]
fn aliases_repeat_and_merge_keys_join() {
    assert_eq!(show(&tree("a: &x [1, 2]\nb: *x")), "{a=[1 2] b=[1 2]}");
    assert_eq!(show(&tree("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}")), "{a={k=1 l=2} b={k=3 l=2}}");
    assert_eq!(
        show(&tree("a: &x {k: 1}\nb: &y {k: 2, m: 4}\nc: {<<: [*x, *y]}")),
        "{a={k=1} b={k=2 m=4} c={k=1 m=4}}"
    );
}

#[test]
fn an_anchor_may_be_named_again() {
    assert_eq!(show(&tree("a: &x 1\nb: *x\nc: &x 2\nd: *x")), "{a=1 b=1 c=2 d=2}");
}

#[test]
fn a_repeated_key_keeps_the_first_value() {
    let mut problems = Vec::new();
    let root = parse(0, "f", b"a: [{b: 1, b: 2}]", &mut problems).unwrap();
    assert_eq!(show(&root), "{a=[{b=1}]}");
    assert_eq!(
        problems[0].to_string(),
        "f:1:12: a[0].b: found `b` a second time, want each key once (first on line 1)"
    );
}

#[test]
fn windows_line_ends_are_read() {
    assert_eq!(show(&tree("a: 1\r\nb:\r\n  c: 2\r\n")), "{a=1 b={c=2}}");
}
