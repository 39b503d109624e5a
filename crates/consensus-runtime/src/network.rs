//! What a group sends with: its frames go to the links of its host.

use crate::frame::{Forward, ForwardReply, Kind};
use crate::host::Inner;
use crate::link::{Link, Routes};
use crate::metrics::add;
use crate::shared::Shared;
use consensus_core::{GroupId, Members, Network, NodeId};
use serde::Serialize;
use std::sync::Arc;

/// What a group needs of its way out beyond the messages of the algorithm.
pub(crate) trait Outgoing<M>: Network<M> {
    /// Whether `peer` can be reached.
    fn is_up(&mut self, peer: NodeId) -> bool;
    /// Queues a client's request for `to`. False if it was dropped: it will certainly not arrive.
    fn forward(&mut self, to: NodeId, forward: Forward) -> bool;
    /// Queues the answer to such a request. False if it was dropped.
    fn reply(&mut self, to: NodeId, reply: ForwardReply) -> bool;
    /// The end of a burst: what is queued may leave.
    fn transmit(&mut self);
    /// The algorithm has other members from now on.
    fn follow(&mut self, members: &Members);
}

/// The outbox of one group.
pub(crate) struct PeerNetwork {
    pub(crate) group: GroupId,
    pub(crate) algorithm: &'static str,
    pub(crate) host: Arc<Inner>,
    pub(crate) routes: Routes,
    pub(crate) shared: Arc<Shared>,
}

impl PeerNetwork {
    fn link(&mut self, peer: NodeId) -> Option<&Link> {
        self.routes.look(self.host.contacts.links()).get(&peer).map(|link| &**link)
    }

    /// False if it was dropped: it will certainly not arrive.
    fn post<T: Serialize>(&mut self, peer: NodeId, kind: Kind, body: &T) -> bool {
        let group = self.group;
        let posted = self.link(peer).is_some_and(|link| link.post(kind, group, body));
        let counter =
            if posted { &self.shared.metrics.frames_sent } else { &self.shared.metrics.frames_dropped };
        add(counter, 1);
        posted
    }
}

impl<M: Serialize> Outgoing<M> for PeerNetwork {
    fn is_up(&mut self, peer: NodeId) -> bool {
        let (group, algorithm) = (self.group, self.algorithm);
        self.link(peer).is_some_and(|link| link.presence.has(group, algorithm))
    }

    fn forward(&mut self, to: NodeId, forward: Forward) -> bool {
        self.post(to, Kind::Forward, &forward)
    }

    fn reply(&mut self, to: NodeId, reply: ForwardReply) -> bool {
        self.post(to, Kind::ForwardReply, &reply)
    }

    /// Nothing: the lane sends what all its groups have posted at the end of the round.
    fn transmit(&mut self) {}

    fn follow(&mut self, _members: &Members) {
        self.host.tell_who_is_there(self.group);
    }
}

impl<M: Serialize> Network<M> for PeerNetwork {
    fn send(&mut self, to: NodeId, message: M) {
        self.post(to, Kind::Message, &message);
    }
}
