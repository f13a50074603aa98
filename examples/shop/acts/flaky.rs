//! Act 2: inventory answers 503 to one call in five.
//!
//! Shows retries: `POST /check` is marked `idempotent` in the YAML, so each failed check is
//! tried up to three more times, within the budget.

use std::future::ready;
use std::time::Duration;

use super::{Act, Played, Report, Stage, percent};
use crate::load::Ask;
use crate::services::Sickness;

/// What the audience is told.
pub(super) const STORY: &str =
    "Inventory answers 503 to one call in five. The YAML says its checks may be repeated.";

const LENGTH: Duration = Duration::from_secs(4);
const FLAKY: Sickness = Sickness { fail_percent: 20, ..Sickness::NONE };
/// 80 % are expected, with a standard deviation of 2 % for 400 orders.
const SUCCESS_ALONE_MAX: f64 = 88.0;
/// 99.8 % are expected: all four tries fail for 1 order in 625.
const SUCCESS_MESHED_MIN: f64 = 98.5;

pub(super) async fn play(stage: &Stage) -> Played {
    let inventory = stage.service("inventory-service")?;
    inventory.set(FLAKY);
    let (alone, ()) = stage.half(stage.alone, LENGTH, inventory, ready(())).await;
    let (meshed, ()) = stage.half(stage.meshed, LENGTH, inventory, ready(())).await;
    let mut report = Report::default();
    report.rows.push(alone.row(Act::Flaky, "without", Ask::Order, true));
    report.rows.push(meshed.row(Act::Flaky, "with", Ask::Order, true));
    let success = alone.sum(Ask::Order).success_percent();
    report.promise(
        format!("without the sidecar fewer than {SUCCESS_ALONE_MAX} % of the orders succeed"),
        percent(success),
        success < SUCCESS_ALONE_MAX,
    );
    let success = meshed.sum(Ask::Order).success_percent();
    report.promise(
        format!("with the sidecar more than {SUCCESS_MESHED_MIN} % do"),
        percent(success),
        success > SUCCESS_MESHED_MIN,
    );
    Ok(report)
}
