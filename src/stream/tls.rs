//! A socket with TLS around what it carries.
//!
//! In: a finished handshake. Out: the plain bytes of both directions, in the same poll form as a bare
//! socket. What was encrypted and not yet taken by the kernel is pushed on whenever the stream is
//! read: a request that the kernel took half of would otherwise wait for an answer to itself.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::config::Alpn;

/// The socket and its session.
#[derive(Debug)]
pub(super) struct Tls {
    stream: TlsStream<TcpStream>,
    /// It ends without a word: its peer must not take what it has for the whole.
    cut: bool,
    /// A plain byte has come.
    heard: bool,
    /// The peer has refused our part of the handshake after it was over for us.
    refused: bool,
}

/// Writes what the kernel takes at once.
struct Now<'a>(&'a TcpStream);

// === impl Tls ===

impl Tls {
    pub(super) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, cut: false, heard: false, refused: false }
    }

    /// What was negotiated inside TLS.
    pub(super) fn alpn(&self) -> Option<Alpn> {
        Alpn::parse(self.stream.get_ref().1.alpn_protocol()?)
    }

    /// Ready when a read is worth a buffer: there are plain bytes, or the kernel has some of any kind.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.push_on(cx);
        if self.has_plain_bytes() {
            return Poll::Ready(Ok(()));
        }
        self.stream.get_ref().0.poll_read_ready(cx)
    }

    /// Whether there is no end, no error and no plain byte. Session tickets, which come when they like,
    /// are taken in and are no sound.
    pub(super) fn is_silent(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        if self.poll_readable(&mut cx).is_pending() {
            return true;
        }
        let mut probe = [0u8; 1];
        Pin::new(&mut self.stream).poll_read(&mut cx, &mut ReadBuf::new(&mut probe)).is_pending()
    }

    /// Whether the peer has refused our certificate, or the lack of one. In TLS 1.3 it says so only after
    /// the handshake is over for us (RFC 8446 section 4.4.2.4); it has looked at nothing we sent since.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Makes the end a reset.
    pub(super) fn reset_on_close(&mut self) {
        self.cut = true;
        // Without it the peer still sees an end that TLS did not announce.
        let _ = socket2::SockRef::from(self.stream.get_ref().0).set_linger(Some(std::time::Duration::ZERO));
    }

    fn has_plain_bytes(&mut self) -> bool {
        // A session that is broken says so when it is read.
        let state = self.stream.get_mut().1.process_new_packets();
        state.map_or(true, |state| state.plaintext_bytes_to_read() > 0)
    }

    fn push_on(&mut self, cx: &mut Context<'_>) {
        if self.stream.get_ref().1.wants_write() {
            // A failure is told by the read that follows.
            let _ = Pin::new(&mut self.stream).poll_flush(cx);
        }
    }
}

impl Drop for Tls {
    /// Says that nothing follows (RFC 8446 section 6.1), as far as the kernel takes it at once.
    fn drop(&mut self) {
        if self.cut {
            return;
        }
        let (socket, session) = self.stream.get_mut();
        session.send_close_notify();
        // Nobody waits for it: the socket closes either way.
        let _ = session.write_tls(&mut Now(socket));
    }
}

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.push_on(cx);
        let read = Pin::new(&mut self.stream).poll_read(cx, out);
        match &read {
            Poll::Ready(Ok(())) => self.heard |= !out.filled().is_empty(),
            Poll::Ready(Err(error)) if !self.heard => self.refused = is_about_our_certificate(error),
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        read
    }
}

/// Whether the peer has ended the session by an alert about our certificate (RFC 8446 section 6.2).
fn is_about_our_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = error else { return false };
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
    )
}

impl AsyncWrite for Tls {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
