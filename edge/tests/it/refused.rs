//! What is refused before it has arrived: a client that hears so while it still sends keeps its connection. The frames are
//! written by hand, since a client library stops sending where it has been answered, and here it crosses.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Running, start};

/// Calls whose requests are on their way when they are refused.
const CROSSING: u32 = 200;
/// Streams that the server resets for the client's errors, before it ends the connection.
const ERRORS_MAX: usize = 10;
/// Refused calls whose requests are waited for.
const WAITED_FOR: usize = 4;
/// How long each of them waits.
const WAIT: Duration = Duration::from_millis(500);
/// Round trips between what refuses the calls and the rest of them.
const ROUND_TRIPS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(30);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// An HTTP/2 connection, frame by frame (RFC 9113).
struct Wire(TcpStream);

impl Wire {
    async fn open(server: &Running) -> Self {
        let mut wire = Self(TcpStream::connect(server.grpc).await.unwrap());
        wire.0.write_all(PREFACE).await.unwrap();
        wire.send(SETTINGS, 0, 0, &[]).await;
        wire
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The kind, the flags and the payload of the next frame.
    async fn receive(&mut self) -> (u8, u8, Vec<u8>) {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.unwrap();
            (head[3], head[4], payload)
        };
        timeout(PATIENCE, read).await.expect("the server says nothing")
    }

    /// Waits until the server has read all that was sent; how many calls were answered meanwhile.
    async fn read_so_far(&mut self) -> u32 {
        self.send(PING, 0, 0, &[7; 8]).await;
        let mut answered = 0;
        loop {
            match self.receive().await {
                (PING, ACK, _) => return answered,
                (kind, ..) => answered += answer(kind),
            }
        }
    }
}

/// The headers of a call without credentials: refused by them alone.
fn refused_call() -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/docket.v1.OrderService/GetOrder"),
        (":authority", "docket"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

fn streams() -> impl Iterator<Item = u32> {
    (0..CROSSING).map(|n| 2 * n + 1)
}

fn answer(kind: u8) -> u32 {
    assert_ne!(kind, GOAWAY, "the server ends the connection");
    u32::from(kind == HEADERS)
}

/// A header block (RFC 7541) that needs no table.
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.bytes());
        }
    }
    block
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_refused_while_their_requests_arrive_leave_the_connection_as_it_is() {
    let server = start(|config| config.http2.max_local_error_reset_streams = ERRORS_MAX).await;
    let mut wire = Wire::open(&server).await;
    let headers = refused_call();
    for stream in streams() {
        wire.send(HEADERS, END_HEADERS, stream, &headers).await;
    }
    // Nobody is answered yet, or the answers are on their way: either way some time passes here.
    let mut answered = 0;
    for _ in 0..ROUND_TRIPS {
        answered += wire.read_so_far().await;
    }
    for stream in streams() {
        wire.send(DATA, END_STREAM, stream, &[0; 5]).await;
    }
    while answered < CROSSING {
        answered += answer(wire.receive().await.0);
    }
    // And it goes on.
    wire.read_so_far().await;
    drop(wire);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_refused_calls_wait_for_their_requests_than_may_be_in_flight() {
    let server = start(|config| config.admission.max_refused = WAITED_FOR).await;
    let mut wire = Wire::open(&server).await;
    let (headers, begun) = (refused_call(), Instant::now());
    for stream in streams() {
        wire.send(HEADERS, END_HEADERS, stream, &headers).await;
    }
    let mut answered = 0;
    while answered < CROSSING - WAITED_FOR as u32 {
        answered += answer(wire.receive().await.0);
    }
    let waited = begun.elapsed();
    assert!(
        waited < WAIT,
        "{waited:?}: more than {WAITED_FOR} were waited for"
    );
    // The others are answered too.
    while answered < CROSSING {
        answered += answer(wire.receive().await.0);
    }
    drop(wire);
    server.stop().await;
}
