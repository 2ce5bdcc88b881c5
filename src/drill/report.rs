//! What a drill has shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ALREADY, FENCED};
use crate::output::{Field, Tone};

/// How far the standby was behind under load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lag {
    seconds_max: f64,
    orders_max: u64,
}

impl Lag {
    pub fn note(&mut self, lag: Duration, orders: u64) {
        self.seconds_max = self.seconds_max.max(lag.as_secs_f64());
        self.orders_max = self.orders_max.max(orders);
    }
}

/// What the old primary did when it was started again.
#[derive(Clone, Debug)]
pub struct OldPrimary {
    /// The reason with which it refused an order.
    pub refused: String,
    /// Orders that it took.
    pub taken: usize,
    /// How long after its start it refused by that name.
    pub after: Duration,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Report {
    pub clients: usize,
    /// Orders that the primary had acknowledged when it was killed.
    pub acknowledged: usize,
    /// And the promoted standby.
    pub acknowledged_after: usize,
    pub lag: Lag,
    pub promoted_after: Duration,
    pub rto: Duration,
    pub rpo: Duration,
    /// Acknowledged orders that are not there.
    pub lost: usize,
    /// Those of them that had to be.
    pub lost_before_point: usize,
    pub epoch: u64,
    pub discrepancies: u64,
    pub undecided: u64,
    pub orders: usize,
    /// Why it could not be promoted again.
    pub promoted_twice: String,
    pub old_primary: OldPrimary,
    pub has_fenced: bool,
}

impl Report {
    /// What is not as it must be.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut check = |good: bool, what: String| {
            if !good {
                wrong.push(what);
            }
        };
        check(
            self.acknowledged > 0,
            "no order was acknowledged before the kill".to_owned(),
        );
        check(
            self.lost_before_point == 0,
            format!(
                "{} orders are missing that had to be there",
                self.lost_before_point
            ),
        );
        check(
            self.discrepancies == 0 && self.undecided == 0,
            format!(
                "the books have {} discrepancies, {} undecided",
                self.discrepancies, self.undecided
            ),
        );
        check(
            self.promoted_twice == ALREADY,
            format!("a second promotion was answered {:?}", self.promoted_twice),
        );
        check(
            self.old_primary.refused == FENCED && self.old_primary.taken == 0,
            format!(
                "the old primary took {} orders, and answered {:?}",
                self.old_primary.taken, self.old_primary.refused
            ),
        );
        check(
            self.has_fenced,
            "the old primary is not known to be fenced".to_owned(),
        );
        wrong
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "rto_seconds": self.rto.as_secs_f64(),
            "rpo_seconds": self.rpo.as_secs_f64(),
            "rpo_orders": self.lost,
            "acknowledged": self.acknowledged,
            "acknowledged_after": self.acknowledged_after,
            "clients": self.clients,
            "lag_seconds_max": self.lag.seconds_max,
            "lag_orders_max": self.lag.orders_max,
            "promoted_after_seconds": self.promoted_after.as_secs_f64(),
            "epoch": self.epoch,
            "orders": self.orders,
            "lost_before_point": self.lost_before_point,
            "discrepancies": self.discrepancies,
            "undecided": self.undecided,
            "promoted_twice": self.promoted_twice,
            "old_primary_refused": self.old_primary.refused,
            "old_primary_taken": self.old_primary.taken,
            "old_primary_refused_after_seconds": self.old_primary.after.as_secs_f64(),
            "old_primary_fenced": self.has_fenced,
            "wrong": self.wrong(),
        })
    }

    /// For people.
    pub fn fields(&self) -> Vec<Field> {
        let seconds = |name, time: Duration| {
            let time = time.as_secs_f64();
            Field::shown(name, json!(time), format!("{time:.2} s"))
        };
        let good = self.wrong().is_empty();
        vec![
            Field::flag("good", good).tone(if good { Tone::Good } else { Tone::Bad }),
            seconds("rto_seconds", self.rto),
            seconds("rpo_seconds", self.rpo),
            Field::number("rpo_orders", self.lost as u64),
            Field::number("acknowledged", self.acknowledged as u64),
            Field::number("acknowledged_after", self.acknowledged_after as u64),
            seconds("lag_seconds_max", Duration::from_secs_f64(self.lag.seconds_max)),
            Field::number("lag_orders_max", self.lag.orders_max),
            seconds("promoted_after_seconds", self.promoted_after),
            Field::number("epoch", self.epoch),
            Field::number("discrepancies", self.discrepancies),
            Field::text("promoted_twice", &self.promoted_twice),
            Field::text("old_primary_refused", &self.old_primary.refused),
            seconds("old_primary_refused_after_seconds", self.old_primary.after),
        ]
    }
}
