//! The labels of namespaces, which a review does not have.
//!
//! In: a namespace's name. Out: its labels, or none. Asked of the API server, which waits for our answer
//! meanwhile: so nobody waits longer than [`LOOKUP_WAIT_MAX`], and what it told, or that it told
//! nothing, is remembered for a while. Labels that were told once stay until others are told.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::cluster::ApiServer;
use super::state::{Count, State};

/// Longest time that a review waits for its namespace. The review itself has seconds.
pub(super) const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long an answer is good for.
const FOUND_TTL: Duration = Duration::from_secs(30);

/// How long nobody asks again after a question without an answer: an API server in trouble gets few
/// questions, and few reviews wait.
const FAILED_TTL: Duration = Duration::from_secs(5);

/// Most namespaces that are remembered. With more, all are forgotten and asked for anew.
const NAMESPACES_MAX: usize = 2_000;

/// Most questions at once.
const LOOKUPS_MAX: usize = 8;

type Labels = BTreeMap<String, String>;

/// The namespaces of the cluster.
#[derive(Debug)]
pub(super) struct Namespaces {
    api: ApiServer,
    state: Arc<State>,
    /// What is known of each, and until when nobody asks again.
    known: Mutex<HashMap<String, (Instant, Option<Labels>)>>,
    places: Semaphore,
}

// === impl Namespaces ===

impl Namespaces {
    pub(super) fn new(api: ApiServer, state: Arc<State>) -> Self {
        Self { api, state, known: Mutex::default(), places: Semaphore::new(LOOKUPS_MAX) }
    }

    /// Whether nobody has to be asked about this one.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.holds(name, Instant::now())
    }

    /// Its labels, if somebody has ever told them: old ones are better than none.
    pub(super) fn labels(&self, name: &str) -> Option<Labels> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).and_then(|(_, labels)| labels.clone())
    }

    fn holds(&self, name: &str, now: Instant) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).is_some_and(|(until, _)| *until > now)
    }

    /// Asks for its labels, and remembers them, or that there was no answer in time. Reviews of one
    /// namespace that come at once wait for the first answer.
    pub(super) async fn ask(&self, name: &str) {
        let question = async {
            // Never closed; if it were, asking is better than not.
            let _place = self.places.acquire().await.ok();
            // Somebody else may have asked while we waited for a place.
            if self.knows(name) {
                return None;
            }
            Some(self.api.get(&format!("/api/v1/namespaces/{name}")).await)
        };
        let told = match timeout(LOOKUP_WAIT_MAX, question).await {
            Ok(None) => return,
            Ok(Some(Ok(namespace))) => Ok(labels(&namespace)),
            Ok(Some(Err(failure))) => Err(failure.to_string()),
            Err(_) => Err(format!("no answer within {} s", LOOKUP_WAIT_MAX.as_secs())),
        };
        self.remember(name, told, Instant::now());
    }

    /// What an answer changes; a failure takes no labels away, whoever got them and whenever.
    fn remember(&self, name: &str, told: Result<Labels, String>, now: Instant) {
        let failed = told.is_err();
        if failed && self.holds(name, now) {
            return;
        }
        self.state.count(if failed { Count::NamespaceFailed } else { Count::NamespaceFound });
        let (ttl, labels) = match told {
            Ok(labels) => (FOUND_TTL, Some(labels)),
            Err(reason) => {
                let before = self.labels(name);
                let then = match before {
                    Some(_) => "the labels that it had before are taken",
                    None => "its pods are taken as if it had no labels",
                };
                warn!("namespace {name}: {reason}; {then}");
                (FAILED_TTL, before)
            }
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMESPACES_MAX {
            known.clear();
        }
        known.insert(name.to_owned(), (now + ttl, labels));
    }
}

fn labels(namespace: &Value) -> Labels {
    let labels = namespace["metadata"]["labels"].as_object().into_iter().flatten();
    labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces() -> Namespaces {
        Namespaces::new(ApiServer::nobody(), Arc::new(State::new(None)))
    }

    fn strict() -> Labels {
        Labels::from([("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned())])
    }

    fn slow() -> Result<Labels, String> {
        Err("no answer within 1 s".to_owned())
    }

    #[test]
    fn a_question_that_fails_takes_no_labels_away() {
        let (namespaces, now) = (namespaces(), Instant::now());
        namespaces.remember("shop", Ok(strict()), now);
        namespaces.remember("shop", slow(), now);
        assert_eq!(namespaces.labels("shop"), Some(strict()), "somebody else was faster");
        let later = now + FOUND_TTL;
        assert!(!namespaces.holds("shop", later));
        namespaces.remember("shop", slow(), later);
        assert_eq!(namespaces.labels("shop"), Some(strict()), "old labels are better than none");
        assert!(namespaces.holds("shop", later), "nobody asks again at once");
        assert!(!namespaces.holds("shop", later + FAILED_TTL), "and somebody does soon");
    }

    #[test]
    fn an_answer_replaces_what_was_known() {
        let (namespaces, now) = (namespaces(), Instant::now());
        namespaces.remember("shop", slow(), now);
        assert_eq!(namespaces.labels("shop"), None);
        namespaces.remember("shop", Ok(strict()), now);
        namespaces.remember("shop", Ok(Labels::new()), now);
        assert_eq!(namespaces.labels("shop"), Some(Labels::new()));
    }
}
