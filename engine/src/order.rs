//! Orders. An order is its own process manager: it records what it intends, and `Effect`s say what to ask of its
//! customer and its items; the answers come back as commands.

use std::{fmt, sync::Arc};

use crate::{
    Amount, Broken, Currency, CustomerId, Decision, HOLDS_MAX, Hold, HoldEnd, HoldReason, LINES_MAX, OrderId,
    Quantity, Rejection, Sku, Time, Version, access::Username, item::ReserveLine, money::QUANTITY_MAX,
};

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderState {
    /// Its money is held and its stock is being reserved.
    Pending,
    /// Its money is held and its stock is reserved.
    Confirmed,
    /// Was confirmed; holds nothing any more.
    Cancelled,
    /// Was refused; holds nothing.
    Rejected,
}

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::Cancelled => "CANCELLED",
            Self::Rejected => "REJECTED",
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
    /// How many events made it.
    pub version: Version,
    /// When it was placed.
    pub created: Time,
    /// When it last changed.
    pub updated: Time,
}

/// What came after an order was confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderLife {
    /// Every hold that it ever had, in the order in which they were placed: at most [`HOLDS_MAX`].
    pub holds: Vec<Hold>,
}

/// What may be asked of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderCommand {
    /// Be placed.
    Place {
        /// Whose it is.
        customer: CustomerId,
        /// Of all its amounts.
        currency: Currency,
        /// What is ordered.
        lines: Arc<[Line]>,
    },
    /// Be placed and refused at once: the customer cannot pay for it.
    Refuse {
        /// Whose it is.
        customer: CustomerId,
        /// Of all its amounts.
        currency: Currency,
        /// What was ordered.
        lines: Arc<[Line]>,
        /// Why not.
        rejection: Rejection,
    },
    /// Hear what its items answered.
    Settle {
        /// At most one answer per item of the order. It is confirmed when all have agreed, and refused when one has not:
        /// items that have not answered by then are asked to release, since they may have reserved.
        answers: Vec<(Sku, Result<(), Rejection>)>,
    },
    /// Be cancelled.
    Cancel {
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Hear that all of its items have released its stock.
    Released,
    /// Go no further for now.
    Hold {
        /// Why. Nobody may have said so already.
        reason: HoldReason,
        /// In somebody's words; may be empty.
        note: Arc<str>,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
    /// Be held for this reason no longer.
    ReleaseHold {
        /// Which.
        reason: HoldReason,
        /// Who says so.
        by: Username,
        /// Only at this version.
        expected: Option<Version>,
    },
}

/// What happened to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderEvent {
    /// It was placed.
    Placed {
        /// Whose it is.
        customer: CustomerId,
        /// Of all its amounts.
        currency: Currency,
        /// What was ordered.
        lines: Arc<[Line]>,
    },
    /// All of its stock is reserved.
    Confirmed,
    /// It was refused.
    Rejected {
        /// Why.
        rejection: Box<Rejection>,
        /// The items that have reserved for it and must release.
        release: Box<[Sku]>,
    },
    /// It was cancelled; every item must release.
    Cancelled,
    /// Every item has released.
    Released,
    /// It is held.
    Held {
        /// Why.
        reason: HoldReason,
        /// In somebody's words; may be empty.
        note: Arc<str>,
        /// Who says so.
        by: Username,
    },
    /// It is held for this reason no longer.
    HoldReleased {
        /// Which.
        reason: HoldReason,
        /// Who says so.
        by: Username,
    },
}

/// What an order asks of others. Each is idempotent by (order, kind of effect).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Hold the order's total, in the same record as the order's own events.
    HoldCredit {
        /// Of this customer.
        customer: CustomerId,
        /// This much.
        amount: Amount,
    },
    /// Give the hold back, in the same record as the order's own events.
    ReleaseCredit {
        /// Of this customer.
        customer: CustomerId,
        /// This much.
        amount: Amount,
    },
    /// Reserve stock.
    ReserveStock {
        /// Of this item.
        sku: Sku,
        /// The order's currency.
        currency: Currency,
        /// For these lines, all or nothing.
        lines: Vec<ReserveLine>,
    },
    /// Release what is reserved.
    ReleaseStock {
        /// Of this item.
        sku: Sku,
    },
}

/// The sum of all lines.
///
/// # Errors
/// [`Rejection::Overflow`] where it does not fit, with the line from which on it does not.
pub fn total(lines: &[Line]) -> Result<Amount, Rejection> {
    lines.iter().enumerate().try_fold(Amount::ZERO, |sum, (i, line)| {
        let sum = line
            .unit_price
            .times(line.quantity)
            .and_then(|cost| sum.plus(cost));
        sum.ok_or(Rejection::Overflow { line: Some(i as u16) })
    })
}

