//! The network by itself, with an echo behind its doors.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use super::*;

const ONE: Who = Who::Node(1);
const TWO: Who = Who::Node(2);
const THREE: Who = Who::Node(3);
/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long something that must not happen is waited for.
const NOTHING: Duration = Duration::from_millis(100);

/// An echo that is node 2, behind its door.
struct Echo {
    net: Net,
    door: Door,
    accepting: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn echo() -> Echo {
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let target = listener.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    let net = Net::new(7);
    let door = net.open(2, any_port(), target).await.unwrap();
    Echo { net, door, accepting }
}

impl Echo {
    async fn connect(&self, number: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Net::source(number), 0).into()).unwrap();
        socket.connect(self.door.address()).await.unwrap()
    }

    /// The same, and it is known to go through.
    async fn connected(&self, number: u8) -> TcpStream {
        let mut stream = self.connect(number).await;
        assert_eq!(said(&mut stream, "hello").await.unwrap(), "hello");
        stream
    }
}

/// What comes back for it.
async fn said(stream: &mut TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes()).await?;
    heard(stream, text.len()).await
}

async fn heard(stream: &mut TcpStream, length: usize) -> io::Result<String> {
    let mut bytes = vec![0; length];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.unwrap()?;
    Ok(String::from_utf8(bytes).unwrap())
}

async fn hears_nothing(stream: &mut TcpStream) {
    let mut byte = [0];
    assert!(timeout(NOTHING, stream.read(&mut byte)).await.is_err());
}

#[tokio::test]
async fn a_good_network_carries_every_byte_and_the_end() {
    let echo = echo().await;
    let mut stream = echo.connect(1).await;
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut read, mut write) = stream.split();
    let mut came = Vec::new();
    let both = async {
        tokio::join!(
            async {
                write.write_all(&sent).await.unwrap();
                write.shutdown().await.unwrap();
            },
            async { read.read_to_end(&mut came).await.unwrap() },
        )
    };
    timeout(PATIENCE, both).await.unwrap();
    assert!(came == sent);
}

#[tokio::test]
async fn what_is_sent_over_a_cut_comes_when_it_is_healed() {
    let echo = echo().await;
    let mut stream = echo.connected(1).await;
    echo.net.set_both(ONE, TWO, Link::Cut);
    assert_eq!(echo.net.bad().len(), 2);
    stream.write_all(b"late").await.unwrap();
    hears_nothing(&mut stream).await;
    echo.net.heal();
    assert_eq!(heard(&mut stream, 4).await.unwrap(), "late");
    assert!(echo.net.bad().is_empty());
}

#[tokio::test]
async fn one_direction_is_cut_and_the_other_is_not() {
    // Node 2 speaks by itself, and says what it hears.
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let net = Net::new(7);
    let door = net
        .open(2, any_port(), listener.local_addr().unwrap())
        .await
        .unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Net::source(1), 0).into()).unwrap();
    let mut one = socket.connect(door.address()).await.unwrap();
    let (mut two, _) = listener.accept().await.unwrap();

    net.set(ONE, TWO, Link::Cut);
    two.write_all(b"still").await.unwrap();
    assert_eq!(heard(&mut one, 5).await.unwrap(), "still");
    one.write_all(b"not").await.unwrap();
    hears_nothing(&mut two).await;

    net.heal();
    assert_eq!(heard(&mut two, 3).await.unwrap(), "not");
}

#[tokio::test]
async fn a_cut_between_two_is_none_between_others() {
    let echo = echo().await;
    let (mut one, mut three) = (echo.connected(1).await, echo.connected(3).await);
    assert!(echo.net.joins(ONE, TWO) && echo.net.joins(TWO, THREE) && !echo.net.joins(ONE, THREE));
    let mut client = TcpStream::connect(echo.door.address()).await.unwrap();
    echo.net.set_between(&[ONE], &[TWO, THREE], Link::Cut);
    assert_eq!(said(&mut three, "three").await.unwrap(), "three");
    assert_eq!(said(&mut client, "client").await.unwrap(), "client");
    one.write_all(b"one").await.unwrap();
    hears_nothing(&mut one).await;
}

