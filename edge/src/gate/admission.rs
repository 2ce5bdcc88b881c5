//! Admission: how much may be in flight, in calls, in streams and in bytes. What is more is refused and thrown away unread, so
//! that the work that was admitted keeps its pace and memory stays flat whatever is offered. The bound of orders moves with how
//! long they take ([`pace`](super::pace)), and whoever has too much refused is read more slowly ([`brake`](super::brake)).

mod shares;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use docket_engine::access::{Principal, Role};
use tokio::sync::{Notify, futures::OwnedNotified};
use tonic::Code;

pub use self::shares::ShareFull;
use self::shares::{Holder, OfWhat, Share, Shares};
use super::{
    brake::{Brake, Brakes},
    limits::network_of,
    pace::Pace,
};
use crate::{config::AdmissionConfig, errors::Refusal};

/// A reply of no more bytes is sent though the bound of reply bytes is reached: what it tells has been done. Replies to
/// writes are shorter (an order of 100 lines), and there are as many as calls in flight.
pub const SMALL_REPLY_BYTES: usize = 16 * 1_024;

/// The counters: one set for all connections.
#[derive(Debug)]
pub struct Admission {
    in_flight: [AtomicUsize; Bound::COUNT],
    max: [AtomicUsize; Bound::COUNT],
    /// The bound of orders, which moves.
    pace: Pace,
    brakes: Arc<Brakes>,
    retry_ms: AtomicU64,
    shares: Arc<Shares>,
    max_per_customer: AtomicUsize,
    max_open_per_address: AtomicUsize,
    freed: Arc<Notify>,
    /// How many wait for `freed`.
    waiting: AtomicUsize,
    /// Something had too many bytes since bytes were last given back.
    bytes_reached: AtomicBool,
}

/// Somebody who waits until there may be room. Who has waited longest is woken first.
#[derive(Debug)]
pub struct Waiting {
    admission: Arc<Admission>,
    freed: Pin<Box<OwnedNotified>>,
}

/// Something admitted; it is in flight until this is dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    kind: Kind,
    /// Since when; of an order.
    since: Option<Instant>,
    /// It was begun and is not answered.
    is_under_way: AtomicBool,
    /// What it waits for is done by somebody outside.
    waits_outside: AtomicBool,
    /// How much of its request is there.
    request: AtomicU8,
    /// When all of it was, where that was not at once.
    arrived: OnceLock<Instant>,
    bytes: AtomicUsize,
    reply_bytes: AtomicUsize,
    /// Its caller's, of all that this caller may have.
    share: Option<Share>,
}

/// What asks to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A call that is no order.
    Call,
    /// An order: a call, or a message of a stream.
    Order,
    /// A call that needs no credentials.
    OpenCall,
    /// A question how the node is: it has room of its own, since it is asked when there is none.
    Probe,
    /// A stream. What its messages ask for is admitted for each of them.
    Stream,
    /// A stream that needs no credentials.
    OpenStream,
}

/// What is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Calls, and orders of streams.
    Calls,
    /// Of those, orders: as many as are done in time.
    Orders,
    /// Of those, the ones that need no credentials.
    OpenCalls,
    /// Questions how the node is.
    Probes,
    /// Open streams.
    Streams,
    /// Of those, the ones that need no credentials.
    OpenStreams,
    /// Bytes of requests.
    Bytes,
    /// Bytes of replies that their callers have not taken.
    ReplyBytes,
    /// Calls whose requests take their time to arrive. They are in flight when they are there.
    Arriving,
}

/// All of a request is there, or nobody has had to wait for it yet.
const THERE: u8 = 0;
/// More of it was waited for.
const AWAITED: u8 = 1;
/// The same, for long.
const SLOW: u8 = 2;

impl Kind {
    fn bounds(self) -> &'static [Bound] {
        match self {
            Self::Call => &[Bound::Calls],
            // Its own bound first: it is the one that is reached, and is given back before who waits is told.
            Self::Order => &[Bound::Orders, Bound::Calls],
            Self::OpenCall => &[Bound::Calls, Bound::OpenCalls],
            Self::Probe => &[Bound::Probes],
            Self::Stream => &[Bound::Streams],
            Self::OpenStream => &[Bound::Streams, Bound::OpenStreams],
        }
    }
}

impl Bound {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Calls,
        Self::Orders,
        Self::OpenCalls,
        Self::Probes,
        Self::Streams,
        Self::OpenStreams,
        Self::Bytes,
        Self::ReplyBytes,
        Self::Arriving,
    ];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// For metrics.
    pub fn limiter(self) -> &'static str {
        match self {
            Self::Calls => "calls_in_flight",
            Self::Orders => "orders_in_flight",
            Self::OpenCalls => "open_calls_in_flight",
            Self::Probes => "probes_in_flight",
            Self::Streams => "streams",
            Self::OpenStreams => "open_streams",
            Self::Bytes => "bytes_in_flight",
            Self::ReplyBytes => "reply_bytes_in_flight",
            Self::Arriving => "requests_arriving",
        }
    }
}

