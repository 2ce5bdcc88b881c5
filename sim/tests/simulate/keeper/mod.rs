//! Keepers: each leads orders of its own from their placing to their end, some of them paid by the provider, and asks each step until it is answered,
//! however often; now and then twice at the same time, at two nodes, or for two things that only one of can be. So at the end each knows what its
//! orders must be, to the last piece. Their customers and items they share.

mod books;
mod deeds;
mod led;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use docket_actors::{CallError, Key, Place, PlaceOrder};
use docket_edge::Refusal;
use docket_engine::{
    Amount, CustomerId, HoldReason, Line, Order, OrderId, Quantity, ReturnState, ReturnStep, Sku,
};
use docket_soak::{
    Chance,
    history::{Outcome, clients::outcome},
};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use self::{
    deeds::do_it,
    led::{Deed, Led, Named},
};
use crate::{
    ask::call,
    provider,
    seat::Running,
    shop::{HOPS_MAX, RETRY, SETTLED_WITHIN, Shop, Stage, WAIT_MAX, currency},
};

pub use books::look;

pub const KEEPERS: u64 = 3;
/// Where their chance begins, beside that of clients, consumers and the provider.
const CHANCES: u64 = 600;
/// Who shares what: few, so that they meet.
pub const CUSTOMERS: u64 = 2;
pub const CREDIT_LIMIT: i64 = 20_000;
pub const ITEMS: u64 = 3;
pub const ON_HAND: i64 = 60;
/// So many steps an order is led on after it was placed.
const STEPS_MAX: u64 = 9;
/// The longest pause between two of them, in milliseconds.
const PAUSE_MS: u64 = 120;

pub struct Keeper {
    shop: Arc<Shop>,
    number: u64,
    chance: Chance,
    asked: u64,
    pub led: Vec<Led>,
    /// Answers, by what they were to: how often.
    pub counts: BTreeMap<&'static str, u64>,
}

/// What came of a request.
enum Answer {
    Done(Arc<Order>),
    Refused(String),
}

