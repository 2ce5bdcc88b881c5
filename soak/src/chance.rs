//! Numbers that a seed repeats.

/// A row of numbers that a seed repeats (splitmix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Chance(u64);

/// What splitmix64 adds at every step: 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Chance {
    /// The `n`th row of `seed`. Rows are independent of each other, so that any of them can be drawn again by itself.
    pub fn new(seed: u64, n: u64) -> Self {
        Self(mixed(seed ^ mixed(n.wrapping_mul(STEP))))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }

    /// The next number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Lemire's multiplication; its bias is far below what a load could show.
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// The next number from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
