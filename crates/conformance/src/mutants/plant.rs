//! A single planted bug, to look at.

use super::{Hunted, all};

/// The hunt for the bug of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static dyn Hunted> {
    all().find(|hunt| hunt.name() == name)
}

/// The names of all bugs that are hunted by seeds.
#[must_use]
pub fn names() -> Vec<String> {
    all().map(Hunted::name).collect()
}
