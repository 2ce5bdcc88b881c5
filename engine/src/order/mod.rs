//! Orders. An order is its own process manager: it records what it intends, and `Effect`s say what to ask of its
//! customer and its items; the answers come back as commands.

mod backordering;
mod closing;
mod command;
mod deciding;
mod editing;
mod life;
mod lines;
mod paying;
mod payments;
mod planning;
mod returning;

use std::{fmt, sync::Arc};

use crate::{
    Amount, Broken, Currency, CustomerId, Decision, OrderId, PaymentKind, ProviderName, Quantity, Rejection,
    Sku, Time, Trail, Version,
};

pub use backordering::asks_first;
pub use command::{Effect, OrderCommand, OrderEvent};
pub(crate) use editing::{asks_any, lowered};
pub use life::OrderLife;
pub(crate) use life::derived_state;
use lines::{FEW_LINES, check_lines, reserve_effects};
pub use lines::{skus, total};
pub use payments::{PAYMENT_RETRIES_MAX, ProviderPayment};

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderState {
    /// Its money is held and its stock is being reserved.
    Pending,
    /// Its stock is reserved, and its provider is being asked to authorise its payment. Shown as PENDING.
    Authorizing,
    /// Its money is held and its stock is reserved.
    Confirmed,
    /// Some of it was shipped, and some is still to be.
    PartiallyFulfilled,
    /// All of it was shipped that was not called off.
    Fulfilled,
    /// Was confirmed; holds nothing any more.
    Cancelled,
    /// Was refused; holds nothing.
    Rejected,
    /// Its payment was not authorised in time; holds nothing.
    Expired,
    /// Was fulfilled, and nothing came of it for so long that nothing is taken any more.
    Closed,
}

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending | Self::Authorizing => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::PartiallyFulfilled => "PARTIALLY_FULFILLED",
            Self::Fulfilled => "FULFILLED",
            Self::Cancelled => "CANCELLED",
            Self::Rejected => "REJECTED",
            Self::Expired => "EXPIRED",
            Self::Closed => "CLOSED",
        })
    }
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The item.
    pub sku: Sku,
    /// How many: 1 to [`crate::money::QUANTITY_MAX`].
    pub quantity: Quantity,
    /// The price of one, 0 or more.
    pub unit_price: Amount,
}

/// What a customer ordered, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// Whose it is.
    pub customer: CustomerId,
    /// Of all its amounts.
    pub currency: Currency,
    /// What was ordered: 1 to [`crate::LINES_MAX`] lines.
    pub lines: Arc<[Line]>,
    /// The sum of the lines.
    pub total: Amount,
    /// Where it stands.
    pub state: OrderState,
    /// Why it was refused.
    pub rejection: Option<Box<Rejection>>,
    /// The items that still hold a reservation which must be released.
    pub releasing: Box<[Sku]>,
    /// What came after it was confirmed; `None` while nothing has, as with nearly all orders.
    pub life: Option<Box<OrderLife>>,
    /// Who moves its money, and what that came to; `None` where its customer's account does.
    pub provider: Option<Box<ProviderPayment>>,
    /// How many events made it.
    pub version: Version,
    /// When it was placed.
    pub created: Time,
    /// When it last changed.
    pub updated: Time,
    /// Who changed it, when, and by which request ([`Order::note`]).
    pub trail: Trail,
}

