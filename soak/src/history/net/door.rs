//! A door to a node, and the connections that go through it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::{LOSS_HOLD, Link, Net, Seen, Who};
use crate::Chance;

/// At most so many connections go through a door; more wait.
const CONNECTIONS_MAX: usize = 1_024;
/// The most bytes that travel as one piece.
const PIECE_BYTES_MAX: usize = 16 * 1_024;
/// At most so many pieces are on their way in one direction of a connection.
const PIECES_MAX: usize = 64;
/// How long a door rests when the system has no more descriptors.
const REST: Duration = Duration::from_millis(50);
/// How long an address may be somebody else's that is to be opened again.
const TAKEN_MAX: Duration = Duration::from_secs(10);

/// Where a node is reached; closed, with all connections through it, when dropped.
#[derive(Debug)]
pub struct Door {
    net: Net,
    node: Who,
    address: SocketAddr,
    pub(super) target: watch::Sender<SocketAddr>,
    accepting: JoinHandle<()>,
    is_shut: AtomicBool,
}

impl Door {
    pub(super) async fn open(
        net: Net,
        node: Who,
        listen: SocketAddr,
        target: SocketAddr,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (target, targets) = watch::channel(target);
        let accepting = tokio::spawn(accept(net.clone(), node, listener, targets));
        Ok(Self {
            net,
            node,
            address,
            target,
            accepting,
            is_shut: AtomicBool::new(false),
        })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node is somewhere else from now on.
    pub fn leads_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// Ends all connections through it, and refuses new ones as a dead process does.
    pub fn shut(&self) {
        self.is_shut.store(true, Ordering::Relaxed);
        self.accepting.abort();
    }

    /// Opens it again at the same address, if it was shut; leads there in any case.
    ///
    /// # Errors
    /// Somebody else has that address, and keeps it.
    pub async fn reopen(&mut self, target: SocketAddr) -> io::Result<()> {
        self.target.send_replace(target);
        if !self.is_shut.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Its listener is closed when it has ended, in whatever way.
        let _ = (&mut self.accepting).await;
        // While it was shut the system may have given its port to somebody who called from there, and has gone since.
        let end = Instant::now() + TAKEN_MAX;
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Err(cause) if cause.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                    sleep(REST).await;
                }
                bound => break bound?,
            }
        };
        self.is_shut.store(false, Ordering::Relaxed);
        let targets = self.target.subscribe();
        self.accepting = tokio::spawn(accept(self.net.clone(), self.node, listener, targets));
        Ok(())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(net: Net, node: Who, listener: TcpListener, targets: watch::Receiver<SocketAddr>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Its connections end with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                sleep(REST).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let from = Net::who(from.ip());
        let connection = Connection {
            forth: net.watch(from, node),
            back: net.watch(node, from),
            chance: net.chance(),
        };
        let targets = targets.clone();
        connections.spawn(async move {
            connection.carry(stream, targets).await;
            drop(permit);
        });
    }
}

/// One connection, seen from whoever made it.
struct Connection {
    forth: watch::Receiver<Seen>,
    back: watch::Receiver<Seen>,
    chance: Chance,
}

/// Why a connection is over.
enum Over {
    /// Both ends have closed it.
    Closed,
    /// It has to be reset.
    Reset,
}

impl Connection {
    async fn carry(self, mut near: TcpStream, targets: watch::Receiver<SocketAddr>) {
        let Self {
            forth,
            back,
            mut chance,
        } = self;
        let mut reset = forth.clone();
        let before = reset.borrow().resets;
        let is_reset = reset.wait_for(|seen| seen.resets > before);
        let through = async {
            // The first packets of both sides have to arrive.
            heal(&mut forth.clone()).await;
            heal(&mut back.clone()).await;
            let target = *targets.borrow();
            let Ok(mut far) = TcpStream::connect(target).await else {
                return Over::Reset;
            };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let over = both(&mut near, &mut far, (forth.clone(), back.clone()), &mut chance).await;
            if matches!(over, Over::Reset) {
                // It is closed anyway; this is how.
                let _ = far.set_zero_linger();
            }
            over
        };
        let over = tokio::select! {
            over = through => over,
            _ = is_reset => Over::Reset,
        };
        if matches!(over, Over::Reset) {
            let _ = near.set_zero_linger();
        }
    }
}

