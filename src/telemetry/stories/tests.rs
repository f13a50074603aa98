//! What is kept, what is exported, and that both are bounded.

use super::*;
use crate::config::{Options, load_str};
use crate::telemetry::story::Story;
use crate::wire::{TraceForm, TraceParent};

fn story(path: &str) -> Story {
    let trace = TraceParent { trace_id: 1, span_id: 2, flags: 0, form: TraceForm::Own };
    Story::refused(Fault::NoRoute, "the request names no host", format!("GET {path} x").as_bytes(), trace)
}

/// Stories with so much room for one worker.
fn stories(bytes: usize, outlet: Option<Outlet>) -> Stories {
    let yaml =
        format!("workers: 1\nlimits: {{explanations: {}B}}\ntracing: {{always: [error]}}\n", 2 * bytes);
    let stories = Stories::new(outlet);
    stories.renew(&load_str("mesh.yaml", &yaml, &Options::default()).expect("valid"));
    stories
}

fn failed() -> Traits {
    Traits::refused(Fault::NoRoute)
}

fn succeeded() -> Traits {
    Traits { outcome: Outcome::Success, ..failed() }
}

fn paths(stories: &Stories) -> Vec<String> {
    stories.kept().iter().map(|story| story.path.to_string()).collect()
}

#[test]
fn the_memory_for_explanations_is_bounded_and_keeps_the_latest() {
    let room = 10 * story("/0000").bytes();
    let (stories, stats, now) = (stories(room, None), WorkerStats::default(), Instant::now());
    for number in 0..1000 {
        let fate = stories.fate(&failed(), now);
        stories.tell(story(&format!("/{number:04}")), fate, &stats);
        let kept: usize = stories.kept().iter().map(|story| story.bytes()).sum();
        assert!(kept <= room, "{kept}");
    }
    assert_eq!(paths(&stories).first().map(String::as_str), Some("/0990"));
    assert_eq!(paths(&stories).last().map(String::as_str), Some("/0999"));
}

#[test]
fn failures_outlast_successes_however_many_come() {
    let room = 10 * story("/0000").bytes();
    let (stories, stats, mut now) = (stories(room, None), WorkerStats::default(), Instant::now());
    let fate = stories.fate(&failed(), now);
    stories.tell(story("/lost"), fate, &stats);
    for number in 0..100 {
        now += SAMPLE_EVERY;
        let fate = stories.fate(&succeeded(), now);
        assert_eq!(fate.keep, Some(Shelf::Ordinary));
        stories.tell(story(&format!("/{number:04}")), fate, &stats);
    }
    assert!(paths(&stories).contains(&"/lost".to_owned()));
    assert_eq!(paths(&stories).len(), 10);
}

#[test]
fn of_many_successes_one_in_a_while_is_kept() {
    let (stories, now) = (stories(100_000, None), Instant::now());
    let kept = |at| stories.fate(&succeeded(), at).keep;
    assert_eq!(kept(now), Some(Shelf::Ordinary));
    assert_eq!(kept(now + SAMPLE_EVERY / 2), None);
    assert_eq!(kept(now + SAMPLE_EVERY), Some(Shelf::Ordinary));
}

#[test]
fn a_story_larger_than_all_the_room_is_not_kept_and_pushes_nothing_out() {
    let room = 3 * story("/0000").bytes();
    let (stories, stats, now) = (stories(room, None), WorkerStats::default(), Instant::now());
    let fate = stories.fate(&failed(), now);
    stories.tell(story("/small"), fate, &stats);
    stories.tell(story(&format!("/{}", "x".repeat(room))), fate, &stats);
    assert_eq!(paths(&stories), ["/small"]);
}

#[test]
fn without_room_nobody_is_told() {
    let fate = stories(0, None).fate(&failed(), Instant::now());
    assert!(!fate.is_told());
}

#[test]
fn what_is_exported_though_not_sampled_says_why() {
    let every = Always { error: true, retry: true, breaker: true, slow: true };
    let cancelled = Traits { outcome: Outcome::Fault(Fault::ClientCancelled), ..failed() };
    for (traits, expected) in [
        (succeeded(), None),
        (cancelled, None),
        (failed(), Some(Why::Error)),
        (Traits { sampled: true, ..failed() }, Some(Why::Sampled)),
        (Traits { retried: true, ..succeeded() }, Some(Why::Retry)),
        (Traits { breaker: true, ..succeeded() }, Some(Why::Breaker)),
        (Traits { slow: true, ..succeeded() }, Some(Why::Slow)),
    ] {
        assert_eq!(why(every, &traits), expected, "{traits:?}");
        let unless_sampled = traits.sampled.then_some(Why::Sampled);
        assert_eq!(why(Always::default(), &traits), unless_sampled, "{traits:?}");
    }
}

#[test]
fn an_exporter_that_takes_nothing_costs_counted_drops_and_bounded_memory() {
    let (batches, mut receiver) = mpsc::channel(BATCHES_MAX);
    let (waiting, waiting_max) = (Arc::new(AtomicUsize::new(0)), 500 * story("/").bytes());
    let outlet = Outlet { batches, waiting: Arc::clone(&waiting), waiting_max };
    let (stories, stats, now) = (stories(1000, Some(outlet)), WorkerStats::default(), Instant::now());
    for _ in 0..10_000 {
        stories.tell(story("/"), stories.fate(&failed(), now), &stats);
        assert!(waiting.load(Ordering::Relaxed) <= waiting_max);
    }
    stories.flush(&stats);
    let mut sent = 0;
    while let Ok(batch) = receiver.try_recv() {
        sent += batch.len();
    }
    assert_eq!((sent, stats.traces_dropped.get()), (500, 9_500));
}
