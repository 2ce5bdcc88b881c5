//! A hash of the values that an entry has left in a shard's state: replicas that made other values of the same entries are told apart by
//! it, though their entries and outcomes are alike.
//!
//! Of every entity that an entry changed all values are taken in that an event may change, as they are afterwards. It is the same on every
//! machine and in every process, and costs a multiplication a value, of which an order of two lines has some sixty.
//!
//! What is hashed, and how, is part of what replicas are compared by: a change here needs another mark in the cluster's digests
//! (`docket_cluster`, `digest.rs`), so that two versions of the program do not stop one another.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use docket_engine::{
    Customer, Item, LineQuantity, Order, OrderId, OrderLife, OrderState, PaymentOutcome, ProviderPayment,
    ReturnStep, Stamp,
};

/// 2⁶⁴ divided by the golden ratio, made odd.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of one entry's effects. One thread writes.
#[derive(Default)]
pub(crate) struct Effects(AtomicU64);

impl Effects {
    /// Begins with the next entry.
    pub(crate) fn begin(&self) {
        self.0.store(0, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Takes in an order as the entry has left it; one that is new with what was ordered.
    pub(crate) fn order(&self, order: &Order, is_new: bool) {
        let mut hash = self.hash();
        hash.number(1)
            .number(order.version.0)
            .number(match order.state {
                OrderState::Pending => 0,
                OrderState::Confirmed => 1,
                OrderState::Cancelled => 2,
                OrderState::Rejected => 3,
                OrderState::PartiallyFulfilled => 4,
                OrderState::Fulfilled => 5,
                OrderState::Authorizing => 6,
                OrderState::Expired => 7,
                OrderState::Closed => 8,
            })
            .number(order.total.0 as u64)
            .number(order.created.0 as u64)
            .number(order.updated.0 as u64)
            .number(u64::from(order.rejection.is_some()));
        for sku in &order.releasing {
            hash.text(sku.as_str());
        }
        for hold in order.holds() {
            hash.number(hold.reason.number().into())
                .number(hold.since.0 as u64)
                .number(hold.version.0)
                .text(hold.by.as_str())
                .text(&hold.note);
            if let Some(end) = &hold.ended {
                hash.number(end.at.0 as u64)
                    .number(end.version.0)
                    .text(end.by.as_ref().map_or("", |by| by.as_str()));
            }
        }
        if let Some(life) = &order.life {
            hash.life(life);
        }
        if let Some(provider) = &order.provider {
            hash.provider(provider);
        }
        // Where nothing is kept, as of what older programs have applied, the hash is what theirs was.
        if !order.trail.is_empty() {
            hash.bytes(order.trail.as_bytes());
        }
        hash.edits(order);
        if is_new {
            hash.text(order.customer.as_str()).text(order.currency.as_str());
            for line in order.lines.iter() {
                hash.text(line.sku.as_str())
                    .number(line.quantity.0 as u64)
                    .number(line.unit_price.0 as u64);
            }
        }
        self.keep(hash);
    }

    /// Takes in that an order is in the archive, and which number it has there.
    pub(crate) fn archived(&self, id: OrderId, number: u64) {
        let mut hash = self.hash();
        let (high, low) = id.halves();
        hash.number(4).number(high).number(low).number(number);
        self.keep(hash);
    }

    /// Takes in a customer as the entry has left it.
    pub(crate) fn customer(&self, customer: &Customer) {
        let mut hash = self.hash();
        hash.number(2)
            .number(customer.version.0)
            .number(customer.revision)
            .number(customer.credit_limit.0 as u64)
            .number(customer.balance.0 as u64)
            .number(customer.held.0 as u64)
            .number(customer.created.0 as u64)
            .number(customer.updated.0 as u64)
            .text(customer.currency.as_str())
            .text(&customer.display_name);
        self.keep(hash);
    }

    /// Takes in an item as the entry has left it.
    pub(crate) fn item(&self, item: &Item) {
        let mut hash = self.hash();
        hash.number(3)
            .number(item.version.0)
            .number(item.revision)
            .number(item.unit_price.0 as u64)
            .number(item.on_hand.0 as u64)
            .number(item.reserved.0 as u64)
            .number(item.created.0 as u64)
            .number(item.updated.0 as u64)
            .text(item.currency.as_str())
            .text(&item.display_name);
        // Of one that promises no more than there is the hash is what older programs have.
        if let Some(backorders) = &item.backorders {
            hash.number(backorders.limit().0 as u64);
            for place in backorders.row() {
                let (high, low) = place.order.halves();
                hash.number(high).number(low).number(place.quantity.0 as u64);
            }
        }
        self.keep(hash);
    }

    fn hash(&self) -> Hash {
        Hash(self.get())
    }

    fn keep(&self, hash: Hash) {
        self.0.store(hash.0, Relaxed);
    }
}

/// Each step can be undone, so that one value that differs always shows.
struct Hash(u64);

impl Hash {
    fn number(&mut self, value: u64) -> &mut Self {
        self.0 = (self.0 ^ value).wrapping_mul(FACTOR);
        self.0 ^= self.0 >> 32;
        self
    }

    /// What was shipped of an order, and cancelled in part.
    fn life(&mut self, life: &OrderLife) {
        for fulfilment in &life.fulfilments {
            self.lines(&fulfilment.lines)
                .text(&fulfilment.carrier)
                .text(&fulfilment.tracking)
                .number(fulfilment.captured.0 as u64);
            // One that was not planned has what older programs have of it.
            let stamps = [&fulfilment.opened, &fulfilment.shipped, &fulfilment.delivered];
            for stamp in stamps.into_iter().chain([&fulfilment.cancelled]).flatten() {
                self.stamp(stamp);
            }
            if fulfilment.opened.is_some() {
                self.number(fulfilment.state().number().into());
            }
        }
        for cancellation in &life.cancellations {
            self.lines(&cancellation.lines)
                .number(cancellation.voided.0 as u64)
                .stamp(&cancellation.cancelled);
        }
        for sku in &life.consuming {
            self.text(sku.as_str());
        }
        for found in &life.returns {
            self.lines(&found.lines).text(&found.note).stamp(&found.requested);
            for (step, stamp) in &found.steps {
                self.number(step.leads_to().number().into()).stamp(stamp);
                match step {
                    ReturnStep::Decline { note } => self.text(note),
                    ReturnStep::Receive { restock } => self.number(u64::from(*restock)),
                    ReturnStep::Approve | ReturnStep::Close => self,
                };
            }
        }
        for refund in &life.refunds {
            self.number(refund.amount.0 as u64)
                .text(&refund.note)
                .stamp(&refund.refunded);
        }
        for (number, sku) in &life.restocking {
            self.number((*number).into()).text(sku.as_str());
        }
        for news in &life.backorders {
            self.lines(&news.lines)
                .number(news.filled.into())
                .stamp(&news.heard);
        }
    }

    /// How an order was edited, and what its lines are since. Nothing of one that never was.
    fn edits(&mut self, order: &Order) {
        for edit in order.edits() {
            self.lines(&edit.before).lines(&edit.after).stamp(&edit.begun);
            if let Some(end) = &edit.ended {
                self.stamp(&end.at).number(u64::from(end.refused.is_some()));
            }
        }
        if !order.edits().is_empty() {
            for line in order.lines.iter() {
                self.number(line.quantity.0 as u64);
            }
        }
    }

    /// What a provider is to do for an order, and has done.
    fn provider(&mut self, provider: &ProviderPayment) {
        self.text(provider.name.as_str());
        for step in &provider.steps {
            self.number(step.kind.number().into())
                .number(step.amount.0 as u64)
                .number(step.group.into())
                .stamp(&step.due);
            // Of an order with one payment the hash is what it ever was.
            if step.payment > 1 {
                self.number(step.payment.into());
            }
            if let Some((outcome, stamp)) = &step.outcome {
                let (number, text) = match outcome {
                    PaymentOutcome::Done { reference } => (1, reference),
                    PaymentOutcome::Declined { reason } => (2, reason),
                };
                self.number(number).text(text).stamp(stamp);
            }
            if let Some(retried) = &step.retried {
                self.stamp(retried);
            }
        }
    }

    fn lines(&mut self, lines: &[LineQuantity]) -> &mut Self {
        lines.iter().fold(self, |hash, of_line| {
            hash.number(of_line.line.into()).number(of_line.quantity.0 as u64)
        })
    }

    fn stamp(&mut self, stamp: &Stamp) -> &mut Self {
        self.number(stamp.at.0 as u64)
            .number(stamp.version.0)
            .text(stamp.by.as_ref().map_or("", |by| by.as_str()))
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.number(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.number(u64::from_le_bytes(last))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use docket_cluster::{Entry, StateMachine};
    use docket_engine::{
        Amount, CustomerEvent, CustomerId, Decider, Event, Fact, ItemEvent, Quantity, Record, Sku, Time,
        Version,
    };

    use super::*;
    use crate::{
        committed::Committed,
        machine::{self, ShardMachine},
    };

    fn customer() -> Customer {
        let created = CustomerEvent::Created {
            display_name: "Anna Example".into(),
            currency: "EUR".parse().unwrap(),
            credit_limit: Amount(500),
        };
        Customer::create(CustomerId::new("anna").unwrap(), &created, Time(7)).unwrap()
    }

    fn item() -> Item {
        let created = ItemEvent::Created {
            display_name: "Tea".into(),
            currency: "EUR".parse().unwrap(),
            unit_price: Amount(300),
            on_hand: Quantity(9),
        };
        Item::create(Sku::new("tea").unwrap(), &created, Time(7)).unwrap()
    }

    fn of(take: impl FnOnce(&Effects)) -> u64 {
        let effects = Effects::default();
        take(&effects);
        effects.get()
    }

    /// Every replica of a cluster must find the same, whatever it runs on.
    #[test]
    fn the_hash_of_the_same_values_is_the_same_for_ever() {
        let both = of(|effects| {
            effects.customer(&customer());
            effects.item(&item());
        });
        assert_eq!(both, 0x5ea7_14e2_24ef_9960);
    }

    /// Applies an entry with one event of the item.
    fn apply(machine: &ShardMachine, version: u64, fact: ItemEvent) -> u64 {
        let record = Record {
            time: Time(version as i64),
            events: vec![Event {
                version: Version(version),
                decider: Decider(1),
                fact: Fact::Item(Sku::new("tea").unwrap(), fact),
            }],
            request: None,
            unchanged: None,
            origin: None,
        };
        let mut payload = Vec::new();
        machine::begin(1, &mut payload);
        machine::encode(&record, &mut payload);
        let entry = Entry {
            index: version,
            term: 1,
            payload: &Bytes::from(payload),
        };
        assert_eq!(&machine.apply(entry)[..], [machine::DONE]);
        machine.effects()
    }

    #[test]
    fn a_replica_that_was_restored_makes_the_same_of_what_comes_next() {
        let machine = || ShardMachine::new(Arc::new(Committed::default()), Arc::default(), Arc::default());
        let (ours, theirs) = (machine(), machine());
        let created = ItemEvent::Created {
            display_name: "Tea".into(),
            currency: "EUR".parse().unwrap(),
            unit_price: Amount(300),
            on_hand: Quantity(9),
        };
        let first = apply(&ours, 1, created);
        let mut stored = Vec::new();
        let mut sink = |piece: &[u8]| {
            stored.extend_from_slice(piece);
            Ok(())
        };
        ours.capture().write(&mut sink).unwrap();
        theirs
            .restore(&mut std::iter::once(Ok(Bytes::from(stored))))
            .unwrap();
        let adjusted = || ItemEvent::Adjusted { delta: Quantity(2) };
        let second = apply(&ours, 2, adjusted());
        assert_eq!(apply(&theirs, 2, adjusted()), second);
        assert!(first != 0 && second != 0 && first != second);
        // And nothing of it stays when all is forgotten.
        theirs.clear();
        let created = ItemEvent::Created {
            display_name: "Tea".into(),
            currency: "EUR".parse().unwrap(),
            unit_price: Amount(300),
            on_hand: Quantity(9),
        };
        assert_eq!(apply(&theirs, 1, created), first);
    }

    #[test]
    fn whatever_an_event_may_change_shows() {
        let changes: [fn(&mut Customer); 7] = [
            |it| it.version = Version(2),
            |it| it.revision += 1,
            |it| it.credit_limit = Amount(501),
            |it| it.balance = Amount(1),
            |it| it.held = Amount(1),
            |it| it.updated = Time(8),
            |it| it.display_name = "Anna Exempla".into(),
        ];
        let same = of(|effects| effects.customer(&customer()));
        for (at, change) in changes.iter().enumerate() {
            let mut other = customer();
            change(&mut other);
            assert_ne!(of(|effects| effects.customer(&other)), same, "change {at}");
        }
        let changes: [fn(&mut Item); 7] = [
            |it| it.version = Version(2),
            |it| it.revision += 1,
            |it| it.unit_price = Amount(301),
            |it| it.on_hand = Quantity(8),
            |it| it.reserved = Quantity(1),
            |it| it.updated = Time(8),
            |it| it.display_name = "Teas".into(),
        ];
        let same = of(|effects| effects.item(&item()));
        for (at, change) in changes.iter().enumerate() {
            let mut other = item();
            change(&mut other);
            assert_ne!(of(|effects| effects.item(&other)), same, "change {at}");
        }
    }
}
