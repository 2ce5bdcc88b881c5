//! A customer's actor: credit and holds. It also puts its orders' own events into the log, in one record with what they
//! do to its account, so that the two cannot come apart.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use docket_engine::{
    Customer, CustomerCommand, CustomerEvent, CustomerId, Effect, EntityId, Event, Fact, ItemCommand,
    OrderId, Record, Rejection, Request, Time, Unchanged, Version, customer, order, steering::Flag,
};
use rapidhash::fast::RandomState;

use super::{
    item::ItemMessage,
    order::{Tally, push_order_events},
};
use crate::{
    docket::PlaceOrder,
    host::Entity,
    proposer::After,
    remembered::Target,
    reply::{Ask, Caller, Deadline, Failure, NOTHING_WAITS, Reply, Step, StepError},
    residents::Residents,
    shard::{Life, Shard},
};

/// When this many requests that changed nothing are remembered on top of committed state, those that are committed by now are dropped.
/// Room for twice as many is kept while there are none.
const OVERLAY_SWEEP: usize = 48;

/// What a customer's actor is told.
pub(crate) enum CustomerMessage {
    /// An order asks for a hold. Where it gets it, its items are asked at once.
    Hold(Hold),
    /// An order gives some of its hold back, or has it captured, unless nobody waits for that any more; `record` has its own event.
    Unhold {
        ask: Ask,
        deadline: Deadline,
        command: CustomerCommand,
        record: Record,
    },
    /// An order asks to hear when all that it asked before is committed, or never will be.
    Wake { ask: Ask },
    /// A client's command.
    Command {
        command: CustomerCommand,
        request: Option<Request>,
        caller: Caller,
    },
}

/// What an order asks of its customer, and of its items when the customer has agreed.
pub(crate) struct Hold {
    pub(crate) ask: Ask,
    /// After this nobody waits for it any more.
    pub(crate) deadline: Deadline,
    pub(crate) place: Arc<PlaceOrder>,
    /// As the order has decided: the hold, and what each item is to reserve.
    pub(crate) effects: Vec<Effect>,
    pub(crate) tally: Arc<Tally>,
    /// Has the order's own first event.
    pub(crate) record: Record,
}

/// A customer with what is decided and not yet committed.
pub(crate) struct CustomerEntity {
    id: CustomerId,
    customer: Option<Customer>,
    requests: Requests,
    life: Life,
}

impl Entity for CustomerEntity {
    type Key = CustomerId;
    type Message = CustomerMessage;
    const KIND: &'static str = "customer";

    fn load(shard: &Arc<Shard>, id: CustomerId) -> Self {
        // Before the state is read: what changes in between ends the life.
        let life = shard.begin_life();
        let customer = shard
            .committed()
            .customers
            .get(&id)
            .map(|customer| Customer::clone(&customer));
        Self {
            id,
            customer,
            requests: Requests::default(),
            life,
        }
    }

    fn handle(&mut self, shard: &Arc<Shard>, message: Box<CustomerMessage>) {
        let committed = self.committed_version(shard);
        if self.is_stale(shard, committed) {
            *self = Self::load(shard, self.id.clone());
        } else {
            self.requests.sweep(committed);
        }
        match *message {
            // The queue of a busy customer is where an order waits, and nothing of it is in the log yet.
            CustomerMessage::Unhold { ask, deadline, .. } if deadline.has_passed() => {
                ask.answer(Err(StepError::Failed(Failure::Expired)));
            }
            CustomerMessage::Hold(hold) if hold.deadline.has_passed() => {
                hold.ask.answer(Err(StepError::Failed(Failure::Expired)));
            }
            CustomerMessage::Hold(hold) => self.hold(shard, hold),
            CustomerMessage::Unhold {
                ask,
                deadline: _,
                command,
                record,
            } => self.unhold(shard, ask, &command, record),
            // Behind whatever an earlier life of the order has put into this queue.
            CustomerMessage::Wake { ask } => {
                shard.barrier(
                    self.life,
                    After::Answered {
                        ask,
                        result: NOTHING_WAITS,
                    },
                );
            }
            CustomerMessage::Command {
                command,
                request,
                caller,
            } => self.command(shard, &command, request, caller),
        }
    }

    fn is_idle(&self, shard: &Arc<Shard>) -> bool {
        let committed = self.committed_version(shard);
        let is_committed = || committed == self.version() && self.requests.are_committed(shard);
        self.is_stale(shard, committed) || is_committed()
    }

    fn is_done(&self) -> bool {
        false
    }

    fn residents(shard: &Shard) -> &Residents<Self> {
        shard.customers()
    }
}

impl CustomerEntity {
    fn version(&self) -> Version {
        self.customer
            .as_ref()
            .map(|customer| customer.version)
            .unwrap_or_default()
    }

