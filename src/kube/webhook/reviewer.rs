//! Requests of the API server, each with one reply.
//!
//! In: a request. Out: an AdmissionReview with an answer, or a status and one line of text for what is no
//! question that we understand. Whoever asks for the making of a pod is always allowed it: a pod that
//! can't be injected is made as it is, and its owner is told why.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tracing::{debug, info};

use crate::kube::{Namespace, Reason, Settings, plan};

use super::namespaces::Namespaces;
use super::review::{Review, Subject, answer};
use super::state::{Count, State};

/// The path that the configuration object names.
pub(super) const PATH: &str = "/inject";

/// Most bytes of a review. The API server takes objects of 3 MiB at most, and wraps one of them. Taken
/// apart it may need twenty times as much, of which there is one at a time.
pub(super) const REVIEW_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A longer review waits for room. Nearly all are shorter, so one that trickles in holds none of them up.
const SHORT_BYTES_MAX: usize = 64 * 1024;

/// Room for longer reviews, in bytes of all of them together.
const ROOM_BYTES_MAX: usize = REVIEW_BYTES_MAX;

/// Longest wait for room. Who asks gives up after `timeoutSeconds`, and its question is then for nobody.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(3);

/// Longest time for the body of a request to arrive: that of the slowest `timeoutSeconds`.
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Most bytes thrown away of a body that is too large, so that its sender reads the reply.
const DISCARD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Room is counted in these.
const UNIT_BYTES: usize = 1024;

/// Answers reviews.
#[derive(Debug)]
pub(super) struct Reviewer {
    settings: Settings,
    namespaces: Option<Namespaces>,
    state: Arc<State>,
    room: Semaphore,
}

/// Why a request gets no review in return: a status, and a line of text.
struct Refusal(StatusCode, String);

// === impl Reviewer ===

impl Reviewer {
    /// With `namespaces` it also looks at the labels of a pod's namespace.
    pub(super) fn new(settings: Settings, namespaces: Option<Namespaces>, state: Arc<State>) -> Self {
        let room = Semaphore::new(ROOM_BYTES_MAX / UNIT_BYTES);
        Self { settings, namespaces, state, room }
    }

    /// The reply to one request.
    pub(super) async fn reply(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = match self.review(request).await {
            Ok(body) => {
                let mut response = Response::new(Full::new(Bytes::from(body)));
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                response
            }
            Err(refusal) => {
                self.state.count(Count::Refused);
                debug!("refused: {}", refusal.1);
                refusal.response()
            }
        };
        if self.state.is_ending() {
            // The next review goes to another replica.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn review(&self, request: Request<Incoming>) -> Result<String, Refusal> {
        fits(&request)?;
        let bytes = length(request.headers()).unwrap_or(REVIEW_BYTES_MAX).min(REVIEW_BYTES_MAX);
        // Held until the answer is made.
        let _room = self.room(bytes).await?;
        let body = timeout(BODY_WAIT_MAX, collect(request.into_body())).await;
        let late = || Refusal(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned());
        let body = body.map_err(|_| late())??;
        let bad = |told| Refusal(StatusCode::BAD_REQUEST, told);
        let mut review = Review::parse(&body).map_err(bad)?;
        if let Some(namespaces) = &self.namespaces
            && matches!(review.subject, Subject::Pod(_))
            && is_name(&review.namespace)
            && !namespaces.knows(&review.namespace)
        {
            // Text waits in a tenth of the memory: it is taken apart again afterwards.
            let name = std::mem::take(&mut review.namespace);
            drop(review);
            namespaces.ask(&name).await;
            review = Review::parse(&body).map_err(bad)?;
        }
        Ok(self.answered(&review))
    }

    /// A place for a review of so many bytes.
    async fn room(&self, bytes: usize) -> Result<Option<SemaphorePermit<'_>>, Refusal> {
        if bytes <= SHORT_BYTES_MAX {
            return Ok(None);
        }
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let room = timeout(ROOM_WAIT_MAX, self.room.acquire_many(units)).await;
        let busy = || Refusal(StatusCode::SERVICE_UNAVAILABLE, "too many long reviews at once".to_owned());
        room.map_err(|_| busy())?.map(Some).map_err(|_| busy())
    }

