//! The cluster's part: pods with Outrigger beside their application.
//!
//! In: pods, as YAML files or as a question of the API server. Out: the same pods with the sidecar,
//! or a reason why not. One plan serves every form, so that they cannot differ.

mod annotations;
pub mod edit;
mod inject;
mod manifest;
mod notices;
mod plan;
mod policy;
pub mod settings;
mod sidecar;
mod skip;
mod text;
mod uninject;
mod values;
pub mod webhook;

pub use annotations::ANNOTATIONS;
pub use inject::inject;
pub use manifest::{INPUT_BYTES_MAX, Note, Rewritten, Source};
pub use plan::{Namespace, Plan, plan};
pub use policy::policy;
pub use settings::Settings;
pub use skip::{Reason, Skip};
pub use uninject::uninject;
