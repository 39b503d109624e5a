//! The bugs that can be planted in FloodSet.

use floodset::Mutant;

/// Every one of them. None takes luck: `crates/floodset/tests/mutants.rs` looks at all runs of the smallest group that shows it.
pub const FLOODSET_BY_SCHEDULE: &[Mutant] = Mutant::ALL;
