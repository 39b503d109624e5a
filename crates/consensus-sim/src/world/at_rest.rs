//! A group with nothing to do: does it come to rest, does it stay so, and does it still serve, also if its leader is gone by then?
//! As a schedule of its own: random faults and clients hardly ever leave a group alone for so long.

use super::{Report, Setup, World};
use crate::oracle::Property;
use consensus_core::ConsensusAlgorithm;
use core::time::Duration;

/// What was seen.
#[derive(Clone, Debug)]
pub struct Idleness {
    /// Whether every node was without a timer at the end of the idle time.
    pub at_rest: bool,
    /// Messages that were sent during it.
    pub messages: u64,
    /// How long after the leader's end another led, before anybody asked for anything; `None`: nobody within the patience, or
    /// the leader was spared.
    pub replaced: Option<Duration>,
    /// How long it then took until every client was served.
    pub served: Option<Duration>,
    /// The whole run, and whether everything was there in the end.
    pub report: Report,
}

/// Serves clients, lets the group alone for `idle`, takes its leader away for good if `ends_leader`, and has clients ask again.
/// The plan should be calm, with detectors if the algorithm needs them.
#[must_use]
pub fn leave_alone<A: ConsensusAlgorithm>(setup: Setup<A>, idle: Duration, ends_leader: bool) -> Idleness {
    let patience = setup.patience;
    let mut world = World::new(setup);
    world.start_clients();
    world.run_until(world.now + patience);
    world.expect_idle();
    world.run_until(world.now + patience);
    let before = world.costs.messages;
    world.run_until(world.now + idle);
    let messages = world.costs.messages - before;
    let at_rest =
        world.hosts.iter().all(|host| host.node.as_ref().is_some_and(|node| node.deadline().is_none()));
    let mut replaced = None;
    if let Some(leader) = world.leaders().first().copied().filter(|_| ends_leader) {
        let ended = world.now;
        world.lose(leader);
        let is_replaced = world.run_while(patience, |world| world.leaders().is_empty());
        replaced = is_replaced.then(|| world.now.since(ended));
    }
    world.start_clients();
    world.expect_service(Property::Progress);
    let served = world.costs.recoveries.last().copied();
    world.expect_everything();
    Idleness { at_rest, messages, replaced, served, report: world.finish() }
}