/// What an order (`None` before it is placed) makes of a command. Whoever asks has checked the shape of its lines:
/// [`Order::create`] refuses others.
///
/// # Errors
/// The rejection, where it does not.
pub fn decide(order: Option<&Order>, command: &OrderCommand) -> Result<Decision<OrderEvent>, Rejection> {
    match (order, command) {
        (Some(order), command) if order.state == OrderState::Closed => closing::of_closed(order, command),
        (Some(order), OrderCommand::Close) => Ok(closing::close(order)),
        (
            None,
            OrderCommand::Place {
                customer,
                currency,
                lines,
                provider,
            },
        ) => {
            let total = total(lines)?;
            // A customer who pays through somebody else is asked all the same: whether it is there, and what its currency is.
            let amount = if provider.is_some() { Amount::ZERO } else { total };
            let mut effects = Vec::with_capacity(1 + lines.len());
            effects.push(Effect::HoldCredit {
                customer: customer.clone(),
                amount,
            });
            reserve_effects(*currency, lines, &mut effects);
            Ok(Decision {
                events: vec![placed(customer, *currency, lines, provider.as_ref())],
                effects,
            })
        }
        (
            None,
            OrderCommand::Refuse {
                customer,
                currency,
                lines,
                provider,
                rejection,
            },
        ) => {
            total(lines)?;
            let rejected = OrderEvent::Rejected {
                rejection: Box::new(rejection.clone()),
                release: Box::default(),
            };
            Ok(Decision {
                events: vec![placed(customer, *currency, lines, provider.as_ref()), rejected],
                effects: Vec::new(),
            })
        }
        (Some(order), OrderCommand::Settle { answers }) => Ok(settle(order, answers)),
        (Some(order), OrderCommand::Cancel { lines, by, expected }) => {
            deciding::cancel(order, lines, by.as_ref(), *expected)
        }
        (Some(order), OrderCommand::Paid { number, outcome }) => {
            Ok(paying::answered(order, *number, outcome))
        }
        (Some(order), OrderCommand::RetryPayment { number, by, expected }) => {
            paying::retry(order, *number, by, *expected)
        }
        (Some(order), OrderCommand::Expire { number }) => Ok(paying::expire(order, *number)),
        (Some(order), OrderCommand::Released) if !order.releasing.is_empty() => {
            Ok(Decision::event(OrderEvent::Released))
        }
        (Some(order), OrderCommand::Consumed) if !order.consuming().is_empty() => {
            Ok(Decision::event(OrderEvent::Consumed))
        }
        (Some(order), OrderCommand::Restocked) if !order.restocking().is_empty() => {
            Ok(Decision::event(OrderEvent::Restocked))
        }
        (
            Some(order),
            OrderCommand::RequestReturn {
                lines,
                note,
                by,
                expected,
            },
        ) => returning::request(order, lines, note, by, *expected),
        (
            Some(order),
            OrderCommand::MoveReturn {
                number,
                step,
                by,
                expected,
            },
        ) => returning::take_step(order, *number, step, by, *expected),
        (
            Some(order),
            OrderCommand::Refund {
                amount,
                note,
                by,
                expected,
            },
        ) => returning::refund(order, *amount, note, by, *expected),
        (
            Some(order),
            OrderCommand::Ship {
                lines,
                carrier,
                tracking,
                by,
                expected,
            },
        ) => {
            let shipping = deciding::Shipping {
                lines,
                carrier,
                tracking,
                by,
            };
            deciding::ship(order, &shipping, *expected)
        }
        (Some(order), OrderCommand::OpenFulfilment { lines, by, expected }) => {
            planning::open(order, lines, by, *expected)
        }
        (
            Some(order),
            OrderCommand::ShipFulfilment {
                fulfilment,
                carrier,
                tracking,
                by,
                expected,
            },
        ) => planning::ship(order, *fulfilment, (carrier, tracking), by, *expected),
        (
            Some(order),
            OrderCommand::CancelFulfilment {
                fulfilment,
                by,
                expected,
            },
        ) => planning::cancel(order, *fulfilment, by, *expected),
        (
            Some(order),
            OrderCommand::Deliver {
                fulfilment,
                by,
                expected,
            },
        ) => deciding::deliver(order, *fulfilment, by, *expected),
        (
            Some(order),
            OrderCommand::Edit {
                lines,
                by,
                expected,
                may_authorize,
            },
        ) => editing::edit(order, lines, by, (*expected, *may_authorize)),
        (Some(order), OrderCommand::Raised { answers }) => Ok(editing::answered(order, answers)),
        (Some(order), OrderCommand::HearBackorders { waiting }) => Ok(backordering::hear(order, waiting)),
        (
            Some(order),
            OrderCommand::Hold {
                reason,
                note,
                by,
                expected,
            },
        ) => deciding::hold(order, *reason, note, by, *expected),
        (Some(order), OrderCommand::ReleaseHold { reason, by, expected }) => {
            deciding::release_hold(order, *reason, by, *expected)
        }
        // Each is a repeat of something that is done, or asked of an order that whoever asks has looked for.
        (
            Some(_),
            OrderCommand::Released
            | OrderCommand::Consumed
            | OrderCommand::Restocked
            | OrderCommand::Place { .. }
            | OrderCommand::Refuse { .. },
        )
        | (
            None,
            OrderCommand::Settle { .. }
            | OrderCommand::Paid { .. }
            | OrderCommand::RetryPayment { .. }
            | OrderCommand::Expire { .. }
            | OrderCommand::Close
            | OrderCommand::Released
            | OrderCommand::Consumed
            | OrderCommand::Restocked
            | OrderCommand::RequestReturn { .. }
            | OrderCommand::MoveReturn { .. }
            | OrderCommand::Refund { .. }
            | OrderCommand::Cancel { .. }
            | OrderCommand::Ship { .. }
            | OrderCommand::OpenFulfilment { .. }
            | OrderCommand::ShipFulfilment { .. }
            | OrderCommand::CancelFulfilment { .. }
            | OrderCommand::Deliver { .. }
            | OrderCommand::Edit { .. }
            | OrderCommand::Raised { .. }
            | OrderCommand::HearBackorders { .. }
            | OrderCommand::Hold { .. }
            | OrderCommand::ReleaseHold { .. },
        ) => Ok(Decision::nothing()),
    }
}

