//! `outrigger inject`: the plan for each pod, put into the text.
//!
//! In: files and settings. Out: one stream with the sidecar in every pod that can have it.

use super::manifest::{Change, PodAt, Rewritten, Source, rewrite};
use super::plan::plan;
use super::settings::Settings;
use super::text::put;
use crate::config::Problem;

/// Puts the sidecar into every pod of the files. Pods that name no namespace are of `namespace`. `Err`:
/// everything that is wrong with the files.
pub fn inject(
    sources: &[Source],
    namespace: Option<&str>,
    settings: &Settings,
) -> Result<Rewritten, Vec<Problem>> {
    rewrite(sources, namespace, |pod| planned(pod, settings))
}

fn planned(pod: &PodAt<'_, '_>, settings: &Settings) -> Result<Change, String> {
    let plan = plan(pod.value, pod.namespace, settings)
        .map_err(|skip| format!("{}: {}", skip.reason.word(), skip.message))?;
    let splices = put(pod.tree, pod.id, &plan.edits).map_err(|reason| format!("layout: {reason}"))?;
    Ok(Change { splices, edits: plan.edits, notices: plan.notices, ..Change::default() })
}
