//! The cluster's part: pods with Outrigger beside their application.
//!
//! In: pods, as YAML files or as a question of the API server. Out: the same pods with the sidecar,
//! or a reason why not. One plan serves every form, so that they cannot differ.

pub mod edit;
