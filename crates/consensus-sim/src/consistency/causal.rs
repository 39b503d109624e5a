//! Causal consistency: a read sees all that was known to whoever it learnt from.
//!
//! This is CC of Bouajjani, Enea, Guerraoui and Hamza ("On verifying causal consistency", POPL 2017): there is an order that
//! contains session order, in which what is before each operation can be lined up such that the operation itself is answered
//! right. Where each read names its write, that is the case if and only if none of four bad patterns is there (their
//! section 5):
//!
//! - `CyclicCO`: causal order has a cycle;
//! - `ThinAirRead`: a read of what nobody wrote;
//! - `WriteCOInitRead`: a read finds the register empty, though a write to it is causally before;
//! - `WriteCORead`: a read sees a write, though another to the same register is causally between the two.
//!
//! It is the weakest of the three notions of that paper: clients may see concurrent writes in different orders, and one client
//! may go back and forth between them. Causal convergence and causal memory forbid that; they are not checked here.
//!
//! The check takes time and bits n² for n operations (each has few neighbours in causal order, and a row of bits).

use super::{Finding, Observed};

/// Judges the history.
#[must_use]
pub fn check(history: &Observed) -> Finding {
    const PROMISE: &str = "causal consistency";
    if let Some(finding) = history.thin_air() {
        return finding;
    }
    if let Some(finding) = history.explain_cycle(PROMISE, &history.causes, &history.past) {
        return finding;
    }
    match history.stale(&history.past) {
        Some((read, write)) => history.explain_stale(PROMISE, read, write),
        None => Finding::Holds,
    }
}
