//! Act 4: payment goes down for three seconds, and comes back.
//!
//! Shows the breaker: a drowning service (it takes 100 ms to say 503) is left alone after five
//! failures, orders fail at once instead of waiting for it, and when it is back, orders work
//! again without anyone doing anything. No sidecar can take payments for it: orders fail on both
//! sides while it is down, and with the breaker a little longer, until a probe finds it well.

use std::error::Error;
use std::ops::Range;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Act, Half, Played, Report, Stage, percent};
use crate::load::{Ask, Summary};
use crate::services::Sickness;
use crate::table::ms;

/// What the audience is told.
pub(super) const STORY: &str =
    "Payment goes down (100 ms, then 503) from 0.5 s to 3.5 s, and comes back. Nobody does anything.";

const LENGTH: Duration = Duration::from_secs(5);
const DOWN: Sickness = Sickness { fail_percent: 100, slow_percent: 100, delay: Duration::from_millis(100) };
const DOWN_FROM: Duration = Duration::from_millis(500);
const DOWN_UNTIL: Duration = Duration::from_millis(3500);
/// When the breaker has closed at the latest: the last probe that can fail does at 3.6 s, then it
/// stays open for `openFor.max` (500 ms) and a fifth, then three probes pass.
const BACK_FROM: Duration = Duration::from_millis(4500);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// 300 calls against 5 failures, 10 in flight at the fifth, and 5 probes: about 7 %.
const REACHED_SHARE_MAX: f64 = 0.10;
/// A refused order took the calls to user and inventory, about 11 ms.
const FAILED_P50_MAX: Duration = Duration::from_millis(50);

pub(super) async fn play(stage: &Stage) -> Played {
    let payment = stage.service("payment-service")?;
    let (alone, told) = stage.half(stage.alone, LENGTH, payment, outage(stage, false)).await;
    let down_alone = told?.reached;
    let (meshed, told) = stage.half(stage.meshed, LENGTH, payment, outage(stage, true)).await;
    let outage = told?;
    let mut report = Report::default();
    for (half, side, reached) in [(&alone, "without", down_alone), (&meshed, "with", outage.reached)] {
        let mut row = half.row(Act::Down, side, Ask::Order, true);
        row.reached = Some(reached);
        report.rows.push(row);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
    let share = outage.reached as f64 / down_alone.max(1) as f64;
    report.promise(
        format!(
            "while payment is down, the sidecar lets less than {:.0} % through",
            REACHED_SHARE_MAX * 100.0
        ),
        format!("{} calls, without it {down_alone}", outage.reached),
        share < REACHED_SHARE_MAX,
    );
    promise_failed_fast(&mut report, &alone, &meshed);
    promise_recovery(&mut report, &meshed, &outage.breaker);
    Ok(report)
}

fn promise_failed_fast(report: &mut Report, alone: &Half, meshed: &Half) {
    let failed = |half: &Half| Summary::of(&half.samples, |it| it.ask == Ask::Order && !it.ok).p50;
    report.promise(
        format!("a failed order fails in under {} (median)", ms(FAILED_P50_MAX)),
        format!("{}, without the sidecar {}", ms(failed(meshed)), ms(failed(alone))),
        failed(meshed) < FAILED_P50_MAX && failed(alone) > FAILED_P50_MAX,
    );
}

fn promise_recovery(report: &mut Report, meshed: &Half, breaker: &[String]) {
    let closed_again = breaker.last().is_some_and(|state| state == "closed");
    report.promise(
        "the breaker opens, and closes again by itself",
        path(breaker),
        breaker.iter().any(|state| state == "open") && closed_again,
    );
    let back = Summary::of(&meshed.samples, |it| it.ask == Ask::Order && it.at >= BACK_FROM);
    report.promise(
        format!("orders from {:.1} s on all succeed", BACK_FROM.as_secs_f64()),
        percent(back.success_percent()),
        back.calls > 0 && back.ok == back.calls,
    );
}

/// The states as one line; of a long row of failed probes, the ends.
fn path(states: &[String]) -> String {
    match states {
        [first, second, .., before, last] if states.len() > 6 => {
            format!("{first} -> {second} -> ... -> {before} -> {last}")
        }
        few => few.join(" -> "),
    }
}

/// What was seen of payment while it was down.
#[derive(Debug, Default)]
struct Outage {
    /// Calls that reached it.
    reached: u64,
    /// The states of the breaker, each once per change; empty without a sidecar.
    breaker: Vec<String>,
}

/// Takes payment down and back up, and looks at the breaker on the way if there is one.
async fn outage(stage: &Stage, meshed: bool) -> Result<Outage, Box<dyn Error>> {
    const DOWN_TIME: Range<Duration> = DOWN_FROM..DOWN_UNTIL;
    let payment = stage.service("payment-service")?;
    let start = Instant::now();
    let mut seen = Outage::default();
    let mut reached_before = payment.reached();
    let mut is_down = false;
    while start.elapsed() < LENGTH {
        let down = DOWN_TIME.contains(&start.elapsed());
        if down != is_down {
            payment.set(if down { DOWN } else { Sickness::NONE });
            seen.reached = payment.reached() - reached_before;
            reached_before = payment.reached();
            is_down = down;
        }
        if meshed {
            let state = stage.sidecar.breaker("payment-service").await?;
            if seen.breaker.last() != Some(&state) {
                seen.breaker.push(state);
            }
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(seen)
}
