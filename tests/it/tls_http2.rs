//! HTTP/2 inside TLS towards services.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use tokio::net::TcpStream;

use crate::support::{Authority, PemFolder, TlsFront};

/// Answers every call on every connection with `hi` and what it heard.
async fn echo() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(socket).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(answer(request, respond));
                }
            });
        }
    });
    address
}

async fn answer(request: Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let heard = body(request.into_body()).await;
    let mut send = respond.send_response(Response::new(()), false).expect("a head");
    send.send_data(Bytes::from(format!("hi, {} bytes", heard.len())), true).expect("a body");
}

async fn body(mut stream: h2::RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(part)) = stream.data().await {
        let _room = stream.flow_control().release_capacity(part.len());
        bytes.extend_from_slice(&part);
    }
    bytes
}

#[tokio::test]
async fn calls_share_a_connection_that_alpn_has_made_http2() {
    let authority = Authority::new();
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    let mut config = authority.issue("shop").server();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let front = TlsFront::start(config, echo().await).await;
    let lines = "tls: {ca: PEM/ca.pem}\nlisten: 127.0.0.1:0";
    let proxy = folder.shop(&[front.addr()], lines).start().await;
    let socket = TcpStream::connect(proxy.service("shop")).await.expect("the proxy");
    let (send, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    tokio::spawn(connection);
    for length in [1usize, 70_000, 200_000] {
        let mut send = send.clone().ready().await.expect("room");
        let request = Request::post("http://shop/").body(()).expect("a request");
        let (response, mut stream) = send.send_request(request, false).expect("a stream");
        stream.send_data(Bytes::from(vec![b'x'; length]), true).expect("a body");
        let response = response.await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(body(response.into_body()).await, format!("hi, {length} bytes").as_bytes());
    }
    let handshakes = front.handshakes();
    assert_eq!(handshakes.len(), 1);
    assert_eq!(handshakes[0].alpn.as_deref(), Some(&b"h2"[..]));
}
