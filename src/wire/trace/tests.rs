use bytes::BytesMut;
use http::HeaderMap;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const ATTEMPT: u64 = 0x1122_3344_5566_7788;

/// The header lines of a request, as `name: value`.
fn told(lines: &[&str]) -> Told {
    let mut given = TraceFields::default();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
        let field = TraceField::ALL.into_iter().find(|field| field.name() == name).expect("a trace header");
        given.look(field, value.as_bytes());
    }
    given.told()
}

/// The trace of a call, where nothing is left to chance.
fn trace(told: Told, ours: bool) -> TraceParent {
    let (trace_id, span_id) = told.ids.unwrap_or((0xabc, 0xdef));
    TraceParent { trace_id, span_id, flags: told.sampled.unwrap_or(ours).into(), form: told.form }
}

/// What the service gets for these header lines.
fn passed_on(lines: &[&str], ours: bool) -> Vec<String> {
    let mut head = BytesMut::from("GET / HTTP/1.1\r\n");
    let places = trace(told(lines), ours).lines(&mut head);
    TraceParent::patch_span(&mut head, places, ATTEMPT);
    String::from_utf8_lossy(&head).lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn what_is_read_is_written_again() {
    let parent = parse_traceparent(PARENT.as_bytes()).expect("the standard's own example");
    assert_eq!(parent.text(), PARENT.as_bytes());
}

#[test]
fn broken_parents_start_a_new_trace() {
    for bad in [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0A",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01,00",
        "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        assert_eq!(parse_traceparent(bad.as_bytes()), None, "{bad}");
        assert_eq!(told(&[&format!("traceparent: {bad}"), "tracestate: a=b"]), Told::default(), "{bad}");
    }
    let twice = format!("traceparent: {PARENT}");
    assert_eq!(told(&[&twice, &twice]), Told::default(), "two parents are none");
    assert_eq!(told(&["tracestate: a=b"]), Told::default(), "a state without its parent says nothing");
}

#[test]
fn a_later_version_is_read_as_far_as_it_is_known() {
    let line = format!("traceparent: 01{}-more", &PARENT[2..]);
    assert_eq!(passed_on(&[&line], false), [format!("traceparent: 00-{TRACE}-1122334455667788-01")]);
}

#[test]
fn each_form_is_answered_in_kind() {
    let w3c = format!("traceparent: {PARENT}");
    let attempts_own = format!("traceparent: 00-{TRACE}-1122334455667788-01");
    let long = format!("b3: {TRACE}-b7ad6b7169203331");
    // What came, and what the service gets; a decision that is ours is a yes.
    let table: [(&[&str], &[&str]); 14] = [
        (&[], &["traceparent: 00-00000000000000000000000000000abc-1122334455667788-01"]),
        (&[&w3c], &[&attempts_own]),
        (
            &["b3: 8448eb211c80319c-b7ad6b7169203331-0"],
            &["b3: 8448eb211c80319c-1122334455667788-0-b7ad6b7169203331"],
        ),
        (
            &["b3: 8448eb211c80319c-b7ad6b7169203331-d"],
            &["b3: 8448eb211c80319c-1122334455667788-d-b7ad6b7169203331"],
        ),
        (
            &["b3: 8448eb211c80319c-b7ad6b7169203331-1-05e3ac9a4f6e3b90"],
            &["b3: 8448eb211c80319c-1122334455667788-1-b7ad6b7169203331"],
        ),
        (&[&long], &["b3: 0af7651916cd43dd8448eb211c80319c-1122334455667788-1-b7ad6b7169203331"]),
        (&["b3: 0"], &["b3: 00000000000000000000000000000abc-1122334455667788-0"]),
        (&["b3: d"], &["b3: 00000000000000000000000000000abc-1122334455667788-d"]),
        (
            &["x-b3-traceid: 8448eb211c80319c", "x-b3-spanid: b7ad6b7169203331", "x-b3-sampled: 0"],
            &[
                "x-b3-traceid: 8448eb211c80319c",
                "x-b3-spanid: 1122334455667788",
                "x-b3-parentspanid: b7ad6b7169203331",
                "x-b3-sampled: 0",
            ],
        ),
        (
            &[
                "x-b3-spanid: b7ad6b7169203331",
                "x-b3-flags: 1",
                "x-b3-sampled: 0",
                "x-b3-traceid: 8448eb211c80319c",
            ],
            &[
                "x-b3-traceid: 8448eb211c80319c",
                "x-b3-spanid: 1122334455667788",
                "x-b3-parentspanid: b7ad6b7169203331",
                "x-b3-flags: 1",
            ],
        ),
        (
            &["x-b3-sampled: false"],
            &[
                "x-b3-traceid: 00000000000000000000000000000abc",
                "x-b3-spanid: 1122334455667788",
                "x-b3-sampled: 0",
            ],
        ),
        (&[&w3c, "b3: 1-2"], &[&attempts_own]),
        (
            &[&w3c, "b3: 00000000000000ff-00000000000000ee-0"],
            &[&attempts_own, "b3: 8448eb211c80319c-1122334455667788-1-b7ad6b7169203331"],
        ),
        (
            &["traceparent: broken", "b3: 8448eb211c80319c-b7ad6b7169203331-1", "x-b3-sampled: 0"],
            &[
                "b3: 8448eb211c80319c-1122334455667788-1-b7ad6b7169203331",
                "x-b3-traceid: 8448eb211c80319c",
                "x-b3-spanid: 1122334455667788",
                "x-b3-parentspanid: b7ad6b7169203331",
                "x-b3-sampled: 1",
            ],
        ),
    ];
    for (came, gets) in table {
        assert_eq!(passed_on(came, true), gets, "{came:?}");
    }
}

#[test]
fn broken_b3_starts_a_new_trace() {
    for bad in [
        "b3:",
        "b3: 2",
        "b3: 01",
        "b3: -",
        "b3: 8448eb211c80319c",
        "b3: 8448eb211c80319c-b7ad6b716920333",
        "b3: 8448eb211c80319c-b7ad6b71692033311",
        "b3: 448eb211c80319c-b7ad6b7169203331",
        "b3: 08448eb211c80319c-b7ad6b7169203331",
        "b3: 8448EB211C80319C-b7ad6b7169203331",
        "b3: 8448eb211c80319c-B7AD6B7169203331-1",
        "b3: 0000000000000000-b7ad6b7169203331-1",
        "b3: 00000000000000000000000000000000-b7ad6b7169203331-1",
        "b3: 8448eb211c80319c-0000000000000000-1",
        "b3: 8448eb211c80319c-b7ad6b7169203331-2",
        "b3: 8448eb211c80319c-b7ad6b7169203331-",
        "b3: 8448eb211c80319c-b7ad6b7169203331-true",
        "b3: 8448eb211c80319c-b7ad6b7169203331-1-",
        "b3: 8448eb211c80319c-b7ad6b7169203331-1-zz",
        "b3: 8448eb211c80319c-b7ad6b7169203331-1-05e3ac9a4f6e3b90-1",
        "b3: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        assert_eq!(told(&[bad]), Told::default(), "{bad}");
    }
    let long = format!("b3: {}", "a".repeat(60_000));
    assert_eq!(told(&[&long]), Told::default());
    assert_eq!(told(&["b3: 0", "b3: 0"]), Told::default(), "repeated");
}

#[test]
fn one_broken_part_of_b3_breaks_it() {
    let good = ["x-b3-traceid: 8448eb211c80319c", "x-b3-spanid: b7ad6b7169203331", "x-b3-sampled: 1"];
    assert_ne!(told(&good), Told::default());
    for bad in [
        "x-b3-parentspanid: 0",
        "x-b3-parentspanid: 0000000000000000",
        "x-b3-flags: 2",
        "x-b3-flags:",
        "x-b3-sampled: 1",
        "x-b3-spanid: b7ad6b7169203331",
    ] {
        assert_eq!(told(&[&good[..], &[bad]].concat()), Told::default(), "{bad}");
    }
    for (at, bad) in [
        (0, "x-b3-traceid: 0000000000000000"),
        (0, "x-b3-traceid: 8448EB211C80319C"),
        (0, "x-b3-traceid: 8448eb211c80319c8448eb211c80319c8448eb211c80319c"),
        (1, "x-b3-spanid: 0000000000000000"),
        (1, "x-b3-spanid: 0af7651916cd43dd8448eb211c80319c"),
        (2, "x-b3-sampled: d"),
        (2, "x-b3-sampled: yes"),
    ] {
        let mut lines = good;
        lines[at] = bad;
        assert_eq!(told(&lines), Told::default(), "{bad}");
    }
    for alone in [&good[..1], &good[1..2], &["x-b3-parentspanid: b7ad6b7169203331"], &["x-b3-flags: 0"]] {
        assert_eq!(told(alone), Told::default(), "{alone:?}");
    }
}

#[test]
fn the_decision_is_the_callers_where_there_is_one() {
    let ids = "8448eb211c80319c-b7ad6b7169203331";
    for (line, sampled, caller) in [
        (format!("traceparent: {PARENT}"), Some(true), true),
        (format!("traceparent: {}02", &PARENT[..53]), Some(false), true),
        (format!("b3: {ids}"), None, true),
        (format!("b3: {ids}-0"), Some(false), true),
        (format!("b3: {ids}-1"), Some(true), true),
        (format!("b3: {ids}-d"), Some(true), true),
        ("b3: 0".to_owned(), Some(false), false),
        ("x-b3-flags: 1".to_owned(), Some(true), false),
    ] {
        let told = told(&[&line]);
        assert_eq!(told.sampled, sampled, "{line}");
        assert_eq!(trace(told, false).caller_span(), caller.then_some(0xb7ad_6b71_6920_3331), "{line}");
    }
    assert_eq!(trace(Told::default(), true).caller_span(), None);
}

#[test]
fn half_a_trace_id_is_one_only_if_it_is_not_zero() {
    let lines = [
        "traceparent: 00-0af7651916cd43dd0000000000000000-b7ad6b7169203331-00",
        "b3: 8448eb211c80319c-b7ad6b7169203331-d",
    ];
    assert_eq!(
        passed_on(&lines, false)[1],
        "b3: 0af7651916cd43dd0000000000000000-1122334455667788-0-b7ad6b7169203331"
    );
}

#[test]
fn fields_of_http_2_say_the_same_as_lines_of_http_1() {
    for lines in [
        vec![format!("traceparent: {PARENT}"), format!("b3: {TRACE}-b7ad6b7169203331-1")],
        vec!["x-b3-sampled: 1".to_owned(), "x-b3-flags: 1".to_owned()],
        vec!["x-b3-sampled: 1".to_owned(), "x-b3-flags: 0".to_owned()],
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut fields = HeaderMap::new();
        for line in &lines {
            let (name, value) = line.split_once(": ").expect("a line");
            let name: http::HeaderName = name.parse().expect("a name");
            fields.insert(name, value.parse().expect("a value"));
        }
        trace(told(&lines), false).put(ATTEMPT, &mut fields);
        let said = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            format!("{name}: {}", value.to_str().expect("a text"))
        };
        let mut said: Vec<String> = fields.iter().map(said).collect();
        let mut expected = passed_on(&lines, false);
        said.sort();
        expected.sort();
        assert_eq!(said, expected);
    }
}
