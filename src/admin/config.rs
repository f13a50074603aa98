//! The page `/config`.
//!
//! In: the configuration in force and the status. Out: JSON. Effective values of single policies are
//! not here; `outrigger check` explains those with their origins.

use serde_json::{Value, json};

use crate::config::Config;
use crate::telemetry::explain::unix_seconds;

use super::status::{Rejection, Status};

/// The page.
pub(super) fn show(config: &Config, status: &Status) -> Value {
    let (told, reloads) = (status.told(), status.reloads());
    let listeners: Vec<Value> = told
        .listeners
        .iter()
        .map(|listener| json!({"for": listener.purpose, "address": listener.address.to_string()}))
        .collect();
    json!({
        "outrigger": env!("CARGO_PKG_VERSION"),
        "startedAt": unix_seconds(status.started()),
        "readiness": status.readiness().err().unwrap_or("ready"),
        "version": told.version,
        "service": config.service,
        "files": config.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
        "loadedAt": unix_seconds(told.loaded_at),
        "workers": config.workers,
        "services": config.services.len(),
        "warnings": config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "reloads": {
            "applied": reloads.applied,
            "unchanged": reloads.unchanged,
            "rejected": reloads.rejected,
        },
        "lastReload": told.last_reload.map(|reload| reload.name()),
        "lastRejected": told.last_rejection.as_ref().map(rejection),
        "listeners": listeners,
    })
}

fn rejection(rejection: &Rejection) -> Value {
    json!({"at": unix_seconds(rejection.at), "problems": rejection.problems})
}
