//! Histories as a person reads them: one line an operation, with times in milliseconds.

use std::fmt;

use super::{
    life::Life,
    operation::{
        Ask, Change, CustomerSeen, ItemSeen, Line, Micros, Operation, OrderSeen, Outcome, Refusal, Reply,
    },
};

/// Milliseconds, with three digits behind the point.
pub struct Ms(pub Micros);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1_000, self.0 % 1_000);
        f.pad(&text)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10} – ", Ms(self.invoked))?;
        match self.completed {
            Some(completed) => write!(f, "{:>10} ms", Ms(completed))?,
            None => write!(f, "{:>10}   ", "…")?,
        }
        write!(f, "  p{:<3} {} → {}", self.process, self.ask, self.outcome)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = format!("{:?}", self.kind).to_uppercase();
        write!(
            f,
            "{:>10} ms  the feed: {kind} → {}, at {}",
            Ms(self.seen),
            self.order,
            self.at
        )
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place {
                request_id,
                customer,
                lines,
            } => write!(f, "place {request_id} for {customer} {}", Lines(lines)),
            Self::Cancel {
                request_id,
                order,
                etag,
            } => {
                write!(f, "cancel {order} by {request_id}")?;
                match etag.is_empty() {
                    true => Ok(()),
                    false => write!(f, " at etag {etag}"),
                }
            }
            Self::Do {
                request_id,
                order,
                deed,
                etag,
            } => {
                write!(f, "{deed:?} of {order} by {request_id}")?;
                match etag.is_empty() {
                    true => Ok(()),
                    false => write!(f, " at etag {etag}"),
                }
            }
            Self::Adjust {
                request_id,
                item,
                delta,
            } => write!(f, "adjust {item} by {delta:+} by {request_id}"),
            Self::Credit {
                request_id,
                customer,
                amount,
            } => write!(f, "credit {customer} with {amount:+} by {request_id}"),
            Self::GetOrder { order } => write!(f, "get {order}"),
            Self::GetItem { item } => write!(f, "get {item}"),
            Self::GetCustomer { customer } => write!(f, "get {customer}"),
            Self::ListItems => f.write_str("list the items"),
            Self::ListCustomers => f.write_str("list the customers"),
            Self::ListOrders { customer } => write!(f, "list the orders of {customer}"),
        }
    }
}

struct Lines<'a>(&'a [Line]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (number, line) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(
                f,
                "{comma}{} × {} at {}",
                line.quantity, line.item, line.unit_price
            )?;
        }
        f.write_str("]")
    }
}

fn list(f: &mut fmt::Formatter<'_>, listed: &[impl fmt::Display]) -> fmt::Result {
    f.write_str("[")?;
    for (number, one) in listed.iter().enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        write!(f, "{comma}{one}")?;
    }
    f.write_str("]")
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok(Reply::Order(order)) => write!(f, "{order}"),
            Self::Ok(Reply::Item(item)) => write!(f, "{item}"),
            Self::Ok(Reply::Customer(customer)) => write!(f, "{customer}"),
            Self::Ok(Reply::Items(items)) => list(f, items),
            Self::Ok(Reply::Customers(customers)) => list(f, customers),
            Self::Ok(Reply::Orders { orders, complete }) => {
                let more = if *complete { "" } else { " and older ones" };
                list(f, orders)?;
                f.write_str(more)
            }
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Failed(why) => write!(f, "not done: {why}"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if !self.resource.is_empty() {
            write!(f, " {}", self.resource)?;
        }
        for (name, figure) in &self.figures {
            write!(f, " {name}={figure}")?;
        }
        Ok(())
    }
}

impl fmt::Display for OrderSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = format!("{:?}", self.phase).to_uppercase();
        write!(f, "{} {phase} etag {}", self.name, self.etag)?;
        match self.life == Life::of(&self.lines) {
            true => Ok(()),
            false => write!(f, " {:?}", self.life),
        }
    }
}

impl fmt::Display for ItemSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on hand {}, reserved {}, available {}, etag {}",
            self.name, self.on_hand, self.reserved, self.available, self.etag
        )
    }
}

impl fmt::Display for CustomerSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} balance {}, held {}, limit {}, available {}, etag {}",
            self.name, self.balance, self.held, self.credit_limit, self.available, self.etag
        )
    }
}
