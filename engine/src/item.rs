//! Items: prices, stock, and what orders have reserved of it.
//!
//! An item's reservations can be millions, so they are not part of [`Item`]: whoever asks [`decide`] looks the order's
//! own reservation up and passes it in. A reservation is what the order was promised; what of that is not there yet, and who waits for it, the item
//! keeps itself ([`crate::backorder`]), so that stock which comes in changes the item alone.

use std::sync::Arc;

use crate::{
    Amount, Backorders, Broken, Currency, Decision, OrderId, Quantity, Rejection, Sku, Time, Version,
};

/// A stock-keeping unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id.
    pub sku: Sku,
    /// For people.
    pub display_name: Arc<str>,
    /// Of the price, for ever.
    pub currency: Currency,
    /// Of one; 0 or more.
    pub unit_price: Amount,
    /// How many there are, reserved or not.
    pub on_hand: Quantity,
    /// How many of them are reserved: at most all.
    pub reserved: Quantity,
    /// How many more may be promised than there are, and who waits for some; `None` where neither is, as with most items.
    pub backorders: Option<Box<Backorders>>,
    /// How many events made it.
    pub version: Version,
    /// How many events a person caused (reservations do not count): what the etag shows.
    pub revision: u64,
    /// When it was created.
    pub created: Time,
    /// When the revision last changed.
    pub updated: Time,
}

/// An order's line, as its item needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReserveLine {
    /// Which line of the order, from 0.
    pub line: u16,
    /// How many.
    pub quantity: Quantity,
    /// The price that the customer was shown.
    pub unit_price: Amount,
}

/// What may be asked of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemCommand {
    /// Come to be.
    Create {
        /// For people.
        display_name: Arc<str>,
        /// Of the price.
        currency: Currency,
        /// Of one; 0 or more.
        unit_price: Amount,
        /// The first stock; 0 or more.
        on_hand: Quantity,
    },
    /// Change.
    Update {
        /// `None` leaves it.
        display_name: Option<Arc<str>>,
        /// `None` leaves it.
        unit_price: Option<Amount>,
        /// How many may wait; 0 or more. `None` leaves it.
        backorder_limit: Option<Quantity>,
        /// Only at this revision.
        expected: Option<u64>,
    },
    /// Have more, or fewer, on hand.
    Adjust {
        /// Not 0.
        delta: Quantity,
        /// Only at this revision.
        expected: Option<u64>,
    },
    /// Reserve for an order, all lines or none.
    Reserve {
        /// The order.
        order: OrderId,
        /// The order's.
        currency: Currency,
        /// At least one.
        lines: Vec<ReserveLine>,
    },
    /// Release what is reserved for an order beyond what it still wants.
    Release {
        /// The order.
        order: OrderId,
        /// So many stay reserved; 0 or more.
        remaining: Quantity,
    },
    /// Take what is reserved for an order beyond what it still wants off the stock: it was shipped.
    Consume {
        /// The order.
        order: OrderId,
        /// So many stay reserved; 0 or more.
        remaining: Quantity,
    },
    /// Reserve more for an order that has something already, or had: so many in all. What the price is now does not matter.
    Raise {
        /// The order.
        order: OrderId,
        /// The first line of the order that wants it, from 0.
        line: u16,
        /// So many are to be reserved, at least; 1 or more.
        quantity: Quantity,
    },
    /// Take what an order's customer has sent back on the stock. Whoever asks sees to it that it is done once.
    Restock {
        /// The order.
        order: OrderId,
        /// 1 or more.
        quantity: Quantity,
    },
}

/// What happened to an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemEvent {
    /// It came to be.
    Created {
        /// For people.
        display_name: Arc<str>,
        /// Of the price.
        currency: Currency,
        /// Of one.
        unit_price: Amount,
        /// The first stock.
        on_hand: Quantity,
    },
    /// It has these now.
    Updated {
        /// For people.
        display_name: Arc<str>,
        /// Of one.
        unit_price: Amount,
        /// How many may wait.
        backorder_limit: Quantity,
    },
    /// There are more, or fewer.
    Adjusted {
        /// By this many.
        delta: Quantity,
    },
    /// An order has reserved.
    Reserved {
        /// The order.
        order: OrderId,
        /// This many: of what is available, and beyond that it waits.
        quantity: Quantity,
    },
    /// An order has reserved more.
    Raised {
        /// The order.
        order: OrderId,
        /// This many more: as above.
        quantity: Quantity,
    },
    /// An order has given back.
    Released {
        /// The order.
        order: OrderId,
        /// This many: of those that it waits for at first.
        quantity: Quantity,
    },
    /// An order was sent what it had reserved.
    Consumed {
        /// The order.
        order: OrderId,
        /// This many.
        quantity: Quantity,
    },
    /// What an order was sent has come back.
    Restocked {
        /// The order.
        order: OrderId,
        /// This many.
        quantity: Quantity,
    },
}

