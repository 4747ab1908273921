//! Decisions that follow from a seed.

/// A generator of numbers (SplitMix64): the same seed gives the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for one purpose, which gives the same numbers however much others are used.
    #[must_use]
    pub fn fork(&self, purpose: &str) -> Self {
        let mut hash = self.0 ^ 0xcbf2_9ce4_8422_2325;
        for byte in purpose.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self(hash)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number of `from..to`; `from` when there is none.
    pub const fn between(&mut self, from: u64, to: u64) -> u64 {
        if from >= to {
            return from;
        }
        from + self.number() % (to - from)
    }

    /// Whether something happens that happens so often in a hundred times.
    pub const fn chance(&mut self, percent: u64) -> bool {
        self.between(0, 100) < percent
    }

    /// One of these, or `None` when there is none.
    pub fn pick<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        of.get(usize::try_from(self.between(0, of.len() as u64)).unwrap_or(0))
    }

    /// At most so many of these, in the order in which they were drawn.
    pub fn draw<T: Clone>(&mut self, of: &[T], count: usize) -> Vec<T> {
        let mut left = of.to_vec();
        let mut drawn = Vec::new();
        while drawn.len() < count && !left.is_empty() {
            let at = usize::try_from(self.between(0, left.len() as u64)).unwrap_or(0);
            drawn.push(left.swap_remove(at));
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_purposes_do_not_disturb_each_other() {
        let (one, two) = (Random::new(7), Random::new(7));
        let mut used = one.fork("used");
        used.number();
        assert_eq!(one.fork("load").number(), two.fork("load").number());
        assert_ne!(one.fork("load").number(), one.fork("backups").number());
        assert_ne!(Random::new(7).number(), Random::new(8).number());
    }

    #[test]
    fn numbers_stay_in_their_range_and_nothing_is_drawn_twice() {
        let mut random = Random::new(1);
        assert!((0..1000).all(|_| (3..9).contains(&random.between(3, 9))));
        assert_eq!(random.between(5, 5), 5);
        assert_eq!(random.pick::<u8>(&[]), None);
        let mut drawn = random.draw(&[1, 2, 3, 4], 9);
        drawn.sort_unstable();
        assert_eq!(drawn, [1, 2, 3, 4]);
    }
}