/// So many lines are compared each with each other.
const FEW_LINES: usize = 4;

/// Whether each line is of an item of its own, and that is seen at a glance: as it is with most orders.
fn are_few_and_distinct(lines: &[Line]) -> bool {
    let is_first = |i: usize| lines[..i].iter().all(|line| line.sku != lines[i].sku);
    lines.len() <= FEW_LINES && (1..lines.len()).all(is_first)
}

/// The distinct items of some lines, in the order of their first line.
pub fn skus(lines: &[Line]) -> Vec<Sku> {
    if are_few_and_distinct(lines) {
        return lines.iter().map(|line| line.sku.clone()).collect();
    }
    let sorted = sorted_by_item(lines);
    let items = items(lines, &sorted);
    items
        .iter()
        .map(|of_item| lines[of_item[0]].sku.clone())
        .collect()
}

/// The numbers of the lines, by item, and the lines of an item as they come. (To compare each of a hundred lines with every other
/// one costs more than all else that is done for them.)
fn sorted_by_item(lines: &[Line]) -> Vec<usize> {
    let mut sorted: Vec<usize> = (0..lines.len()).collect();
    sorted.sort_by(|a, b| lines[*a].sku.cmp(&lines[*b].sku));
    sorted
}

/// The numbers of each item's lines, in the order of the items' first lines.
fn items<'a>(lines: &[Line], sorted: &'a [usize]) -> Vec<&'a [usize]> {
    let of_items = sorted.chunk_by(|a, b| lines[*a].sku == lines[*b].sku);
    let mut items: Vec<&[usize]> = of_items.collect();
    items.sort_unstable_by_key(|of_item| of_item[0]);
    items
}

/// What an order (`None` before it is placed) makes of a command. Whoever asks has checked the shape of its lines:
/// [`Order::create`] refuses others.
///
/// # Errors
/// The rejection, where it does not.
pub fn decide(order: Option<&Order>, command: &OrderCommand) -> Result<Decision<OrderEvent>, Rejection> {
    match (order, command) {
        (
            None,
            OrderCommand::Place {
                customer,
                currency,
                lines,
            },
        ) => {
            let amount = total(lines)?;
            let mut effects = Vec::with_capacity(1 + lines.len());
            effects.push(Effect::HoldCredit {
                customer: customer.clone(),
                amount,
            });
            reserve_effects(*currency, lines, &mut effects);
            Ok(Decision {
                events: vec![placed(customer, *currency, lines)],
                effects,
            })
        }
        (
            None,
            OrderCommand::Refuse {
                customer,
                currency,
                lines,
                rejection,
            },
        ) => {
            total(lines)?;
            let rejected = OrderEvent::Rejected {
                rejection: Box::new(rejection.clone()),
                release: Box::default(),
            };
            Ok(Decision {
                events: vec![placed(customer, *currency, lines), rejected],
                effects: Vec::new(),
            })
        }
        (Some(order), OrderCommand::Settle { answers }) => Ok(settle(order, answers)),
        (Some(order), OrderCommand::Cancel { expected }) => cancel(order, *expected),
        (Some(order), OrderCommand::Released) if !order.releasing.is_empty() => {
            Ok(Decision::event(OrderEvent::Released))
        }
        (
            Some(order),
            OrderCommand::Hold {
                reason,
                note,
                by,
                expected,
            },
        ) => {
            may_be_held(order, *expected)?;
            if order.active_holds().any(|hold| hold.reason == *reason) {
                return Err(Rejection::HoldExists { reason: *reason });
            }
            if order.holds().len() >= HOLDS_MAX {
                return Err(Rejection::TooManyHolds);
            }
            Ok(Decision::event(OrderEvent::Held {
                reason: *reason,
                note: note.clone(),
                by: by.clone(),
            }))
        }
        (Some(order), OrderCommand::ReleaseHold { reason, by, expected }) => {
            may_be_held(order, *expected)?;
            if !order.active_holds().any(|hold| hold.reason == *reason) {
                return Err(Rejection::HoldNotFound { reason: *reason });
            }
            Ok(Decision::event(OrderEvent::HoldReleased {
                reason: *reason,
                by: by.clone(),
            }))
        }
        // Each is a repeat of something that is done, or asked of an order that whoever asks has looked for.
        (Some(_), OrderCommand::Released | OrderCommand::Place { .. } | OrderCommand::Refuse { .. })
        | (
            None,
            OrderCommand::Settle { .. }
            | OrderCommand::Released
            | OrderCommand::Cancel { .. }
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
        _ => release_effects(&order.releasing),
    }
}

fn placed(customer: &CustomerId, currency: Currency, lines: &Arc<[Line]>) -> OrderEvent {
    OrderEvent::Placed {
        customer: customer.clone(),
        currency,
        lines: lines.clone(),
    }
}

fn settle(order: &Order, answers: &[(Sku, Result<(), Rejection>)]) -> Decision<OrderEvent> {
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
            true => Decision::event(OrderEvent::Confirmed),
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
            true => Decision::event(OrderEvent::Confirmed),
            false => Decision::nothing(),
        };
    };
    let release: Box<[Sku]> = skus
        .into_iter()
        .filter(|sku| answer_of(sku).is_none_or(Result::is_ok))
        .collect();
    let mut effects = vec![release_credit(order)];
    effects.extend(release_effects(&release));
    Decision {
        events: vec![OrderEvent::Rejected {
            rejection: Box::new(refusal.clone()),
            release,
        }],
        effects,
    }
}

