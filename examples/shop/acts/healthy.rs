//! Act 1: everyone is well.
//!
//! Shows what the sidecar costs when there is nothing to do. Four calls of an order cross it one
//! after the other, so an order pays four times.

use std::future::ready;
use std::time::Duration;

use super::{Act, Played, Report, Stage, percent};
use crate::load::Ask;
use crate::table::ms;

/// What the audience is told.
pub(super) const STORY: &str = "Everyone is well: an order takes four calls, about 25 ms.";

const LENGTH: Duration = Duration::from_secs(3);
/// What the sidecar may add to the median order. It adds well under 1 ms; the rest is for timers
/// of one millisecond and a busy machine.
const ADDED_MAX: Duration = Duration::from_millis(5);

pub(super) async fn play(stage: &Stage) -> Played {
    let payment = stage.service("payment-service")?;
    let (alone, ()) = stage.half(stage.alone, LENGTH, payment, ready(())).await;
    let (meshed, ()) = stage.half(stage.meshed, LENGTH, payment, ready(())).await;
    let mut report = Report::default();
    for (half, side) in [(&alone, "without"), (&meshed, "with")] {
        report.rows.push(half.row(Act::Healthy, side, Ask::Order, false));
        let (orders, catalog) = (half.sum(Ask::Order), half.sum(Ask::Catalog));
        let all = orders.ok == orders.calls && catalog.ok == catalog.calls;
        report.promise(
            format!("{side} the sidecar every call succeeds"),
            percent(orders.success_percent()),
            all,
        );
    }
    let (p50_alone, p50) = (alone.sum(Ask::Order).p50, meshed.sum(Ask::Order).p50);
    report.promise(
        format!("the sidecar adds less than {} to the median order", ms(ADDED_MAX)),
        format!("{:.2} ms without, {:.2} ms with", p50_alone.as_secs_f64() * 1e3, p50.as_secs_f64() * 1e3),
        p50 < p50_alone + ADDED_MAX,
    );
    Ok(report)
}
