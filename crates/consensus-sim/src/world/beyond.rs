//! One node more than is tolerated goes down: the group must stand still, must not disagree, and must live again when the
//! nodes are back.

use super::{Report, Setup, World};
use crate::mask::FaultClass;
use crate::record::{self, Happened};
use consensus_core::ConsensusAlgorithm;

/// What was seen while too many nodes were down, and what came of the whole run.
#[derive(Clone, Debug)]
pub struct Halt {
    /// How many nodes were down.
    pub down: usize,
    /// Decisions before they went down: none would show nothing.
    pub before: u64,
    /// Decisions made by the nodes that were left, once what was on its way had arrived.
    pub during: u64,
    /// Decisions after the nodes came back.
    pub after: u64,
    /// The whole run: safety throughout, and progress in the end.
    pub report: Report,
}

/// Plays the plan's faults, takes `down` nodes away for as long as the setup's patience, brings them back, and judges the
/// run. The plan should lose no node for good.
#[must_use]
pub fn beyond<A: ConsensusAlgorithm>(setup: Setup<A>, down: usize) -> Halt {
    let (patience, storm) = (setup.patience, setup.plan.faults_for);
    let mut world = World::new(setup);
    world.start_faults();
    world.start_clients();
    world.run_until(world.now + storm);
    world.calm();
    world.expect_progress();
    let before = world.oracle.last().0;
    let victims = world.take_away(down);
    // What a quorum already had may still be decided.
    world.run_until(world.now + patience / 2);
    let settled = world.oracle.last().0;
    world.run_until(world.now + patience);
    let halted = world.oracle.last().0;
    world.bring_back(&victims);
    world.expect_progress();
    world.expect_everything();
    let after = world.oracle.last().0 - halted;
    Halt { down: victims.len(), before, during: halted - settled, after, report: world.finish() }
}

impl<A: ConsensusAlgorithm> World<A> {
    fn take_away(&mut self, down: usize) -> Vec<usize> {
        let mut victims: Vec<usize> = (0..self.plan.nodes).collect();
        self.choices_for(FaultClass::LostNode).shuffle(&mut victims);
        victims.truncate(down);
        for &index in &victims {
            self.kill(index);
            self.tape.note(self.now, || Happened::Lost { node: record::node(index) });
            if let Some(host) = self.hosts.get_mut(index) {
                host.lost = true;
            }
        }
        victims
    }

    fn bring_back(&mut self, victims: &[usize]) {
        for &index in victims {
            if let Some(host) = self.hosts.get_mut(index) {
                host.lost = false;
            }
            self.counts.restarts += 1;
            self.boot(index);
        }
    }
}
