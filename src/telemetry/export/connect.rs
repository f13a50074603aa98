//! Connections to the collector: TCP, with TLS around it under `https`.
//!
//! In: the settings. Out: what hyper's client calls a connector. It connects to the one collector of
//! the settings, whatever URL it is asked for.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::config::{Export, OtlpProtocol};

/// Sessions kept: there is one collector, and one connection to it at a time.
const SESSIONS_MAX: usize = 2;

/// Opens connections to one collector.
#[derive(Clone)]
pub(super) struct Connector(Arc<Target>);

struct Target {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// A connection, in clear text or not.
pub(super) struct Socket(Pin<Box<dyn Duplex>>);

trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

// === impl Connector ===

impl Connector {
    /// A connector for the collector of the settings. `system` gives the roots where no `ca` does.
    ///
    /// # Errors
    /// When the host's name is none that a certificate can have, or the TLS library refuses the settings.
    pub(super) fn new(settings: &Export, system: fn() -> Arc<RootCertStore>) -> io::Result<Self> {
        let endpoint = &settings.endpoint;
        let tls = if endpoint.https {
            let name = ServerName::try_from(endpoint.host.clone()).map_err(io::Error::other)?;
            let config = client_config(settings, system).map_err(io::Error::other)?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self(Arc::new(Target { host: endpoint.host.clone(), port: endpoint.port, tls })))
    }
}

fn client_config(
    settings: &Export,
    system: fn() -> Arc<RootCertStore>,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(settings.tls.roots.clone().unwrap_or_else(system));
    let mut config = match &settings.tls.identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity))))
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    config.alpn_protocols = match settings.protocol {
        OtlpProtocol::Grpc => vec![b"h2".to_vec()],
        OtlpProtocol::Http => vec![b"http/1.1".to_vec()],
    };
    Ok(config)
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Socket>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let target = Arc::clone(&self.0);
        Box::pin(async move {
            let socket = TcpStream::connect((target.host.as_str(), target.port)).await?;
            socket.set_nodelay(true)?;
            Ok(TokioIo::new(match &target.tls {
                None => Socket(Box::pin(socket)),
                Some((tls, name)) => Socket(Box::pin(tls.connect(name.clone(), socket).await?)),
            }))
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("host", &self.0.host).field("port", &self.0.port).finish()
    }
}

// === impl Socket ===

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(cx)
    }
}
