//! Hot keys: the Zipf distribution, drawn without a table.
//!
//! Rejection-inversion, W. Hörmann and G. Derflinger, "Rejection-inversion to generate variates from monotone discrete
//! distributions", ACM TOMACS 6 (1996): a draw costs the same for a thousand keys as for a thousand million.

use crate::chance::Chance;

/// Keys 0 to `keys - 1`, of which key k is drawn in proportion to `1 / (k + 1)^exponent`.
#[derive(Clone, Debug)]
pub struct Zipf {
    keys: u64,
    exponent: f64,
    /// The hat's integral from the first key's left end to the last key's right end.
    from: f64,
    to: f64,
    /// Below this distance a key is taken without looking at the hat.
    squeeze: f64,
}

impl Zipf {
    /// The distribution over `keys` keys (at least one); an exponent of 0 is the uniform one.
    pub fn new(keys: u64, exponent: f64) -> Self {
        let mut zipf = Self {
            keys: keys.max(1),
            exponent,
            from: 0.0,
            to: 0.0,
            squeeze: 0.0,
        };
        zipf.from = zipf.integral(1.5) - 1.0;
        zipf.to = zipf.integral(zipf.keys as f64 + 0.5);
        zipf.squeeze = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    /// Draws a key.
    pub fn draw(&self, chance: &mut Chance) -> u64 {
        if self.exponent == 0.0 {
            return chance.below(self.keys);
        }
        loop {
            let area = self.to + chance.unit() * (self.from - self.to);
            let at = self.inverse(area);
            let rank = at.round().clamp(1.0, self.keys as f64);
            if rank - at <= self.squeeze || area >= self.integral(rank + 0.5) - self.weight(rank) {
                return rank as u64 - 1;
            }
        }
    }

    /// `x^-exponent`.
    fn weight(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of the weight: `(x^(1-exponent) - 1) / (1 - exponent)`, or `ln x` for an exponent of 1.
    fn integral(&self, x: f64) -> f64 {
        let power = (1.0 - self.exponent) * x.ln();
        let slope = if power.abs() > 1e-8 {
            power.exp_m1() / power
        } else {
            1.0 + power / 2.0
        };
        slope * x.ln()
    }

    /// The inverse of the integral.
    fn inverse(&self, area: f64) -> f64 {
        let power = (area * (1.0 - self.exponent)).max(-1.0);
        let slope = if power.abs() > 1e-8 {
            power.ln_1p() / power
        } else {
            1.0 - power / 2.0
        };
        (slope * area).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 200_000;

    /// Draws, and holds how often each of the first keys came against how often it should have come.
    #[track_caller]
    fn check(keys: u64, exponent: f64) {
        let zipf = Zipf::new(keys, exponent);
        let mut counts = vec![0u64; keys as usize];
        for n in 0..DRAWS {
            counts[zipf.draw(&mut Chance::new(7, n)) as usize] += 1;
        }
        let total: f64 = (1..=keys).map(|rank| (rank as f64).powf(-exponent)).sum();
        for key in 0..keys.min(20) {
            let expected = DRAWS as f64 * ((key + 1) as f64).powf(-exponent) / total;
            let found = counts[key as usize] as f64;
            // Five standard deviations: a seed that passes says that the shape is right.
            assert!(
                (found - expected).abs() < 5.0 * expected.sqrt() + 1.0,
                "key {key} of {keys}, exponent {exponent}: {found} times, expected {expected:.0}"
            );
        }
        assert_eq!(counts.iter().sum::<u64>(), DRAWS);
    }

    #[test]
    fn keys_come_as_often_as_their_rank_says() {
        for exponent in [0.0, 0.5, 0.99, 1.0, 1.2, 2.0] {
            check(1_000, exponent);
            check(3, exponent);
            check(1, exponent);
        }
    }

    #[test]
    fn a_large_exponent_makes_one_key_hot_and_none_impossible() {
        let zipf = Zipf::new(u64::from(u32::MAX), 3.0);
        let hot = (0..10_000)
            .filter(|n| zipf.draw(&mut Chance::new(1, *n)) == 0)
            .count();
        // 1 / zeta(3) = 0.83.
        assert!((8_100..8_500).contains(&hot), "{hot}");
    }
}