/// What an order still has to ask of others: what a new leader carries on with.
pub fn open_effects(order: &Order) -> Vec<Effect> {
    match order.state {
        OrderState::Pending => {
            let mut effects = Vec::with_capacity(order.lines.len());
            reserve_effects(order.currency, &order.lines, &mut effects);
            effects
        }
        _ => {
            let release = order.releasing.iter().map(|sku| Effect::ReleaseStock {
                sku: sku.clone(),
                remaining: order.open_of(sku),
            });
            let restock = returning::restock_effects(order);
            let consume = order.consuming().iter().map(|sku| Effect::ConsumeStock {
                sku: sku.clone(),
                remaining: order.open_of(sku),
            });
            let raise = editing::raise_effects(order);
            release.chain(consume).chain(restock).chain(raise).collect()
        }
    }
}

fn placed(
    customer: &CustomerId,
    currency: Currency,
    lines: &Arc<[Line]>,
    provider: Option<&ProviderName>,
) -> OrderEvent {
    OrderEvent::Placed {
        customer: customer.clone(),
        currency,
        lines: lines.clone(),
        provider: provider.cloned(),
    }
}

fn settle(order: &Order, answers: &[(Sku, Result<Quantity, Rejection>)]) -> Decision<OrderEvent> {
    if order.state != OrderState::Pending {
        return Decision::nothing();
    }
    let refusal = answers
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().err())
        .min_by_key(|r| r.line());
    if refusal.is_none() && order.lines.len() <= FEW_LINES {
        // As below, without sorting anything.
        let is_answered = |line: &Line| answers.iter().any(|(sku, _)| *sku == line.sku);
        return match order.lines.iter().all(is_answered) {
            true => all_reserved(order, answers),
            false => Decision::nothing(),
        };
    }
    let mut by_sku: Vec<_> = answers.iter().map(|(sku, answer)| (sku, answer)).collect();
    by_sku.sort_by_key(|(sku, _)| *sku);
    let answer_of = |sku: &Sku| {
        let found = by_sku.binary_search_by_key(&sku, |(sku, _)| *sku);
        found.ok().map(|at| by_sku[at].1)
    };
    let skus = skus(&order.lines);
    let Some(refusal) = refusal else {
        // Nothing is confirmed that an item has not agreed to.
        return match skus.iter().all(|sku| answer_of(sku).is_some()) {
            true => all_reserved(order, answers),
            false => Decision::nothing(),
        };
    };
    let release: Box<[Sku]> = skus
        .into_iter()
        .filter(|sku| answer_of(sku).is_none_or(Result::is_ok))
        .collect();
    Decision {
        events: vec![OrderEvent::Rejected {
            rejection: Box::new(refusal.clone()),
            release,
        }],
        effects: vec![Effect::ReleaseCredit {
            customer: order.customer.clone(),
            amount: order.held(),
        }],
    }
}

