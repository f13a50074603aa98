//! One timer per connection, armed lazily.
//!
//! In: the earliest moment something must happen. Out: ready when it has come. Deadlines mostly
//! move into the future from call to call and are almost never reached; so the timer is left armed
//! at an earlier moment and moved on only when it fires. A call then costs no timer operation.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer whose moment may change at each poll.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

/// Most timers kept per worker for the streams of HTTP/2, which come and go faster than connections.
const KEPT_MAX: usize = 256;

thread_local! {
    static KEPT: RefCell<Vec<Alarm>> = const { RefCell::new(Vec::new()) };
}

// === impl Alarm ===

impl Alarm {
    /// A timer that is not armed.
    pub fn new() -> Self {
        Self::default()
    }

    /// A timer that was used before on this thread, if there is one: it is armed for some moment that
    /// has lost its meaning, and is moved on when it fires, as ever.
    pub fn take() -> Self {
        KEPT.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Keeps the timer for its next use.
    pub fn give_back(self) {
        // The stock is gone while its thread ends.
        let _ = KEPT.try_with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut()
                && self.sleep.is_some()
                && kept.len() < KEPT_MAX
            {
                kept.push(self);
            }
        });
    }

    /// Ready when `moment` has come; never without one.
    pub fn poll(&mut self, cx: &mut Context<'_>, moment: Option<Instant>) -> Poll<()> {
        let Some(moment) = moment else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(moment)));
        if moment < sleep.deadline() {
            sleep.as_mut().reset(moment);
        }
        loop {
            match sleep.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) if sleep.deadline() >= moment => return Poll::Ready(()),
                Poll::Ready(()) => sleep.as_mut().reset(moment),
            }
        }
    }

    /// Waits for `moment`; for ever without one. Cancel-safe.
    pub async fn wait(&mut self, moment: Option<Instant>) {
        std::future::poll_fn(|cx| self.poll(cx, moment)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moment_that_moves_on_is_kept() {
        let (start, mut alarm) = (Instant::now(), Alarm::new());
        let first = alarm.wait(Some(start + Duration::from_secs(5)));
        assert!(tokio::time::timeout(Duration::from_secs(1), first).await.is_err());
        alarm.wait(Some(start + Duration::from_secs(9))).await;
        assert_eq!(start.elapsed(), Duration::from_secs(9));
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_moment_wins_over_the_armed_one() {
        let (start, mut alarm) = (Instant::now(), Alarm::new());
        let late = alarm.wait(Some(start + Duration::from_secs(50)));
        assert!(tokio::time::timeout(Duration::from_secs(1), late).await.is_err());
        alarm.wait(Some(start + Duration::from_secs(2))).await;
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_moment_it_never_fires() {
        let waited = tokio::time::timeout(Duration::from_secs(3600), Alarm::new().wait(None)).await;
        assert!(waited.is_err());
    }
}
