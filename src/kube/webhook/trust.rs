//! Makes the API server trust a certificate of our own: `--self-signed`.
//!
//! In: the name of the configuration object. Out: a certificate in force whose authority is in `caBundle`
//! of every webhook of that object that leads to our service; renewed long before it expires. Nothing
//! is kept anywhere else: each replica has an authority of its own, and all of them are in the bundle.
//!
//! An API server that is slow, absent or says no is asked again, and `/ready` says why until it has
//! said yes. Somebody who applies the object anew without our authority is noticed within
//! [`CHECK_EVERY`].

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::sleep;
use tracing::{info, warn};

use super::bundle;
use super::cluster::{ApiServer, Failure};
use super::issue::{Issued, issue};
use super::state::{Count, State};

/// How often the object is looked at: what is missing is put back. Of a short lifetime it is a tenth.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// The wait after the first question that failed; it doubles with each further one.
const BACK_OFF: Duration = Duration::from_millis(200);

/// No wait between two questions is longer.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// How long the API servers have to learn of a new authority: each of them watches the object.
const SETTLE_WAIT: Duration = Duration::from_secs(5);

/// Where the object is.
const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// What is to be trusted by whom.
#[derive(Debug)]
pub(super) struct Trust {
    /// Who is asked.
    pub(super) api: ApiServer,
    /// The name of the MutatingWebhookConfiguration.
    pub(super) configuration: String,
    /// Our service's name and its namespace.
    pub(super) service: (String, String),
    /// How long a certificate is good for.
    pub(super) lifetime: Duration,
}

/// Why the object is not as it should be.
struct Trouble {
    /// Whether our authority is known not to be in it; otherwise nobody could tell.
    missing: bool,
    told: String,
}

// === impl Trust ===

impl Trust {
    /// Keeps a trusted certificate in force; ends only if none can be made.
    ///
    /// # Errors
    /// One sentence, when none can be made.
    pub(super) async fn keep(self, state: Arc<State>) -> Result<(), String> {
        let mut current = self.issue()?;
        // Shown at once, so that all is there when the API server says yes.
        state.show(current.identity.clone());
        self.announce(&[&current], &state).await;
        state.trust(None);
        info!("the API server trusts our certificate");
        loop {
            let renew = renew_after(self.lifetime, current.identity.left(SystemTime::now()));
            if !renew.is_zero() {
                sleep(renew.min(CHECK_EVERY).min(self.lifetime / 10)).await;
                self.check(&current, &state).await;
                continue;
            }
            let next = self.issue()?;
            self.announce(&[&current, &next], &state).await;
            state.show(next.identity.clone());
            info!("a new certificate is in force, long before the old one expires");
            current = next;
        }
    }

    fn issue(&self) -> Result<Issued, String> {
        let (service, namespace) = &self.service;
        let name = format!("{service}.{namespace}.svc");
        issue(&[name.clone(), format!("{name}.cluster.local")], self.lifetime, fastrand::u64(..))
    }

    /// Has these in the object, whatever it takes, and known to every API server.
    async fn announce(&self, all: &[&Issued], state: &State) {
        let mut back_off = BACK_OFF;
        let mut before = String::new();
        loop {
            match self.put(all, state).await {
                Ok(false) => return,
                Ok(true) => return sleep(SETTLE_WAIT.min(self.lifetime / 20)).await,
                Err(Trouble { missing, told }) => {
                    // The first one is not in force as long as nobody has been told of it.
                    if missing || all.len() == 1 {
                        state.trust(Some(told.clone()));
                    }
                    if told != before {
                        warn!("the API server does not trust our certificate yet: {told}; trying again");
                        before = told;
                    }
                }
            }
            // Half of it and anything up to the other half: replicas must not come back in step.
            sleep(back_off.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    /// Looks whether what is in force is still in the object, and puts it back.
    async fn check(&self, current: &Issued, state: &State) {
        match self.put(&[current], state).await {
            Ok(false) => state.trust(None),
            Ok(true) => {
                warn!("our authority had gone from {}; it is back", self.configuration);
                state.trust(None);
            }
            Err(Trouble { missing, told }) => {
                warn!("{} could not be looked at: {told}", self.configuration);
                // Nobody has said that we are not trusted any more: that alone takes no webhook away.
                if missing {
                    state.trust(Some(told));
                }
            }
        }
    }

    /// Has these in the object. Out: whether it had to be changed.
    async fn put(&self, all: &[&Issued], state: &State) -> Result<bool, Trouble> {
        let path = format!("{CONFIGURATIONS}/{}", self.configuration);
        let asked = self.api.get(&path).await.map_err(|failure| Trouble {
            // Without the object nobody calls us, and nobody trusts us.
            missing: failure.status == Some(StatusCode::NOT_FOUND),
            told: self.told(&failure, state),
        });
        let Some(patch) = self.patch(&asked?, all)? else { return Ok(false) };
        match self.api.merge(&path, &patch).await {
            Ok(_) => {
                state.count(Count::TrustUpdated);
                Ok(true)
            }
            Err(failure) => Err(Trouble { missing: true, told: self.told(&failure, state) }),
        }
    }

    fn told(&self, failure: &Failure, state: &State) -> String {
        state.count(Count::TrustFailed);
        format!("MutatingWebhookConfiguration {}: {failure}", self.configuration)
    }

    /// What to merge into the object so that every webhook of our service has these; `None`: it has.
    fn patch(&self, object: &Value, all: &[&Issued]) -> Result<Option<Value>, Trouble> {
        let (service, namespace) = &self.service;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let (mut found, mut changed) = (false, Vec::new());
        for webhook in object["webhooks"].as_array().into_iter().flatten() {
            let client = &webhook["clientConfig"];
            let to = (client["service"]["name"].as_str(), client["service"]["namespace"].as_str());
            if to != (Some(service), Some(namespace)) {
                continue;
            }
            found = true;
            let before = client["caBundle"].as_str().unwrap_or_default();
            let after = all.iter().fold(None, |after: Option<String>, issued| {
                bundle::with(after.as_deref().unwrap_or(before), &issued.authority, now).or(after)
            });
            changed.extend(
                after.map(|bundle| json!({"name": webhook["name"], "clientConfig": {"caBundle": bundle}})),
            );
        }
        if !found {
            let name = &self.configuration;
            let told = format!(
                "MutatingWebhookConfiguration {name} has no webhook that leads to service {service} of \
                 namespace {namespace}"
            );
            return Err(Trouble { missing: true, told });
        }
        // With the version that was read: two replicas that change it at once would undo one another.
        let version = &object["metadata"]["resourceVersion"];
        let patch = json!({"metadata": {"resourceVersion": version}, "webhooks": changed});
        Ok((!changed.is_empty()).then_some(patch))
    }
}

/// How long to wait before a certificate is renewed that has `left` of its lifetime: a third of it is for
/// an API server that can't be reached.
fn renew_after(lifetime: Duration, left: Duration) -> Duration {
    left.saturating_sub(lifetime / 3)
}

#[cfg(test)]
mod tests;
