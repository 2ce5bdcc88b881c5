//! Numbers that a seed repeats.

use bytes::Bytes;

/// A small generator of numbers that a seed repeats (splitmix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Seeded {
    state: u64,
}

impl Seeded {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below `bound` (0 for a bound of 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.draw() % bound }
    }

    /// `bytes` torn: a prefix of them, sometimes followed by zeros up to their length.
    pub(super) fn torn(&mut self, bytes: &[u8]) -> Bytes {
        let kept = self.below(bytes.len() as u64) as usize;
        let mut torn = bytes[..kept].to_vec();
        if self.below(2) == 0 {
            torn.resize(bytes.len(), 0);
        }
        torn.into()
    }
}