    /// The body of the answer. Nothing is waited for: of the pods taken apart there is one at a time.
    fn answered(&self, review: &Review) -> String {
        let pod = match &review.subject {
            Subject::Pod(pod) => pod,
            Subject::Other(words) => {
                self.state.count(Count::Ignored);
                let told =
                    format!("only the making of pods is looked at, and this is {words}; nothing changed");
                return answer(&review.uid, &[], &[told]);
            }
        };
        let labels = self.namespaces.as_ref().and_then(|known| known.labels(&review.namespace));
        let namespace = Namespace { name: review.namespace.clone(), labels: labels.unwrap_or_default() };
        let name = name(pod, &review.namespace);
        let dry = if review.dry_run { ", by a dry run" } else { "" };
        match plan(pod, Some(&namespace), &self.settings) {
            Ok(plan) => {
                self.state.count(Count::Injected);
                info!("pod {name}: injected{dry}");
                answer(&review.uid, &plan.edits, &plan.notices)
            }
            Err(skip) if skip.reason == Reason::AlreadyInjected => {
                self.state.count(Count::Already);
                debug!("pod {name}: {}", skip.message);
                answer(&review.uid, &[], &[])
            }
            Err(skip) => {
                self.state.count(Count::Skipped);
                info!("pod {name}: not injected{dry} ({}): {}", skip.reason.word(), skip.message);
                let told = format!("not injected ({}): {}", skip.reason.word(), skip.message);
                answer(&review.uid, &[], &[told])
            }
        }
    }
}

/// Whether the head is that of a review.
fn fits(request: &Request<Incoming>) -> Result<(), Refusal> {
    let path = request.uri().path();
    if path != PATH {
        return Err(Refusal(StatusCode::NOT_FOUND, format!("reviews are answered at {PATH}")));
    }
    if request.method() != Method::POST {
        return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, format!("{PATH} takes POST")));
    }
    let of = request.headers().get(CONTENT_TYPE).and_then(|of| of.to_str().ok()).unwrap_or_default();
    let media = of.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        let told = "the body must be application/json".to_owned();
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, told));
    }
    Ok(())
}

fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body.
async fn collect(mut body: Incoming) -> Result<Bytes, Refusal> {
    let known = usize::try_from(body.size_hint().lower()).unwrap_or(REVIEW_BYTES_MAX);
    let mut bytes = BytesMut::with_capacity(known.min(REVIEW_BYTES_MAX));
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let cut = |error| Refusal(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"));
        let Ok(data) = frame.map_err(cut)?.into_data() else { continue };
        seen += data.len();
        if seen <= REVIEW_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else {
            bytes = BytesMut::new();
        }
        if seen > DISCARD_BYTES_MAX {
            break;
        }
    }
    if seen > REVIEW_BYTES_MAX {
        let told = format!("the body is larger than {} MiB", REVIEW_BYTES_MAX >> 20);
        return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, told));
    }
    Ok(bytes.freeze())
}

/// Whether it is a namespace's name, which goes into a path (RFC 1123).
fn is_name(text: &str) -> bool {
    let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    !text.is_empty() && text.len() <= 63 && text.chars().all(fits)
}

/// A pod's name for the log; that of its controller's choice is not known yet.
fn name(pod: &Value, namespace: &str) -> String {
    let metadata = &pod["metadata"];
    let own = metadata["name"].as_str().map(str::to_owned);
    let generated = || metadata["generateName"].as_str().map(|name| format!("{name}*"));
    let name = own.or_else(generated).unwrap_or_else(|| "without a name".to_owned());
    format!("{namespace}/{name}").escape_debug().collect()
}

// === impl Refusal ===

impl Refusal {
    fn response(self) -> Response<Full<Bytes>> {
        let Self(status, told) = self;
        let mut response = Response::new(Full::new(Bytes::from(told + "\n")));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}
