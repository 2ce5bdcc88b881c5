//! A payment provider that keeps the contract of docs/payments.md, remembers everything, and fails on demand.
//!
//! ```text
//!   request ─▶ seen ─▶ a fault before? ─▶ decided ─▶ on the disk ─▶ in the ledger ─▶ a fault after? ─▶ reply
//! ```
//!
//! Its memory is an append-only file, or, without one, a buffer that outlives a death of the stub but not one of the process. A dead
//! stub listens to nobody and has forgotten what was not on its disk. It waits for nothing by the clock: what is held is held until it
//! is released.

mod faults;
mod ledger;
#[cfg(feature = "http")]
mod pipe;
mod routes;
mod serve;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
};

use parking_lot::Mutex;
use secrecy::SecretString;
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

pub use faults::{FAULTS_MAX, Fault, On, What};
pub use ledger::Payment;
#[cfg(feature = "http")]
pub use pipe::StubConnector;

use faults::Faults;
use ledger::Ledger;
use store::Store;

/// Requests that are remembered; of more, the newest.
pub const SEEN_MAX: usize = 100_000;

/// How a stub is made.
#[derive(Clone, Debug, Default)]
pub struct StubOptions {
    /// The file that is its memory. Default none: it dies with the process.
    pub data: Option<PathBuf>,
    /// What callers must show as `authorization: Bearer …`. Default none: nothing.
    pub token: Option<SecretString>,
}

/// A payment provider for tests. A cheap handle: clones are the same provider.
#[derive(Clone, Debug)]
pub struct Stub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    token: Option<SecretString>,
    inner: Mutex<Inner>,
    /// How many requests and replies are held.
    held: watch::Sender<usize>,
    /// How often they were released.
    released: watch::Sender<u64>,
    /// Whether it is alive.
    alive: watch::Sender<bool>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    life: Option<Life>,
    listens: Vec<SocketAddr>,
    // What tests ask for and look at is theirs, and outlives a death.
    faults: Faults,
    seen: VecDeque<Seen>,
    seen_in_all: u64,
}

/// What ends with a death.
#[derive(Debug)]
struct Life {
    ledger: Ledger,
    ended: CancellationToken,
}

/// A request as it came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// From 1, in the order of arrival.
    pub number: u64,
    /// What was asked.
    pub on: On,
    /// About which order.
    pub order: String,
    /// Under which key, or about which.
    pub key: String,
    /// What went wrong on demand.
    pub fault: Option<What>,
    /// The status that was answered; none where nothing was, yet or at all.
    pub answered: Option<u16>,
}

/// What the stub knows, and what it holds against its callers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each order's money.
    pub payments: BTreeMap<String, Payment>,
    /// What nobody who keeps the contract would have asked, as a step that was done and is asked under another key, or more
    /// than is there; and sums that do not add up.
    pub violations: Vec<String>,
    /// Keys that were asked again without having been told, since they were asked last, that they were never seen. Two who
    /// ask for one order at a time can bring this about and do no wrong. What its caller gave up, and asked about before it was seen, may come once,
    /// later.
    pub repeats_unasked: Vec<String>,
}

impl Stub {
    /// A stub that is alive and has read its memory.
    ///
    /// # Errors
    /// Its file cannot be opened, or is none of its own.
    pub fn open(options: StubOptions) -> io::Result<Self> {
        let store = match &options.data {
            Some(path) => Store::open(path)?,
            None => Store::Memory(Vec::new()),
        };
        let stub = Self {
            shared: Arc::new(Shared {
                token: options.token,
                inner: Mutex::new(Inner {
                    store,
                    life: None,
                    listens: Vec::new(),
                    faults: Faults::default(),
                    seen: VecDeque::new(),
                    seen_in_all: 0,
                }),
                held: watch::Sender::new(0),
                released: watch::Sender::new(0),
                alive: watch::Sender::new(false),
            }),
        };
        stub.begin()?;
        Ok(stub)
    }

    fn begin(&self) -> io::Result<()> {
        let mut inner = self.shared.inner.lock();
        let mut ledger = Ledger::default();
        inner
            .store
            .load()?
            .into_iter()
            .for_each(|record| ledger.apply(record));
        inner.life = Some(Life {
            ledger,
            ended: CancellationToken::new(),
        });
        self.shared.alive.send_replace(true);
        Ok(())
    }