impl Admission {
    /// Nothing is in flight.
    pub fn new(config: AdmissionConfig) -> Arc<Self> {
        Arc::new(Self {
            in_flight: Default::default(),
            max: bounds_of(&config).map(AtomicUsize::new),
            pace: Pace::new(config.max_calls, meant(&config)),
            brakes: Brakes::new(config.max_refusals_per_second),
            retry_ms: AtomicU64::new(config.retry_ms),
            shares: Arc::default(),
            max_per_customer: AtomicUsize::new(config.max_per_customer),
            max_open_per_address: AtomicUsize::new(config.max_open_per_address),
            freed: Arc::default(),
            waiting: AtomicUsize::new(0),
            bytes_reached: AtomicBool::new(false),
        })
    }

    /// Goes by this from now on (but for [`AdmissionConfig::max_refused`]). What is in flight stays so, however much less may be.
    pub fn set(&self, config: &AdmissionConfig) {
        for (max, bound) in self.max.iter().zip(bounds_of(config)) {
            max.store(bound, SeqCst);
        }
        self.pace.set_bounds(config.max_calls, meant(config));
        self.brakes.set_rate(config.max_refusals_per_second);
        self.retry_ms.store(config.retry_ms, Relaxed);
        self.max_per_customer.store(config.max_per_customer, Relaxed);
        self.max_open_per_address
            .store(config.max_open_per_address, Relaxed);
        // There may be room for those who wait.
        self.freed.notify_waiters();
    }

