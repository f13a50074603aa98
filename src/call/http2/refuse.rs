//! Our own replies on HTTP/2: a status and JSON, or for gRPC a status in trailers alone.
//!
//! In: a fault and what is known of the call. Out: a whole reply on the application's stream.

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::error::Fault;
use crate::wire::grpc;

use super::super::Call;
use super::super::attempt::Failed;
use super::super::fault::Report;
use super::Http2;

/// Writes the reply of a call that has a service.
pub(super) fn write_fault(call: &mut Call<'_, Http2>, failed: &Failed) {
    let report = Report::of(call, failed);
    let without_body = call.side.method == Method::HEAD;
    write(&report, call.side.grpc, without_body, &mut call.side.respond);
}

/// Refuses a request that has no service.
pub fn refuse_http2(
    respond: &mut SendResponse<Bytes>,
    fault: Fault,
    what: &str,
    grpc: bool,
    without_body: bool,
) {
    write(&Report::unrouted(fault, what), grpc, without_body, respond);
}

/// The trailers of a gRPC answer that was cut.
pub(super) fn cut_trailers(fault: Fault, message: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    put_status(&mut trailers, fault, message);
    trailers
}

/// A reply to a gRPC call that is trailers alone.
pub(in crate::call) fn grpc_reply(fault: Fault, message: &str) -> Response<()> {
    let mut response = Response::new(());
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    put_status(fields, fault, message);
    response
}

fn put_status(fields: &mut HeaderMap, fault: Fault, message: &str) {
    fields.insert("grpc-status", HeaderValue::from(fault.grpc_code()));
    fields.insert("grpc-message", grpc::message_value(message));
    fields.insert("outrigger-reason", HeaderValue::from_static(fault.reason()));
}

/// An application that has gone takes nothing; it is recorded elsewhere.
fn write(report: &Report<'_>, is_grpc: bool, without_body: bool, respond: &mut SendResponse<Bytes>) {
    let mut response = if is_grpc { grpc_reply(report.fault, &report.message) } else { Response::new(()) };
    let fields = response.headers_mut();
    if let Some(seconds) = report.retry_after_seconds() {
        fields.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if is_grpc {
        let _ = respond.send_response(response, true);
        return;
    }
    let body = Bytes::from(report.body());
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    fields.insert("outrigger-reason", HeaderValue::from_static(report.fault.reason()));
    *response.status_mut() = StatusCode::from_u16(report.fault.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    if let Ok(mut stream) = respond.send_response(response, without_body)
        && !without_body
    {
        let _ = stream.send_data(body, true);
    }
}
