//! What arrives at the other end, and in how many writes.

use std::future::poll_fn;
use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

/// Runs a connection that is this future, in turns.
async fn drive<T>(stream: Coalesced<DuplexStream>, multiplexed: bool, connection: impl Future<Output = T>) -> T {
    let mut turns = Turns::new(stream, multiplexed);
    let mut connection = pin!(connection);
    poll_fn(|cx| turns.poll(cx, connection.as_mut())).await
}

#[tokio::test]
async fn what_is_flushed_in_one_turn_arrives_at_once() {
    let (ours, mut theirs) = duplex(1 << 20);
    let stream = Coalesced::new(ours);
    let mut connection = stream.clone();
    let work = async move {
        for _ in 0..50 {
            connection.write_all(b"frame").await.unwrap();
            connection.flush().await.unwrap();
        }
        // The turn ends here, the connection does not.
        connection.read_u8().await.unwrap()
    };
    let reader = async {
        let mut buffer = vec![0; 1000];
        let first = theirs.read(&mut buffer).await.unwrap();
        theirs.write_u8(7).await.unwrap();
        first
    };
    let (read, first) = tokio::join!(drive(stream, false, work), reader);
    assert_eq!((read, first), (7, 250));
}

#[tokio::test]
async fn everything_is_written_before_a_connection_ends_however_slow_the_reader() {
    let (ours, mut theirs) = duplex(64);
    let stream = Coalesced::new(ours);
    let mut connection = stream.clone();
    let work = async move {
        for n in 0..40u8 {
            connection.write_all(&[n; 5_000]).await.unwrap();
            connection.flush().await.unwrap();
        }
    };
    let served = async {
        drive(stream.clone(), true, work).await;
        drop(stream);
    };
    let mut all = Vec::new();
    let ((), count) = tokio::join!(served, theirs.read_to_end(&mut all));
    assert_eq!(count.unwrap(), 200_000);
    assert!(all.chunks(5_000).enumerate().all(|(n, chunk)| chunk.iter().all(|b| usize::from(*b) == n)));
}

#[tokio::test]
async fn a_stream_that_outlives_its_connection_flushes_by_itself() {
    let (ours, mut theirs) = duplex(1 << 20);
    let stream = Coalesced::new(ours);
    let mut upgraded = stream.clone();
    drive(stream, false, async {}).await;
    upgraded.write_all(b"exec").await.unwrap();
    upgraded.flush().await.unwrap();
    let mut buffer = [0; 4];
    theirs.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"exec");
}
