//! Customers: credit, balance and what open orders hold of them.

use std::sync::Arc;

use crate::{Amount, Broken, Currency, CustomerId, Decision, OrderId, Rejection, Time, Version};

/// Someone who orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    /// Its id.
    pub id: CustomerId,
    /// For people.
    pub display_name: Arc<str>,
    /// Of the account, for ever.
    pub currency: Currency,
    /// How far orders may go beyond the balance; 0 or more.
    pub credit_limit: Amount,
    /// Paid in, less what was captured of it: negative where orders were sent on credit that is not paid yet.
    pub balance: Amount,
    /// The sum of what open orders hold; 0 or more.
    pub held: Amount,
    /// How many events made it.
    pub version: Version,
    /// How many events a person caused (holds do not count): what the etag shows, so that a sale does not make every
    /// etag stale.
    pub revision: u64,
    /// When it was created.
    pub created: Time,
    /// When the revision last changed.
    pub updated: Time,
}

/// What may be asked of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomerCommand {
    /// Come to be.
    Create {
        /// For people.
        display_name: Arc<str>,
        /// Of the account.
        currency: Currency,
        /// 0 or more.
        credit_limit: Amount,
    },
    /// Change.
    Update {
        /// `None` leaves it.
        display_name: Option<Arc<str>>,
        /// `None` leaves it.
        credit_limit: Option<Amount>,
        /// Only at this revision.
        expected: Option<u64>,
    },
    /// Book money in (or, negative, out).
    Credit {
        /// Not 0.
        amount: Amount,
        /// Only at this revision.
        expected: Option<u64>,
    },
    /// Hold money for an order.
    Hold {
        /// The order.
        order: OrderId,
        /// 0 or more.
        amount: Amount,
        /// The order's.
        currency: Currency,
    },
    /// Give an order's hold back. It travels in one record with the order's own event, which is what makes it happen
    /// once.
    Release {
        /// The order.
        order: OrderId,
        /// This much of what it holds.
        amount: Amount,
    },
    /// Give some of what was taken for an order back, in one record with the order's own event.
    Refund {
        /// The order.
        order: OrderId,
        /// This much.
        amount: Amount,
    },
    /// Take some of what an order holds: it was sent. In one record with the order's own event, as `Release`.
    Capture {
        /// The order.
        order: OrderId,
        /// This much of what it holds.
        amount: Amount,
    },
}

/// What happened to a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomerEvent {
    /// It came to be.
    Created {
        /// For people.
        display_name: Arc<str>,
        /// Of the account.
        currency: Currency,
        /// 0 or more.
        credit_limit: Amount,
    },
    /// It has these now.
    Updated {
        /// For people.
        display_name: Arc<str>,
        /// 0 or more.
        credit_limit: Amount,
    },
    /// Money was booked.
    Credited {
        /// In, or out when negative.
        amount: Amount,
    },
    /// An order holds money.
    Held {
        /// The order.
        order: OrderId,
        /// This much.
        amount: Amount,
    },
    /// An order holds it no longer.
    Released {
        /// The order.
        order: OrderId,
        /// This much.
        amount: Amount,
    },
    /// What was taken for an order was given back.
    Refunded {
        /// The order.
        order: OrderId,
        /// This much.
        amount: Amount,
    },
    /// It was taken of what an order holds.
    Captured {
        /// The order.
        order: OrderId,
        /// This much.
        amount: Amount,
    },
}

const NEGATIVE_LIMIT: &str = "its credit limit is negative";

/// What the customer with this id (`None` before it exists) makes of a command, whose shape (0 or more, not 0) whoever
/// asks has checked: [`Customer::create`] and [`Customer::evolve`] refuse the events of one that nobody has.
///
/// # Errors
/// The rejection, where it does not.
pub fn decide(
    id: &CustomerId,
    customer: Option<&Customer>,
    command: &CustomerCommand,
) -> Result<Decision<CustomerEvent>, Rejection> {
    let Some(customer) = customer else {
        return match command {
            CustomerCommand::Create {
                display_name,
                currency,
                credit_limit,
            } => Ok(Decision::event(CustomerEvent::Created {
                display_name: display_name.clone(),
                currency: *currency,
                credit_limit: *credit_limit,
            })),
            _ => Err(Rejection::CustomerNotFound { customer: id.clone() }),
        };
    };
    match command {
        CustomerCommand::Create { .. } => Err(Rejection::CustomerExists { customer: id.clone() }),
        CustomerCommand::Update {
            display_name,
            credit_limit,
            expected,
        } => {
            customer.check_revision(*expected)?;
            let display_name = display_name
                .clone()
                .unwrap_or_else(|| customer.display_name.clone());
            let credit_limit = credit_limit.unwrap_or(customer.credit_limit);
            if display_name == customer.display_name && credit_limit == customer.credit_limit {
                return Ok(Decision::nothing());
            }
            Ok(Decision::event(CustomerEvent::Updated {
                display_name,
                credit_limit,
            }))
        }
        CustomerCommand::Credit { amount, expected } => {
            customer.check_revision(*expected)?;
            customer
                .balance
                .plus(*amount)
                .ok_or(Rejection::Overflow { line: None })?;
            // Money that was never paid in cannot be taken out: credit is for orders.
            let available = customer.available().min(customer.balance).max(Amount::ZERO);
            if amount.0 < 0 && amount.0.checked_neg().is_none_or(|out| out > available.0) {
                let wanted = Amount(amount.0.saturating_neg());
                return Err(Rejection::BalanceHeld { available, wanted });
            }
            Ok(Decision::event(CustomerEvent::Credited { amount: *amount }))
        }
        CustomerCommand::Hold {
            order,
            amount,
            currency,
        } => {
            if *currency != customer.currency {
                let expected = customer.currency;
                return Err(Rejection::CurrencyMismatch {
                    line: None,
                    ordered: *currency,
                    expected,
                });
            }
            // Where nothing is to be held there is nothing to lack.
            if amount.0 > 0 && *amount > customer.available() {
                return Err(Rejection::InsufficientCredit {
                    needed: *amount,
                    available: customer.available(),
                });
            }
            customer
                .held
                .plus(*amount)
                .ok_or(Rejection::Overflow { line: None })?;
            Ok(Decision::event(CustomerEvent::Held {
                order: *order,
                amount: *amount,
            }))
        }
        CustomerCommand::Release { order, amount } => Ok(Decision::event(CustomerEvent::Released {
            order: *order,
            amount: *amount,
        })),
        CustomerCommand::Refund { order, amount } => {
            customer
                .balance
                .plus(*amount)
                .ok_or(Rejection::Overflow { line: None })?;
            Ok(Decision::event(CustomerEvent::Refunded {
                order: *order,
                amount: *amount,
            }))
        }
        CustomerCommand::Capture { order, amount } => Ok(Decision::event(CustomerEvent::Captured {
            order: *order,
            amount: *amount,
        })),
    }
}

