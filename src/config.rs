//! The YAML: as written, then as meant.

mod origin;
mod problem;
mod typed;

pub use origin::{Layer, Origin, Origins, POLICY_KEYS};
pub use problem::Problem;
pub use typed::*;
