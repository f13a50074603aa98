//! The YAML: as written, then as meant.
//!
//! In: a file or a directory. Out: a [`Config`] in which every default is filled in and every value
//! is in range, or every [`Problem`] at once. Never a socket, never a half-valid value. `raw` reads
//! what is written, `check` what is meant, `keys` is the one table of what may be written.
//!
//! Not deserialised by serde: that stops at the first mistake and forgets the places, and every
//! effective value here cites the line that set it.

pub mod capture;
mod check;
mod effective;
mod environment;
mod export;
mod grpc;
mod identity;
mod keys;
mod load;
mod matching;
mod material;
mod origin;
mod problem;
mod raw;
mod schema;
mod show;
mod tls;
mod typed;
mod units;
mod variables;
mod watch;

pub use capture::Capture;
pub use effective::effective;
pub use environment::Environment;
pub use export::{Export, ExportEndpoint, ExportHeaders, ExportTls, OtlpProtocol};
pub use identity::{Identity, roots};
pub use load::{Options, UnknownKeys, load, load_str};
pub use origin::{Layer, Origin, Origins, POLICY_KEYS};
pub use problem::Problem;
pub use schema::schema;
pub use tls::{Alpn, Certificate, CertificateUse, Tls};
pub use typed::*;
pub use units::parse_duration;
pub use variables::Variables;
pub use watch::Watcher;

#[cfg(test)]
mod tests;
