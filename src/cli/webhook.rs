//! `outrigger webhook`: injects pods as they are made.
//!
//! In: where to listen, where the certificate comes from, what is added. Out: an exit code, when it is told
//! to end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::parse_duration;
use crate::kube::Settings;
use crate::kube::webhook::{self, Certificate, Options};

/// Shortest lifetime of a certificate of our own; one that short is for trying it out.
const LIFETIME_MIN: Duration = Duration::from_secs(5);

/// Longest lifetime of a certificate of our own: a year.
const LIFETIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
#[group(id = "webhook")]
#[command(group(clap::ArgGroup::new("certificate").required(true).args(["cert", "self_signed"])))]
pub(super) struct Flags {
    /// Where reviews are answered, at /inject.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// Where /live, /ready and /metrics are, without TLS.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:15020")]
    health: SocketAddr,
    /// The certificate chain as PEM, such as the one that cert-manager keeps in a Secret; read anew when it
    /// changes. No API server is asked then.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key as PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Make a certificate at the start, and have the API server trust it: its authority is added to
    /// caBundle of the configuration object.
    #[arg(long)]
    self_signed: bool,
    /// The MutatingWebhookConfiguration whose caBundle is kept.
    #[arg(long, value_name = "NAME", default_value = "outrigger", conflicts_with = "cert")]
    configuration: String,
    /// The service that leads here; the certificate is for SERVICE.NAMESPACE.svc.
    #[arg(long, value_name = "NAME", default_value = "outrigger-webhook", conflicts_with = "cert")]
    service: String,
    /// The namespace of that service; that of this pod if not given.
    #[arg(long, value_name = "NAME", conflicts_with = "cert")]
    namespace: Option<String>,
    /// How long a certificate of our own is good for, 5s to 8760h; it is renewed with a third left.
    #[arg(long, value_name = "DURATION", default_value = "720h", value_parser = lifetime, conflicts_with = "cert")]
    lifetime: Duration,
    /// Ask the API server for the labels of a pod's namespace, to leave pods alone that Pod Security would
    /// refuse with the sidecar; without an answer in a second they are taken as if it had none.
    #[arg(long)]
    namespace_lookup: bool,
    /// Where the kubelet puts the service account: token, ca.crt and namespace.
    #[arg(long, value_name = "DIR", default_value = "/var/run/secrets/kubernetes.io/serviceaccount")]
    service_account: PathBuf,
}

/// Runs the webhook until it is told to stop.
pub(super) fn webhook(flags: Flags, settings: Settings) -> ExitCode {
    super::run::start_log();
    webhook::run(flags.options(settings))
}

// === impl Flags ===

impl Flags {
    fn options(self, settings: Settings) -> Options {
        let certificate = match (self.cert, self.key) {
            (Some(cert), Some(key)) => Certificate::Files { cert, key },
            // The parser lets neither stand alone.
            (Some(_) | None, Some(_) | None) => Certificate::SelfSigned {
                configuration: self.configuration,
                service: self.service,
                namespace: self.namespace,
                lifetime: self.lifetime,
            },
        };
        Options {
            listen: self.listen,
            health: self.health,
            certificate,
            account: self.service_account,
            namespace_lookup: self.namespace_lookup,
            settings,
        }
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let found = parse_duration(text).filter(|found| (LIFETIME_MIN..=LIFETIME_MAX).contains(found));
    found.ok_or_else(|| "want a duration such as 720h, from 5s to 8760h".to_owned())
}
