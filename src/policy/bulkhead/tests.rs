//! Places and the queue: by hand first, then with threads that enter, wait, give up and leave.

use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use super::*;
use crate::config::Mode;

fn settings(max_concurrent: u32, max_queue: u32) -> Settings {
    let max_wait = Duration::from_millis(if max_queue > 0 { 100 } else { 0 });
    Settings { mode: Mode::Enforce, max_concurrent, max_wait, max_queue, max_connections: 8 }
}

fn bulkhead(max_concurrent: u32, max_queue: u32) -> Arc<Bulkhead> {
    Arc::new(Bulkhead::new(&settings(max_concurrent, max_queue)))
}

/// Remembers that it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Flag {
    fn poll(self: &Arc<Self>, waiting: &mut Waiting) -> Poll<Result<(), Evicted>> {
        waiting.poll(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
    }

    fn is_woken(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

fn poll(waiting: &mut Waiting) -> Poll<Result<(), Evicted>> {
    waiting.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn no_more_than_the_limit_gets_in() {
    let bulkhead = bulkhead(2, 0);
    assert_eq!([bulkhead.try_enter(), bulkhead.try_enter()], [Entry::Admitted; 2]);
    assert_eq!(bulkhead.try_enter(), Entry::Full);
    bulkhead.leave();
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
    assert_eq!(bulkhead.in_flight(), 2);
}

#[test]
fn without_max_wait_there_is_no_queue() {
    let settings = Settings { max_wait: Duration::ZERO, max_queue: 5, ..settings(1, 5) };
    let bulkhead = Arc::new(Bulkhead::new(&settings));
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
    assert_eq!(bulkhead.try_enter(), Entry::Full);
    assert_eq!(bulkhead.wait().err(), Some(Full));
}

#[test]
fn the_queue_is_bounded() {
    let bulkhead = bulkhead(1, 2);
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
    assert_eq!(bulkhead.try_enter(), Entry::MustWait);
    let _waiting = [bulkhead.wait().unwrap(), bulkhead.wait().unwrap()];
    assert_eq!(bulkhead.queued(), 2);
    assert_eq!(bulkhead.try_enter(), Entry::Full);
    assert_eq!(bulkhead.wait().err(), Some(Full));
}

#[test]
fn first_come_first_served_and_nobody_overtakes() {
    let bulkhead = bulkhead(1, 5);
    let (first_flag, second_flag) = (Arc::new(Flag::default()), Arc::new(Flag::default()));
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
    let (mut first, mut second) = (bulkhead.wait().unwrap(), bulkhead.wait().unwrap());
    assert!(first_flag.poll(&mut first).is_pending() && second_flag.poll(&mut second).is_pending());
    bulkhead.leave();
    assert!(first_flag.is_woken() && !second_flag.is_woken());
    assert_eq!(bulkhead.try_enter(), Entry::MustWait, "the place is handed on, not put up for grabs");
    assert_eq!(poll(&mut first), Poll::Ready(Ok(())));
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (1, 1));
    bulkhead.leave();
    assert_eq!(second_flag.poll(&mut second), Poll::Ready(Ok(())));
    bulkhead.leave();
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
}

#[test]
fn a_place_that_came_free_before_queueing_ends_the_wait_at_once() {
    let bulkhead = bulkhead(1, 5);
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
    assert_eq!(bulkhead.try_enter(), Entry::MustWait);
    bulkhead.leave();
    let mut waiting = bulkhead.wait().unwrap();
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(())));
    assert_eq!(poll(&mut waiting), Poll::Ready(Err(Evicted)), "never a second place");
    drop(waiting);
    assert_eq!(bulkhead.in_flight(), 1, "the place belongs to who polled");
}

#[test]
fn giving_up_leaves_the_queue() {
    let bulkhead = bulkhead(1, 2);
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
    let (first, mut second) = (bulkhead.wait().unwrap(), bulkhead.wait().unwrap());
    drop(first);
    assert_eq!(bulkhead.queued(), 1);
    bulkhead.leave();
    assert_eq!(poll(&mut second), Poll::Ready(Ok(())));
}

#[test]
fn a_granted_place_that_nobody_takes_is_passed_on() {
    let bulkhead = bulkhead(1, 2);
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
    let (first, mut second) = (bulkhead.wait().unwrap(), bulkhead.wait().unwrap());
    bulkhead.leave();
    assert!(poll(&mut second).is_pending());
    drop(first);
    assert_eq!(poll(&mut second), Poll::Ready(Ok(())));
    bulkhead.leave();
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
}

#[test]
fn a_tripping_breaker_empties_the_queue_but_not_the_places() {
    let bulkhead = bulkhead(1, 3);
    let flag = Arc::new(Flag::default());
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
    let (mut polled, unpolled) = (bulkhead.wait().unwrap(), bulkhead.wait().unwrap());
    assert!(flag.poll(&mut polled).is_pending());
    bulkhead.evict();
    assert!(flag.is_woken());
    assert_eq!(flag.poll(&mut polled), Poll::Ready(Err(Evicted)));
    drop(unpolled);
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (1, 0));
    bulkhead.leave();
    assert_eq!(bulkhead.in_flight(), 0);
}