impl Keeper {
    pub fn new(shop: &Arc<Shop>, number: u64) -> Self {
        Self {
            shop: Arc::clone(shop),
            number,
            chance: Chance::new(shop.seed, CHANCES + number),
            asked: 0,
            led: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Leads orders until everything is healed.
    pub async fn work(&mut self, stage: &Stage) {
        while !stage.is_healed() {
            let Some(mut led) = self.place().await else {
                self.pause().await;
                continue;
            };
            for _ in 0..self.chance.below(STEPS_MAX) {
                self.pause().await;
                let deed = self.deed(&led);
                match (&deed, self.chance.below(3)) {
                    (Deed::Edit(lines, _), 0) => self.race(&mut led, lines.clone()).await,
                    _ => self.step(&mut led, deed).await,
                }
            }
            self.led.push(led);
        }
    }

    async fn pause(&mut self) {
        sleep(Duration::from_millis(self.chance.below(PAUSE_MS))).await;
    }

    fn request_id(&mut self) -> String {
        self.asked += 1;
        format!("k{}-{}", self.number, self.asked)
    }

    async fn place(&mut self) -> Option<Led> {
        let request_id = self.request_id();
        let customer = self.chance.below(CUSTOMERS);
        let (first, count) = (self.chance.below(ITEMS), 1 + self.chance.below(2));
        let lines = (0..count).map(|n| {
            let n = (first + n) % ITEMS;
            Line {
                sku: Sku::new(&sku(n)).unwrap(),
                quantity: Quantity(1 + self.chance.below(5) as i64),
                unit_price: Amount(price(n)),
            }
        });
        let place = PlaceOrder {
            customer: CustomerId::new(&customer_id(customer)).unwrap(),
            currency: currency(),
            lines: lines.collect(),
            provider: (self.chance.below(2) == 0).then(provider::name),
        };
        let key = Key::Customer(place.customer.clone());
        let is_by_provider = place.provider.is_some();
        let id = request_id.clone();
        let placed = self.until_answered(key, move |running| {
            let (place, call) = (place.clone(), call(&id));
            async move { running.docket.place_order(call, place).await }
        });
        let (answer, what) = match placed.await? {
            Answer::Done(order) => (Some(Led::new(&order, customer)), "placed"),
            Answer::Refused(reason) => {
                let may_be = match reason.as_str() {
                    "INSUFFICIENT_STOCK" => true,
                    "INSUFFICIENT_CREDIT" => !is_by_provider,
                    "PAYMENT_DECLINED" | "PAYMENT_EXPIRED" => is_by_provider,
                    _ => false,
                };
                if !may_be {
                    self.shop.fault(format!("{request_id} is refused with {reason}"));
                }
                (None, if is_by_provider { "not paid" } else { "refused" })
            }
        };
        *self.counts.entry(what).or_default() += 1;
        answer
    }

    /// Asks for one thing, and holds the order against what it must be then.
    async fn step(&mut self, led: &mut Led, deed: Deed) {
        let request_id = self.request_id();
        match self.done(led.id, &request_id, &deed).await {
            None => {}
            Some(Answer::Done(order)) => self.was_done(led, &deed, &request_id, &order),
            Some(Answer::Refused(reason)) => self.was_refused(led, &deed, &request_id, &reason).await,
        }
    }

    /// Two edits of one version of it, at the same time: one of them at most is done.
    async fn race(&mut self, led: &mut Led, lines: Named) {
        let other: Named = lines.iter().map(|(line, many)| (*line, many + 1)).collect();
        let edits = [lines, other].map(|lines| Deed::Edit(lines, led.version));
        let ids = [self.request_id(), self.request_id()];
        let keeper: &Self = self;
        let row = |n: usize| {
            (
                Chance::new(keeper.shop.seed ^ keeper.asked, CHANCES + n as u64),
                led.id,
            )
        };
        let [(mut one, id), (mut two, _)] = [row(1), row(2)];
        let (first, second) = tokio::join!(
            keeper.done_by(&mut one, id, &ids[0], &edits[0]),
            keeper.done_by(&mut two, id, &ids[1], &edits[1]),
        );
        let mut done = Vec::new();
        for (answer, at) in [(first, 0), (second, 1)] {
            match answer {
                None => return,
                // Who wants what there is already changes nothing, and is in nobody's way.
                Some(Answer::Done(_)) if led.more(edited(&edits[at])) == 0 => {}
                Some(Answer::Done(order)) => done.push((order, at)),
                Some(Answer::Refused(reason)) => {
                    self.was_refused(led, &edits[at], &ids[at], &reason).await;
                }
            }
        }
        if done.len() > 1 {
            self.shop
                .fault(format!("two edits of one version are done: {edits:?} {done:?}"));
        }
        if let Some((order, at)) = done.pop() {
            self.was_done(led, &edits[at], &ids[at], &order);
            *self.counts.entry("one of two edits").or_default() += 1;
        }
    }

    fn was_done(&mut self, led: &mut Led, deed: &Deed, request_id: &str, order: &Order) {
        led.apply(deed, request_id);
        led.version = led.version.max(order.version);
        if let Some(why) = led.differs(order) {
            self.shop.fault(format!("{request_id} {deed:?} was done: {why}"));
        }
        *self.counts.entry(deed.name()).or_default() += 1;
    }

    async fn was_refused(&mut self, led: &mut Led, deed: &Deed, request_id: &str, reason: &str) {
        if !led.may_refuse(deed, reason) {
            self.shop
                .fault(format!("{request_id} {deed:?} is refused with {reason}: {led:?}"));
        }
        *self.counts.entry("refused").or_default() += 1;
        if let Some(order) = self.read(led.id).await {
            led.version = order.version;
        }
    }

    /// What its provider declined is tried again until it is done, and each order is as it must be.
    pub async fn finish(&mut self) {
        for at in 0..self.led.len() {
            let Some(order) = self.until_paid(self.led[at].id).await else {
                return;
            };
            if let Some(why) = self.led[at].differs(&order) {
                self.shop.fault(format!("at the end: {why}"));
            }
        }
    }

    /// The same of orders that nobody was told the names of: those that were given up, which their provider is to give back.
    pub async fn finish_others(&mut self) {
        let seat = Arc::clone(&self.shop.seats[0]);
        let end = Instant::now() + SETTLED_WITHIN;
        let books = loop {
            match seat.run(books::read).await {
                Ok(Some(Ok(books))) => break books,
                // A lead may still be on its way.
                _ if Instant::now() < end => sleep(RETRY).await,
                _ => return self.shop.fault("the orders that were given up cannot be listed"),
            }
        };
        for order in books.orders {
            let is_due = order.next_payment().is_some() || order.declined_payments().next().is_some();
            if is_due && self.until_paid(order.id).await.is_none() {
                return;
            }
        }
    }

    /// An order of which nothing is due any more, and nothing was left declined; none where it never is, which is a fault. That its provider
    /// will not pay for it at all is no such thing.
    async fn until_paid(&mut self, id: OrderId) -> Option<Arc<Order>> {
        let end = Instant::now() + SETTLED_WITHIN;
        loop {
            let order = self.read(id).await?;
            let declined: Vec<u32> = order.declined_payments().collect();
            for number in &declined {
                let request_id = self.request_id();
                let again = self.done(id, &request_id, &Deed::Retry(*number)).await?;
                if let Answer::Refused(reason) = again {
                    self.shop
                        .fault(format!("step {number} of {order:?} is not tried again: {reason}"));
                    return None;
                }
                *self.counts.entry(Deed::Retry(0).name()).or_default() += 1;
            }
            if declined.is_empty() && order.next_payment().is_none() && order.is_settled() {
                return Some(order);
            }
            if Instant::now() > end {
                self.shop
                    .fault(format!("something is still to be done: {order:?}"));
                return None;
            }
            sleep(RETRY).await;
        }
    }

    /// An order, as it stands.
    async fn read(&mut self, id: OrderId) -> Option<Arc<Order>> {
        let read = self.until_answered(Key::Order(id), move |running: Running| async move {
            running.docket.get_order(call(""), id).await
        });
        match read.await? {
            Answer::Done(order) => Some(order),
            Answer::Refused(reason) => {
                self.shop.fault(format!("{id} is not to be read: {reason}"));
                None
            }
        }
    }

    async fn done(&mut self, id: OrderId, request_id: &str, deed: &Deed) -> Option<Answer> {
        let mut chance = Chance::new(self.chance.draw(), CHANCES);
        self.done_by(&mut chance, id, request_id, deed).await
    }

    async fn done_by(
        &self,
        chance: &mut Chance,
        id: OrderId,
        request_id: &str,
        deed: &Deed,
    ) -> Option<Answer> {
        let (request_id, deed) = (request_id.to_owned(), deed.clone());
        let work = move |running: Running| {
            let (deed, call) = (deed.clone(), call(&request_id));
            async move { do_it(&running.docket, call, id, deed).await }
        };
        until_answered(&self.shop, chance, Key::Order(id), work).await
    }

    async fn until_answered<F>(
        &mut self,
        key: Key,
        work: impl Fn(Running) -> F + Clone + Send + 'static,
    ) -> Option<Answer>
    where
        F: Future<Output = Result<Arc<Order>, CallError>> + Send + 'static,
    {
        let mut chance = Chance::new(self.chance.draw(), CHANCES);
        until_answered(&self.shop, &mut chance, key, work).await
    }

    /// What an order may be asked for; now and then what it may not.
    fn deed(&mut self, led: &Led) -> Deed {
        let chance = &mut self.chance;
        let some_of = |chance: &mut Chance, there: &[i64]| -> Option<Named> {
            let lines: Vec<u16> = (0..)
                .zip(there)
                .filter(|(_, many)| **many > 0)
                .map(|(n, _)| n)
                .collect();
            let line = *lines.get(chance.below(lines.len().max(1) as u64) as usize)?;
            let many = 1 + chance.below(there[usize::from(line)] as u64) as i64;
            Some(vec![(line, many)])
        };
        let open = led.open();
        let is_too_much = chance.below(15) == 0;
        if is_too_much {
            return Deed::Ship(vec![(0, open[0] + 1)]);
        }
        let on_its_way = |state: ReturnState| !matches!(state, ReturnState::Declined | ReturnState::Closed);
        let moving = (1..).zip(&led.returns).find(|(_, (_, state))| on_its_way(*state));
        let restock = chance.below(3) > 0;
        let moved = moving.map(|(number, (_, state))| {
            let step = match (state, chance.below(5)) {
                (ReturnState::Requested, 0) => ReturnStep::Decline { note: "worn".into() },
                (ReturnState::Requested, _) => ReturnStep::Approve,
                (ReturnState::Approved, _) => ReturnStep::Receive { restock },
                (_, _) => ReturnStep::Close,
            };
            Deed::Move(number, step)
        });
        let held = led.holds.iter().next().copied();
        let left = led.captured() - led.refunded();
        let deed = match chance.below(20) {
            0..6 => match held {
                Some(reason) if chance.below(3) > 0 => Some(Deed::Release(reason)),
                _ => some_of(chance, &open).map(Deed::Ship),
            },
            6 | 7 => some_of(chance, &open).map(Deed::CancelLines),
            8 => Some(Deed::CancelRest).filter(|_| !led.is_over()),
            9 => Some(Deed::Hold(HoldReason::ALL[chance.below(2) as usize])).filter(|_| !led.is_over()),
            10 => {
                let sent = led.shipments.len() as u64;
                let number = 1 + chance.below(sent.max(1)) as u32;
                Some(Deed::Deliver(number)).filter(|_| sent > 0)
            }
            11..14 => self.edit(led),
            14 | 15 => some_of(chance, &led.returnable()).map(Deed::Return),
            16..18 => moved,
            _ => Some(Deed::Refund(1 + chance.below(left.max(1) as u64) as i64)).filter(|_| left > 0),
        };
        deed.unwrap_or(Deed::Hold(HoldReason::Stock))
    }

    fn edit(&mut self, led: &Led) -> Option<Deed> {
        let line = self.chance.below(led.lines.len() as u64) as usize;
        let gone = led.shipped[line] + led.called_off[line];
        let now = led.lines[line].quantity.0;
        let many = match led.is_by_provider && self.chance.below(3) == 0 {
            // What is cheaper needs nobody's consent.
            true => now - self.chance.below((now - gone) as u64 + 1) as i64,
            false => gone + self.chance.below(8) as i64,
        };
        let edit = Deed::Edit(vec![(line as u16, many)], led.version);
        Some(edit).filter(|_| !led.is_over())
    }
}

fn edited(deed: &Deed) -> &Named {
    match deed {
        Deed::Edit(lines, _) => lines,
        other => panic!("no edit: {other:?}"),
    }
}

/// Has something done by whoever leads it, again and again until there is an answer; none where that takes too long, which is a fault.
async fn until_answered<F>(
    shop: &Arc<Shop>,
    chance: &mut Chance,
    key: Key,
    work: impl Fn(Running) -> F + Clone + Send + 'static,
) -> Option<Answer>
where
    F: Future<Output = Result<Arc<Order>, CallError>> + Send + 'static,
{
    // While things go wrong, and then as long as all may take to settle.
    let end = Instant::now() + Duration::from_millis(crate::nemesis::TROUBLE_MS) + SETTLED_WITHIN;
    loop {
        let answer = match chance.below(8) {
            0 => {
                let mut other = Chance::new(chance.draw(), CHANCES);
                let twice = tokio::join!(
                    once(shop, chance, &key, work.clone()),
                    once(shop, &mut other, &key, work.clone())
                );
                match twice {
                    (Some(Answer::Done(order)), _) | (_, Some(Answer::Done(order))) => {
                        Some(Answer::Done(order))
                    }
                    (one, other) => one.or(other),
                }
            }
            _ => once(shop, chance, &key, work.clone()).await,
        };
        if answer.is_some() {
            return answer;
        }
        if Instant::now() > end {
            shop.fault(format!("nothing about {key:?} is answered"));
            return None;
        }
        sleep(RETRY).await;
    }
}

/// Asks any node, and whom that says to lead it. None where nobody knows what came of it.
async fn once<F>(
    shop: &Arc<Shop>,
    chance: &mut Chance,
    key: &Key,
    work: impl Fn(Running) -> F + Clone + Send + 'static,
) -> Option<Answer>
where
    F: Future<Output = Result<Arc<Order>, CallError>> + Send + 'static,
{
    let seats = shop.seats.len();
    let mut at = chance.below(seats as u64) as usize;
    for _ in 0..=HOPS_MAX {
        let (key, work) = (key.clone(), work.clone());
        let asked = shop.seats[at].run(move |running| async move {
            match running.docket.place_of(&key) {
                Place::Here => Ok(work(running).await),
                Place::Node(node) => Err(Some(node)),
                Place::Unknown => Err(None),
            }
        });
        match timeout(WAIT_MAX, asked).await {
            Ok(Ok(Some(Ok(Ok(order))))) => return Some(Answer::Done(order)),
            Ok(Ok(Some(Ok(Err(error))))) => {
                return match outcome(&Status::from(Refusal::from(error))) {
                    Outcome::Refused(refusal) if refusal.reason != "ORDER_PENDING" => {
                        Some(Answer::Refused(refusal.reason))
                    }
                    _ => None,
                };
            }
            Ok(Ok(Some(Err(Some(node))))) => at = (node as usize).saturating_sub(1) % seats,
            _ => return None,
        }
    }
    None
}

/// Whether a customer or an item, by its resource name, is theirs.
pub fn owns(name: &str) -> bool {
    name.strip_prefix("customers/k").is_some() || name.strip_prefix("items/k").is_some()
}

pub fn sku(n: u64) -> String {
    format!("k{n}")
}

pub fn customer_id(n: u64) -> String {
    format!("k{n}")
}

pub fn price(n: u64) -> i64 {
    120 + 41 * n as i64
}