    fn committed_version(&self, shard: &Shard) -> Version {
        shard
            .committed()
            .customers
            .get(&self.id)
            .map(|customer| customer.version)
            .unwrap_or_default()
    }

    /// True when this life rests on a state that is not the committed one: another life's records were on their way when
    /// it began, or one of its own was refused.
    fn is_stale(&self, shard: &Shard, committed: Version) -> bool {
        committed > self.version() || shard.committed().is_fenced(self.life.decider)
    }

    fn hold(&mut self, shard: &Arc<Shard>, hold: Hold) {
        let Hold {
            ask,
            deadline: _,
            place,
            effects,
            tally,
            record,
        } = hold;
        let (order, decider) = (ask.order(), ask.decider());
        let amount = effects.iter().find_map(|effect| match effect {
            Effect::HoldCredit { amount, .. } => Some(*amount),
            _ => None,
        });
        if let Some(request) = record.request
            && let Err(error) = self.requests.check_order(shard, request)
        {
            // Also this answer depends on what may not be committed yet.
            return shard.barrier(
                self.life,
                After::Answered {
                    ask,
                    result: Err(error),
                },
            );
        }
        let command = CustomerCommand::Hold {
            order,
            amount: amount.unwrap_or_default(),
            currency: place.currency,
        };
        match customer::decide(&self.id, self.customer.as_ref(), &command) {
            Ok(decision) => {
                let version = Version(self.version().0 + decision.events.len() as u64);
                self.requests.begun_order(shard, &record, order, Some(version));
                let only_there = !shard.flags().is_on_for(Flag::Backorders, &self.id);
                // All questions are there before the record is on its way: one that is dropped says so to the order.
                let mut asks = Vec::with_capacity(effects.len());
                for effect in effects {
                    let Effect::ReserveStock { sku, currency, lines } = effect else {
                        continue;
                    };
                    let ask = Ask::new(shard.clone(), order, decider, Step::Reserve(sku.clone()));
                    let ask = ask.counted(tally.clone()).only_there(only_there);
                    let command = ItemCommand::Reserve {
                        order,
                        currency,
                        lines,
                    };
                    asks.push((sku, Box::new(ItemMessage::Ask { ask, command })));
                }
                let placed = After::Placed {
                    order,
                    decider,
                    tally,
                };
                self.submit(shard, record, decision.events, |_| placed);
                // The order hears when all is committed, or of what goes wrong.
                ask.needs_no_answer();
                for (sku, message) in asks {
                    shard.tell_item(sku, message);
                }
            }
            Err(rejection) => self.refuse(shard, ask, &place, record, rejection),
        }
    }

    /// Records an order as refused. Here, in its turn, and not where the order hears of it: between the two the request could come
    /// again, in another order, and be decided anew.
    fn refuse(
        &mut self,
        shard: &Arc<Shard>,
        ask: Ask,
        place: &PlaceOrder,
        mut record: Record,
        rejection: Rejection,
    ) {
        let refused = self.customer.as_ref().and_then(|customer| {
            let decided = order::decide(None, &place.refusal(rejection.clone()));
            decided.ok().map(|decision| (customer.version, decision.events))
        });
        // Also a refusal rests on what may not be committed yet.
        let Some((version, events)) = refused else {
            let result = Err(StepError::Rejected(rejection));
            return shard.barrier(self.life, After::Answered { ask, result });
        };
        record.unchanged = Some(Unchanged {
            entity: EntityId::Customer(self.id.clone()),
            version,
            decider: self.life.decider,
        });
        record.events.clear();
        push_order_events(
            &mut record,
            (ask.order(), ask.decider()),
            Version::default(),
            events,
        );
        self.requests.begun_order(shard, &record, ask.order(), None);
        let result = Err(StepError::Refused(rejection));
        shard.submit(self.life, record, After::Answered { ask, result });
    }

    fn unhold(&mut self, shard: &Arc<Shard>, ask: Ask, command: &CustomerCommand, record: Record) {
        match customer::decide(&self.id, self.customer.as_ref(), command) {
            Ok(decision) => {
                self.submit(shard, record, decision.events, |_| After::Answered {
                    ask,
                    result: NOTHING_WAITS,
                });
            }
            Err(rejection) => {
                shard.barrier(
                    self.life,
                    After::Answered {
                        ask,
                        result: Err(StepError::Rejected(rejection)),
                    },
                );
            }
        }
    }

