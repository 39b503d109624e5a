//! The gatekeeper of a run's faults: it counts each that is met, and asks the [`Mask`] whether it is carried out.

use crate::mask::{FaultClass, Mask};

const CLASSES: usize = FaultClass::ALL.len();

/// One `T` for each class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerClass<T>([T; CLASSES]);

impl<T> PerClass<T> {
    pub(crate) fn of(make: impl FnMut(FaultClass) -> T) -> Self {
        Self(FaultClass::ALL.map(make))
    }

    pub(crate) const fn get(&self, class: FaultClass) -> &T {
        // Within bounds: a test holds the list of classes against their numbers.
        &self.0[class as usize]
    }

    pub(crate) const fn get_mut(&mut self, class: FaultClass) -> &mut T {
        &mut self.0[class as usize]
    }
}

/// How many faults of a class there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many the run met: the next one has this number.
    pub met: u64,
    /// How many were carried out: those that the mask allows and that found something to hit.
    pub carried_out: u64,
}

/// How many faults of each class there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultCounts(PerClass<Tally>);

impl Default for FaultCounts {
    fn default() -> Self {
        Self(PerClass::of(|_| Tally::default()))
    }
}

impl FaultCounts {
    /// Those of one class.
    #[must_use]
    pub const fn of(&self, class: FaultClass) -> Tally {
        *self.0.get(class)
    }

    /// Each class with its counts.
    pub fn iter(&self) -> impl Iterator<Item = (FaultClass, Tally)> + '_ {
        FaultClass::ALL.into_iter().map(|class| (class, self.of(class)))
    }

    /// How many faults were carried out, of all classes together.
    #[must_use]
    pub fn carried_out(&self) -> u64 {
        self.iter().map(|(_, tally)| tally.carried_out).sum()
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for class in FaultClass::ALL {
            let (sum, tally) = (self.0.get_mut(class), other.of(class));
            sum.met += tally.met;
            sum.carried_out += tally.carried_out;
        }
    }
}

/// Counts faults, and says which are carried out.
#[derive(Clone, Debug)]
pub struct Injector {
    counts: FaultCounts,
    gates: PerClass<Gate>,
}

impl Default for Injector {
    fn default() -> Self {
        Self::new(&Mask::all())
    }
}

#[derive(Clone, Debug)]
struct Gate {
    /// What is carried out, as ranges with both ends; `None`: everything.
    only: Option<Vec<(u64, u64)>>,
    /// The first range that does not lie before all that is still to come.
    place: usize,
}

impl Gate {
    fn allows(&mut self, number: u64) -> bool {
        let Some(ranges) = &self.only else { return true };
        while ranges.get(self.place).is_some_and(|&(_, to)| to < number) {
            self.place += 1;
        }
        ranges.get(self.place).is_some_and(|&(from, _)| from <= number)
    }
}

impl Injector {
    /// Lets the faults of `mask` through.
    #[must_use]
    pub fn new(mask: &Mask) -> Self {
        let gate = |class| Gate { only: mask.ranges(class).map(<[_]>::to_vec), place: 0 };
        Self { counts: FaultCounts::default(), gates: PerClass::of(gate) }
    }

    /// Whether the fault that the run meets now is carried out. Whatever it draws must be drawn before this is asked.
    pub fn allows(&mut self, class: FaultClass) -> bool {
        self.allows_if(class, true)
    }

    /// As [`Injector::allows`], for a fault that may find nothing to hit (`possible`). It has a number all the same, so that
    /// the numbers of those that come on a rhythm do not depend on what earlier ones did.
    pub fn allows_if(&mut self, class: FaultClass, possible: bool) -> bool {
        let tally = self.counts.0.get_mut(class);
        let allowed = self.gates.get_mut(class).allows(tally.met) && possible;
        tally.met += 1;
        tally.carried_out += u64::from(allowed);
        allowed
    }

    /// How many there were so far.
    #[must_use]
    pub const fn counts(&self) -> &FaultCounts {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_through_is_what_the_mask_allows() {
        let mask: Mask = "crash:0,3-5,9;loss:".parse().unwrap();
        let mut injector = Injector::new(&mask);
        for class in [FaultClass::Crash, FaultClass::Loss, FaultClass::Flap] {
            for number in 0..12 {
                assert_eq!(injector.allows(class), mask.allows(class, number), "{class} {number}");
            }
        }
        let counts = injector.counts();
        assert_eq!(counts.of(FaultClass::Crash), Tally { met: 12, carried_out: 5 });
        assert_eq!(counts.of(FaultClass::Loss), Tally { met: 12, carried_out: 0 });
        assert_eq!(counts.carried_out(), 5 + 12);
    }

    #[test]
    fn a_fault_that_hits_nothing_keeps_its_number() {
        let mut injector = Injector::new(&Mask::all().only(FaultClass::Crash, [1]));
        assert!(!injector.allows_if(FaultClass::Crash, false));
        assert!(injector.allows(FaultClass::Crash));
        assert_eq!(injector.counts().of(FaultClass::Crash), Tally { met: 2, carried_out: 1 });
    }
}
