//! One collector: what it is sent, and what its answers mean (OTLP 1.x, "OTLP/gRPC" and "OTLP/HTTP").
//!
//! In: a request with its spans. Out: how many it rejected, or why it took none. Tries again where the
//! standard says that it helps, until the time of the export is over; never longer.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::config::{Export, OtlpProtocol};

use super::connect::Connector;
use super::stats::Dropped;

/// Most bytes of an answer that are read: it says how many spans were rejected, and why.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The wait before the second try; it doubles with each further one.
const BACK_OFF: Duration = Duration::from_millis(100);

/// No wait between two tries is longer, unless the collector asks for one.
const BACK_OFF_MAX: Duration = Duration::from_secs(2);

/// How long an idle connection to the collector is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);

const AGENT: &str = concat!("outrigger/", env!("CARGO_PKG_VERSION"));

/// The way to one collector.
pub(super) struct Collector {
    settings: Arc<Export>,
    connector: Connector,
    headers: HeaderMap,
    client: Transport,
}

enum Transport {
    Http(Client<Connector, Full<Bytes>>),
    Grpc(TraceServiceClient<Client<Connector, tonic::body::Body>>),
}

/// Why an export failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// For the counters.
    pub(super) reason: Dropped,
    /// For people: one clause.
    pub(super) told: String,
    /// Whether another try may help, and the wait that the collector asks for.
    again: Option<Option<Duration>>,
}

// === impl Collector ===

