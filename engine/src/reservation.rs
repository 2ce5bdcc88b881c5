//! What became of the stock that an order wants, line by line. It is told of the order as it is, and decides nothing: what items have reserved is
//! in their books ([`crate::wanted`] says what these must agree with).
//!
//! ```text
//!   HELD ── confirmed ──▶ COMMITTED ── shipped ──▶ CONSUMED
//!    │                        └── cancelled ─────▶ RELEASED
//!    ├── refused, cancelled ─────────────────────▶ RELEASED
//!    └── not authorised in time ─────────────────▶ EXPIRED
//!
//!   BACKORDERED ── its item has it ──▶ HELD or COMMITTED      from the begin on, or where an edit wants more; it may be given back as they may
//! ```
//!
//! A line may be partly the one and partly the other: the quantities of a line add up to what is ordered of it.

use std::fmt;

use crate::{Order, OrderState, Quantity, Time};

/// What became of some of a line's stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReservationState {
    /// It is reserved, or is being reserved, for an order that is not confirmed yet.
    Held,
    /// It is reserved for an order that is confirmed.
    Committed,
    /// It is promised, and not there yet: its item fills it when there is more.
    Backordered,
    /// It was shipped.
    Consumed,
    /// It was given back, or never taken where the order was refused.
    Released,
    /// It was given back since the order's payment was not authorised in time.
    Expired,
}

impl fmt::Display for ReservationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "HELD",
            Self::Committed => "COMMITTED",
            Self::Backordered => "BACKORDERED",
            Self::Consumed => "CONSUMED",
            Self::Released => "RELEASED",
            Self::Expired => "EXPIRED",
        })
    }
}

/// What became of the stock of one line: each state once, in their order, with 1 or more.
pub type LineReservations = Vec<(ReservationState, Quantity)>;

impl Order {
    /// What became of the stock of each line.
    pub fn reservations(&self) -> Vec<LineReservations> {
        if let Some(state) = self.only_reservation() {
            let lines = self.lines.iter();
            return lines.map(|line| vec![(state, line.quantity)]).collect();
        }
        let open = self.open_quantities().into_iter();
        let waiting = self.backordered_quantities();
        let there = match self.state {
            OrderState::Authorizing => ReservationState::Held,
            _ => ReservationState::Committed,
        };
        let moved = self
            .fulfilled_quantities()
            .into_iter()
            .zip(self.cancelled_quantities());
        open.zip(waiting)
            .zip(moved)
            .map(|((open, waiting), (fulfilled, cancelled))| {
                let states = [
                    (there, Quantity(open.0.saturating_sub(waiting.0))),
                    (ReservationState::Backordered, waiting),
                    (ReservationState::Consumed, fulfilled),
                    (ReservationState::Released, cancelled),
                ];
                states
                    .into_iter()
                    .filter(|(_, quantity)| quantity.0 > 0)
                    .collect()
            })
            .collect()
    }

    /// What became of all of it, where that is the same of every line, as with nearly all orders.
    pub fn only_reservation(&self) -> Option<ReservationState> {
        match self.state {
            OrderState::Authorizing if self.is_backordered() => None,
            OrderState::Pending | OrderState::Authorizing => Some(ReservationState::Held),
            OrderState::Rejected => Some(ReservationState::Released),
            OrderState::Expired => Some(ReservationState::Expired),
            OrderState::Confirmed if self.life.is_none() => Some(ReservationState::Committed),
            OrderState::Cancelled if self.life.is_none() => Some(ReservationState::Released),
            OrderState::Confirmed
            | OrderState::PartiallyFulfilled
            | OrderState::Fulfilled
            | OrderState::Closed
            | OrderState::Cancelled => None,
        }
    }

    /// Until when what it has reserved is held for it, where its payment has to be authorised within so many microseconds; `None` where
    /// nothing of it expires.
    pub fn held_until(&self, authorize_within_us: i64) -> Option<Time> {
        match self.state {
            OrderState::Authorizing => Some(Time(self.created.0.saturating_add(authorize_within_us))),
            _ => None,
        }
    }
}