    fn command(
        &mut self,
        shard: &Arc<Shard>,
        command: &CustomerCommand,
        request: Option<Request>,
        caller: Caller,
    ) {
        if caller.is_expired() {
            return caller.fail(Failure::Expired);
        }
        let caller = match self.requests.check(shard, self.life, request, caller) {
            Seen::New(caller) => caller,
            Seen::Before => return,
        };
        match customer::decide(&self.id, self.customer.as_ref(), command) {
            Ok(decision) if decision.events.is_empty() => match &self.customer {
                Some(customer) => {
                    let of = (EntityId::Customer(self.id.clone()), customer.version);
                    let reply = Reply::Customer(Arc::new(customer.clone()));
                    self.requests.begun(shard, request, None);
                    shard.answer_unchanged(self.life, of, request, caller, reply);
                }
                None => drop(caller),
            },
            Ok(decision) => {
                let version = Version(self.version().0 + decision.events.len() as u64);
                self.requests.begun(shard, request, Some(version));
                let record = Record {
                    time: shard.now(),
                    events: Vec::with_capacity(1),
                    request,
                    unchanged: None,
                    origin: None,
                };
                self.submit(shard, record, decision.events, |customer| After::Answer {
                    callers: vec![caller],
                    reply: Reply::Customer(Arc::new(customer.clone())),
                    settled: None,
                });
            }
            Err(rejection) => shard.refuse(self.life, request, caller, rejection),
        }
    }

    /// Carries the events into the speculative state and submits them behind what the record already has.
    fn submit(
        &mut self,
        shard: &Arc<Shard>,
        mut record: Record,
        events: Vec<CustomerEvent>,
        after: impl FnOnce(&Customer) -> After,
    ) {
        let mut after = Some(after);
        let mut then = None;
        for event in events {
            let evolved = match &mut self.customer {
                Some(customer) => customer.evolve(&event, record.time).map(|()| &*customer),
                None => {
                    Customer::create(self.id.clone(), &event, record.time).map(|c| &*self.customer.insert(c))
                }
            };
            let customer = evolved.unwrap_or_else(|broken| shard.broken(&broken));
            then = after.take().map(|after| after(customer)).or(then);
            record.events.push(Event {
                version: customer.version,
                decider: self.life.decider,
                fact: Fact::Customer(self.id.clone(), event),
            });
        }
        if let Some(after) = then {
            shard.submit(self.life, record, after);
        }
    }
}

/// Requests that were begun and may not be committed yet, on top of those that are.
#[derive(Default)]
pub(crate) struct Requests {
    begun: HashMap<u128, Begun, RandomState>,
    /// Those that are committed with a version of the entity, oldest first.
    versions: VecDeque<(Version, u128)>,
    /// How many of the others there were left when they were looked through last.
    left: usize,
}

#[derive(Clone, Copy)]
struct Begun {
    fingerprint: u64,
    order: Option<OrderId>,
    /// When it was decided, or later.
    time: Time,
    /// What the entity is of when it is committed, where it changes the entity.
    version: Option<Version>,
}

/// Whether a request is new.
pub(crate) enum Seen {
    /// It is: go on.
    New(Caller),
    /// It is not, and its caller is taken care of.
    Before,
}

impl Requests {
    /// Answers the repeat of a request.
    pub(crate) fn check(
        &self,
        shard: &Arc<Shard>,
        life: Life,
        request: Option<Request>,
        caller: Caller,
    ) -> Seen {
        let Some(request) = request else {
            return Seen::New(caller);
        };
        if let Some(reply) = shard.stored_reply(request) {
            shard.answer(life, caller, reply);
            return Seen::Before;
        }
        match self.on_its_way(shard, request) {
            None => return Seen::New(caller),
            Some(begun) if begun.fingerprint == request.fingerprint && begun.order.is_none() => {
                // Its first sending is on its way to the disk: behind that the stored answer can be read.
                shard.retry_behind_barrier(life, caller);
            }
            Some(_) => shard.answer(life, caller, Reply::Rejected(Rejection::RequestIdReused)),
        }
        Seen::Before
    }

    /// Whether an order with this request may be placed.
    fn check_order(&self, shard: &Arc<Shard>, request: Request) -> Result<(), StepError> {
        let stored = shard.committed().requests.get(request.key).map(|stored| {
            let order = match stored.target {
                Target::Order(id) => Some(id),
                _ => None,
            };
            (stored.fingerprint, order)
        });
        let begun = || {
            self.on_its_way(shard, request)
                .map(|begun| (begun.fingerprint, begun.order))
        };
        match stored.or_else(begun) {
            None => Ok(()),
            Some((fingerprint, Some(order))) if fingerprint == request.fingerprint => {
                Err(StepError::Duplicate(order))
            }
            Some(_) => Err(StepError::Rejected(Rejection::RequestIdReused)),
        }
    }