impl ItemEvent {
    /// What an order has reserved after this, which had reserved so many before; `None` for none. Of other events: what it was.
    pub fn reserved_after(&self, before: Option<Quantity>) -> Option<Quantity> {
        let left = |gone: Quantity| {
            let left = before.unwrap_or_default().0.saturating_sub(gone.0);
            (left > 0).then_some(Quantity(left))
        };
        match self {
            Self::Reserved { quantity, .. } => Some(*quantity),
            Self::Raised { quantity, .. } => {
                let before = before.unwrap_or_default().0;
                Some(Quantity(before.saturating_add(quantity.0)))
            }
            Self::Released { quantity, .. } | Self::Consumed { quantity, .. } => left(*quantity),
            Self::Created { .. } | Self::Updated { .. } | Self::Adjusted { .. } | Self::Restocked { .. } => {
                before
            }
        }
    }

    /// The order whose reservation this changes.
    pub fn order(&self) -> Option<OrderId> {
        match self {
            Self::Reserved { order, .. }
            | Self::Raised { order, .. }
            | Self::Released { order, .. }
            | Self::Consumed { order, .. } => Some(*order),
            Self::Created { .. } | Self::Updated { .. } | Self::Adjusted { .. } | Self::Restocked { .. } => {
                None
            }
        }
    }
}

const NEGATIVE_PRICE: &str = "its price is negative";

/// What the item with this sku (`None` before it exists) makes of a command, whose shape (1 or more, not 0) whoever asks
/// has checked: [`Item::create`] and [`Item::evolve`] refuse the events of one that nobody has. `reservation` is what the
/// order that the command names has reserved of it; `None` for other commands.
///
/// A reservation is remembered only while it is there: a repeat of `Reserve` that arrives after the `Release`, or after the
/// `Consume`, reserves anew. Whoever delivers must not let the one overtake the other, or must give back what no order wants
/// ([`crate::Order::wants`]) before a repeat of `Consume` can come behind it. The same goes for a repeat of `Raise` behind what comes next,
/// and for one of `Release` or `Consume` behind the next `Raise`.
///
/// # Errors
/// The rejection, where it does not.
pub fn decide(
    sku: &Sku,
    item: Option<&Item>,
    reservation: Option<Quantity>,
    command: &ItemCommand,
) -> Result<Decision<ItemEvent>, Rejection> {
    let Some(item) = item else {
        return match command {
            ItemCommand::Create {
                display_name,
                currency,
                unit_price,
                on_hand,
            } => Ok(Decision::event(ItemEvent::Created {
                display_name: display_name.clone(),
                currency: *currency,
                unit_price: *unit_price,
                on_hand: *on_hand,
            })),
            ItemCommand::Reserve { lines, .. } => Err(Rejection::ItemNotFound {
                line: lines.first().map(|l| l.line),
                sku: sku.clone(),
            }),
            ItemCommand::Raise { line, .. } => Err(Rejection::ItemNotFound {
                line: Some(*line),
                sku: sku.clone(),
            }),
            ItemCommand::Release { .. } | ItemCommand::Consume { .. } => Ok(Decision::nothing()),
            ItemCommand::Update { .. } | ItemCommand::Adjust { .. } | ItemCommand::Restock { .. } => {
                Err(Rejection::ItemNotFound {
                    line: None,
                    sku: sku.clone(),
                })
            }
        };
    };
    match command {
        ItemCommand::Create { .. } => Err(Rejection::ItemExists { sku: sku.clone() }),
        ItemCommand::Update {
            display_name,
            unit_price,
            backorder_limit,
            expected,
        } => {
            item.check_revision(*expected)?;
            let display_name = display_name.clone().unwrap_or_else(|| item.display_name.clone());
            let unit_price = unit_price.unwrap_or(item.unit_price);
            let backorder_limit = backorder_limit.unwrap_or(item.backorder_limit());
            if display_name == item.display_name
                && unit_price == item.unit_price
                && backorder_limit == item.backorder_limit()
            {
                return Ok(Decision::nothing());
            }
            Ok(Decision::event(ItemEvent::Updated {
                display_name,
                unit_price,
                backorder_limit,
            }))
        }
        ItemCommand::Adjust { delta, expected } => {
            item.check_revision(*expected)?;
            let on_hand = item
                .on_hand
                .plus(*delta)
                .ok_or(Rejection::Overflow { line: None })?;
            if on_hand < item.reserved {
                return Err(Rejection::StockReserved {
                    on_hand: item.on_hand,
                    reserved: item.reserved,
                    wanted: Quantity(delta.0.saturating_neg()),
                });
            }
            Ok(Decision::event(ItemEvent::Adjusted { delta: *delta }))
        }
        // Asked before and answered before.
        ItemCommand::Reserve { .. } if reservation.is_some() => Ok(Decision::nothing()),
        ItemCommand::Reserve {
            order,
            currency,
            lines,
        } => {
            let quantity = reserve(item, *currency, lines)?;
            Ok(Decision::event(ItemEvent::Reserved {
                order: *order,
                quantity,
            }))
        }
        // As above, where it has so many: what it is to have in all is told, and not how many more.
        ItemCommand::Raise {
            order,
            line,
            quantity,
        } => {
            let more = Quantity(quantity.0.saturating_sub(reservation.unwrap_or_default().0));
            if more.0 <= 0 {
                return Ok(Decision::nothing());
            }
            let available = item.obtainable();
            if more > available {
                return Err(Rejection::InsufficientStock {
                    line: *line,
                    sku: item.sku.clone(),
                    wanted: more,
                    available,
                });
            }
            Ok(Decision::event(ItemEvent::Raised {
                order: *order,
                quantity: more,
            }))
        }
        // Asked before and done before, where nothing is left of what is to go: what stays is told, and not what goes.
        ItemCommand::Release { order, remaining } => Ok(match beyond(reservation, *remaining) {
            Some(quantity) => Decision::event(ItemEvent::Released {
                order: *order,
                quantity,
            }),
            None => Decision::nothing(),
        }),
        ItemCommand::Restock { order, quantity } => {
            item.on_hand
                .plus(*quantity)
                .ok_or(Rejection::Overflow { line: None })?;
            Ok(Decision::event(ItemEvent::Restocked {
                order: *order,
                quantity: *quantity,
            }))
        }
        ItemCommand::Consume { order, remaining } => {
            let Some(quantity) = beyond(reservation, *remaining) else {
                return Ok(Decision::nothing());
            };
            // An order sends nothing that it waits for, so this does not come; and if it did, it would not take what others have.
            let there = reservation.and_then(|promised| promised.minus(item.waiting_of(*order)));
            let there = there.unwrap_or_default();
            if quantity > there {
                return Err(Rejection::QuantityBackordered {
                    line: 0,
                    wanted: quantity,
                    there,
                });
            }
            Ok(Decision::event(ItemEvent::Consumed {
                order: *order,
                quantity,
            }))
        }
    }
}

