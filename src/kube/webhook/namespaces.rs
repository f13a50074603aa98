//! The labels of namespaces, which a review does not have.
//!
//! In: a namespace's name. Out: its labels, or none. Asked of the API server, which waits for our answer
//! meanwhile: so nobody waits longer than [`LOOKUP_WAIT_MAX`], and what it told, or that it told
//! nothing, is remembered for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::kube::Namespace;

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
    /// What is known of each, and until when.
    known: Mutex<HashMap<String, (Instant, Option<Labels>)>>,
    places: Semaphore,
}

// === impl Namespaces ===

impl Namespaces {
    pub(super) fn new(api: ApiServer, state: Arc<State>) -> Self {
        Self { api, state, known: Mutex::default(), places: Semaphore::new(LOOKUPS_MAX) }
    }

    /// The namespace of this name; without labels if nobody told them in time.
    pub(super) async fn find(&self, name: &str) -> Namespace {
        let labels = match self.known(name) {
            Some(labels) => labels,
            None => self.ask(name).await,
        };
        Namespace { name: name.to_owned(), labels: labels.unwrap_or_default() }
    }

    /// What is remembered; the inner `None` is a question without an answer.
    fn known(&self, name: &str) -> Option<Option<Labels>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, labels) = known.get(name)?;
        (*until > Instant::now()).then(|| labels.clone())
    }

    async fn ask(&self, name: &str) -> Option<Labels> {
        let question = async {
            // Never closed; if it were, asking is better than not.
            let _place = self.places.acquire().await.ok();
            self.api.get(&format!("/api/v1/namespaces/{name}")).await
        };
        let told = match timeout(LOOKUP_WAIT_MAX, question).await {
            Ok(Ok(namespace)) => Ok(labels(&namespace)),
            Ok(Err(failure)) => Err(failure.to_string()),
            Err(_) => Err(format!("no answer within {} s", LOOKUP_WAIT_MAX.as_secs())),
        };
        self.state.count(if told.is_ok() { Count::NamespaceFound } else { Count::NamespaceFailed });
        let (ttl, labels) = match told {
            Ok(labels) => (FOUND_TTL, Some(labels)),
            Err(reason) => {
                warn!("namespace {name}: {reason}; its pods are taken as if it had no labels");
                (FAILED_TTL, None)
            }
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= NAMESPACES_MAX {
            known.clear();
        }
        known.insert(name.to_owned(), (Instant::now() + ttl, labels.clone()));
        labels
    }
}

fn labels(namespace: &Value) -> Labels {
    let labels = namespace["metadata"]["labels"].as_object().into_iter().flatten();
    labels.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
