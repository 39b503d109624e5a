//! A single planted bug, to look at.

use super::{Hunted, all};

/// The hunt for the bug of this name in this algorithm.
#[must_use]
pub fn named(algorithm: &str, name: &str) -> Option<&'static dyn Hunted> {
    all().find(|hunt| hunt.algorithm() == algorithm && hunt.name() == name)
}

/// The names of all bugs of an algorithm that are hunted by seeds.
#[must_use]
pub fn names(algorithm: &str) -> Vec<String> {
    all().filter(|hunt| hunt.algorithm() == algorithm).map(Hunted::name).collect()
}