impl Customer {
    /// The customer that its first event makes.
    ///
    /// # Errors
    /// [`Broken`] where the event is not `Created`, or has a negative credit limit.
    pub fn create(id: CustomerId, event: &CustomerEvent, at: Time) -> Result<Self, Broken> {
        let CustomerEvent::Created {
            display_name,
            currency,
            credit_limit,
        } = event
        else {
            return Err(Broken::new(id, "its first event is not Created"));
        };
        if *credit_limit < Amount::ZERO {
            return Err(Broken::new(id, NEGATIVE_LIMIT));
        }
        Ok(Self {
            id,
            display_name: display_name.clone(),
            currency: *currency,
            credit_limit: *credit_limit,
            balance: Amount::ZERO,
            held: Amount::ZERO,
            version: Version(1),
            revision: 1,
            created: at,
            updated: at,
        })
    }

    /// Carries a later event into the customer.
    ///
    /// # Errors
    /// [`Broken`] where the event does not fit; the customer is as it was.
    pub fn evolve(&mut self, event: &CustomerEvent, at: Time) -> Result<(), Broken> {
        let broken = |why| Broken::new(&self.id, why);
        let by_a_person = match event {
            CustomerEvent::Created { .. } => return Err(broken("it was created twice")),
            CustomerEvent::Updated {
                display_name,
                credit_limit,
            } => {
                if *credit_limit < Amount::ZERO {
                    return Err(broken(NEGATIVE_LIMIT));
                }
                self.display_name = display_name.clone();
                self.credit_limit = *credit_limit;
                true
            }
            CustomerEvent::Credited { amount } => {
                let balance = self
                    .balance
                    .plus(*amount)
                    .filter(|balance| *amount >= Amount::ZERO || *balance >= Amount::ZERO);
                self.balance = balance
                    .ok_or_else(|| broken("its balance overflows, or more is taken out than is in"))?;
                true
            }
            CustomerEvent::Held { amount, .. }
            | CustomerEvent::Released { amount, .. }
            | CustomerEvent::Captured { amount, .. }
            | CustomerEvent::Refunded { amount, .. }
                if *amount < Amount::ZERO =>
            {
                return Err(broken(
                    "it holds, releases, captures or refunds less than nothing",
                ));
            }
            CustomerEvent::Held { amount, .. } => {
                self.held = self
                    .held
                    .plus(*amount)
                    .ok_or_else(|| broken("its holds overflow"))?;
                false
            }
            CustomerEvent::Released { amount, .. } => {
                let held = self.held.minus(*amount).filter(|held| *held >= Amount::ZERO);
                self.held = held.ok_or_else(|| broken("it releases more than it holds"))?;
                false
            }
            CustomerEvent::Refunded { amount, .. } => {
                let balance = self.balance.plus(*amount);
                self.balance = balance.ok_or_else(|| broken("its balance overflows"))?;
                false
            }
            CustomerEvent::Captured { amount, .. } => {
                let held = self.held.minus(*amount).filter(|held| *held >= Amount::ZERO);
                let held = held.ok_or_else(|| broken("it captures more than it holds"))?;
                let balance = self.balance.minus(*amount);
                self.balance = balance.ok_or_else(|| broken("its balance overflows"))?;
                self.held = held;
                false
            }
        };
        self.version = self.version.next();
        if by_a_person {
            self.revision += 1;
            self.updated = at;
        }
        Ok(())
    }

    /// What a new order may cost: balance + credit limit − held, never below 0.
    pub fn available(&self) -> Amount {
        let sum = i128::from(self.balance.0) + i128::from(self.credit_limit.0) - i128::from(self.held.0);
        Amount(sum.clamp(0, i128::from(i64::MAX)) as i64)
    }

    fn check_revision(&self, expected: Option<u64>) -> Result<(), Rejection> {
        match expected {
            Some(revision) if revision != self.revision => Err(Rejection::StaleEtag),
            _ => Ok(()),
        }
    }

    /// Checks the invariants. That `held` is the sum of the open holds can only be seen beside the orders.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn validate(&self) -> Result<(), Broken> {
        let broken = |why| Err(Broken::new(&self.id, why));
        if self.held < Amount::ZERO {
            return broken("it holds less than nothing");
        }
        if self.credit_limit < Amount::ZERO {
            return broken(NEGATIVE_LIMIT);
        }
        if self.version.0 == 0 || self.revision == 0 || self.revision > self.version.0 {
            return broken("its version or revision is wrong");
        }
        Ok(())
    }
}
