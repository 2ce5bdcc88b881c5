//! A request id is good for one content: this makes another one of it.

use docket_engine::{Currency, HoldReason, ReturnStep};
use docket_persistence::mem::Seeded;

use super::{
    commands::{Ask, Meant},
    draw::CURRENCIES,
};

impl Ask {
    /// The same with one field changed, whichever.
    pub fn altered(&self, random: &mut Seeded) -> Self {
        let mut altered = self.clone();
        let which = random.below(4);
        match &mut altered {
            Self::CreateCustomer {
                name,
                currency,
                limit,
                ..
            } => match which {
                0 => name.push('!'),
                1 => *currency = another_currency(*currency),
                _ => *limit = another(*limit),
            },
            Self::CreateItem {
                name,
                currency,
                price,
                on_hand,
                ..
            } => match which {
                0 => name.push('!'),
                1 => *currency = another_currency(*currency),
                2 => *price = another(*price),
                _ => *on_hand = another(*on_hand),
            },
            Self::UpdateCustomer {
                name,
                limit: number,
                etag,
                ..
            }
            | Self::UpdateItem {
                name,
                price: number,
                etag,
                ..
            } => match which {
                0 => *name = name.as_ref().map_or(Some(String::new()), |_| None),
                1 => *number = number.map_or(Some(0), |_| None),
                2 => *number = Some(number.map_or(1, another)),
                _ => *etag = another_etag(*etag),
            },
            Self::CreditAccount {
                amount: number, etag, ..
            }
            | Self::AdjustStock {
                delta: number, etag, ..
            } => match which {
                0 => *etag = another_etag(*etag),
                _ => *number = another(*number),
            },
            Self::PlaceOrder {
                currency,
                lines,
                payer,
                ..
            } => match which {
                0 if random.below(2) == 0 => *currency = another_currency(*currency),
                0 => *payer = payer.another(),
                1 => lines[0].quantity.0 = another(lines[0].quantity.0),
                2 => lines[0].unit_price.0 = another(lines[0].unit_price.0),
                _ => lines.push(lines[0].clone()),
            },
            Self::CancelOrder { etag, .. } => *etag = another_etag(*etag),
            Self::CancelOrderLines { lines, etag, .. } => match which {
                0 => *etag = another_etag(*etag),
                _ => alter(lines),
            },
            Self::EditOrder { lines, etag, .. } => match which {
                // It needs one.
                0 => *etag = etag.map(|etag| etag + 1),
                _ => alter(lines),
            },
            Self::ShipOrder {
                lines,
                carrier,
                tracking,
                etag,
                ..
            } => match which {
                0 => *etag = another_etag(*etag),
                1 => carrier.push('!'),
                2 => tracking.push('!'),
                _ => alter(lines),
            },
            Self::OpenFulfilment { lines, etag, .. } => match which {
                0 => *etag = another_etag(*etag),
                _ => alter(lines),
            },
            Self::ShipFulfilment {
                fulfilment,
                carrier,
                tracking,
                etag,
                ..
            } => match which {
                0 => *etag = another_etag(*etag),
                1 => carrier.push('!'),
                2 => tracking.push('!'),
                _ => *fulfilment += 1,
            },
            Self::CancelFulfilment { fulfilment, etag, .. }
            | Self::DeliverFulfilment { fulfilment, etag, .. } => match which {
                0 => *etag = another_etag(*etag),
                _ => *fulfilment += 1,
            },
            Self::HoldOrder {
                reason, note, etag, ..
            } => match which {
                0 => *etag = another_etag(*etag),
                1 => note.push('!'),
                _ => *reason = another_reason(*reason),
            },
            Self::ReleaseOrderHold { reason, etag, .. } => match which {
                0 => *etag = another_etag(*etag),
                _ => *reason = another_reason(*reason),
            },
            Self::RequestReturn {
                lines, note, etag, ..
            } => match which {
                0 => *etag = another_etag(*etag),
                1 => note.push('!'),
                _ => alter(lines),
            },
            Self::MoveReturn {
                number, step, etag, ..
            } => match (which, &step) {
                (0, _) => *etag = another_etag(*etag),
                (1, _) | (_, ReturnStep::Close) => *number += 1,
                (_, ReturnStep::Receive { restock }) => *step = ReturnStep::Receive { restock: !restock },
                (_, ReturnStep::Approve) => *step = ReturnStep::Decline { note: "!".into() },
                (_, ReturnStep::Decline { .. }) => *step = ReturnStep::Approve,
            },
            Self::RefundOrder {
                amount, note, etag, ..
            } => match which {
                0 => *etag = another_etag(*etag),
                1 => note.push('!'),
                _ => *amount = another(*amount),
            },
            Self::RetryPayment { step, etag, .. } => match which {
                0 => *etag = another_etag(*etag),
                _ => *step += 1,
            },
        }
        altered
    }
}

fn alter(lines: &mut Meant) {
    match lines.first_mut() {
        Some((_, quantity)) => *quantity = another(*quantity),
        None => lines.push((0, 1)),
    }
}

fn another_reason(reason: HoldReason) -> HoldReason {
    let another = HoldReason::ALL.into_iter().find(|other| *other != reason);
    another.unwrap()
}

fn another(number: i64) -> i64 {
    if number == 1 { 2 } else { 1 }
}

fn another_etag(etag: Option<u64>) -> Option<u64> {
    if etag.is_none() { Some(0) } else { None }
}

fn another_currency(currency: Currency) -> Currency {
    let another = CURRENCIES.iter().find(|code| **code != currency.as_str());
    another.unwrap().parse().unwrap()
}