fn check_version(order: &Order, expected: Option<Version>) -> Result<(), Rejection> {
    match expected {
        Some(version) if version != order.version => Err(Rejection::StaleEtag),
        _ => Ok(()),
    }
}

/// Whether an order's holds may change: there is something to hold up.
fn may_be_held(order: &Order, expected: Option<Version>) -> Result<(), Rejection> {
    check_version(order, expected)?;
    match order.state {
        OrderState::Pending => Err(Rejection::OrderPending),
        OrderState::Confirmed => Ok(()),
        OrderState::Cancelled | OrderState::Rejected => Err(Rejection::NotHoldable { state: order.state }),
    }
}

fn cancel(order: &Order, expected: Option<Version>) -> Result<Decision<OrderEvent>, Rejection> {
    check_version(order, expected)?;
    match order.state {
        OrderState::Pending => Err(Rejection::OrderPending),
        OrderState::Rejected => Err(Rejection::NotCancellable { state: order.state }),
        OrderState::Cancelled => Ok(Decision::nothing()),
        OrderState::Confirmed => {
            let mut effects = vec![release_credit(order)];
            effects.extend(release_effects(&skus(&order.lines)));
            Ok(Decision {
                events: vec![OrderEvent::Cancelled],
                effects,
            })
        }
    }
}

fn release_credit(order: &Order) -> Effect {
    Effect::ReleaseCredit {
        customer: order.customer.clone(),
        amount: order.total,
    }
}

fn release_effects(skus: &[Sku]) -> Vec<Effect> {
    skus.iter()
        .map(|sku| Effect::ReleaseStock { sku: sku.clone() })
        .collect()
}

fn reserve_effects(currency: Currency, lines: &[Line], effects: &mut Vec<Effect>) {
    let line = |i: usize| ReserveLine {
        line: i as u16,
        quantity: lines[i].quantity,
        unit_price: lines[i].unit_price,
    };
    if are_few_and_distinct(lines) {
        effects.extend(lines.iter().enumerate().map(|(i, of_item)| Effect::ReserveStock {
            sku: of_item.sku.clone(),
            currency,
            lines: vec![line(i)],
        }));
        return;
    }
    let reserve = |of_item: &[usize]| Effect::ReserveStock {
        sku: lines[of_item[0]].sku.clone(),
        currency,
        lines: of_item.iter().map(|i| line(*i)).collect(),
    };
    let sorted = sorted_by_item(lines);
    effects.extend(items(lines, &sorted).into_iter().map(reserve));
}

