//! Bounded waiting: for the thing itself, never for a guess of how long it takes.

use std::time::Duration;

/// Longest wait for anything that should happen soon. Generous: the tests share two cores with
/// debug builds, and a passing test never waits this long.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// Short for [`Duration::from_millis`].
pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Polls `condition` until it holds; panics with `what` after [`BOUND`].
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = tokio::time::Instant::now();
    while !condition().await {
        assert!(started.elapsed() < BOUND, "did not happen within {BOUND:?}: {what}");
        tokio::time::sleep(ms(10)).await;
    }
}

/// The output of `future`, or a panic with `what` after [`BOUND`].
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(BOUND, future).await {
        Ok(output) => output,
        Err(_) => panic!("did not happen within {BOUND:?}: {what}"),
    }
}
