//! What a scripted HTTP/2 service does with one stream: a list of steps.
//!
//! In: a request of the `h2` library and the steps for it. Out: frames, and a record of what was
//! seen. A list that ends before the stream does leaves the stream open until the peer resets it.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};

use super::h2_client::{listed, mapped};
use super::h2_service::Shared;
use super::h2_stream::{Cut, cut, send_within_windows};
use super::ms;
use super::wire::pattern;

/// Header fields of a scripted answer.
pub(crate) type Lines = &'static [(&'static str, &'static str)];

/// One step of a scripted stream.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Reads the request to its end, trailers included.
    Read,
    /// A 1xx head.
    Interim(u16, Lines),
    /// The head of the answer.
    Head(u16, Lines),
    /// The head of the answer, which is all of it.
    Only(u16, Lines),
    /// A part of the body.
    Data(&'static str),
    /// This many bytes of [`pattern`].
    Pattern(usize),
    /// This many zeros, made as they are sent.
    Zeros(usize),
    /// Trailers, which end the answer.
    Trailers(Lines),
    /// The end of the answer.
    End,
    /// RST_STREAM with this code.
    Reset(u32),
    /// A pause.
    Sleep(Duration),
    /// A pause until the test calls `release`.
    Held,
    /// Every part of the request's body comes back, and its end.
    Echo,
    /// The connection ends at once, with all its streams.
    Drop,
}

/// One stream while its steps are played.
struct Stream<'a> {
    index: usize,
    shared: &'a Shared,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
}

/// 200 with this body, once the request was read.
pub(crate) fn ok(body: &'static str) -> Vec<Step> {
    answer(200, &[], body)
}

/// This status with these fields and this body, once the request was read.
pub(crate) fn answer(status: u16, fields: Lines, body: &'static str) -> Vec<Step> {
    vec![Step::Read, Step::Head(status, fields), Step::Data(body), Step::End]
}

/// This status without a body, once the request was read.
pub(crate) fn status(status: u16) -> Vec<Step> {
    vec![Step::Read, Step::Only(status, &[])]
}

/// RST_STREAM with this code, once the request was read.
pub(crate) fn reset(code: u32) -> Vec<Step> {
    vec![Step::Read, Step::Reset(code)]
}

/// No answer, until the peer goes away.
pub(crate) fn hang() -> Vec<Step> {
    vec![Step::Read]
}

/// Plays `steps`; the error is how the peer cut the stream.
pub(crate) async fn play(
    steps: Vec<Step>,
    index: usize,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    shared: &Shared,
) {
    let mut stream = Stream { index, shared, body, respond, send: None };
    for step in steps {
        let last =
            matches!(step, Step::Only(..) | Step::Trailers(_) | Step::End | Step::Reset(_) | Step::Echo);
        if let Err(how) = stream.step(step).await {
            shared.cut(index, how);
            return;
        }
        if last {
            return;
        }
    }
    let how = stream.reset().await;
    shared.cut(index, how);
}

// === impl Stream ===

impl Stream<'_> {
    async fn step(&mut self, step: Step) -> Result<(), Cut> {
        match step {
            Step::Read => return self.read().await,
            Step::Interim(status, fields) => {
                let sent = self.respond.send_informational(head(status, fields));
                sent.map_err(|error| cut(&error))?;
            }
            Step::Head(status, fields) => {
                let sent = self.respond.send_response(head(status, fields), false);
                self.send = Some(sent.map_err(|error| cut(&error))?);
            }
            Step::Only(status, fields) => {
                let sent = self.respond.send_response(head(status, fields), true);
                sent.map_err(|error| cut(&error))?;
            }
            Step::Data(text) => self.write(Bytes::from_static(text.as_bytes())).await?,
            Step::Pattern(length) => self.write(Bytes::from(pattern(length))).await?,
            Step::Zeros(length) => {
                const BLOCK: &[u8] = &[0; 64 * 1024];
                for _ in 0..length.div_ceil(BLOCK.len()) {
                    self.write(Bytes::from_static(BLOCK)).await?;
                }
            }
            Step::Trailers(fields) => {
                self.sender().send_trailers(mapped(fields)).map_err(|error| cut(&error))?;
            }
            Step::End => self.sender().send_data(Bytes::new(), true).map_err(|error| cut(&error))?,
            Step::Reset(code) => {
                self.flushed().await;
                self.send_reset(Reason::from(code));
            }
            Step::Sleep(time) => {
                tokio::select! { // both arms are cancel safe: neither takes anything
                    () = tokio::time::sleep(time) => {}
                    how = self.reset() => return Err(how),
                }
            }
            Step::Held => {
                let shared = self.shared;
                tokio::select! { // as above
                    () = shared.released() => {}
                    how = self.reset() => return Err(how),
                }
            }
            Step::Echo => self.echo().await?,
            Step::Drop => {
                self.flushed().await;
                self.shared.drop_connections();
            }
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Cut> {
        while let Some(data) = self.body.data().await {
            let data = data.map_err(|error| cut(&error))?;
            self.shared.read(self.index, &data);
            let _or_reset = self.body.flow_control().release_capacity(data.len());
        }
        let trailers = self.body.trailers().await.map_err(|error| cut(&error))?;
        self.shared.read_all(self.index, trailers.as_ref().map(listed).unwrap_or_default());
        Ok(())
    }

    async fn echo(&mut self) -> Result<(), Cut> {
        while let Some(data) = self.body.data().await {
            let data = data.map_err(|error| cut(&error))?;
            self.shared.read(self.index, &data);
            let _or_reset = self.body.flow_control().release_capacity(data.len());
            self.write(data).await?;
        }
        let trailers = self.body.trailers().await.map_err(|error| cut(&error))?;
        self.shared.read_all(self.index, trailers.as_ref().map(listed).unwrap_or_default());
        self.sender()
            .send_trailers(trailers.unwrap_or_else(|| HeaderMap::with_capacity(0)))
            .map_err(|error| cut(&error))
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Cut> {
        let shared = self.shared;
        match send_within_windows(self.sender(), bytes, |took| shared.wrote(took)).await {
            Err(None) => Err(self.reset().await), // no more room for a reason that the stream knows
            sent => sent,
        }
    }

    /// Returns when the peer has reset the stream, or the connection has ended.
    async fn reset(&mut self) -> Cut {
        let (respond, send) = (&mut self.respond, &mut self.send);
        let reset = poll_fn(|cx| match send {
            Some(send) => send.poll_reset(cx),
            None => respond.poll_reset(cx),
        });
        reset.await.map_or_else(|error| cut(&error), |reason| Some(reason.into()))
    }

    /// What was sent before is on the wire by then: a reset throws away what the library has not
    /// written yet, and the library does not say when it has.
    async fn flushed(&self) {
        if self.send.is_some() {
            tokio::time::sleep(ms(50)).await;
        }
    }

    fn send_reset(&mut self, reason: Reason) {
        match &mut self.send {
            Some(send) => send.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    fn sender(&mut self) -> &mut SendStream<Bytes> {
        self.send.as_mut().expect("a script sends its head first")
    }
}

fn head(status: u16, fields: Lines) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status.try_into().expect("a status code");
    *response.headers_mut() = mapped(fields);
    response
}