async fn both(
    near: &mut TcpStream,
    far: &mut TcpStream,
    (forth, back): (watch::Receiver<Seen>, watch::Receiver<Seen>),
    chance: &mut Chance,
) -> Over {
    let mut other_chance = Chance::new(chance.draw(), 1);
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let carried = async {
        tokio::try_join!(
            carry(near_read, far_write, forth, chance),
            carry(far_read, near_write, back, &mut other_chance),
        )
    };
    match carried.await {
        Ok(_) => Over::Closed,
        Err(Broken) => Over::Reset,
    }
}

/// A connection that cannot go on.
struct Broken;

/// Bytes, and when they arrive at the earliest; none for the end.
type Piece = (Instant, Vec<u8>);

/// Carries one direction until its end.
async fn carry(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    link: watch::Receiver<Seen>,
    chance: &mut Chance,
) -> Result<(), Broken> {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let mut late = Chance::new(chance.draw(), 0);
    let (read, written) = tokio::join!(
        read(from, sender, link.clone(), &mut late),
        write(to, receiver, link, chance),
    );
    read.and(written)
}

async fn read(
    mut from: ReadHalf<'_>,
    pieces: mpsc::Sender<Piece>,
    link: watch::Receiver<Seen>,
    chance: &mut Chance,
) -> Result<(), Broken> {
    loop {
        let mut bytes = vec![0; PIECE_BYTES_MAX];
        let length = tokio::select! {
            length = from.read(&mut bytes) => length.map_err(|_| Broken)?,
            // The other side is gone: nobody wants the rest.
            () = pieces.closed() => return Err(Broken),
        };
        bytes.truncate(length);
        let late = match link.borrow().link {
            Link::Late { by, jitter } => by + jitter.mul_f64(chance.unit()),
            Link::Open | Link::Cut | Link::Slow { .. } | Link::Lossy { .. } => Duration::ZERO,
        };
        let is_end = bytes.is_empty();
        pieces
            .send((Instant::now() + late, bytes))
            .await
            .map_err(|_| Broken)?;
        if is_end {
            return Ok(());
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut pieces: mpsc::Receiver<Piece>,
    mut link: watch::Receiver<Seen>,
    chance: &mut Chance,
) -> Result<(), Broken> {
    while let Some((due, bytes)) = pieces.recv().await {
        sleep_until(due).await;
        heal(&mut link).await;
        let now = link.borrow().link;
        match now {
            Link::Slow { bytes_per_s } => {
                sleep(Duration::from_secs_f64(
                    bytes.len() as f64 / f64::from(bytes_per_s.max(1)),
                ))
                .await;
                heal(&mut link).await;
            }
            Link::Lossy { one_in } if chance.below(u64::from(one_in.max(1))) == 0 => {
                sleep(LOSS_HOLD).await;
                return Err(Broken);
            }
            Link::Open | Link::Cut | Link::Late { .. } | Link::Lossy { .. } => {}
        }
        if bytes.is_empty() {
            // Whoever has closed its side already needs no end.
            let _ = to.shutdown().await;
            return Ok(());
        }
        to.write_all(&bytes).await.map_err(|_| Broken)?;
    }
    Err(Broken)
}

/// Waits until the link is not cut.
async fn heal(link: &mut watch::Receiver<Seen>) {
    // The network outlives its connections; if it did not, the link could as well be good.
    let _ = link.wait_for(|seen| seen.link != Link::Cut).await;
}
