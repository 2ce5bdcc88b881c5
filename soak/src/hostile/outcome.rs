//! What came of an attack, and whether that is good enough.

use serde_json::{Value, json};

use super::{attack::Attack, honest::Found};

/// An honest client's p99 under attack may be so many times its quiet one.
pub const RATIO_MAX: f64 = 2.0;
/// The server's memory may grow by so much under an attack: each of them offers more than that, or holds what is bounded one by one.
pub const GROWTH_MAX_BYTES: u64 = 256 * 1_024 * 1_024;

/// What came of an attack.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which one.
    pub attack: Attack,
    /// The honest client while it was quiet.
    pub quiet: Found,
    /// The honest client under attack.
    pub attacked: Found,
    /// The server's memory before it.
    pub calm_bytes: u64,
    /// The most that it had.
    pub most_bytes: u64,
    /// The most connections that the server had open.
    pub connections: u64,
    /// What the attackers were answered, and how often.
    pub answers: Vec<(String, u64)>,
    /// How often somebody came.
    pub visits: u64,
    /// How much was sent.
    pub bytes: u64,
    /// Whether the bound that is meant for it was reached.
    pub held: bool,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Memory grew by so many bytes.
    Grew(u64),
    /// So many honest requests were not done.
    Refused(u64),
    /// No bound was seen to hold.
    NotHeld,
    /// The honest client waited so many times as long.
    Slow(f64),
}

impl Outcome {
    /// By how much memory grew.
    pub fn growth(&self) -> u64 {
        self.most_bytes.saturating_sub(self.calm_bytes)
    }

    /// The honest client's p99 under attack over its quiet one; none where it was never quiet.
    pub fn ratio(&self) -> Option<f64> {
        let (quiet, attacked) = (self.quiet.orders.us(0.99), self.attacked.orders.us(0.99));
        (quiet > 0).then(|| attacked as f64 / quiet as f64)
    }

    /// All that is wrong; of times, only where they count.
    pub fn faults(&self, times_count: bool) -> Vec<Verdict> {
        let mut faults = Vec::new();
        if self.growth() > GROWTH_MAX_BYTES {
            faults.push(Verdict::Grew(self.growth()));
        }
        if self.attacked.refused > 0 {
            faults.push(Verdict::Refused(self.attacked.refused));
        }
        if !self.held {
            faults.push(Verdict::NotHeld);
        }
        match self.ratio() {
            Some(ratio) if times_count && ratio > RATIO_MAX => faults.push(Verdict::Slow(ratio)),
            _ => {}
        }
        faults
    }

    /// The same for programs.
    pub fn to_json(&self) -> Value {
        let times = |found: &Found| {
            json!({
                "orders": found.orders.count(),
                "p50_us": found.orders.us(0.5),
                "p99_us": found.orders.us(0.99),
                "newcomers": found.newcomers.count(),
                "newcomers_p99_us": found.newcomers.us(0.99),
                "refused": found.refused,
                "told": found.told,
            })
        };
        let force = self.attack.force();
        json!({
            "attack": self.attack.name(),
            "does": self.attack.does(),
            "visitors": force.visitors,
            "addresses": force.addresses,
            "visits_per_second": force.visits_per_second,
            "work_per_second": force.work_per_second,
            "quiet": times(&self.quiet),
            "attacked": times(&self.attacked),
            "p99_ratio": self.ratio(),
            "calm_bytes": self.calm_bytes,
            "most_bytes": self.most_bytes,
            "connections_most": self.connections,
            "visits": self.visits,
            "bytes_sent": self.bytes,
            "answers": self.answers.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "held": self.held,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_grows_refuses_or_waits_too_much_is_a_fault_of_its_own() {
        let mut outcome = Outcome {
            attack: Attack::RapidReset,
            quiet: Found::default(),
            attacked: Found::default(),
            calm_bytes: 100,
            most_bytes: 100 + GROWTH_MAX_BYTES,
            connections: 1,
            answers: Vec::new(),
            visits: 1,
            bytes: 1,
            held: true,
        };
        assert_eq!((outcome.ratio(), outcome.faults(true)), (None, vec![]));
        outcome.quiet.orders.record(Duration::from_millis(10));
        outcome.attacked.orders.record(Duration::from_millis(40));
        assert_eq!(outcome.faults(false), []);
        assert!(matches!(outcome.faults(true)[..], [Verdict::Slow(ratio)] if (3.9..4.1).contains(&ratio)));
        outcome.most_bytes += 1;
        outcome.attacked.refused = 2;
        outcome.held = false;
        let expected = [
            Verdict::Grew(GROWTH_MAX_BYTES + 1),
            Verdict::Refused(2),
            Verdict::NotHeld,
        ];
        assert_eq!(outcome.faults(false), expected);
    }
}