impl Collector {
    /// A collector that nobody has connected to yet.
    pub(super) fn new(settings: Arc<Export>, connector: Connector) -> Self {
        let client = transport(&settings, &connector);
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in settings.headers.iter() {
            // Both were checked with the configuration.
            if let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                value.set_sensitive(true);
                headers.append(name, value);
            }
        }
        Self { settings, connector, headers, client }
    }

    /// Sends a request, by several tries if need be. Out: how many spans the collector rejected.
    ///
    /// # Errors
    /// Why it did not take them; they are lost.
    pub(super) async fn export(&mut self, request: ExportTraceServiceRequest) -> Result<u64, Failure> {
        let deadline = Instant::now() + self.settings.timeout;
        let encoded = self.encoded(&request);
        let mut back_off = BACK_OFF;
        loop {
            let once = timeout_at(deadline, self.once(&request, &encoded)).await;
            let failure = match once.unwrap_or_else(|_| Err(Failure::timed_out(self.settings.timeout))) {
                Ok(rejected) => return Ok(rejected),
                Err(failure) => failure,
            };
            // What is left of the connection is not trusted with another try.
            self.client = transport(&self.settings, &self.connector);
            let Some(asked) = failure.again else { return Err(failure) };
            // Half of it and anything up to the other half: proxies must not come back in step.
            let wait = asked.unwrap_or_else(|| back_off.mul_f64(0.5 + fastrand::f64() / 2.0));
            if Instant::now() + wait >= deadline {
                return Err(failure);
            }
            sleep(wait).await;
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    /// The body of OTLP/HTTP; nothing for gRPC, which encodes by itself.
    fn encoded(&self, request: &ExportTraceServiceRequest) -> Bytes {
        match self.settings.protocol {
            OtlpProtocol::Grpc => Bytes::new(),
            OtlpProtocol::Http => {
                let plain = request.encode_to_vec();
                if self.settings.gzip { gzip(&plain).into() } else { plain.into() }
            }
        }
    }

    async fn once(&mut self, request: &ExportTraceServiceRequest, body: &Bytes) -> Result<u64, Failure> {
        match &mut self.client {
            Transport::Grpc(client) => {
                let mut message = tonic::Request::new(request.clone());
                *message.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
                let answer = client.export(message).await.map_err(|status| Failure::of_status(&status))?;
                Ok(rejected(&answer.into_inner()))
            }
            Transport::Http(client) => {
                let post = self.settings.post(&self.headers, body.clone())?;
                let answer = client.request(post).await.map_err(|error| Failure::of_transport(&error))?;
                read(answer).await
            }
        }
    }
}

impl Export {
    /// The request of OTLP/HTTP.
    fn post(&self, headers: &HeaderMap, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let url = format!("{}{}", self.endpoint, self.endpoint.path);
        let mut post = Request::post(url)
            .body(Full::new(body))
            .map_err(|error| Failure::for_good(Dropped::Protocol, error.to_string()))?;
        post.headers_mut().clone_from(headers);
        post.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if self.gzip {
            post.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(post)
    }
}

/// A client without a connection.
fn transport(settings: &Export, connector: &Connector) -> Transport {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_idle_timeout(IDLE_MAX).pool_max_idle_per_host(1).pool_timer(TokioTimer::new());
    match settings.protocol {
        OtlpProtocol::Http => Transport::Http(builder.build(connector.clone())),
        OtlpProtocol::Grpc => {
            let client = builder.http2_only(true).build(connector.clone());
            let origin = Uri::try_from(settings.endpoint.to_string()).unwrap_or_default();
            let mut client =
                TraceServiceClient::with_origin(client, origin).max_decoding_message_size(ANSWER_BYTES_MAX);
            if settings.gzip {
                client = client.send_compressed(CompressionEncoding::Gzip);
            }
            Transport::Grpc(client)
        }
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}

/// What an answer of OTLP/HTTP means.
async fn read(answer: http::Response<hyper::body::Incoming>) -> Result<u64, Failure> {
    let status = answer.status();
    if !status.is_success() {
        // The statuses that the standard says to try again.
        let again = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        let wait = answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
        let told = format!("it answered {}", status.as_u16());
        return Err(Failure { reason: Dropped::Refused, told, again: again.then_some(wait) });
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body
        .map_err(|error| Failure::for_good(Dropped::Protocol, format!("its answer broke off ({error})")))?;
    // Some take everything and answer `OK`: a success is one whatever its body says.
    Ok(ExportTraceServiceResponse::decode(body.to_bytes()).map_or(0, |answer| rejected(&answer)))
}

/// Seconds or a date (RFC 9110 section 10.2.3).
fn retry_after(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse().ok().map(Duration::from_secs);
    seconds.or_else(|| httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok())
}

fn rejected(answer: &ExportTraceServiceResponse) -> u64 {
    let partial = answer.partial_success.as_ref();
    partial.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or_default())
}

// === impl Failure ===

impl Failure {
    fn for_good(reason: Dropped, told: String) -> Self {
        Self { reason, told, again: None }
    }

    fn timed_out(after: Duration) -> Self {
        Self::for_good(Dropped::Timeout, format!("no answer within {after:?}"))
    }

    fn of_transport(error: &hyper_util::client::legacy::Error) -> Self {
        let told = innermost(error);
        let reason = if is_parse(error) { Dropped::Protocol } else { Dropped::Unreachable };
        Self { reason, told, again: (reason == Dropped::Unreachable).then_some(None) }
    }

    /// The codes that the standard says to try again, and failures of the connection.
    fn of_status(status: &Status) -> Self {
        let again = match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => true,
            Code::Ok
            | Code::Unknown
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::Internal
            | Code::Unauthenticated => false,
        };
        match std::error::Error::source(status) {
            Some(cause) => Self { reason: Dropped::Unreachable, told: innermost(cause), again: Some(None) },
            None => {
                let told = format!("it answered {:?}", status.code());
                Self { reason: Dropped::Refused, told, again: again.then_some(None) }
            }
        }
    }
}

/// Whether the answer was no HTTP.
fn is_parse(error: &(dyn std::error::Error + 'static)) -> bool {
    let parse = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
    parse || error.source().is_some_and(is_parse)
}

/// The cause of all causes: the others only say that something failed.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(cause) => innermost(cause),
        None => error.to_string(),
    }
}
