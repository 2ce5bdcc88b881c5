//! The checker checked: histories that a right server can have made are accepted, and those that it cannot are refused.

mod bad;
mod bad_deeds;
mod feeds;
mod good;
mod random;
mod simulated;

use super::{
    Ask, Books, CustomerSeen, History, ItemSeen, Line, Micros, Operation, OrderSeen, Outcome, Phase, Refusal,
    Reply, Verdict, check, life::Life,
};

const TEA: &str = "items/tea";
const CUP: &str = "items/cup";
const ANN: &str = "customers/ann";
/// On hand of each item at first.
const STOCK: i64 = 10;
/// What ann may owe.
const CREDIT: i64 = 1_000;
/// What one of anything costs.
const PRICE: i64 = 10;

/// A history that is told operation by operation, with times in milliseconds.
struct Told(History);

fn shop() -> Told {
    Told(History {
        stock: [TEA, CUP].map(|item| (item.to_owned(), STOCK)).into(),
        credit: [(ANN.to_owned(), CREDIT)].into(),
        ..History::default()
    })
}

impl Told {
    /// Process 1 asked in these milliseconds.
    fn then(self, times: (Micros, Micros), ask: Ask, outcome: Outcome) -> Self {
        self.by(1, times, ask, outcome)
    }

    fn by(
        mut self,
        process: u32,
        (invoked, completed): (Micros, Micros),
        ask: Ask,
        outcome: Outcome,
    ) -> Self {
        self.0.operations.push(Operation {
            process,
            invoked: invoked * 1_000,
            completed: Some(completed * 1_000),
            ask,
            outcome,
        });
        self
    }

    /// The books at the end.
    fn books(mut self, items: &[ItemSeen], held: (i64, i64), orders: &[OrderSeen]) -> Self {
        self.0.books = Some(Books {
            items: items.to_vec(),
            customers: vec![customer(held.0, held.1, "c")],
            orders: orders.to_vec(),
        });
        self
    }

    fn verdict(&self) -> Verdict {
        check(&self.0)
    }

    #[track_caller]
    fn is_good(&self) {
        let verdict = self.verdict();
        assert!(verdict.is_good(), "{verdict}");
    }

    /// It is refused, and the first fault says this.
    #[track_caller]
    fn is_refused(&self, says: &str) {
        let verdict = self.verdict();
        assert!(verdict.undecided.is_empty(), "{verdict}");
        assert!(!verdict.faults.is_empty(), "it was accepted");
        let told: Vec<String> = verdict.faults.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|fault| fault.contains(says)), "{verdict}");
    }
}

fn lines(lines: &[(&str, i64)]) -> Vec<Line> {
    let line = |&(item, quantity): &(&str, i64)| Line {
        item: item.to_owned(),
        quantity,
        unit_price: PRICE,
    };
    lines.iter().map(line).collect()
}

fn place(id: &str, of: &[(&str, i64)]) -> Ask {
    Ask::Place {
        request_id: id.into(),
        customer: ANN.into(),
        lines: lines(of),
    }
}

fn cancel(id: &str, order: &str) -> Ask {
    Ask::Cancel {
        request_id: id.into(),
        order: order.into(),
        etag: String::new(),
    }
}

fn adjust(id: &str, item: &str, delta: i64) -> Ask {
    Ask::Adjust {
        request_id: id.into(),
        item: item.into(),
        delta,
    }
}

fn credit(id: &str, amount: i64) -> Ask {
    Ask::Credit {
        request_id: id.into(),
        customer: ANN.into(),
        amount,
    }
}

fn get_order(order: &str) -> Ask {
    Ask::GetOrder { order: order.into() }
}

fn get_item(item: &str) -> Ask {
    Ask::GetItem { item: item.into() }
}

fn get_ann() -> Ask {
    Ask::GetCustomer { customer: ANN.into() }
}

fn is_items(items: &[ItemSeen]) -> Outcome {
    Outcome::Ok(Reply::Items(items.to_vec()))
}

fn list() -> Ask {
    Ask::ListOrders { customer: ANN.into() }
}

fn order(name: &str, phase: Phase, etag: &str, of: &[(&str, i64)]) -> OrderSeen {
    let lines = lines(of);
    OrderSeen {
        name: name.into(),
        customer: ANN.into(),
        phase,
        total: Ask::total(&lines),
        lines,
        etag: etag.into(),
        created: 1,
        rejection: if phase == Phase::Rejected {
            "WHY".into()
        } else {
            String::new()
        },
        life: life_in(phase, of),
    }
}

/// Of an order of which nothing was sent.
fn life_in(phase: Phase, of: &[(&str, i64)]) -> Life {
    let life = Life::of(&lines(of));
    match phase {
        Phase::Cancelled => life.cancelled().unwrap(),
        _ => life,
    }
}

fn item(name: &str, on_hand: i64, reserved: i64, etag: &str) -> ItemSeen {
    ItemSeen {
        name: name.into(),
        on_hand,
        reserved,
        available: on_hand - reserved,
        etag: etag.into(),
    }
}

fn customer(balance: i64, held: i64, etag: &str) -> CustomerSeen {
    CustomerSeen {
        name: ANN.into(),
        balance,
        held,
        credit_limit: CREDIT,
        available: balance + CREDIT - held,
        etag: etag.into(),
    }
}

fn is_order(name: &str, phase: Phase, etag: &str, of: &[(&str, i64)]) -> Outcome {
    Outcome::Ok(Reply::Order(Box::new(order(name, phase, etag, of))))
}

fn is_item(name: &str, on_hand: i64, reserved: i64, etag: &str) -> Outcome {
    Outcome::Ok(Reply::Item(item(name, on_hand, reserved, etag)))
}

fn is_ann(balance: i64, held: i64, etag: &str) -> Outcome {
    Outcome::Ok(Reply::Customer(customer(balance, held, etag)))
}

fn is_list(orders: &[OrderSeen]) -> Outcome {
    Outcome::Ok(Reply::Orders {
        orders: orders.to_vec(),
        complete: true,
    })
}

fn refused(reason: &str, resource: &str, figures: &[(&str, i64)]) -> Outcome {
    Outcome::Refused(Refusal {
        reason: reason.into(),
        resource: resource.into(),
        figures: figures
            .iter()
            .map(|(name, figure)| ((*name).to_owned(), *figure))
            .collect(),
    })
}

fn unknown() -> Outcome {
    Outcome::Unknown("the connection was lost".into())
}
