//! From bytes to a planned request, in one go and without a wait.
//!
//! In: a connection's input. Out: a request with its plan, its head written for the service; or
//! nothing yet; or a refusal. Parsed, planned and written in one function, so that fields may stay
//! ranges into the input.

use bytes::{Buf, BytesMut};
use tokio::time::Instant;

use crate::call::{Client, Request, Upload};
use crate::error::Fault;
use crate::head::{Framing, Method, RequestHead, Version};
use crate::mesh::{Local, Plan, ReplayShare};
use crate::policy::is_idempotent;
use crate::route::Asking;
use crate::wire::{Field, Parsed, SpanPlaces, TraceParent, parse_request, upstream_request};

use super::Door;
use super::whose::{Asked, ending, whose};

/// A request that may go on its way.
pub(super) struct Admitted {
    pub(super) request: Request,
    /// CONNECT: bytes follow instead of an answer, and what HTTP is found there goes through this door.
    pub(super) tunnel: Option<Door>,
}

/// A request that may not.
pub(super) struct Refusal {
    pub(super) fault: Fault,
    pub(super) what: String,
    pub(super) keep_alive: bool,
    /// The application waits for a head alone.
    pub(super) without_body: bool,
    /// What stands where the request line should, for the access log.
    pub(super) line: Box<[u8]>,
    /// The caller's trace, of a head that could be read.
    pub(super) trace: Option<TraceParent>,
}

// === impl Refusal ===

impl Refusal {
    /// Of a request whose head could not be read: nothing after it can be either.
    pub(super) fn unread(fault: Fault, what: String, input: &[u8]) -> Self {
        let line = first_line(input).into();
        Self { fault, what, keep_alive: false, without_body: false, line, trace: None }
    }
}

/// Reads the request at the front of the client's input. `Ok(None)`: its head is not whole yet.
pub(super) fn admit(local: &Local, client: &mut Client, door: &Door) -> Result<Option<Admitted>, Refusal> {
    let Client { stream, fields, .. } = client;
    let input = &stream.input;
    let parsed = match parse_request(input, fields) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Ok(None),
        Err(no) => return Err(Refusal::unread(no.fault, no.what.to_owned(), input)),
    };
    let now = Instant::now();
    let plan = match plan(local, door, &parsed, input, fields, now) {
        Ok(plan) => plan,
        Err(refusal) => {
            // What was refused is over too: left in place it would be read, and refused, again.
            stream.input.advance(parsed.length);
            return Err(Refusal { trace: Some(local.trace(&parsed.trace)), ..refusal });
        }
    };
    let tunnel = (parsed.method_kind == Method::Connect).then(|| match plan.service.index {
        Some(_) => Door::service(&plan.service.state.name),
        None => Door::Unknown(parsed.target.authority.of_bytes(input).into()),
    });
    let trace = local.trace(&parsed.trace);
    let head = request_head(&parsed, &plan, input, trace);
    let mut out = BytesMut::with_capacity(parsed.length + HEAD_EXTRA_BYTES);
    let span_places =
        upstream_request(&parsed, input, fields, &plan.service.state.own_host, &trace, &mut out);
    let keep_max = plan.policy().retries.as_ref().map_or(KEEP_BYTES, |retries| retries.max_body_bytes);
    let upload =
        Upload::new(out, span_places, parsed.framing, keep_max, ReplayShare::new(&plan.service.replay));
    stream.input.advance(parsed.length);
    if stream.input.is_empty() {
        // The buffer goes back now: the service's answer, read next on this thread, takes it.
        stream.rest();
    }
    Ok(Some(Admitted { request: Request { plan, head, upload, started: now }, tunnel }))
}

fn first_line(input: &[u8]) -> &[u8] {
    let line = input.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    &line[..line.len().min(REFUSED_LINE_BYTES_MAX)]
}

/// Most bytes of a refused request's first line that are logged.
const REFUSED_LINE_BYTES_MAX: usize = 512;

/// Most bytes of a body kept where `retries` is off, as with its default: for a pooled connection
/// that turns out to be dead, and to tell bodies whose arrival takes a while from the others.
const KEEP_BYTES: usize = 64 * 1024;

/// What a head written for the service has more than the one read: trace and host lines.
const HEAD_EXTRA_BYTES: usize = 160;

/// Finds the service, or says why there is none.
fn plan(
    local: &Local,
    door: &Door,
    parsed: &Parsed,
    head: &[u8],
    fields: &[Field],
    now: Instant,
) -> Result<Plan, Refusal> {
    let method = parsed.method.of_bytes(head);
    let path = parsed.target.path.of_bytes(head);
    let header = |name: &str| {
        let field =
            fields.iter().find(|field| field.name.of_bytes(head).eq_ignore_ascii_case(name.as_bytes()));
        field.map(|field| field.value.of_bytes(head))
    };
    let refuse = |(fault, what)| Refusal {
        line: first_line(head).into(),
        fault,
        what,
        // After CONNECT come bytes of a tunnel, which must not be read as requests.
        keep_alive: parsed.keep_alive
            && parsed.version == Version::Http11
            && parsed.framing == Framing::None
            && parsed.method_kind != Method::Connect
            && fault != Fault::ShuttingDown,
        without_body: parsed.method_kind == Method::Head,
        trace: None,
    };
    if local.closing.get() {
        return Err(refuse(ending()));
    }
    let asking = match (door, parsed.method_kind, parsed.target.secure) {
        (_, Method::Connect, _) => Asking::Connect,
        (Door::Captured(_), _, false) => Asking::Captured,
        (_, _, true) => Asking::Https,
        (_, _, false) => Asking::Http,
    };
    let authority = parsed.target.authority.of_bytes(head);
    whose(local, door, &Asked { asking, authority, method, path }, header, now).map_err(refuse)
}

fn request_head(parsed: &Parsed, plan: &Plan, head: &[u8], trace: TraceParent) -> RequestHead {
    let method = std::str::from_utf8(parsed.method.of_bytes(head)).unwrap_or_default();
    let declared = plan.policy().idempotent;
    RequestHead {
        method: parsed.method_kind,
        version: parsed.version,
        framing: parsed.framing,
        keep_alive: parsed.keep_alive,
        expects_continue: parsed.expects_continue,
        upgrade: parsed.upgrade,
        idempotent: is_idempotent(method, parsed.has_precondition, parsed.has_idempotency_key, declared),
        trace,
    }
}

/// The stand-in for a request on a connection that has none. `line` is what the access log shows; it is
/// never sent.
pub(super) fn opaque_upload(local: &Local, plan: &Plan, line: BytesMut) -> (RequestHead, Upload) {
    let trace = local.new_trace();
    let head = RequestHead {
        method: Method::Other,
        version: Version::Http10,
        framing: Framing::None,
        keep_alive: false,
        expects_continue: false,
        upgrade: false,
        idempotent: false,
        trace,
    };
    let upload =
        Upload::new(line, SpanPlaces::default(), Framing::None, 0, ReplayShare::new(&plan.service.replay));
    (head, upload)
}
