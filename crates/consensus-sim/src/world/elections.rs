//! How long a group is without a leader after the leader has ended: an election and the wait before it, and nothing else.

use super::{Setup, World};
use crate::random::Stream;
use consensus_core::{ConsensusAlgorithm, Epoch, Time};
use core::time::Duration;

/// How finely the end of the wait is told.
const STEP: Duration = Duration::from_millis(1);

/// What came of it, within the setup's patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// Nobody led in the first place.
    NeverLed,
    /// Nobody led after the first leader.
    NotReplaced,
    /// Another led after this time.
    Took(Duration),
}

/// Waits for a leader, takes it away at some moment, and waits for another. Nobody asks for anything; whatever the plan has
/// against messages goes on all the time.
#[must_use]
pub fn time_election<A: ConsensusAlgorithm>(setup: Setup<A>) -> Election {
    let (patience, choices) = (setup.patience, &mut Stream::derive(setup.seed, "election"));
    let mut world = World::new(setup);
    if world.wait_for_leader(Epoch::ZERO, patience).is_none() {
        return Election::NeverLed;
    }
    world.run_until(world.now + choices.span(patience / 8, patience / 4));
    // Loss may have deposed the first by now.
    let Some((epoch, leader)) =
        world.newest_leader().or_else(|| world.wait_for_leader(Epoch::ZERO, patience))
    else {
        return Election::NeverLed;
    };
    let ended: Time = world.now;
    world.lose(leader);
    match world.wait_for_leader(epoch, patience) {
        Some(_) => Election::Took(world.now.since(ended)),
        None => Election::NotReplaced,
    }
}

impl<A: ConsensusAlgorithm> World<A> {
    /// Who leads in the highest epoch.
    fn newest_leader(&self) -> Option<(Epoch, usize)> {
        let epoch = |&index: &usize| Some((self.hosts.get(index)?.status()?.epoch, index));
        self.leaders().iter().filter_map(epoch).max()
    }

    /// Runs until somebody leads in a later epoch than this.
    fn wait_for_leader(&mut self, after: Epoch, patience: Duration) -> Option<(Epoch, usize)> {
        let end = self.now + patience;
        loop {
            if let Some(found) = self.newest_leader().filter(|(epoch, _)| *epoch > after) {
                return Some(found);
            }
            if self.now >= end || self.oracle.failure().is_some() {
                return None;
            }
            self.run_until(self.now + STEP);
        }
    }
}
