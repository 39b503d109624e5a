//! The three cases of partial connectivity that stop leader elections which look only at one link at a time (Ng, Haridi and
//! Carbone 2023, Omni-Paxos, section 2): each as a schedule of its own, since random cuts rarely meet them at the right moment.

use super::{Report, Setup, World};
use crate::record::Happened;
use consensus_core::ConsensusAlgorithm;
use core::time::Duration;

/// A pattern of links that leaves exactly one node, the hub, with links to a quorum (or, in a chain of three, one of them
/// between the other two).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialCase {
    /// The leader loses its quorum, but not its life: all nodes hear the hub and nobody else, the leader included. The hub must
    /// take over though it hears a leader.
    QuorumLoss,
    /// As before, but the leader is cut off altogether, and the hub missed what the others know: who could win has no quorum of
    /// links, and who has the links lacks the log.
    Constrained,
    /// Three nodes in a chain, the leader at one end. The other end hears no leader, and must not depose it for ever.
    Chained,
}

impl PartialCase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::QuorumLoss, Self::Constrained, Self::Chained];

    /// How many nodes it takes.
    #[must_use]
    pub const fn nodes(self) -> usize {
        match self {
            Self::QuorumLoss | Self::Constrained => 5,
            Self::Chained => 3,
        }
    }
}

/// What was seen while the links were cut, and what came of the whole run.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Operations that clients completed in the second half of the cut: whether it makes progress, once it has settled.
    pub served: usize,
    /// The longest time during the cut in which no client completed anything, to a millisecond: the whole of it, if none ever did.
    pub gap: Duration,
    /// How many epochs got a leader during the cut: many, if nodes depose each other.
    pub leaderships: usize,
    /// Whether there was a leader to begin with; if not, the case was never met.
    pub met: bool,
    /// The whole run: safety throughout, and progress after the links are whole.
    pub report: Report,
}

/// How long the hub of [`PartialCase::Constrained`] misses what the others do.
const MISSED: Duration = Duration::from_millis(500);

/// Plays one case for as long as the setup's patience, heals, and judges the run. The plan should be calm, with
/// [`PartialCase::nodes`] nodes.
#[must_use]
pub fn observe<A: ConsensusAlgorithm>(setup: Setup<A>, case: PartialCase) -> Observation {
    let patience = setup.patience;
    let mut world = World::new(setup);
    // Clients go on looking for who serves them, as in a storm.
    world.stormy = true;
    world.start_clients();
    world.run_until(world.now + patience);
    let leader = world.leaders().first().copied();
    let nodes = world.hosts.len();
    let hub = (0..nodes).find(|&node| Some(node) != leader).unwrap_or_default();
    if let Some(leader) = leader {
        world.cut_for(case, leader, hub);
    }
    let leaderships = world.oracle.leaderships();
    let first = world.watch_service(patience / 2);
    let before = world.history.completed();
    let second = world.watch_service(patience / 2);
    let served = world.history.completed() - before;
    let gap = first.joined(second);
    let leaderships = world.oracle.leaderships() - leaderships;
    world.calm();
    world.expect_progress();
    world.expect_everything();
    Observation { served, gap, leaderships, met: leader.is_some(), report: world.finish() }
}

/// When clients were served during a span.
struct Service {
    /// Until something was completed, from the beginning; the whole span, if nothing was.
    head: Duration,
    /// The longest time without.
    gap: Duration,
    /// Since something was completed, at the end.
    tail: Duration,
    /// The whole span.
    whole: Duration,
}

impl Service {
    /// The longest time without in this span and the next, which follows at once.
    fn joined(&self, next: Self) -> Duration {
        let between = self.tail + next.head;
        let is_silent = self.head == self.whole && next.head == next.whole;
        if is_silent { self.whole + next.whole } else { self.gap.max(next.gap).max(between) }
    }
}

impl<A: ConsensusAlgorithm> World<A> {
    /// Runs on for this long, and watches the clients.
    fn watch_service(&mut self, span: Duration) -> Service {
        let (begin, end) = (self.now, self.now + span);
        let (mut last, mut head, mut gap) = (begin, span, Duration::ZERO);
        let mut completed = self.history.completed();
        while self.now < end {
            self.run_until(end.min(self.now + Duration::from_millis(1)));
            if self.history.completed() > completed {
                completed = self.history.completed();
                gap = gap.max(self.now.since(last));
                head = head.min(self.now.since(begin));
                last = self.now;
            }
        }
        Service { head, gap: gap.max(end.since(last)), tail: end.since(last), whole: span }
    }

    fn cut_for(&mut self, case: PartialCase, leader: usize, hub: usize) {
        match case {
            PartialCase::QuorumLoss => self.leave_links(|from, to| from == hub || to == hub),
            PartialCase::Constrained => {
                self.leave_links(|from, to| from != hub && to != hub);
                self.run_until(self.now + MISSED);
                // Whoever leads by now is the one to cut off; it cannot be the hub.
                let leader = self.leaders().into_iter().find(|&node| node != hub).unwrap_or(leader);
                self.leave_links(|from, to| (from == hub || to == hub) && from != leader && to != leader);
            }
            PartialCase::Chained => self.leave_links(|from, to| from == hub || to == hub),
        }
    }

    /// Cuts every link but those that `stays` names.
    pub(super) fn leave_links(&mut self, stays: impl Fn(usize, usize) -> bool) {
        let nodes = self.hosts.len();
        for from in 0..nodes {
            for to in (0..nodes).filter(|&to| to != from) {
                self.links.set_cut(from, to, !stays(from, to));
            }
        }
        self.counts.partitions += 1;
        self.trace.event(self.now, 43, nodes as u64);
        self.trace.say(self.now, || "the links are cut on purpose".into());
        self.lookout.cuts += 1;
        self.tape.note(self.now, || Happened::cut("Arranged".into(), &self.links, nodes));
    }
}