/// What is reserved beyond so many.
fn beyond(reservation: Option<Quantity>, remaining: Quantity) -> Option<Quantity> {
    let more = reservation?.minus(remaining)?;
    (more.0 > 0).then_some(more)
}

fn reserve(item: &Item, currency: Currency, lines: &[ReserveLine]) -> Result<Quantity, Rejection> {
    let first = lines.first().map_or(0, |l| l.line);
    if currency != item.currency {
        let expected = item.currency;
        return Err(Rejection::CurrencyMismatch {
            line: Some(first),
            ordered: currency,
            expected,
        });
    }
    if let Some(line) = lines.iter().find(|l| l.unit_price != item.unit_price) {
        return Err(Rejection::PriceChanged {
            line: line.line,
            sku: item.sku.clone(),
            offered: line.unit_price,
            current: item.unit_price,
        });
    }
    // At most 100 lines of at most 10⁹ each: the sum fits.
    let wanted: Quantity = lines.iter().map(|l| l.quantity).sum();
    let available = item.obtainable();
    if wanted > available {
        return Err(Rejection::InsufficientStock {
            line: first,
            sku: item.sku.clone(),
            wanted,
            available,
        });
    }
    Ok(wanted)
}

impl Item {
    /// The item that its first event makes.
    ///
    /// # Errors
    /// [`Broken`] where the event is not `Created`, or has a negative price or stock.
    pub fn create(sku: Sku, event: &ItemEvent, at: Time) -> Result<Self, Broken> {
        let ItemEvent::Created {
            display_name,
            currency,
            unit_price,
            on_hand,
        } = event
        else {
            return Err(Broken::new(sku, "its first event is not Created"));
        };
        if *unit_price < Amount::ZERO {
            return Err(Broken::new(sku, NEGATIVE_PRICE));
        }
        if *on_hand < Quantity::ZERO {
            return Err(Broken::new(sku, "its stock is negative"));
        }
        Ok(Self {
            sku,
            display_name: display_name.clone(),
            currency: *currency,
            unit_price: *unit_price,
            on_hand: *on_hand,
            reserved: Quantity::ZERO,
            backorders: None,
            version: Version(1),
            revision: 1,
            created: at,
            updated: at,
        })
    }

