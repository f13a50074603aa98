//! Splicing between real sockets: sizes, ends, resets, slow readers, and where it does not work.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A socket of a peer and our end of it.
async fn pair() -> (TcpStream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let peer = TcpStream::connect(listener.local_addr().expect("its address")).await.expect("a connection");
    (peer, Stream::new(listener.accept().await.expect("the connection").0))
}

/// Bytes of which no two near each other are the same.
fn pattern(size: usize) -> Vec<u8> {
    (0..size as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

async fn take(splice: &mut Splice, from: &mut Stream, max: u64) -> io::Result<Taken> {
    poll_fn(|cx| splice.poll_take(cx, from, max)).await
}

/// Gives all that is held.
async fn give(splice: &mut Splice, to: &mut Stream, out: &mut BytesMut) -> io::Result<()> {
    while splice.held() > 0 {
        poll_fn(|cx| splice.poll_give(cx, to, out)).await?;
    }
    poll_fn(|cx| to.poll_flush(cx, out)).await
}

/// Carries until the end, by copying where splicing does not work.
async fn carry(from: &mut Stream, to: &mut Stream) -> io::Result<u64> {
    let (mut splice, mut out, mut carried) = (Splice::default(), BytesMut::new(), 0);
    loop {
        let taken = take(&mut splice, from, u64::MAX).await?;
        carried += match taken {
            Taken::Bytes(count) => count,
            Taken::End => break,
            Taken::Nothing => {
                let count = from.fill().await?;
                std::mem::swap(&mut from.input, &mut out);
                if count == 0 {
                    break;
                }
                count
            }
        } as u64;
        give(&mut splice, to, &mut out).await?;
    }
    poll_fn(|cx| to.poll_end(cx)).await?;
    Ok(carried)
}

/// Sends `sent` through and gives what came out.
async fn through(sent: &[u8]) -> Vec<u8> {
    let ((mut source, mut from), (mut sink, mut to)) = (pair().await, pair().await);
    let mut received = Vec::new();
    let write = async {
        source.write_all(sent).await.expect("the source writes");
        source.shutdown().await.expect("the source ends");
    };
    let read = async { sink.read_to_end(&mut received).await.expect("the sink reads") };
    let carry = async { carry(&mut from, &mut to).await.expect("carried") };
    let ((), _, carried) = tokio::join!(write, read, carry);
    assert_eq!(carried, sent.len() as u64);
    received
}

#[tokio::test]
async fn bytes_arrive_in_order_whatever_their_number() {
    for size in [1, 4095, 4097, SPLICE_BYTES_MAX - 1, SPLICE_BYTES_MAX, SPLICE_BYTES_MAX + 1, 5_000_000] {
        let sent = pattern(size);
        assert!(through(&sent).await == sent, "{size} bytes");
    }
}

#[tokio::test]
async fn many_small_segments_fill_a_pipe_and_none_is_lost() {
    let ((mut source, mut from), (mut sink, mut to)) = (pair().await, pair().await);
    source.set_nodelay(true).expect("no delay");
    let sent = pattern(100_000);
    let write = async {
        for piece in sent.chunks(100) {
            source.write_all(piece).await.expect("the source writes");
        }
        source.shutdown().await.expect("the source ends");
    };
    let mut received = Vec::new();
    write.await;
    let read = async { sink.read_to_end(&mut received).await.expect("the sink reads") };
    let (_, carried) = tokio::join!(read, carry(&mut from, &mut to));
    assert_eq!(carried.expect("carried"), 100_000);
    assert!(received == sent);
}

#[tokio::test]
async fn no_more_is_taken_than_was_asked_for() -> io::Result<()> {
    let ((mut source, mut from), (mut sink, mut to)) = (pair().await, pair().await);
    source.write_all(b"bodyGET /").await?;
    let (mut splice, mut out) = (Splice::default(), BytesMut::new());
    assert_eq!(take(&mut splice, &mut from, 4).await?, Taken::Bytes(4));
    assert_eq!(from.fill().await?, 5);
    assert_eq!(&from.input[..], b"GET /");
    give(&mut splice, &mut to, &mut out).await?;
    let mut received = [0; 4];
    sink.read_exact(&mut received).await?;
    assert_eq!(&received, b"body");
    Ok(())
}

#[tokio::test]
async fn nothing_is_held_while_a_silent_source_is_waited_for() -> io::Result<()> {
    let (mut source, mut from) = pair().await;
    let mut splice = Splice::default();
    for _ in 0..3 {
        let waits = tokio::time::timeout(Duration::from_millis(20), take(&mut splice, &mut from, 100)).await;
        assert!(waits.is_err() && splice.pipe.is_none());
        source.write_all(b"hello").await?;
        assert_eq!(take(&mut splice, &mut from, 100).await?, Taken::Bytes(5));
        splice = Splice::default();
    }
    Ok(())
}

#[tokio::test]
async fn a_slow_reader_holds_the_source_back() {
    let ((mut source, mut from), (mut sink, mut to)) = (pair().await, pair().await);
    let sent = pattern(32 << 20);
    let write = async {
        source.write_all(&sent).await.expect("the source writes");
        source.shutdown().await.expect("the source ends");
    };
    let mut received = vec![0; 1];
    let flow = async { tokio::join!(write, carry(&mut from, &mut to)) };
    let mut flow = std::pin::pin!(flow);
    // Nothing is read yet: both sockets and the pipe fill up, and then all stands still.
    let stuck = tokio::time::timeout(Duration::from_millis(300), flow.as_mut()).await;
    assert!(stuck.is_err());
    let read = async {
        sink.read_exact(&mut received).await.expect("the sink reads");
        sink.read_to_end(&mut received).await.expect("the sink reads on");
    };
    let (((), carried), ()) = tokio::join!(flow, read);
    assert_eq!(carried.expect("carried"), sent.len() as u64);
    assert!(received == sent);
}

#[tokio::test]
async fn a_reset_of_either_side_is_told() -> io::Result<()> {
    let ((source, mut from), (sink, mut to)) = (pair().await, pair().await);
    let (mut splice, mut out) = (Splice::default(), BytesMut::new());
    Stream::new(source).reset_on_close();
    let error = take(&mut splice, &mut from, 100).await.expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let (mut source, mut from) = pair().await;
    Stream::new(sink).reset_on_close();
    let error = loop {
        source.write_all(&pattern(1000)).await?;
        take(&mut splice, &mut from, 1000).await?;
        if let Err(error) = give(&mut splice, &mut to, &mut out).await {
            break error;
        }
    };
    assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error}");
    Ok(())
}

#[tokio::test]
async fn where_taking_is_refused_everything_is_copied() {
    // Neither end is a pipe: the kernel refuses with EINVAL.
    let mut pipe = Pipe::take().expect("a pipe");
    pipe.write = std::fs::File::create("/dev/null").expect("it opens").into();
    pipe.give_back();
    let sent = pattern(1_000_000);
    assert!(through(&sent).await == sent);
    assert!(!pipes::are_useful());
}

#[tokio::test]
async fn what_is_held_when_giving_is_refused_is_written_the_ordinary_way() -> io::Result<()> {
    let ((mut source, mut from), (mut sink, mut to)) = (pair().await, pair().await);
    let (mut splice, mut out) = (Splice::default(), BytesMut::new());
    let sent = pattern(200_000);
    source.write_all(&sent[..100]).await?;
    assert_eq!(take(&mut splice, &mut from, 100).await?, Taken::Bytes(100));
    // A pipe can't be spliced into itself: the kernel refuses with EINVAL.
    let itself = splice.pipe.as_ref().expect("a pipe").write.try_clone()?;
    let itself = Stream::new(TcpStream::from_std(std::net::TcpStream::from(itself))?);
    assert_eq!(poll_fn(|cx| splice.poll_give(cx, &itself, &mut out)).await?, 0);
    assert_eq!((splice.held(), &out[..]), (0, &sent[..100]));
    give(&mut splice, &mut to, &mut out).await?;
    let mut received = Vec::new();
    let rest = async {
        source.write_all(&sent[100..]).await.expect("the source writes");
        source.shutdown().await.expect("the source ends");
    };
    let read = async { sink.read_to_end(&mut received).await.expect("the sink reads") };
    let ((), _, carried) = tokio::join!(rest, read, carry(&mut from, &mut to));
    assert_eq!(carried?, 199_900);
    assert!(received == sent);
    Ok(())
}