#[test]
fn a_place_granted_before_the_eviction_is_kept() {
    let bulkhead = bulkhead(1, 3);
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
    let mut waiting = bulkhead.wait().unwrap();
    bulkhead.leave();
    bulkhead.evict();
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(())));
}

#[test]
fn a_grown_limit_lets_the_queue_in() {
    let bulkhead = bulkhead(1, 5);
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
    let mut waiting: Vec<_> = (0..3).map(|_| bulkhead.wait().unwrap()).collect();
    bulkhead.resize(&settings(3, 5));
    let ended: Vec<_> = waiting.iter_mut().map(|waiting| poll(waiting).is_ready()).collect();
    assert_eq!(ended, [true, true, false]);
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (3, 1));
}

#[test]
fn a_shrunk_limit_keeps_running_calls_and_fills_no_place_until_it_holds() {
    let bulkhead = bulkhead(3, 5);
    (0..3).for_each(|_| assert_eq!(bulkhead.try_enter(), Entry::Admitted));
    let mut waiting = bulkhead.wait().unwrap();
    bulkhead.resize(&settings(1, 0));
    assert_eq!(bulkhead.in_flight(), 3);
    assert_eq!(bulkhead.try_enter(), Entry::Full);
    bulkhead.leave();
    bulkhead.leave();
    assert!(poll(&mut waiting).is_pending(), "still at the limit");
    bulkhead.leave();
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok(())));
    assert_eq!(bulkhead.in_flight(), 1);
}

#[test]
fn observing_counts_without_a_bound() {
    let bulkhead = bulkhead(1, 0);
    (0..3).for_each(|_| bulkhead.enter_over());
    assert_eq!(bulkhead.in_flight(), 3);
    (0..3).for_each(|_| bulkhead.leave());
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
}

#[tokio::test]
async fn it_can_be_awaited() {
    let bulkhead = bulkhead(1, 1);
    assert_eq!(bulkhead.try_enter(), Entry::Admitted);
    let waiting = bulkhead.wait().unwrap();
    let leaver = tokio::spawn({
        let bulkhead = Arc::clone(&bulkhead);
        async move { bulkhead.leave() }
    });
    assert_eq!(waiting.await, Ok(()));
    leaver.await.unwrap();
    assert_eq!(bulkhead.in_flight(), 1);
}

/// A thread that can be woken while it waits.
struct Parked(std::thread::Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits as a worker would: parks until woken. `patience` polls, then gives up.
fn block_on(waiting: &mut Waiting, patience: usize) -> Option<Result<(), Evicted>> {
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    for _ in 0..patience {
        match waiting.poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return Some(result),
            Poll::Pending if patience < usize::MAX => std::thread::yield_now(),
            // A lost wake-up would hang the test here.
            Poll::Pending => std::thread::park(),
        }
    }
    None
}

/// One worker of the races below. `most` is the most that was ever in flight at once.
fn enter_and_leave(bulkhead: &Arc<Bulkhead>, seed: u64, inside: &AtomicU32, most: &AtomicU32) {
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..4_000 {
        let admitted = match bulkhead.try_enter() {
            Entry::Admitted => true,
            Entry::Full => false,
            Entry::MustWait => {
                let patience = if rng.u8(..4) == 0 { rng.usize(0..3) } else { usize::MAX };
                let waited = bulkhead.wait().map(|mut waiting| block_on(&mut waiting, patience));
                waited == Ok(Some(Ok(())))
            }
        };
        if admitted {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            if rng.bool() {
                std::thread::yield_now();
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            bulkhead.leave();
        }
    }
}

fn race(max_concurrent: u32, max_queue: u32, threads: u64, meddle: impl Fn(&Bulkhead, u32) + Sync) -> u32 {
    let bulkhead = bulkhead(max_concurrent, max_queue);
    let (inside, most, done) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|seed| {
                scope.spawn({
                    let (b, i, m) = (&bulkhead, &inside, &most);
                    move || enter_and_leave(b, seed, i, m)
                })
            })
            .collect();
        scope.spawn(|| {
            let mut round = 0;
            while !done.load(Ordering::SeqCst) {
                meddle(&bulkhead, round);
                round += 1;
                std::thread::yield_now();
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0), "a place was lost");
    most.into_inner()
}

#[test]
fn racing_workers_lose_no_wake_up_and_no_place() {
    assert!(race(1, 8, 4, |_, _| ()) <= 1);
    assert!(race(2, 1, 4, |_, _| ()) <= 2);
    assert!(race(3, 0, 4, |_, _| ()) <= 3);
}

#[test]
fn racing_evictions_lose_no_wake_up_and_no_place() {
    assert!(race(1, 8, 4, |bulkhead, _| bulkhead.evict()) <= 1);
}

#[test]
fn racing_resizes_lose_no_wake_up_and_no_place() {
    let most = race(2, 8, 5, |bulkhead, round| bulkhead.resize(&settings(1 + round % 3, 8)));
    assert!(most <= 3);
}
