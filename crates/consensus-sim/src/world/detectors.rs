//! Failure detectors as a good driver has them: within a bound each node is told whom it cannot hear, and whom it can again.
//!
//! They look at what is true: whether the peer runs, and whether its link to the observer carries anything. What delays or loses
//! single messages they do not see; a peer that was restarted between two looks they do, since its connections broke. The wrong
//! opinions are in `faults`.

use super::{Happening, World};
use crate::record::{self, Happened};
use consensus_core::{ConsensusAlgorithm, Event};
use core::time::Duration;

/// What one node was last told of another, and in which boots of the two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opinion {
    boots: (u64, u64),
    suspected: bool,
}

impl<A: ConsensusAlgorithm> World<A> {
    pub(super) fn start_detectors(&mut self) {
        self.opinions = vec![Opinion::default(); self.plan.hosts() * self.plan.hosts()];
        self.plan_look();
    }

    fn plan_look(&mut self) {
        if let Some(detectors) = self.plan.detectors {
            let span = detectors.within / 2;
            self.plan_in(span.max(Duration::from_micros(1)), Happening::Look);
        }
    }

    pub(super) fn on_look(&mut self) {
        let nodes = self.plan.hosts();
        for observer in (0..nodes).filter(|&node| self.runs(node)).collect::<Vec<_>>() {
            for peer in (0..nodes).filter(|&node| node != observer) {
                self.look(observer, peer);
            }
        }
        self.plan_look();
    }

    fn look(&mut self, observer: usize, peer: usize) {
        let boot = |index: usize| self.hosts.get(index).map_or(0, |host| host.boot);
        let boots = (boot(observer), boot(peer));
        let hears = self.runs(peer) && self.links.carries(self.now, peer, observer);
        let place = observer * self.plan.hosts() + peer;
        let Some(known) = self.opinions.get_mut(place) else { return };
        // Who has just started knows nothing, and suspects nobody without reason.
        let before = if known.boots.0 == boots.0 { *known } else { Opinion { boots, suspected: false } };
        let suspected = !hears || before.boots.1 != boots.1;
        *known = Opinion { boots, suspected };
        if suspected == before.suspected {
            return;
        }
        self.counts.detections += 1;
        self.trace.event(self.now, 52, ((observer as u64) << 32) | peer as u64);
        self.trace
            .say(self.now, || format!("n{} detects that n{} is gone: {suspected}", observer + 1, peer + 1));
        let (node, peer) = (record::node(observer), record::node(peer));
        self.tape.note(self.now, || Happened::Suspicion { node, peer, suspected });
        self.tell(observer, Event::Suspect { peer, suspected });
    }

    /// Whether this node handles anything at the moment.
    fn runs(&self, index: usize) -> bool {
        self.hosts.get(index).is_some_and(|host| host.node.is_some() && host.paused.is_none())
    }
}
