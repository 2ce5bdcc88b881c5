//! The section `[fraud]`: which orders are held for a person to look at as they are confirmed.

use docket_engine::{Amount, FRAUD_ORDERS_MAX, FraudRules};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::sections::Invalid;

/// Which orders are held (for `fraud_review`) as they are confirmed. Every rule that applies adds its score; an order that reaches the threshold is
/// held, and its hold's note says why.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Fraud {
    /// Whether any is. Default false.
    pub enabled: bool,
    /// An order whose score is at least this is held, 1 or more. Default 100.
    pub threshold: u32,
    /// More orders of one customer than so many within `velocity_within_s` are odd. Default 10.
    pub velocity_orders: u32,
    /// How long that is, in seconds. Default 600.
    pub velocity_within_s: u32,
    /// How much it counts; 0 for not at all. Default 60.
    pub velocity_score: u32,
    /// An order of more than so many times what the customer's newest 20 orders before it cost on average is odd. Default 5.
    pub amount_factor: u32,
    /// So many of those there must be, 1 to 20. Default 3.
    pub amount_orders: u32,
    /// How much it counts; 0 for not at all. Default 60.
    pub amount_score: u32,
    /// A customer is new for so long, in seconds. Default 86,400.
    pub new_customer_within_s: u32,
    /// An order of at least so much by a new customer is odd, in minor units of whatever currency. Default 50,000.
    pub new_customer_amount: i64,
    /// How much it counts; 0 for not at all. Default 60.
    pub new_customer_score: u32,
}

const SECOND: i64 = 1_000_000;

impl Default for Fraud {
    fn default() -> Self {
        let rules = FraudRules::default();
        let seconds = |micros: i64| u32::try_from(micros / SECOND).unwrap_or(u32::MAX);
        Self {
            enabled: false,
            threshold: rules.threshold,
            velocity_orders: rules.velocity_orders,
            velocity_within_s: seconds(rules.velocity_within),
            velocity_score: rules.velocity_score,
            amount_factor: rules.amount_factor,
            amount_orders: rules.amount_orders,
            amount_score: rules.amount_score,
            new_customer_within_s: seconds(rules.new_customer_within),
            new_customer_amount: rules.new_customer_amount.0,
            new_customer_score: rules.new_customer_score,
        }
    }
}

impl Fraud {
    /// The rules, where there are any.
    pub fn rules(&self) -> Option<FraudRules> {
        self.enabled.then(|| FraudRules {
            threshold: self.threshold,
            velocity_orders: self.velocity_orders,
            velocity_within: i64::from(self.velocity_within_s) * SECOND,
            velocity_score: self.velocity_score,
            amount_factor: self.amount_factor,
            amount_orders: self.amount_orders,
            amount_score: self.amount_score,
            new_customer_within: i64::from(self.new_customer_within_s) * SECOND,
            new_customer_amount: Amount(self.new_customer_amount),
            new_customer_score: self.new_customer_score,
        })
    }
}

/// Everything that is wrong with the section.
pub fn problems(fraud: &Fraud) -> Vec<Invalid> {
    let mut found = Vec::new();
    let mut refuse = |key: &str, requirement: String| {
        found.push(Invalid {
            key: format!("fraud.{key}"),
            requirement,
        });
    };
    if fraud.threshold == 0 {
        refuse("threshold", "must be 1 or more".to_owned());
    }
    let orders = usize::try_from(fraud.amount_orders).unwrap_or(usize::MAX);
    if !(1..=FRAUD_ORDERS_MAX).contains(&orders) {
        refuse("amount_orders", format!("must be from 1 to {FRAUD_ORDERS_MAX}"));
    }
    if fraud.new_customer_amount < 0 {
        refuse("new_customer_amount", "must be 0 or more".to_owned());
    }
    found
}