/// All of its items have agreed, to what is there or to have it wait.
fn all_reserved(order: &Order, answers: &[(Sku, Result<Quantity, Rejection>)]) -> Decision<OrderEvent> {
    let event = order.all_reserved();
    let waits = backordering::behind(order, &event, answers);
    let mut decision = Decision::event(event);
    decision.events.extend(waits);
    decision
}

fn check_version(order: &Order, expected: Option<Version>) -> Result<(), Rejection> {
    match expected {
        Some(version) if version != order.version => Err(Rejection::StaleEtag),
        _ => Ok(()),
    }
}

impl Order {
    /// The order that its first event makes.
    ///
    /// # Errors
    /// [`Broken`] where the event is not `Placed`, or has lines that cannot be.
    pub fn create(id: OrderId, event: &OrderEvent, at: Time) -> Result<Self, Broken> {
        let OrderEvent::Placed {
            customer,
            currency,
            lines,
            provider,
        } = event
        else {
            return Err(Broken::new(id, "its first event is not Placed"));
        };
        check_lines(lines, 1).map_err(|why| Broken::new(id, why))?;
        Ok(Self {
            id,
            customer: customer.clone(),
            currency: *currency,
            lines: lines.clone(),
            total: total(lines).map_err(|_| Broken::new(id, "its total overflows"))?,
            state: OrderState::Pending,
            rejection: None,
            releasing: Box::default(),
            life: None,
            provider: provider.clone().map(|name| Box::new(ProviderPayment::new(name))),
            version: Version(1),
            created: at,
            updated: at,
            trail: Trail::default(),
        })
    }

    /// Carries a later event into the order.
    ///
    /// # Errors
    /// [`Broken`] where the event does not fit; the order is as it was.
    pub fn evolve(&mut self, event: &OrderEvent, at: Time) -> Result<(), Broken> {
        match (self.state, event) {
            (OrderState::Pending, OrderEvent::Confirmed) if !self.needs_authorization() => {
                self.state = OrderState::Confirmed;
            }
            (OrderState::Pending, OrderEvent::Reserved) if self.needs_authorization() => self.be_reserved(),
            (OrderState::Pending | OrderState::Authorizing, OrderEvent::Rejected { rejection, release }) => {
                if self.state == OrderState::Authorizing {
                    self.be_declined(rejection, at).ok_or_else(|| {
                        Broken::new(self.id, "it was refused though it has all that it needs")
                    })?;
                }
                self.state = OrderState::Rejected;
                self.rejection = Some(rejection.clone());
                self.releasing = release.clone();
            }
            (OrderState::Authorizing, OrderEvent::Cancelled | OrderEvent::Expired) => {
                self.be_called_off(*event == OrderEvent::Expired, at);
            }
            (OrderState::Confirmed, OrderEvent::Cancelled)
                if self.is_quiet() && self.fulfilments().iter().all(|it| !it.is_open()) =>
            {
                let outstanding = self.outstanding();
                let open = self.open_quantities();
                let left = self.lines.iter().zip(open).filter(|(_, open)| open.0 > 0);
                let left: Vec<Line> = left.map(|(line, _)| line.clone()).collect();
                self.state = OrderState::Cancelled;
                self.releasing = skus(&left).into();
                self.end_holds(at, self.version.next());
                self.owe(PaymentKind::Void, outstanding, self.stamp(at, None));
            }
            (_, OrderEvent::Released) if self.state != OrderState::Pending && !self.releasing.is_empty() => {
                self.releasing = Box::default();
            }
            (OrderState::Fulfilled, OrderEvent::Closed) if self.is_at_rest() => {
                self.state = OrderState::Closed;
            }
            _ => self
                .evolve_life(event, at)
                .or_else(|| self.evolve_plan(event, at))
                .or_else(|| self.evolve_return(event, at))
                .or_else(|| self.evolve_edit(event, at))
                .or_else(|| self.evolve_payment(event, at))
                .or_else(|| self.evolve_backorder(event, at))
                .ok_or_else(|| Broken::new(self.id, "an event does not fit its state"))?,
        }
        self.version = self.version.next();
        // A confirmation only records what the reservations have made true already, so that it tells the same whenever it
        // is recorded: see `confirmed`.
        if !matches!(event, OrderEvent::Confirmed | OrderEvent::Reserved) {
            self.updated = at;
        }
        Ok(())
    }

