//! Counts over a sliding window of time, written by many workers without a lock.
//!
//! In: counts with the time they belong to. Out: their sum over the last `length`. Never allocates
//! after `new`, never blocks, never loses a count of the worker that owns a ring.
//!
//! Every worker owns a cache-padded ring of [`BUCKETS`] buckets and is its only writer, so a count
//! is a plain load and store. A bucket's stamp says which slice of time and which generation its
//! counts belong to: a new generation empties the window without touching a bucket, and a count
//! that was on its way in an old generation cannot land in the new one. Readers check the stamp
//! before and after (a seqlock), because the owner may be re-using the bucket just then.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use tokio::time::Instant;

/// Buckets of a window: the window slides in steps of a tenth of its length, so a sum covers
/// between nine tenths and the whole of it. More would cost memory and time in every sum.
pub const BUCKETS: u32 = 10;

/// No bucket is shorter, so that the slice number fits 32 bits for years.
const BUCKET_MICROS_MIN: u64 = 1_000;

/// A stamp no bucket in use can have: the owner is about to empty the bucket.
const BEING_EMPTIED: u64 = u64::MAX;

/// `N` counters summed over a sliding window of time, for any number of workers.
#[derive(Debug)]
pub struct Window<const N: usize> {
    epoch: Instant,
    /// How often it was cleared (upper 16 bits) and the length of a bucket in microseconds.
    shape: AtomicU64,
    rings: Box<[Ring<N>]>,
}

/// The buckets of one worker.
type Ring<const N: usize> = Padded<[Bucket<N>; BUCKETS as usize]>;

/// A value on cache lines of its own, so that writing it does not slow down readers of its
/// neighbours. 128 bytes: x86 fetches lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);

#[derive(Debug)]
struct Bucket<const N: usize> {
    /// Slice of time (upper 32 bits), number of clears (8), generation (24).
    stamp: AtomicU64,
    counters: [AtomicU32; N],
}

/// Both halves of `Window::shape`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    clears: u16,
    bucket_micros: u64,
}

// === impl Window ===

impl<const N: usize> Window<N> {
    /// An empty window for `workers` writers (at least one is made). No `now` given later may be before `epoch`.
    pub fn new(workers: usize, length: Duration, epoch: Instant) -> Self {
        let shape = Shape { clears: 0, bucket_micros: bucket_micros(length) };
        let rings = (0..workers.max(1)).map(|_| Padded(std::array::from_fn(|_| Bucket::new()))).collect();
        Self { epoch, shape: AtomicU64::new(shape.pack()), rings }
    }

    /// Adds `counts` at `now` for `generation`. Only the thread that owns `worker` may call it;
    /// an index out of range wraps around.
    pub fn add(&self, worker: usize, now: Instant, generation: u32, counts: [u32; N]) {
        let shape = self.shape();
        let slice = self.slice(now, shape);
        let ring = &self.rings[worker % self.rings.len()];
        let bucket = &ring.0[(slice % BUCKETS) as usize];
        bucket.add(stamp(slice, shape, generation), counts);
    }

    /// What was added within the last window for `generation`. Never waits; a count added at the
    /// same time by another worker may or may not be in it.
    pub fn sum(&self, now: Instant, generation: u32) -> [u64; N] {
        let shape = self.shape();
        let slice = self.slice(now, shape);
        let era = stamp(0, shape, generation) as u32;
        let mut total = [0; N];
        for bucket in self.rings.iter().flat_map(|ring| &ring.0) {
            bucket.read(slice, era, &mut total);
        }
        total
    }

    /// Forgets everything added so far, whatever its generation.
    pub fn clear(&self) {
        let shape = self.shape();
        self.shape.store(Shape { clears: shape.clears.wrapping_add(1), ..shape }.pack(), Ordering::Release);
    }

    /// Changes the length; the window is cleared only if that is a change. Callers take turns.
    pub fn set_length(&self, length: Duration) {
        let (old, micros) = (self.shape(), bucket_micros(length));
        if old.bucket_micros != micros {
            let new = Shape { clears: old.clears.wrapping_add(1), bucket_micros: micros };
            self.shape.store(new.pack(), Ordering::Release);
        }
    }

