//! Fraud rules: what is odd about an order, beside what its customer has ordered before. They give a score and its reasons; an order whose score
//! reaches the threshold is held for a person to look at, and not refused.

use std::fmt;

use crate::{Amount, Time};

/// So many of a customer's newest orders are looked at for what it mostly spends.
pub const FRAUD_ORDERS_MAX: usize = 20;

/// What is odd, and how much that counts. A rule that counts nothing is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FraudRules {
    /// An order whose score is at least this is held.
    pub threshold: u32,
    /// More orders than this within a while are odd: the order itself counts.
    pub velocity_orders: u32,
    /// How long that while is, in microseconds.
    pub velocity_within: i64,
    /// How much it counts.
    pub velocity_score: u32,
    /// An order of more than so many times what the customer's earlier orders cost on average is odd.
    pub amount_factor: u32,
    /// So many earlier orders there must be for that: 1 to [`FRAUD_ORDERS_MAX`].
    pub amount_orders: u32,
    /// How much it counts.
    pub amount_score: u32,
    /// A customer is new for so long, in microseconds.
    pub new_customer_within: i64,
    /// An order of at least so much by a new customer is odd.
    pub new_customer_amount: Amount,
    /// How much it counts.
    pub new_customer_score: u32,
}

impl Default for FraudRules {
    fn default() -> Self {
        const SECOND: i64 = 1_000_000;
        Self {
            threshold: 100,
            velocity_orders: 10,
            velocity_within: 600 * SECOND,
            velocity_score: 60,
            amount_factor: 5,
            amount_orders: 3,
            amount_score: 60,
            new_customer_within: 24 * 3_600 * SECOND,
            new_customer_amount: Amount(50_000),
            new_customer_score: 60,
        }
    }
}

/// What an order's customer has done before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CustomerPast {
    /// When it came to be.
    pub created: Time,
    /// How many orders it has placed within [`FraudRules::velocity_within`], the new one among them; at least this many, where it is more than
    /// [`FraudRules::velocity_orders`].
    pub recent: u32,
    /// How many of its earlier orders were looked at that were neither refused nor called off: at most [`FRAUD_ORDERS_MAX`].
    pub orders: u32,
    /// What those cost together.
    pub spent: Amount,
}

/// What is odd about an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FraudReason {
    /// Its customer has placed so many within a while.
    Velocity {
        /// How many, at least.
        orders: u32,
        /// In how many seconds.
        within_s: i64,
    },
    /// It costs so many times what its customer mostly spends.
    Amount {
        /// How many times, rounded down.
        times: i64,
    },
    /// Its customer is new, and it is large.
    NewCustomer {
        /// For how many seconds the customer has been there.
        age_s: i64,
    },
}

impl fmt::Display for FraudReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Velocity { orders, within_s } => write!(f, "{orders} orders or more within {within_s} s"),
            Self::Amount { times } => write!(f, "{times} times what the customer mostly spends"),
            Self::NewCustomer { age_s } => write!(f, "large, of a customer that is {age_s} s old"),
        }
    }
}

/// How odd an order is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// What its reasons count together.
    pub score: u32,
    /// Each reason, and what it counts.
    pub reasons: Vec<(FraudReason, u32)>,
}

impl fmt::Display for Assessment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "score {}: ", self.score)?;
        for (i, (reason, score)) in self.reasons.iter().enumerate() {
            let comma = if i > 0 { "; " } else { "" };
            write!(f, "{comma}{reason} ({score})")?;
        }
        Ok(())
    }
}

impl FraudRules {
    /// How odd an order of so much is, that was placed then.
    pub fn assess(&self, total: Amount, placed: Time, past: &CustomerPast) -> Assessment {
        const SECOND: i64 = 1_000_000;
        let mut reasons = Vec::new();
        if past.recent > self.velocity_orders && self.velocity_score > 0 {
            let within_s = self.velocity_within / SECOND;
            let orders = past.recent;
            reasons.push((FraudReason::Velocity { orders, within_s }, self.velocity_score));
        }
        // total / (spent / orders) > factor, without a remainder that is lost.
        let (total_of_all, spent) = (
            i128::from(total.0) * i128::from(past.orders),
            i128::from(past.spent.0),
        );
        if past.orders >= self.amount_orders.max(1)
            && total_of_all > spent * i128::from(self.amount_factor)
            && self.amount_score > 0
        {
            let times = total_of_all / spent.max(1);
            let times = i64::try_from(times).unwrap_or(i64::MAX);
            reasons.push((FraudReason::Amount { times }, self.amount_score));
        }
        let age = placed.0.saturating_sub(past.created.0);
        if age < self.new_customer_within && total >= self.new_customer_amount && self.new_customer_score > 0
        {
            let age_s = age.max(0) / SECOND;
            reasons.push((FraudReason::NewCustomer { age_s }, self.new_customer_score));
        }
        let scores = reasons.iter().map(|(_, score)| *score);
        Assessment {
            score: scores.fold(0, u32::saturating_add),
            reasons,
        }
    }

