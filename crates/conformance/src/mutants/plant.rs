//! A single planted bug, to look at.

use super::{Hunt, RAFT};
use crate::suite::Tuning;
use consensus_sim::{Plan, Stream};

/// The hunt for the bug of this name.
#[must_use]
pub fn named(name: &str) -> Option<Hunt> {
    RAFT.iter().find(|hunt| format!("{:?}", hunt.mutant) == name).copied()
}

/// The names of all bugs that are hunted by seeds.
#[must_use]
pub fn names() -> Vec<String> {
    RAFT.iter().map(|hunt| format!("{:?}", hunt.mutant)).collect()
}

impl Hunt {
    /// How runs with the bug are tuned.
    pub fn planted(self) -> impl Fn(&mut Stream, &mut Plan) -> Tuning<raft::Config> + Sync {
        move |draw, plan| self.tuned(draw, plan, Some(self.mutant))
    }
}