    fn shape(&self) -> Shape {
        Shape::unpack(self.shape.load(Ordering::Acquire))
    }

    fn slice(&self, now: Instant, shape: Shape) -> u32 {
        // Wraps after years; compared with wrapping arithmetic.
        (micros_since(self.epoch, now) / shape.bucket_micros) as u32
    }
}

/// Microseconds from `epoch` to `now`, zero if `now` is earlier.
pub(super) fn micros_since(epoch: Instant, now: Instant) -> u64 {
    let elapsed = now.saturating_duration_since(epoch);
    elapsed.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(elapsed.subsec_micros()))
}

fn bucket_micros(length: Duration) -> u64 {
    let micros = u64::try_from(length.as_micros()).unwrap_or(u64::MAX) / u64::from(BUCKETS);
    micros.clamp(BUCKET_MICROS_MIN, (1 << 48) - 1)
}

fn stamp(slice: u32, shape: Shape, generation: u32) -> u64 {
    // The truncations are meant: only neighbouring clears and generations must differ.
    u64::from(slice) << 32 | u64::from(shape.clears as u8) << 24 | u64::from(generation & 0x00ff_ffff)
}

// === impl Shape ===

impl Shape {
    fn pack(self) -> u64 {
        u64::from(self.clears) << 48 | self.bucket_micros
    }

    fn unpack(word: u64) -> Self {
        Self { clears: (word >> 48) as u16, bucket_micros: word & ((1 << 48) - 1) }
    }
}

// === impl Bucket ===

impl<const N: usize> Bucket<N> {
    fn new() -> Self {
        Self { stamp: AtomicU64::new(BEING_EMPTIED), counters: std::array::from_fn(|_| AtomicU32::new(0)) }
    }

    /// By the owner alone.
    fn add(&self, stamp: u64, counts: [u32; N]) {
        let found = self.stamp.load(Ordering::Relaxed);
        if found != stamp {
            if is_stale(stamp, found) {
                return;
            }
            self.empty(stamp);
        }
        for (counter, count) in self.counters.iter().zip(counts) {
            if count > 0 {
                counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
            }
        }
    }

    fn empty(&self, stamp: u64) {
        self.stamp.store(BEING_EMPTIED, Ordering::Relaxed);
        // Pairs with the reader's fence: who sees a zero below sees the mark above.
        fence(Ordering::Release);
        for counter in &self.counters {
            counter.store(0, Ordering::Relaxed);
        }
        self.stamp.store(stamp, Ordering::Release);
    }