    /// The same, where it is so odd that the order is to be held.
    pub fn suspects(&self, total: Amount, placed: Time, past: &CustomerPast) -> Option<Assessment> {
        let assessment = self.assess(total, placed, past);
        let is_odd = assessment.score >= self.threshold && !assessment.reasons.is_empty();
        is_odd.then_some(assessment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const NOW: Time = Time(1_795_000_000 * SECOND);

    /// A customer of long ago who mostly spends 1,000.
    fn known() -> CustomerPast {
        CustomerPast {
            created: Time(0),
            recent: 1,
            orders: 4,
            spent: Amount(4_000),
        }
    }

    fn score(total: i64, past: &CustomerPast) -> u32 {
        FraudRules::default().assess(Amount(total), NOW, past).score
    }

    #[test]
    fn each_rule_begins_where_it_says() {
        assert_eq!(score(5_000, &known()), 0);
        assert_eq!(score(5_001, &known()), 60);
        assert_eq!(score(10_000_000, &CustomerPast { orders: 2, ..known() }), 0);
        assert_eq!(
            score(
                1_000,
                &CustomerPast {
                    recent: 10,
                    ..known()
                }
            ),
            0
        );
        assert_eq!(
            score(
                1_000,
                &CustomerPast {
                    recent: 11,
                    ..known()
                }
            ),
            60
        );
        let aged = |seconds| CustomerPast {
            created: Time(NOW.0 - seconds * SECOND),
            orders: 0,
            spent: Amount(0),
            ..known()
        };
        assert_eq!(score(49_999, &aged(0)), 0);
        assert_eq!(score(50_000, &aged(86_399)), 60);
        assert_eq!(score(50_000, &aged(86_400)), 0);
        // A clock that was set back makes nobody old.
        assert_eq!(score(50_000, &aged(-5)), 60);
    }

    #[test]
    fn an_order_is_suspect_from_the_threshold_on_and_says_why() {
        let rules = FraudRules::default();
        let past = CustomerPast {
            recent: 11,
            ..known()
        };
        assert_eq!(rules.suspects(Amount(5_000), NOW, &past), None);
        let suspect = rules.suspects(Amount(7_500), NOW, &past).unwrap();
        assert_eq!(
            suspect.to_string(),
            "score 120: 11 orders or more within 600 s (60); 7 times what the customer mostly spends (60)"
        );
        // As long as a note may be, whatever the numbers are.
        let most = Assessment {
            score: u32::MAX,
            reasons: vec![
                (
                    FraudReason::Velocity {
                        orders: u32::MAX,
                        within_s: i64::MAX / SECOND,
                    },
                    u32::MAX,
                ),
                (FraudReason::Amount { times: i64::MAX }, u32::MAX),
                (
                    FraudReason::NewCustomer {
                        age_s: i64::MAX / SECOND,
                    },
                    u32::MAX,
                ),
            ],
        };
        assert!(most.to_string().len() <= crate::HOLD_NOTE_BYTES_MAX, "{most}");
    }

    #[test]
    fn rules_that_count_nothing_suspect_nobody() {
        let rules = FraudRules {
            threshold: 0,
            velocity_score: 0,
            amount_score: 0,
            new_customer_score: 0,
            ..FraudRules::default()
        };
        let past = CustomerPast {
            created: NOW,
            recent: 1_000,
            ..known()
        };
        assert_eq!(rules.suspects(Amount(i64::MAX), NOW, &past), None);
        // And nothing overflows.
        let largest = CustomerPast {
            orders: 20,
            spent: Amount(i64::MAX),
            ..known()
        };
        FraudRules::default().assess(Amount(i64::MAX), Time(i64::MIN), &largest);
    }
}