    /// Serves at `address`, port 0 for any free one, until it dies; where it is restarted, again. Returns where it is.
    ///
    /// # Errors
    /// The address cannot be had, or the stub is dead.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let ended = {
            let mut inner = self.shared.inner.lock();
            let ended = inner.life.as_ref().map(|life| life.ended.clone());
            let ended = ended.ok_or_else(|| io::Error::other("the stub is dead"))?;
            if !inner.listens.contains(&address) {
                inner.listens.push(address);
            }
            ended
        };
        let stub = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = ended.cancelled() => return,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            // The replies are small, and whoever waits for one has nothing else to send.
                            let _ = stream.set_nodelay(true);
                            tokio::spawn(stub.clone().serve(stream));
                        }
                        // Who can take no connection is as good as dead.
                        Err(_) => return stub.kill(),
                    },
                }
            }
        });
        Ok(address)
    }

    /// Dies at once: connections end, held requests are lost, nothing is answered.
    pub fn kill(&self) {
        self.die(&mut self.shared.inner.lock());
    }

    fn die(&self, inner: &mut Inner) {
        if let Some(life) = inner.life.take() {
            life.ended.cancel();
            self.shared.alive.send_replace(false);
        }
    }

    /// Whether it is alive.
    pub fn is_alive(&self) -> bool {
        *self.shared.alive.borrow()
    }

    /// Waits for its death.
    pub async fn died(&self) {
        // The sender is in here.
        let _ = self.shared.alive.subscribe().wait_for(|alive| !alive).await;
    }

    /// Comes back with what is on its disk, and listens where it did.
    ///
    /// # Errors
    /// Its file or an address cannot be had.
    pub async fn restart(&self) -> io::Result<()> {
        self.kill();
        self.begin()?;
        let listens = self.shared.inner.lock().listens.clone();
        for address in listens {
            self.listen(address).await?;
        }
        Ok(())
    }

    /// Sets more faults. Of several at one request the one that was set first happens.
    ///
    /// # Errors
    /// What cannot be; none of them is set then.
    pub fn add_faults(&self, faults: Vec<Fault>) -> Result<(), String> {
        self.shared.inner.lock().faults.add(faults)
    }

    /// Sets no faults any more. What is held stays so.
    pub fn clear_faults(&self) {
        self.shared.inner.lock().faults.clear();
    }

    /// The faults that can still happen.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.inner.lock().faults.left()
    }

    /// Lets go of everything that is held. Returns how much that was.
    pub fn release(&self) -> usize {
        let held = *self.shared.held.borrow();
        self.shared.released.send_modify(|count| *count += 1);
        held
    }

    /// Waits until so many requests and replies are held at a time.
    pub async fn holds(&self, count: usize) {
        let _ = self.shared.held.subscribe().wait_for(|held| *held >= count).await;
    }

    /// Waits until nothing is held: what was released is done.
    pub async fn holds_nothing(&self) {
        let _ = self.shared.held.subscribe().wait_for(|held| *held == 0).await;
    }

    /// What it knows, and what it holds against its callers. Who is dead knows nothing.
    pub fn report(&self) -> Report {
        let inner = self.shared.inner.lock();
        let ledger = inner.life.as_ref().map(|life| &life.ledger);
        Report {
            payments: ledger.map(|ledger| ledger.payments().clone()).unwrap_or_default(),
            violations: ledger.map(Ledger::violations).unwrap_or_default(),
            repeats_unasked: repeats_unasked(&inner.seen),
        }
    }

    /// A payment's money; nothing where it was never heard of.
    pub fn payment(&self, payment: &str) -> Payment {
        self.report().payments.remove(payment).unwrap_or_default()
    }

    /// The newest requests, in the order of arrival.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.inner.lock().seen.iter().cloned().collect()
    }
}

impl Inner {
    /// Notes a request, and says what goes wrong with it.
    fn arrived(&mut self, on: On, order: &str, key: &str) -> (u64, Option<What>) {
        let fault = self.faults.next(on, order);
        self.seen_in_all += 1;
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen {
            number: self.seen_in_all,
            on,
            order: order.to_owned(),
            key: key.to_owned(),
            fault: fault.clone(),
            answered: None,
        });
        (self.seen_in_all, fault)
    }

    /// Notes what was answered to a request, if it is still remembered.
    fn answered(&mut self, number: u64, status: u16) {
        let from_end = usize::try_from(self.seen_in_all - number).unwrap_or(usize::MAX);
        let seen = self.seen.len().checked_sub(from_end + 1);
        if let Some(seen) = seen.and_then(|at| self.seen.get_mut(at)) {
            seen.answered = Some(status);
        }
    }
}

/// See [`Report::repeats_unasked`].
fn repeats_unasked(seen: &VecDeque<Seen>) -> Vec<String> {
    let (mut asked, mut ever) = (BTreeSet::new(), BTreeSet::new());
    // Nothing had been seen of them when their caller asked what had become of what it had sent.
    let mut late = BTreeSet::new();
    let mut found = Vec::new();
    for one in seen {
        match (one.on, one.answered) {
            (On::Lookup, Some(404)) => {
                asked.remove(&one.key);
                if !ever.contains(&one.key) {
                    late.insert(&one.key);
                }
            }
            (On::Lookup, _) => {}
            _ => {
                ever.insert(&one.key);
                if !asked.insert(&one.key) && !late.remove(&one.key) {
                    found.push(one.key.clone());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_again_is_to_have_asked_first_and_what_was_given_up_may_come_late() {
        let found = |seen: &[(On, u16)]| {
            let seen = (1..).zip(seen).map(|(number, (on, answered))| Seen {
                number,
                on: *on,
                order: "o".to_owned(),
                key: "k".to_owned(),
                fault: None,
                answered: Some(*answered),
            });
            repeats_unasked(&seen.collect()).len()
        };
        let (refund, unknown, known) = ((On::Refund, 200), (On::Lookup, 404), (On::Lookup, 200));
        assert_eq!(found(&[refund]), 0);
        assert_eq!(found(&[refund, unknown, refund]), 0);
        assert_eq!(found(&[refund, refund]), 1);
        assert_eq!(found(&[refund, known, refund]), 1);
        // The first request came behind the question and the repeat; once.
        assert_eq!(found(&[unknown, refund, refund]), 0);
        assert_eq!(found(&[unknown, unknown, refund, refund, refund]), 1);
        assert_eq!(found(&[refund, unknown, unknown, refund, refund]), 1);
    }
}
