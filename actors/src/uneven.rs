//! Hash tables that are cut into parts which do not grow together. A table doubles where it is full, and with that every entry is looked
//! at anew, one by one, somewhere in memory. Were all parts as large as each other, all would double in the same moment of a shard's
//! growth, and all shards' with them: then every order of that moment costs more, and none of the long time behind it. So each part
//! gets a bit more of the entries than the one before it, the last nearly twice as many as the first, and the moments are spread evenly over
//! every doubling of the whole.

/// So many of a hash's bits say which part.
const BITS: u32 = 8;
/// Where they are: a table goes by the lowest ones and the uppermost seven.
const SHIFT: u32 = 40;

/// Which of N parts an entry belongs to.
pub(crate) struct Uneven<const N: usize>([u8; 1 << BITS]);

impl<const N: usize> Uneven<N> {
    /// The share of part i is 2^(i/N) times that of the first.
    pub(crate) const fn new() -> Self {
        assert!(
            N.is_power_of_two() && N <= 32,
            "a share is of a few values at least"
        );
        let root = nth_root_of_two(N);
        let (mut share, mut whole, mut part) = (1.0, 0.0, 0);
        while part < N {
            whole += share;
            share *= root;
            part += 1;
        }
        let mut parts = [0; 1 << BITS];
        let (mut share, mut end, mut part, mut value) = (1.0, 1.0, 0, 0);
        while value < parts.len() {
            while part + 1 < N && (value as f64 + 0.5) / parts.len() as f64 > end / whole {
                share *= root;
                end += share;
                part += 1;
            }
            parts[value] = part as u8;
            value += 1;
        }
        Self(parts)
    }

    pub(crate) fn part_of(&self, hash: u64) -> usize {
        // No bits are left but those of an index.
        usize::from(self.0[(hash >> SHIFT) as usize % (1 << BITS)])
    }
}

/// Of a power of two.
const fn nth_root_of_two(n: usize) -> f64 {
    let (mut root, mut n) = (2.0, n);
    while n > 1 {
        root = square_root(root);
        n /= 2;
    }
    root
}

/// Newton's, of a number from 1 to 2.
const fn square_root(of: f64) -> f64 {
    let (mut root, mut step) = (of, 0);
    while step < 8 {
        root = (root + of / root) / 2.0;
        step += 1;
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which sizes of the whole each part doubles, between these two.
    fn doublings<const N: usize>(from: usize, to: usize) -> Vec<usize> {
        let parts = Uneven::<N>::new();
        let mut shares = [0; N];
        for value in 0..1_u64 << BITS {
            shares[parts.part_of(value << SHIFT)] += 1;
        }
        let mut doublings = Vec::new();
        for share in shares {
            let mut full = 7;
            while full << BITS < to * share {
                full *= 2;
                doublings.push((full << BITS) / share);
            }
        }
        doublings.retain(|whole| (from..to).contains(whole));
        doublings
    }

    fn is_spread<const N: usize>() {
        // Between any size and a fifth more of it: a quarter of what a doubling of the whole comes to, and a bit.
        for from in (100_000..1_000_000).step_by(10_000) {
            let few = doublings::<N>(from, from * 6 / 5).len();
            assert!((N / 8..=N / 2).contains(&few), "{few} of {N} parts from {from}");
            assert_eq!(doublings::<N>(from, 2 * from).len(), N);
        }
    }

    #[test]
    fn parts_grow_one_after_the_other() {
        is_spread::<16>();
        is_spread::<32>();
    }

    #[test]
    fn roots_are_roots() {
        assert!((nth_root_of_two(32).powi(32) - 2.0).abs() < 1e-12);
    }
}