    /// Carries a later event into the item.
    ///
    /// # Errors
    /// [`Broken`] where the event does not fit; the item is as it was.
    pub fn evolve(&mut self, event: &ItemEvent, at: Time) -> Result<(), Broken> {
        let broken = |why| Broken::new(&self.sku, why);
        let by_a_person = match event {
            ItemEvent::Created { .. } => return Err(broken("it was created twice")),
            ItemEvent::Updated {
                display_name,
                unit_price,
                backorder_limit,
            } => {
                if *unit_price < Amount::ZERO {
                    return Err(broken(NEGATIVE_PRICE));
                }
                if *backorder_limit < Quantity::ZERO {
                    return Err(broken("less than nothing may wait for it"));
                }
                self.limit_backorders(*backorder_limit);
                self.display_name = display_name.clone();
                self.unit_price = *unit_price;
                true
            }
            ItemEvent::Adjusted { delta } => {
                let on_hand = self
                    .on_hand
                    .plus(*delta)
                    .filter(|on_hand| *on_hand >= self.reserved);
                self.on_hand = on_hand.ok_or_else(|| broken("it has less stock than is reserved"))?;
                self.fill_backorders();
                true
            }
            ItemEvent::Reserved { quantity, .. }
            | ItemEvent::Raised { quantity, .. }
            | ItemEvent::Released { quantity, .. }
            | ItemEvent::Consumed { quantity, .. }
            | ItemEvent::Restocked { quantity, .. }
                if *quantity <= Quantity::ZERO =>
            {
                return Err(broken(
                    "it reserves, releases, consumes or restocks nothing, or less",
                ));
            }
            ItemEvent::Reserved { order, quantity } | ItemEvent::Raised { order, quantity } => {
                let at_once = (*quantity).min(self.available());
                let later = Quantity(quantity.0.saturating_sub(at_once.0));
                if later > Quantity::ZERO {
                    let backorders = self.backorders.as_mut();
                    let backorders = backorders.filter(|it| later <= it.room());
                    backorders
                        .ok_or_else(|| broken("more is reserved than there is"))?
                        .push(*order, later);
                }
                // At least as many are available.
                self.reserved = Quantity(self.reserved.0.saturating_add(at_once.0));
                false
            }
            ItemEvent::Released { order, quantity } => {
                let waiting = self.waiting_of(*order).min(*quantity);
                let reserved = self
                    .reserved
                    .minus(Quantity(quantity.0.saturating_sub(waiting.0)))
                    .filter(|reserved| *reserved >= Quantity::ZERO);
                self.reserved = reserved.ok_or_else(|| broken("it releases more than is reserved"))?;
                if let Some(backorders) = self.backorders.as_mut().filter(|_| waiting > Quantity::ZERO) {
                    backorders.take_back(*order, waiting);
                }
                self.fill_backorders();
                false
            }
            ItemEvent::Restocked { quantity, .. } => {
                let on_hand = self.on_hand.plus(*quantity);
                self.on_hand = on_hand.ok_or_else(|| broken("its stock overflows"))?;
                self.fill_backorders();
                false
            }
            ItemEvent::Consumed { quantity, .. } => {
                let reserved = self
                    .reserved
                    .minus(*quantity)
                    .filter(|reserved| *reserved >= Quantity::ZERO);
                self.reserved = reserved.ok_or_else(|| broken("it consumes more than is reserved"))?;
                // At least as many are on hand.
                self.on_hand = Quantity(self.on_hand.0.saturating_sub(quantity.0));
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

    /// How many there are that nobody has reserved.
    pub fn available(&self) -> Quantity {
        Quantity(self.on_hand.0.saturating_sub(self.reserved.0))
    }

    fn check_revision(&self, expected: Option<u64>) -> Result<(), Rejection> {
        match expected {
            Some(revision) if revision != self.revision => Err(Rejection::StaleEtag),
            _ => Ok(()),
        }
    }

    /// Checks the invariants. That `reserved`, with what is backordered, is the sum of the reservations can only be seen beside them.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn validate(&self) -> Result<(), Broken> {
        let broken = |why| Err(Broken::new(&self.sku, why));
        if self.reserved < Quantity::ZERO || self.reserved > self.on_hand {
            return broken("more is reserved than there is, or less than nothing");
        }
        if self.unit_price < Amount::ZERO {
            return broken(NEGATIVE_PRICE);
        }
        if let Some(backorders) = &self.backorders {
            if let Some(why) = backorders.why_wrong() {
                return broken(why);
            }
            if backorders.waiting() > Quantity::ZERO && self.available() > Quantity::ZERO {
                return broken("some of it is available, and somebody waits for it");
            }
        }
        if self.version.0 == 0 || self.revision == 0 || self.revision > self.version.0 {
            return broken("its version or revision is wrong");
        }
        Ok(())
    }
}
