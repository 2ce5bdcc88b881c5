//! How much of an item an order allows to be reserved for it: what the item's books must agree with.

use crate::{Order, OrderState, Quantity, Sku};

/// How much of an item may be reserved for an order, as the order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Exactly so many.
    Exactly(Quantity),
    /// All of them or none: the item is asked, and may have answered.
    NoneOr(Quantity),
    /// The one or the other: an edit has the item asked for more, and it may have answered.
    Either(Quantity, Quantity),
    /// So many at least: the item is to give back, or to take, what is beyond, and may have done so.
    AtLeast(Quantity),
}

impl Wanted {
    /// Whether so many may be reserved.
    pub fn allows(self, reserved: Quantity) -> bool {
        match self {
            Self::Exactly(wanted) => reserved == wanted,
            Self::NoneOr(wanted) => reserved == wanted || reserved == Quantity::ZERO,
            Self::Either(before, raised) => reserved == before || reserved == raised,
            Self::AtLeast(wanted) => reserved >= wanted,
        }
    }

    /// How many stay reserved when all is done, and nothing is refused.
    pub fn quantity(self) -> Quantity {
        match self {
            Self::Exactly(wanted)
            | Self::NoneOr(wanted)
            | Self::Either(_, wanted)
            | Self::AtLeast(wanted) => wanted,
        }
    }
}

impl Order {
    /// How much of an item may be reserved for it.
    pub fn wanted_of(&self, sku: &Sku) -> Wanted {
        let open = self.open_of(sku);
        if self.state == OrderState::Pending {
            return Wanted::NoneOr(open);
        }
        if let Some(raised) = self.raised_of(sku) {
            return match self.asks_for_edit() {
                true => Wanted::Either(open, raised),
                // All items have agreed, and its provider is asked.
                false => Wanted::Exactly(raised),
            };
        }
        match self.releasing.contains(sku) || self.consuming().contains(sku) {
            true => Wanted::AtLeast(open),
            false => Wanted::Exactly(open),
        }
    }
}