    fn read(&self, slice: u32, era: u32, total: &mut [u64; N]) {
        let before = self.stamp.load(Ordering::Acquire);
        let age = slice.wrapping_sub((before >> 32) as u32) as i32;
        // A little in the future is fine: the writer's clock was read after the reader's.
        if before == BEING_EMPTIED || before as u32 != era || age.unsigned_abs() >= BUCKETS {
            return;
        }
        let mut counts = [0; N];
        for (count, counter) in counts.iter_mut().zip(&self.counters) {
            *count = counter.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        if self.stamp.load(Ordering::Relaxed) == before {
            for (sum, count) in total.iter_mut().zip(counts) {
                *sum += u64::from(count);
            }
        }
    }
}

/// Whether `stamp` is of the same era as what the bucket holds, but a whole window older.
fn is_stale(stamp: u64, found: u64) -> bool {
    found != BEING_EMPTIED
        && stamp as u32 == found as u32
        && ((stamp >> 32) as u32).wrapping_sub((found >> 32) as u32) as i32 <= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(epoch: Instant, millis: u64) -> Instant {
        epoch + Duration::from_millis(millis)
    }

    #[test]
    fn sums_over_workers_and_counters() {
        let epoch = Instant::now();
        let window = Window::<2>::new(3, 10 * SECOND, epoch);
        for worker in 0..3 {
            window.add(worker, at(epoch, 500), 1, [1, worker as u32]);
        }
        assert_eq!(window.sum(at(epoch, 600), 1), [3, 3]);
    }

    #[test]
    fn counts_leave_when_they_are_older_than_the_window() {
        let epoch = Instant::now();
        let window = Window::<1>::new(1, 10 * SECOND, epoch);
        window.add(0, at(epoch, 100), 1, [4]);
        window.add(0, at(epoch, 5_000), 1, [2]);
        assert_eq!(window.sum(at(epoch, 9_999), 1), [6]);
        assert_eq!(window.sum(at(epoch, 10_000), 1), [2]);
        assert_eq!(window.sum(at(epoch, 14_999), 1), [2]);
        assert_eq!(window.sum(at(epoch, 15_000), 1), [0]);
    }

    #[test]
    fn a_bucket_is_emptied_before_it_is_used_again() {
        let epoch = Instant::now();
        let window = Window::<1>::new(1, 10 * SECOND, epoch);
        window.add(0, at(epoch, 100), 1, [4]);
        window.add(0, at(epoch, 10_100), 1, [1]);
        assert_eq!(window.sum(at(epoch, 10_200), 1), [1]);
        window.add(0, at(epoch, 1_000_100), 1, [1]);
        assert_eq!(window.sum(at(epoch, 1_000_200), 1), [1]);
    }

    #[test]
    fn a_count_that_comes_a_whole_window_late_is_dropped() {
        let epoch = Instant::now();
        let window = Window::<1>::new(1, 10 * SECOND, epoch);
        window.add(0, at(epoch, 10_100), 1, [1]);
        window.add(0, at(epoch, 100), 1, [7]);
        assert_eq!(window.sum(at(epoch, 10_200), 1), [1]);
    }

    #[test]
    fn another_generation_starts_empty_and_old_counts_stay_out_of_it() {
        let epoch = Instant::now();
        let window = Window::<1>::new(2, 10 * SECOND, epoch);
        window.add(0, at(epoch, 100), 1, [4]);
        assert_eq!(window.sum(at(epoch, 200), 2), [0]);
        window.add(0, at(epoch, 200), 2, [1]);
        window.add(1, at(epoch, 200), 1, [9]);
        assert_eq!(window.sum(at(epoch, 300), 2), [1]);
    }

    #[test]
    fn clear_forgets_and_a_new_length_clears_but_the_same_does_not() {
        let epoch = Instant::now();
        let window = Window::<1>::new(1, 10 * SECOND, epoch);
        window.add(0, at(epoch, 100), 1, [4]);
        window.set_length(10 * SECOND);
        assert_eq!(window.sum(at(epoch, 200), 1), [4]);
        window.clear();
        assert_eq!(window.sum(at(epoch, 200), 1), [0]);
        window.add(0, at(epoch, 200), 1, [3]);
        window.set_length(20 * SECOND);
        assert_eq!(window.sum(at(epoch, 300), 1), [0]);
        window.add(0, at(epoch, 300), 1, [2]);
        assert_eq!(window.sum(at(epoch, 19_000), 1), [2]);
    }

    #[test]
    fn odd_arguments_do_no_harm() {
        let epoch = Instant::now() + SECOND;
        let window = Window::<1>::new(0, Duration::ZERO, epoch);
        window.add(17, epoch - SECOND, u32::MAX, [1]);
        assert_eq!(window.sum(epoch - SECOND, u32::MAX), [1]);
        let long = Window::<1>::new(1, Duration::MAX, epoch);
        long.add(0, epoch, 0, [1]);
        assert_eq!(long.sum(epoch + 100 * SECOND, 0), [1]);
    }

    #[test]
    fn no_count_is_lost_or_doubled_while_others_read() {
        let epoch = Instant::now();
        let window = Window::<1>::new(4, 10 * SECOND, epoch);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let window = &window;
                scope.spawn(move || {
                    for step in 0..20_000 {
                        // Two seconds apart: every other bucket is emptied and used again all the time.
                        window.add(worker, at(epoch, step / 1000 * 2_000), 1, [1]);
                        if step % 16 == 0 {
                            let [sum] = window.sum(at(epoch, step / 1000 * 2_000), 1);
                            assert!(sum <= 4 * 5_000, "{sum} is more than four workers add in a window");
                        }
                    }
                });
            }
        });
        assert_eq!(window.sum(at(epoch, 19 * 2_000), 1), [4 * 5_000]);
    }
}