    /// The order as its confirmation (or, where a provider is to authorise its payment, what says that its stock is reserved) will make it, which is what it is from the moment at which it and all of its
    /// reservations are committed: nothing can refuse it any more, and whoever decides for it next can only record that.
    /// (The *parallel commit* of CockroachDB: a transaction whose record and whose writes are all there is committed,
    /// before the record says so.) An order that is not pending stays as it is.
    #[must_use]
    pub fn confirmed(&self) -> Self {
        let mut confirmed = self.clone();
        if self.state == OrderState::Pending {
            match self.needs_authorization() {
                true => confirmed.be_reserved(),
                false => confirmed.state = OrderState::Confirmed,
            }
            confirmed.version = self.version.next();
        }
        confirmed
    }

    /// True when nothing is left to be asked of its customer and its items. (Its provider is asked behind their backs, however long that takes.)
    pub fn is_settled(&self) -> bool {
        self.state != OrderState::Pending
            && self.releasing.is_empty()
            && self.life.as_ref().is_none_or(|life| life.is_done())
            && !self.asks_for_edit()
    }

    /// Whether it is settled, and no edit waits for its provider either: what has to do with its items and its money may go on.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_settled() && self.open_edit().is_none()
    }

    /// Whether the order wants an item to hold a reservation for it.
    pub fn wants(&self, sku: &Sku) -> bool {
        match self.state {
            OrderState::Pending | OrderState::Authorizing | OrderState::Confirmed if self.life.is_none() => {
                self.lines.iter().any(|line| line.sku == *sku)
            }
            // What an edit has had reserved belongs to it also where all that was ordered before was sent.
            _ => self.open_of(sku).0 > 0 || self.raised_of(sku).is_some(),
        }
    }

    /// Checks the invariants.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn validate(&self) -> Result<(), Broken> {
        let broken = |why| Err(Broken::new(self.id, why));
        self.validate_lines()?;
        let is_refused = matches!(self.state, OrderState::Rejected | OrderState::Expired);
        if self.rejection.is_some() != is_refused {
            return broken("it has a rejection and is not rejected, or the other way round");
        }
        let gives_back = match self.state {
            OrderState::Pending | OrderState::Authorizing => false,
            OrderState::Cancelled | OrderState::Rejected | OrderState::Expired => true,
            _ => !self.cancellations().is_empty() || self.edits().iter().any(|edit| !edit.is_open()),
        };
        if !self.releasing.is_empty() && !gives_back {
            return broken("it releases stock that it still wants");
        }
        if !self
            .releasing
            .iter()
            .all(|sku| self.lines.iter().any(|line| line.sku == *sku))
        {
            return broken("it releases stock of an item that it never wanted");
        }
        if self.version.0 == 0 {
            return broken("its version is 0");
        }
        self.validate_payment()?;
        self.validate_backorders()?;
        self.validate_life()
    }
}