#[tokio::test]
async fn a_connection_over_a_cut_is_made_when_it_is_healed() {
    let echo = echo().await;
    echo.net.set(TWO, ONE, Link::Cut);
    let mut stream = echo.connect(1).await;
    stream.write_all(b"soon").await.unwrap();
    hears_nothing(&mut stream).await;
    echo.net.heal();
    assert_eq!(heard(&mut stream, 4).await.unwrap(), "soon");
}

#[tokio::test]
async fn a_late_link_is_late_in_both_directions() {
    let echo = echo().await;
    let mut stream = echo.connected(1).await;
    let by = Duration::from_millis(40);
    let jitter = Duration::from_millis(10);
    echo.net.set_both(ONE, TWO, Link::Late { by, jitter });
    let begun = Instant::now();
    assert_eq!(said(&mut stream, "late").await.unwrap(), "late");
    assert!(begun.elapsed() >= 2 * by, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_slow_link_takes_its_time() {
    let echo = echo().await;
    let mut stream = echo.connected(1).await;
    echo.net.set(
        ONE,
        TWO,
        Link::Slow {
            bytes_per_s: 64 * 1_024,
        },
    );
    let begun = Instant::now();
    let text = "x".repeat(16 * 1_024);
    assert_eq!(said(&mut stream, &text).await.unwrap(), text);
    assert!(
        begun.elapsed() >= Duration::from_millis(250),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_lossy_link_holds_back_and_then_resets() {
    let echo = echo().await;
    let mut stream = echo.connected(1).await;
    echo.net.set(ONE, TWO, Link::Lossy { one_in: 1 });
    let begun = Instant::now();
    let lost = said(&mut stream, "lost").await.unwrap_err();
    assert_eq!(lost.kind(), io::ErrorKind::ConnectionReset);
    assert!(begun.elapsed() >= LOSS_HOLD);
    echo.net.heal();
    echo.connected(1).await;
}

#[tokio::test]
async fn a_reset_ends_the_connections_of_a_pair_and_no_others() {
    let echo = echo().await;
    let (mut one, mut three) = (echo.connected(1).await, echo.connected(3).await);
    echo.net.reset(ONE, TWO);
    let mut byte = [0];
    let ended = timeout(PATIENCE, one.read(&mut byte)).await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(said(&mut three, "three").await.unwrap(), "three");
    echo.connected(1).await;
}

#[tokio::test]
async fn a_node_that_is_not_there_resets_whoever_calls_and_may_come_back_elsewhere() {
    let echo = echo().await;
    let gone = TcpListener::bind(any_port()).await.unwrap();
    let (there, nowhere) = (*echo.door.target.borrow(), gone.local_addr().unwrap());
    drop(gone);
    echo.door.leads_to(nowhere);
    let mut stream = echo.connect(1).await;
    let mut byte = [0];
    assert!(timeout(PATIENCE, stream.read(&mut byte)).await.unwrap().is_err());
    echo.door.leads_to(there);
    echo.connected(1).await;
}

#[tokio::test]
async fn a_flapping_link_is_good_in_the_end() {
    let echo = echo().await;
    let mut stream = echo.connected(1).await;
    let mut chance = Chance::new(3, 0);
    let flap = echo
        .net
        .flap(&[ONE], &[TWO], Duration::from_millis(700), &mut chance);
    let talk = async {
        for n in 0..50 {
            let text = format!("{n:04}");
            assert_eq!(said(&mut stream, &text).await.unwrap(), text);
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::join!(flap, talk);
    assert!(echo.net.bad().is_empty());
}

#[tokio::test]
async fn a_door_that_is_shut_refuses_and_opens_again() {
    let mut echo = echo().await;
    let there = *echo.door.target.borrow();
    let mut stream = echo.connected(1).await;
    echo.door.shut();
    let mut byte = [0];
    let ended = timeout(PATIENCE, stream.read(&mut byte)).await.unwrap();
    assert!(ended.is_err() || ended.unwrap() == 0);
    let refused = TcpStream::connect(echo.door.address()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    echo.door.reopen(there).await.unwrap();
    echo.connected(1).await;
}
