//! A network that can be made bad: a TCP proxy in front of every node, through which all of its connections go.
//!
//! ```text
//!   node 1 (from 127.0.1.1) ──▶ door of node 2 ══ link 1→2 ══▶ node 2
//!                               ◀══ link 2→1 ══
//! ```
//!
//! Who connects is told by the address that it connects from: each node binds its own to its connections to others; whoever has
//! none is a client. Each direction of each pair is a link of its own, which can be cut, slow, late or lossy; a connection
//! whose pair is cut when it is made waits with it. As with packets that do not arrive, nobody is told: bytes that are held come
//! when the link is healed, and the connection stays. [`Net::reset`] ends connections as a dying host does.
//!
//! What happens follows from the links alone; a lossy one draws from the seed. Every queue is bounded: a link that
//! holds bytes stops reading, as a full window does.

mod door;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

pub use door::Door;

use crate::Chance;

/// Who is at an end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// The node with this number.
    Node(u8),
    /// Any client.
    Client,
}

/// How a link is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Link {
    /// As good as the machine's.
    #[default]
    Open,
    /// Nothing arrives until it is healed.
    Cut,
    /// Everything arrives later, by this and up to as much again as `jitter`.
    Late {
        /// At least.
        by: Duration,
        /// And up to this.
        jitter: Duration,
    },
    /// No more than so many bytes a second.
    Slow {
        /// Bytes a second, at least 1.
        bytes_per_s: u32,
    },
    /// One piece of so many is held back for [`LOSS_HOLD`], and the connection is reset then.
    Lossy {
        /// At least 1.
        one_in: u32,
    },
}

/// How long a piece that is lost is held back before its connection is reset.
pub const LOSS_HOLD: Duration = Duration::from_millis(300);
/// A flapping link changes after at least this long, and at most as much again.
const FLAP: Duration = Duration::from_millis(150);

/// What a connection sees of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    link: Link,
    /// How often the pair's connections were reset.
    resets: u64,
}

/// The network; cheap to clone.
#[derive(Clone, Debug)]
pub struct Net(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seed: u64,
    connections: AtomicU64,
    links: Mutex<HashMap<(Who, Who), watch::Sender<Seen>>>,
}

impl Net {
    /// A good network, whose losses follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Inner {
            seed,
            connections: AtomicU64::new(0),
            links: Mutex::default(),
        }))
    }

    /// The address that node `number` connects to others from.
    pub fn source(number: u8) -> IpAddr {
        Ipv4Addr::new(127, 0, 1, number).into()
    }

    /// Who connects from this address.
    pub fn who(address: IpAddr) -> Who {
        match address {
            IpAddr::V4(address) => match address.octets() {
                [127, 0, 1, number] => Who::Node(number),
                _ => Who::Client,
            },
            IpAddr::V6(_) => Who::Client,
        }
    }

    /// Opens a door to `node`: whoever connects to `listen` reaches `target`.
    ///
    /// # Errors
    /// There is no listening there.
    pub async fn open(&self, node: u8, listen: SocketAddr, target: SocketAddr) -> io::Result<Door> {
        Door::open(self.clone(), Who::Node(node), listen, target).await
    }

    /// Makes the link from one to the other like this.
    pub fn set(&self, from: Who, to: Who, link: Link) {
        self.change(from, to, |seen| seen.link = link);
    }

    /// Makes the links in both directions like this.
    pub fn set_both(&self, one: Who, other: Who, link: Link) {
        self.set(one, other, link);
        self.set(other, one, link);
    }

    /// Makes all links in both directions between the two sides like this.
    pub fn set_between(&self, side: &[Who], others: &[Who], link: Link) {
        for one in side {
            for other in others {
                self.set_both(*one, *other, link);
            }
        }
    }

    /// Ends all connections between the two at once, with a reset.
    pub fn reset(&self, one: Who, other: Who) {
        self.change(one, other, |seen| seen.resets += 1);
        self.change(other, one, |seen| seen.resets += 1);
    }

    /// Makes all links good.
    pub fn heal(&self) {
        for link in self.links().values() {
            link.send_modify(|seen| seen.link = Link::Open);
        }
    }

    /// Cuts and heals all links between the two sides, at moments that are drawn, until the time is over; they are good then.
    pub async fn flap(&self, side: &[Who], others: &[Who], lasts: Duration, chance: &mut Chance) {
        let end = Instant::now() + lasts;
        let mut link = Link::Cut;
        while Instant::now() < end {
            self.set_between(side, others, link);
            link = if link == Link::Cut { Link::Open } else { Link::Cut };
            let longer = FLAP.mul_f64(chance.unit());
            sleep((FLAP + longer).min(end - Instant::now())).await;
        }
        self.set_between(side, others, Link::Open);
    }

    /// Whether some connection between the two goes through a door, whoever of them made it.
    pub fn joins(&self, one: Who, other: Who) -> bool {
        self.links()
            .get(&(one, other))
            .is_some_and(|link| link.receiver_count() > 0)
    }

    /// Which links are not good.
    pub fn bad(&self) -> BTreeMap<(Who, Who), Link> {
        let links = self.links();
        let bad = links.iter().map(|(pair, link)| (*pair, link.borrow().link));
        bad.filter(|(_, link)| *link != Link::Open).collect()
    }

    fn change(&self, from: Who, to: Who, change: impl FnOnce(&mut Seen)) {
        self.links().entry((from, to)).or_default().send_modify(change);
    }

    fn watch(&self, from: Who, to: Who) -> watch::Receiver<Seen> {
        self.links().entry((from, to)).or_default().subscribe()
    }

    /// What a new connection draws from.
    fn chance(&self) -> Chance {
        Chance::new(self.0.seed, self.0.connections.fetch_add(1, Ordering::Relaxed))
    }

    fn links(&self) -> MutexGuard<'_, HashMap<(Who, Who), watch::Sender<Seen>>> {
        // A link is whole before and after every change.
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
