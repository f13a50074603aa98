//! Act 3: payment takes a second.
//!
//! Shows the bulkhead: without it, orders that wait for payment take every handler of the order
//! service, and the catalog, which never asks payment, waits with them. With it at most 20 calls
//! are with payment and the orders that find no place fail soon. As many orders are paid either
//! way, payment being what it is, but the catalog does not notice.

use std::future::ready;
use std::time::Duration;

use super::{Act, Played, Report, Stage, percent};
use crate::load::Ask;
use crate::services::Sickness;
use crate::table::ms;

/// What the audience is told.
pub(super) const STORY: &str =
    "Payment takes a second for each call. The catalog does not need payment; does it stay fast?";

const LENGTH: Duration = Duration::from_secs(4);
const SLOW: Sickness = Sickness { slow_percent: 100, delay: Duration::from_secs(1), fail_percent: 0 };
/// Customers leave after two seconds, and most do.
const P99_ALONE_MIN: Duration = Duration::from_millis(500);
/// The catalog's two calls take about 11 ms; the rest is for a busy machine.
const P99_MESHED_MAX: Duration = Duration::from_millis(200);

pub(super) async fn play(stage: &Stage) -> Played {
    let payment = stage.service("payment-service")?;
    payment.set(SLOW);
    let (alone, ()) = stage.half(stage.alone, LENGTH, payment, ready(())).await;
    let (meshed, ()) = stage.half(stage.meshed, LENGTH, payment, ready(())).await;
    let mut report = Report::default();
    for ask in [Ask::Catalog, Ask::Order] {
        report.rows.push(alone.row(Act::Slow, "without", ask, ask == Ask::Order));
        report.rows.push(meshed.row(Act::Slow, "with", ask, ask == Ask::Order));
    }
    let (catalog_alone, catalog) = (alone.sum(Ask::Catalog), meshed.sum(Ask::Catalog));
    report.promise(
        format!("without the sidecar the catalog's p99 is over {}", ms(P99_ALONE_MIN)),
        ms(catalog_alone.p99),
        catalog_alone.p99 > P99_ALONE_MIN,
    );
    report.promise(
        format!("with the sidecar it is under {}", ms(P99_MESHED_MAX)),
        ms(catalog.p99),
        catalog.p99 < P99_MESHED_MAX,
    );
    report.promise(
        "with the sidecar every look at the catalog succeeds",
        percent(catalog.success_percent()),
        catalog.ok == catalog.calls,
    );
    Ok(report)
}