    /// Whether somebody waits: then it is not the turn of who comes now.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// Waits from now on. Try once more after the first poll: there may have been room in between.
    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, SeqCst);
        let freed = Box::pin(Arc::clone(&self.freed).notified_owned());
        Waiting {
            admission: Arc::clone(self),
            freed,
        }
    }

    /// Admits what has a request of this many bytes, as far as they are known.
    ///
    /// # Errors
    /// Which bound is reached.
    pub fn admit(self: &Arc<Self>, kind: Kind, bytes: usize) -> Result<Permit, Bound> {
        let wanted = || {
            kind.bounds()
                .iter()
                .map(|bound| (*bound, 1))
                .chain([(Bound::Bytes, bytes)])
        };
        for (taken, (bound, n)) in wanted().enumerate() {
            if let Err(reached) = self.take(bound, n) {
                // Nobody is told of this room: whoever waits would find it as this one did, and tell the next. What has
                // reached the bound tells when it ends.
                for (bound, n) in wanted().take(taken) {
                    self.in_flight[bound as usize].fetch_sub(n, SeqCst);
                }
                return Err(reached);
            }
        }
        Ok(Permit {
            admission: Arc::clone(self),
            kind,
            since: (kind == Kind::Order).then(Instant::now),
            is_under_way: AtomicBool::new(false),
            waits_outside: AtomicBool::new(false),
            request: AtomicU8::new(THERE),
            arrived: OnceLock::new(),
            bytes: AtomicUsize::new(bytes),
            reply_bytes: AtomicUsize::new(0),
            share: None,
        })
    }

    /// What a caller is told.
    pub fn refusal(&self, bound: Bound) -> Refusal {
        Refusal::new(
            Code::ResourceExhausted,
            "OVERLOADED",
            "the node has as much in flight as it can do in time",
        )
        .with("limiter", bound.limiter())
        .quota(format!("node:{}", bound.limiter()))
        .retry(self.retry())
    }

    /// When a caller that was refused is asked to come back.
    pub fn retry(&self) -> Duration {
        Duration::from_millis(self.retry_ms.load(Relaxed))
    }

    /// The brake of a new connection.
    pub fn brake(&self) -> Brake {
        self.brakes.brake()
    }

    /// The disk takes so long for a sync now.
    pub fn disk(&self, sync: Duration) {
        self.pace.disk(sync);
    }

    /// How many orders may be in flight now.
    pub fn orders_max(&self) -> usize {
        self.pace.bound()
    }

    /// How much of it is in flight.
    pub fn in_flight(&self, bound: Bound) -> usize {
        self.in_flight[bound as usize].load(Relaxed)
    }

    fn take(&self, bound: Bound, n: usize) -> Result<(), Bound> {
        let max = match bound {
            Bound::Orders => self.pace.bound(),
            _ => self.max[bound as usize].load(Relaxed),
        };
        // What does not fit is not counted for a moment either: something that does might be refused, or not see the room
        // that it was told of.
        let fits = |in_flight: usize| in_flight.checked_add(n).filter(|in_flight| *in_flight <= max);
        if self.in_flight[bound as usize]
            .fetch_update(SeqCst, SeqCst, fits)
            .is_err()
        {
            match bound {
                Bound::Orders => self.pace.reached(),
                // Whoever gave some back in between told nobody.
                Bound::Bytes if !self.bytes_reached.swap(true, SeqCst) => return self.take(bound, n),
                _ => {}
            }
            return Err(bound);
        }
        Ok(())
    }

    fn give_back(&self, bound: Bound, n: usize) {
        // Either this sees who waits, or who waits sees the room: both orders are total.
        let before = self.in_flight[bound as usize].fetch_sub(n, SeqCst);
        if bound == Bound::Orders && before <= self.pace.bound() / 4 * 3 {
            self.brakes.room();
        }
        // Bytes are given back by streams too, behind which no call ends.
        let is_room = match bound {
            Bound::Calls => true,
            Bound::Bytes => self.bytes_reached.load(SeqCst) && self.bytes_reached.swap(false, SeqCst),
            _ => false,
        };
        if is_room && self.waiting.load(SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

/// The bounds, in the order of [`Bound`].
fn bounds_of(config: &AdmissionConfig) -> [usize; Bound::COUNT] {
    let AdmissionConfig {
        max_calls,
        max_open_calls,
        max_probes,
        max_streams,
        max_open_streams,
        max_bytes,
        max_reply_bytes,
        max_per_customer: _,
        max_open_per_address: _,
        retry_ms: _,
        order_ms: _,
        max_refused: _,
        max_refusals_per_second: _,
    } = *config;
    [
        max_calls,
        max_calls,
        max_open_calls,
        max_probes,
        max_streams,
        max_open_streams,
        max_bytes,
        max_reply_bytes,
        // As many again may take their time.
        max_calls,
    ]
}

/// What an order may take; none where it may take as long as it does.
fn meant(config: &AdmissionConfig) -> Option<Duration> {
    (config.order_ms > 0).then(|| Duration::from_millis(config.order_ms))
}

impl Permit {
    /// It is this caller's, and counts as its.
    ///
    /// # Errors
    /// A customer has as many in flight as one may have.
    pub fn of_caller(&mut self, principal: &Principal) -> Result<(), ShareFull> {
        if principal.role != Role::Customer {
            return Ok(());
        }
        let holder = Holder::Customer(principal.account.clone(), self.of_what());
        let max = self.admission.max_per_customer.load(Relaxed);
        let share = self.admission.shares.take(holder, max);
        self.share = Some(share.ok_or(ShareFull::Customer)?);
        Ok(())
    }

    /// It needs no credentials, and counts as this address's.
    ///
    /// # Errors
    /// The address has as many in flight as one may have.
    pub fn of_address(&mut self, address: IpAddr) -> Result<(), ShareFull> {
        let holder = Holder::Address(network_of(address), self.of_what());
        let max = self.admission.max_open_per_address.load(Relaxed);
        let share = self.admission.shares.take(holder, max);
        self.share = Some(share.ok_or(ShareFull::Address)?);
        Ok(())
    }

    fn of_what(&self) -> OfWhat {
        match self.kind {
            Kind::Call | Kind::Order | Kind::OpenCall => OfWhat::Calls,
            Kind::Stream | Kind::OpenStream => OfWhat::Streams,
            Kind::Probe => OfWhat::Probes,
        }
    }

    /// More bytes of the same request arrived.
    ///
    /// # Errors
    /// Where they do not fit; then they are not counted.
    pub fn grow(&self, bytes: usize) -> Result<(), Bound> {
        if bytes > 0 {
            self.admission.take(Bound::Bytes, bytes)?;
            self.bytes.fetch_add(bytes, Relaxed);
        }
        Ok(())
    }

    /// Bytes of the request that are counted.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// What arrived of the request has been read.
    pub fn read(&self) {
        let bytes = self.bytes.swap(0, Relaxed);
        if bytes > 0 {
            self.admission.give_back(Bound::Bytes, bytes);
        }
    }

    /// The reply has this many bytes.
    ///
    /// # Errors
    /// Where they do not fit and are more than [`SMALL_REPLY_BYTES`]; then they are not counted.
    pub fn reply(&self, bytes: usize) -> Result<(), Bound> {
        self.read();
        self.answered();
        if bytes > SMALL_REPLY_BYTES {
            self.admission.take(Bound::ReplyBytes, bytes)?;
            self.reply_bytes.fetch_add(bytes, Relaxed);
        } else {
            self.reply_anyway(bytes);
        }
        Ok(())
    }

    /// The reply has this many bytes more, and is sent though there may be no room for them: what it tells has been done.
    pub fn reply_anyway(&self, bytes: usize) {
        self.admission.in_flight[Bound::ReplyBytes as usize].fetch_add(bytes, SeqCst);
        self.reply_bytes.fetch_add(bytes, Relaxed);
    }

    /// What was asked for passed all checks and is done now. How long it takes says how much may be in flight; what is
    /// refused takes no time, and whoever sends enough of that would have all orders look quick.
    pub fn begin(&self) {
        self.is_under_way.store(true, Relaxed);
    }

    /// Whether it is an order's.
    pub fn is_order(&self) -> bool {
        self.kind == Kind::Order
    }

    /// What it waits for is done by somebody outside (an order's payment provider): it gives its place among the orders back, and how long it takes
    /// says nothing of how many may be in flight. Among the calls it keeps its place.
    pub fn wait_outside(&self) {
        if self.kind == Kind::Order && !self.waits_outside.swap(true, SeqCst) {
            self.is_under_way.store(false, Relaxed);
            self.admission.give_back(Bound::Orders, 1);
            if self.admission.is_waited_for() {
                self.admission.freed.notify_one();
            }
        }
    }

    /// More of its request is waited for: meanwhile it is no order that others have to wait for, and how long that takes says nothing of how many
    /// may be in flight. Among the calls it keeps its place.
    pub fn await_request(&self) {
        let is_first = self
            .request
            .compare_exchange(THERE, AWAITED, SeqCst, SeqCst)
            .is_ok();
        if is_first && self.kind == Kind::Order {
            self.is_under_way.store(false, Relaxed);
            self.admission.give_back(Bound::Orders, 1);
        }
    }

    /// Its request is waited for too long to be kept among the calls: it gives its place there to who has one.
    ///
    /// # Errors
    /// As many take their time as may.
    pub fn request_is_slow(&self) -> Result<(), Bound> {
        self.await_request();
        if self.request.load(SeqCst) == AWAITED {
            self.admission.take(Bound::Arriving, 1)?;
            self.request.store(SLOW, SeqCst);
            for bound in self.kind.bounds().iter().filter(|bound| **bound != Bound::Orders) {
                self.admission.give_back(*bound, 1);
            }
        }
        Ok(())
    }

    /// All of its request is there.
    ///
    /// # Errors
    /// There is no room for it any more. Nothing of it was done.
    pub fn request_arrived(&self) -> Result<(), Bound> {
        let was = self.request.load(SeqCst);
        if was == THERE {
            return Ok(());
        }
        let is_missing = |bound: &&Bound| was == SLOW || **bound == Bound::Orders;
        let missing = || self.kind.bounds().iter().filter(is_missing);
        for (taken, bound) in missing().enumerate() {
            if let Err(reached) = self.admission.take(*bound, 1) {
                for bound in missing().take(taken) {
                    self.admission.give_back(*bound, 1);
                }
                return Err(reached);
            }
        }
        self.request.store(THERE, SeqCst);
        if was == SLOW {
            self.admission.give_back(Bound::Arriving, 1);
        }
        if self.kind == Kind::Order {
            // (A request that comes in parts arrives more than once: the first time counts, which is more than it took.)
            let _ = self.arrived.set(Instant::now());
            self.is_under_way.store(true, Relaxed);
        }
        Ok(())
    }

    /// What was asked for is answered; the reply may still have to be taken.
    pub fn answered(&self) {
        let Some(since) = self.arrived.get().copied().or(self.since) else {
            return;
        };
        if self.is_under_way.swap(false, Relaxed) && self.admission.pace.done(since) {
            // There is more room than those who end give back.
            self.admission.freed.notify_waiters();
        }
    }

    /// What a caller is told for whom there is no room.
    pub fn refusal(&self, bound: Bound) -> Refusal {
        self.admission.refusal(bound)
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.freed.as_mut().poll(cx)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.admission.waiting.fetch_sub(1, SeqCst);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // One that nobody waited for to its end took at least so long.
        self.answered();
        let held = [
            (Bound::Bytes, *self.bytes.get_mut()),
            (Bound::ReplyBytes, *self.reply_bytes.get_mut()),
        ];
        for (bound, bytes) in held {
            if bytes > 0 {
                self.admission.give_back(bound, bytes);
            }
        }
        let gave_back = *self.waits_outside.get_mut();
        match *self.request.get_mut() {
            SLOW => self.admission.give_back(Bound::Arriving, 1),
            request => {
                for bound in self.kind.bounds() {
                    if *bound == Bound::Orders && (gave_back || request == AWAITED) {
                        continue;
                    }
                    self.admission.give_back(*bound, 1);
                }
            }
        }
    }
}