    /// A request that was begun. One that was committed and is forgotten is none: it is decided anew. (Not so one that is
    /// committed: that may have come to be since it was looked for.)
    fn on_its_way(&self, shard: &Shard, request: Request) -> Option<Begun> {
        let key = request.key;
        let begun = self.begun.get(&key).copied();
        begun.filter(|begun| !shard.committed().requests.has_forgotten(begun.time))
    }

    /// Whether a request was done, or is on its way.
    pub(crate) fn has_begun(&self, shard: &Shard, request: Request) -> bool {
        // In this order: what is not on its way any more is committed.
        self.on_its_way(shard, request).is_some() || shard.committed().has_done(request)
    }

    /// Whether committed state has, or had, all that were begun. Only then another life may begin: what it does not find there it decides
    /// anew.
    pub(crate) fn are_committed(&self, shard: &Shard) -> bool {
        let remembered = &shard.committed().requests;
        let is_committed = |(key, begun): (&u128, &Begun)| {
            remembered.contains_key(*key) || remembered.has_forgotten(begun.time)
        };
        self.begun.iter().all(is_committed)
    }

    /// Drops what is committed with a version of the entity before this one, which is committed. (Not what is with this one: a record's
    /// version is seen before its request is remembered, and in between it would be found nowhere.)
    pub(crate) fn sweep(&mut self, committed: Version) {
        while let Some((version, key)) = self.versions.pop_front_if(|(version, _)| *version < committed) {
            if self
                .begun
                .get(&key)
                .is_some_and(|begun| begun.version == Some(version))
            {
                self.begun.remove(&key);
            }
        }
        if self.begun.len() <= 1 && self.begun.capacity() > 2 * OVERLAY_SWEEP {
            self.begun.shrink_to_fit();
            self.versions.shrink_to_fit();
        }
    }

    /// Notes that a request is on its way into the log; with the version that the entity is of when it is committed, where it changes the
    /// entity.
    pub(crate) fn begun(&mut self, shard: &Arc<Shard>, request: Option<Request>, version: Option<Version>) {
        if let Some(request) = request {
            self.note(shard, request, None, shard.now(), version);
        }
    }

    fn begun_order(&mut self, shard: &Arc<Shard>, record: &Record, order: OrderId, version: Option<Version>) {
        if let Some(request) = record.request {
            self.note(shard, request, Some(order), record.time, version);
        }
    }

    fn note(
        &mut self,
        shard: &Arc<Shard>,
        request: Request,
        order: Option<OrderId>,
        time: Time,
        version: Option<Version>,
    ) {
        let Request { key, fingerprint } = request;
        match version {
            Some(version) => self.versions.push_back((version, key)),
            // Twice as many as were left: so that what looking through them costs is spread over as many requests.
            None if self.begun.len() >= self.versions.len() + (2 * self.left).max(OVERLAY_SWEEP) => {
                let remembered = &shard.committed().requests;
                self.begun.retain(|key, begun| {
                    !remembered.contains_key(*key) && !remembered.has_forgotten(begun.time)
                });
                self.left = self.begun.len().saturating_sub(self.versions.len());
            }
            None => {}
        }
        let begun = Begun {
            fingerprint,
            order,
            time,
            version,
        };
        self.begun.insert(key, begun);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Docket, Options};

    #[tokio::test]
    async fn requests_are_dropped_behind_the_version_that_has_them_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let docket = Docket::open(Options::new(dir.path())).await.unwrap();
        let shard = docket.inner.router.shards[0].clone();
        let (now, mut requests) = (shard.now(), Requests::default());
        let request = |key| Request { key, fingerprint: 7 };
        let is_there = |requests: &Requests, key| requests.on_its_way(&shard, request(key)).is_some();
        requests.note(&shard, request(1), None, now, Some(Version(2)));
        requests.note(&shard, request(2), Some(OrderId(1)), now, Some(Version(3)));
        requests.note(&shard, request(3), None, now, None);

        requests.sweep(Version(2));
        assert!(
            [1, 2, 3].into_iter().all(|key| is_there(&requests, key)),
            "the version is seen before the request is remembered"
        );
        requests.sweep(Version(3));
        assert!(!is_there(&requests, 1) && is_there(&requests, 2));
        requests.sweep(Version(9));
        assert!(!is_there(&requests, 2));
        // Nothing but committed state can tell of one that changed nothing.
        assert!(is_there(&requests, 3) && !requests.are_committed(&shard));

        // Decided anew, since its first decision was forgotten: the earlier version is not this one's.
        requests.note(&shard, request(4), None, now, Some(Version(10)));
        requests.note(&shard, request(4), None, now, Some(Version(12)));
        requests.sweep(Version(12));
        assert!(is_there(&requests, 4));
        requests.sweep(Version(13));
        assert!(!is_there(&requests, 4) && requests.versions.is_empty());
        docket.close(Duration::from_secs(10)).await.unwrap();
    }
}
