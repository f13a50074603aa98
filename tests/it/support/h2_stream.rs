//! One call of the HTTP/2 client, driven step by step.
//!
//! In: parts of the request. Out: head, body and trailers of the reply, or how the stream was cut.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};

use super::h2_client::{Fields, listed};
use super::wire::Body;
use super::{Received, within};

/// How a stream was cut: the code of RST_STREAM or GOAWAY, or `None` when the connection was lost.
pub(crate) type Cut = Option<u32>;

/// One call under way.
#[derive(Debug)]
pub(crate) struct H2Stream {
    response: ResponseFuture,
    send: Option<SendStream<Bytes>>,
    body: Option<RecvStream>,
    interim: Vec<(u16, Fields)>,
}

/// How an error of the library looks on the wire.
pub(crate) fn cut(error: &h2::Error) -> Cut {
    error.reason().map(u32::from)
}

/// Sends `bytes` as the peer's windows open; `took` is told of each part.
pub(crate) async fn send_within_windows(
    send: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    took: impl Fn(usize),
) -> Result<(), Cut> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        let capacity = poll_fn(|cx| send.poll_capacity(cx)).await.ok_or(None)?;
        let part = bytes.split_to(capacity.map_err(|error| cut(&error))?.min(bytes.len()));
        let length = part.len();
        send.send_data(part, false).map_err(|error| cut(&error))?;
        took(length);
    }
    Ok(())
}

// === impl H2Stream ===

impl H2Stream {
    pub(crate) const fn new(response: ResponseFuture, send: SendStream<Bytes>) -> Self {
        Self { response, send: Some(send), body: None, interim: Vec::new() }
    }

    /// Sends `bytes` as the windows open.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = Bytes::copy_from_slice(bytes.as_ref());
        let sent = within("sending", send_within_windows(self.sender(), bytes, |_| ())).await;
        sent.unwrap_or_else(|cut| panic!("the stream was cut while sending: {cut:?}"));
    }

    /// Ends the request.
    pub(crate) fn end(&mut self) {
        self.sender().send_data(Bytes::new(), true).expect("a stream that is open");
    }

    /// Resets the stream.
    pub(crate) fn reset(&mut self, code: u32) {
        self.sender().send_reset(Reason::from(code));
    }

    /// The sending half; what is left can only read.
    pub(crate) fn take_sender(&mut self) -> SendStream<Bytes> {
        self.send.take().expect("the sending half is still here")
    }

    fn sender(&mut self) -> &mut SendStream<Bytes> {
        self.send.as_mut().expect("the sending half is still here")
    }

    /// The head of the reply.
    pub(crate) async fn head(&mut self) -> Result<(u16, Fields), Cut> {
        within("a reply's head", self.wait_for_head()).await
    }

    /// Whether the head of the reply has come within this time.
    pub(crate) async fn has_head_within(&mut self, millis: u64) -> bool {
        tokio::time::timeout(super::ms(millis), self.wait_for_head()).await.is_ok()
    }

    async fn wait_for_head(&mut self) -> Result<(u16, Fields), Cut> {
        let (response, interim) = (&mut self.response, &mut self.interim);
        let head = poll_fn(|cx| {
            while let Poll::Ready(Some(Ok(early))) = response.poll_informational(cx) {
                interim.push((early.status().as_u16(), listed(early.headers())));
            }
            Pin::new(&mut *response).poll(cx)
        });
        let (parts, body) = head.await.map_err(|error| cut(&error))?.into_parts();
        self.body = Some(body);
        Ok((parts.status.as_u16(), listed(&parts.headers)))
    }

    /// The next part of the body, taken; `None` at its end. The head must have been read.
    pub(crate) async fn data(&mut self) -> Option<Result<Bytes, Cut>> {
        let body = self.body.as_mut().expect("the head comes first");
        let data = within("a part of the body", body.data()).await?;
        if let Ok(bytes) = &data {
            let _or_reset = body.flow_control().release_capacity(bytes.len());
        }
        Some(data.map_err(|error| cut(&error)))
    }

    /// The body so far, until it is at least `length` bytes; panics if it ends before.
    pub(crate) async fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            bytes.extend(self.data().await.expect("more of the body").expect("a body that is not cut"));
        }
        bytes
    }

    /// What is left of the body and the trailers, and how it was cut if it was.
    pub(crate) async fn rest(&mut self) -> (Body, Option<Cut>) {
        let mut body = Body::default();
        loop {
            match self.data().await {
                Some(Ok(bytes)) => body.bytes.extend(bytes),
                Some(Err(cut)) => return (body, Some(cut)),
                None => break,
            }
        }
        let stream = self.body.as_mut().expect("the head was read");
        match within("trailers", stream.trailers()).await {
            Ok(trailers) => {
                body.trailers = trailers.as_ref().map(listed).unwrap_or_default();
                body.complete = true;
                (body, None)
            }
            Err(error) => (body, Some(cut(&error))),
        }
    }

    /// The whole reply, and how it was cut if it was; panics if it is cut before its head.
    pub(crate) async fn finish(mut self) -> (Received, Option<Cut>) {
        let head = self.head().await;
        let (status, fields) = head.unwrap_or_else(|cut| panic!("cut before the reply's head: {cut:?}"));
        let (body, cut) = self.rest().await;
        (Received { status, fields, body, interim: self.interim }, cut)
    }
}
