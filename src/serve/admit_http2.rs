//! From a stream of HTTP/2 to a planned request, in one go and without a wait.
//!
//! In: a request's head. Out: a request with its plan, or a refusal that is written and recorded
//! already. What a head must look like beyond what `h2` holds it to is decided here.

use bytes::Bytes;
use h2::RecvStream;
use h2::ext::Protocol;
use h2::server::SendResponse;
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Method as HttpMethod, Request, Uri, header};
use tokio::time::Instant;

use crate::call::{Http2Request, refuse_http2};
use crate::error::Fault;
use crate::head::{Framing, Method, RequestHead, Version};
use crate::mesh::{Local, Plan};
use crate::policy::is_idempotent;
use crate::route::Asking;
use crate::wire::{Kind, TraceField, TraceFields, TraceParent, grpc};

use super::Door;
use super::whose::{Asked, NoPlan, ending, whose};

/// Plans the call of one stream. `None`: it was refused, which is recorded.
pub(super) fn admit(
    local: &Local,
    door: &Door,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<Http2Request> {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let plan = match plan(local, door, &parts, started) {
        Ok(plan) => plan,
        Err((fault, what)) => {
            let trace = trace(local, &mut parts.headers);
            let line = request_line(&parts);
            local.record_refusal(fault, &what, line.as_bytes(), Some(trace), started);
            let content_type = parts.headers.get(header::CONTENT_TYPE);
            let is_grpc = content_type.is_some_and(|value| grpc::is_grpc(value.as_bytes()));
            refuse_http2(&mut respond, fault, &what, is_grpc, parts.method == HttpMethod::HEAD);
            return None;
        }
    };
    let trace = trace(local, &mut parts.headers);
    let head = request_head(&parts, &plan, trace);
    name_authority(&mut parts);
    // It is meant for us, the proxy (RFC 9110 section 11.7.1).
    parts.headers.remove(header::PROXY_AUTHORIZATION);
    Some(Http2Request { plan, head, parts, body, respond, started })
}

fn request_line(parts: &Parts) -> String {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    format!("{} {path} HTTP/2", parts.method)
}

/// Finds the service, or says why there is none.
fn plan(local: &Local, door: &Door, parts: &Parts, now: Instant) -> Result<Plan, NoPlan> {
    let method = parts.method.as_str().as_bytes();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes();
    let fields = &parts.headers;
    let field = |name: &str| fields.get(name).map(|value| value.as_bytes());
    if parts.method == HttpMethod::CONNECT && parts.extensions.get::<Protocol>().is_none() {
        return Err((Fault::RequestMalformed, "CONNECT is taken over HTTP/1 alone".into()));
    }
    let asking = if matches!(door, Door::Captured(_)) { Asking::Captured } else { Asking::Http };
    let authority = authority(parts)?;
    if local.closing.get() {
        return Err(ending());
    }
    whose(local, door, &Asked { asking, authority, method, path }, field, now)
}

/// `:authority`, or `Host` where it is missing. Two that differ are two requests in one.
fn authority(parts: &Parts) -> Result<&[u8], NoPlan> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|host| host.as_bytes());
    if hosts.next().is_some() {
        return Err((Fault::RequestMalformed, "Host is given twice".into()));
    }
    let named = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (named, host) {
        (Some(named), Some(host)) if !named.eq_ignore_ascii_case(host) => {
            Err((Fault::RequestMalformed, "Host and :authority name two hosts".into()))
        }
        (Some(named), _) => Ok(named),
        (None, host) => Ok(host.unwrap_or_default()),
    }
}

/// A `Host` without `:authority` becomes one (RFC 9113 section 8.3.1).
fn name_authority(parts: &mut Parts) {
    if parts.uri.authority().is_none()
        && let Some(host) = parts.headers.remove(header::HOST)
        && let Ok(authority) = Authority::try_from(host.as_bytes())
    {
        let mut named = std::mem::take(&mut parts.uri).into_parts();
        named.scheme.get_or_insert(Scheme::HTTP);
        named.authority = Some(authority);
        parts.uri = Uri::from_parts(named).unwrap_or_default();
    }
}

fn request_head(parts: &Parts, plan: &Plan, trace: TraceParent) -> RequestHead {
    let fields = &parts.headers;
    let declared = plan.policy().idempotent;
    RequestHead {
        method: method(&parts.method),
        version: Version::Http2,
        framing: Framing::None,
        keep_alive: true,
        expects_continue: false,
        upgrade: parts.extensions.get::<Protocol>().is_some(),
        idempotent: is_idempotent(
            parts.method.as_str(),
            has_precondition(fields),
            fields.contains_key("idempotency-key"),
            declared,
        ),
        trace,
    }
}

fn method(method: &HttpMethod) -> Method {
    match *method {
        HttpMethod::GET => Method::Get,
        HttpMethod::HEAD => Method::Head,
        HttpMethod::CONNECT => Method::Connect,
        _ => Method::Other,
    }
}

/// Repeating may change the answer.
fn has_precondition(fields: &HeaderMap) -> bool {
    [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE]
        .iter()
        .any(|name| fields.contains_key(name))
}

/// The caller's trace, or a new one. Headers that do not belong to it are taken out; the others stay
/// until an attempt puts its own in their place, for a call that turns to HTTP/1 is read once more.
fn trace(local: &Local, fields: &mut HeaderMap) -> TraceParent {
    let mut given = TraceFields::default();
    for (name, value) in &*fields {
        if let Kind::Trace(field) = Kind::of(name.as_str().as_bytes()) {
            given.look(field, value.as_bytes());
        }
    }
    let (told, seen) = (given.told(), given.seen());
    for field in TraceField::ALL {
        if seen[field as usize] && !told.form.uses(field) {
            fields.remove(field.name());
        }
    }
    local.trace(&told)
}