/// What lines must be, or why these are not.
fn check_lines(lines: &[Line]) -> Result<(), &'static str> {
    if lines.is_empty() || lines.len() > LINES_MAX {
        return Err("it has no lines, or too many");
    }
    let quantities = 1..=QUANTITY_MAX;
    if !lines.iter().all(|line| quantities.contains(&line.quantity.0)) {
        return Err("a line has no quantity, or too many");
    }
    if lines.iter().any(|line| line.unit_price < Amount::ZERO) {
        return Err("a line has a negative price");
    }
    Ok(())
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
        } = event
        else {
            return Err(Broken::new(id, "its first event is not Placed"));
        };
        check_lines(lines).map_err(|why| Broken::new(id, why))?;
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
            version: Version(1),
            created: at,
            updated: at,
        })
    }

    /// Carries a later event into the order.
    ///
    /// # Errors
    /// [`Broken`] where the event does not fit; the order is as it was.
    pub fn evolve(&mut self, event: &OrderEvent, at: Time) -> Result<(), Broken> {
        match (self.state, event) {
            (OrderState::Pending, OrderEvent::Confirmed) => self.state = OrderState::Confirmed,
            (OrderState::Pending, OrderEvent::Rejected { rejection, release }) => {
                self.state = OrderState::Rejected;
                self.rejection = Some(rejection.clone());
                self.releasing = release.clone();
            }
            (OrderState::Confirmed, OrderEvent::Cancelled) => {
                self.state = OrderState::Cancelled;
                self.releasing = skus(&self.lines).into();
                let end = HoldEnd {
                    at,
                    version: self.version.next(),
                    by: None,
                };
                self.life
                    .iter_mut()
                    .flat_map(|life| &mut life.holds)
                    .filter(|hold| hold.is_active())
                    .for_each(|hold| hold.ended = Some(end.clone()));
            }
            (OrderState::Confirmed, OrderEvent::Held { reason, note, by })
                if self.holds().len() < HOLDS_MAX
                    && self.active_holds().all(|hold| hold.reason != *reason) =>
            {
                let version = self.version.next();
                self.life.get_or_insert_default().holds.push(Hold {
                    reason: *reason,
                    note: note.clone(),
                    by: by.clone(),
                    since: at,
                    version,
                    ended: None,
                });
            }
            (OrderState::Confirmed, OrderEvent::HoldReleased { reason, by }) => {
                let version = self.version.next();
                let hold = self
                    .life
                    .iter_mut()
                    .flat_map(|life| &mut life.holds)
                    .find(|hold| hold.is_active() && hold.reason == *reason)
                    .ok_or_else(|| Broken::new(self.id, "a hold is released that it does not have"))?;
                hold.ended = Some(HoldEnd {
                    at,
                    version,
                    by: Some(by.clone()),
                });
            }
            (OrderState::Cancelled | OrderState::Rejected, OrderEvent::Released)
                if !self.releasing.is_empty() =>
            {
                self.releasing = Box::default();
            }
            _ => return Err(Broken::new(self.id, "an event does not fit its state")),
        }
        self.version = self.version.next();
        // A confirmation only records what the reservations have made true already, so that it tells the same whenever it
        // is recorded: see `confirmed`.
        if *event != OrderEvent::Confirmed {
            self.updated = at;
        }
        Ok(())
    }

    /// The order as its confirmation will make it, which is what it is from the moment at which it and all of its
    /// reservations are committed: nothing can refuse it any more, and whoever decides for it next can only record that.
    /// (The *parallel commit* of CockroachDB: a transaction whose record and whose writes are all there is committed,
    /// before the record says so.) An order that is not pending stays as it is.
    #[must_use]
    pub fn confirmed(&self) -> Self {
        let mut confirmed = self.clone();
        if self.state == OrderState::Pending {
            confirmed.state = OrderState::Confirmed;
            confirmed.version = self.version.next();
        }
        confirmed
    }

    /// Every hold that it ever had, in the order in which they were placed.
    pub fn holds(&self) -> &[Hold] {
        self.life.as_ref().map_or(&[], |life| &life.holds)
    }

    /// What holds it now.
    pub fn active_holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds().iter().filter(|hold| hold.is_active())
    }

    /// True when nothing is left to be asked of others.
    pub fn is_settled(&self) -> bool {
        self.state != OrderState::Pending && self.releasing.is_empty()
    }

    /// What the order holds of its customer's money.
    pub fn held(&self) -> Amount {
        match self.state {
            OrderState::Pending | OrderState::Confirmed => self.total,
            OrderState::Cancelled | OrderState::Rejected => Amount::ZERO,
        }
    }

    /// Whether the order wants an item to hold a reservation for it.
    pub fn wants(&self, sku: &Sku) -> bool {
        match self.state {
            OrderState::Pending | OrderState::Confirmed => self.lines.iter().any(|line| line.sku == *sku),
            OrderState::Cancelled | OrderState::Rejected => false,
        }
    }

    /// Checks the invariants.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn validate(&self) -> Result<(), Broken> {
        let broken = |why| Err(Broken::new(self.id, why));
        if let Err(why) = check_lines(&self.lines) {
            return broken(why);
        }
        if total(&self.lines) != Ok(self.total) {
            return broken("its total is not the sum of its lines");
        }
        if self.rejection.is_some() != (self.state == OrderState::Rejected) {
            return broken("it has a rejection and is not rejected, or the other way round");
        }
        if !self.releasing.is_empty() && !matches!(self.state, OrderState::Cancelled | OrderState::Rejected) {
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
        if let Some(life) = &self.life {
            if life.holds.len() > HOLDS_MAX {
                return broken("it has had too many holds");
            }
            if self.state != OrderState::Confirmed && self.active_holds().next().is_some() {
                return broken("it is held, and there is nothing to hold up");
            }
            let is_twice = |hold: &Hold| self.active_holds().filter(|h| h.reason == hold.reason).count() > 1;
            if self.active_holds().any(is_twice) {
                return broken("it is held twice for one reason");
            }
        }
        Ok(())
    }
}
