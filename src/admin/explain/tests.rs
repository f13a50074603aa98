//! Which stories are wanted.

use std::time::{Duration, SystemTime};

use super::*;
use crate::config::{Options, load_str};
use crate::error::Fault;
use crate::wire::{TraceForm, TraceParent};

/// A refused request of this trace, so many seconds after 1970.
fn story(trace_id: u128, seconds: u64, outcome: Outcome) -> Arc<Story> {
    let trace = TraceParent { trace_id, span_id: 1, flags: 0, form: TraceForm::Own };
    let mut story = Story::refused(Fault::NoRoute, "", b"GET / HTTP/1.1", trace);
    story.started = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    story.outcome = outcome;
    story.request_id = Some(format!("r-{seconds}").into());
    Arc::new(story)
}

fn ask(pairs: &[(&str, &str)]) -> Result<Vec<u64>, &'static str> {
    const FAULT: Outcome = Outcome::Fault(Fault::NoRoute);
    let stories = vec![
        story(0xabcd_ef01 << 96, 1, FAULT),
        story(0xabcd_ef01 << 96 | 1, 3, FAULT),
        story(0x1234_5678 << 96, 2, FAULT),
        story(0x1234_5678 << 96, 4, Outcome::Success),
    ];
    let query = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let picked = Wanted::of(&query).and_then(|wanted| wanted.pick(stories));
    let seconds =
        |story: &Arc<Story>| story.started.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    picked.map(|stories| stories.iter().map(seconds).collect()).map_err(|(_, error, _)| error)
}

#[test]
fn the_newest_come_first_and_successes_only_when_asked_for() {
    assert_eq!(ask(&[]), Ok(vec![3, 2, 1]));
    assert_eq!(ask(&[("all", "1")]), Ok(vec![4, 3, 2, 1]));
    assert_eq!(ask(&[("all", "0"), ("limit", "2")]), Ok(vec![3, 2]));
    assert_eq!(ask(&[("service", "cart")]), Ok(vec![]));
}

#[test]
fn an_id_is_a_trace_its_beginning_or_a_request() {
    assert_eq!(ask(&[("id", "12345678")]), Ok(vec![4, 2]), "successes too");
    assert_eq!(ask(&[("id", "abcdef01000000000000000000000001")]), Ok(vec![3]));
    assert_eq!(ask(&[("id", "ABCDEF01000000000000000000000001")]), Ok(vec![3]));
    assert_eq!(ask(&[("id", "abcdef01")]), Err("ambiguous_id"));
    assert_eq!(ask(&[("id", "1234567")]), Err("no_such_call"));
    assert_eq!(ask(&[("id", "r-2")]), Ok(vec![2]));
    assert_eq!(ask(&[("id", "r-9")]), Err("no_such_call"));
}

#[test]
fn what_can_not_be_meant_is_refused() {
    for bad in [("limit", "0"), ("limit", "501"), ("limit", "-1"), ("all", "yes"), ("id", ""), ("Id", "x")] {
        assert_eq!(ask(&[bad]), Err("bad_parameter"), "{bad:?}");
    }
}

#[tokio::test]
async fn a_long_page_lets_others_have_their_turn() {
    let config = load_str("mesh.yaml", "version: v1\n", &Options::default()).expect("a valid configuration");
    let stories = (0..100).map(|second| story(1, second, Outcome::Fault(Fault::NoRoute))).collect();
    let query = HashMap::from([("limit".to_owned(), "100".to_owned())]);
    let probe = tokio::spawn(async {});
    let page = show(stories, &query, &config).await;
    assert!(probe.is_finished(), "it came between two stories");
    let body = axum::body::to_bytes(page.into_body(), usize::MAX).await.expect("a body");
    let page: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(page["stories"].as_array().map(Vec::len), Some(100));
}
