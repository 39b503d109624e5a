//! Replicas of one process without sockets and disks: for the tests of a service, and for measurements of what it costs
//! beyond them.
//!
//! The lane, the requests and the node are those of [`crate::Replica::start`]; only the two ends differ. Messages move by
//! value into the receiver's mailbox, one hand-over per peer and burst: nothing is encoded, and since whoever sends is this very
//! program, nothing is screened. What is written is in memory, and durable at once.
//!
//! Invariants:
//! - Frames arrive in the order in which they were sent.
//! - What waits at a peer is bounded in frames; beyond it, messages are dropped and counted, as on a full socket.
//! - A node is started once: its memory ends with it, and a member that forgot its promises must not come back.

use crate::config::StartError;
use crate::credit::{Account, Credit};
use crate::frame::{Forward, ForwardReply};
use crate::lane::Shore;
use crate::mailbox::{Mailbox, News};
use crate::metrics::add;
use crate::network::Outgoing;
use crate::request::{FromPeer, Inbound};
use crate::shared::Shared;
use crate::{ReplicaConfig, Runnable};
use consensus_core::{ClusterId, GroupId, Members, Network, NodeId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most frames of one peer that wait to be handled; half of them at most are one replica's.
const MOST_FRAMES: usize = 128 << 10;

/// One entry per node that was ever started; a bound on them are the members of the groups.
type Seats<M> = BTreeMap<(ClusterId, GroupId, NodeId), Arc<Mailbox<M>>>;

/// Where the replicas of one process find each other; give the same one (or clones of it) to all
/// [`crate::Replica::start_local`] of a group.
pub struct LocalNetwork<A: Runnable> {
    seats: Arc<Mutex<Seats<A::Message>>>,
}

impl<A: Runnable> Default for LocalNetwork<A> {
    fn default() -> Self {
        Self { seats: Arc::default() }
    }
}

impl<A: Runnable> Clone for LocalNetwork<A> {
    fn clone(&self) -> Self {
        Self { seats: Arc::clone(&self.seats) }
    }
}

impl<A: Runnable> std::fmt::Debug for LocalNetwork<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalNetwork").field("nodes", &self.seats().len()).finish_non_exhaustive()
    }
}

impl<A: Runnable> LocalNetwork<A> {
    /// A network that nobody has joined.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn seats(&self) -> MutexGuard<'_, Seats<A::Message>> {
        lock(&self.seats)
    }

    /// Refuses a node that was here before.
    pub(crate) fn join(
        &self,
        config: &ReplicaConfig<A>,
        mailbox: &Arc<Mailbox<A::Message>>,
    ) -> Result<(), StartError> {
        let seat = (config.cluster, config.group, config.node);
        let mut seats = self.seats();
        if seats.contains_key(&seat) {
            let problem = format!(
                "{} was started on this network before, and what it promised was in memory: start a new network, or use a journal",
                config.node
            );
            return Err(StartError::Config { field: "node", problem });
        }
        seats.insert(seat, Arc::clone(mailbox));
        Ok(())
    }

    /// Tells those who can be reached that `config.node` is there, and it who is.
    pub(crate) fn announce(&self, config: &ReplicaConfig<A>, mailbox: &Mailbox<A::Message>) {
        for peer in config.members.keys().filter(|peer| **peer != config.node) {
            mailbox.tell(*peer, News { suspected: Some(true), ..News::default() });
        }
        for (peer, theirs) in self.others(config).into_iter().filter(|(_, theirs)| !theirs.is_closed()) {
            theirs.tell(config.node, News::THERE);
            mailbox.tell(peer, News::THERE);
        }
    }

    /// Tells the others that `config.node` has ended.
    pub(crate) fn leave(&self, config: &ReplicaConfig<A>) {
        for (_, theirs) in self.others(config) {
            theirs.tell(config.node, News::LOST);
        }
    }

    fn others(&self, config: &ReplicaConfig<A>) -> Vec<(NodeId, Arc<Mailbox<A::Message>>)> {
        let is_other = |(cluster, group, node): &(ClusterId, GroupId, NodeId)| {
            (*cluster, *group) == (config.cluster, config.group) && *node != config.node
        };
        let seats = self.seats();
        let others = seats.iter().filter(|(seat, _)| is_other(seat));
        others.map(|((_, _, node), mailbox)| (*node, Arc::clone(mailbox))).collect()
    }

    pub(crate) fn links(&self, config: &ReplicaConfig<A>, shared: Arc<Shared>) -> LocalLinks<A::Message> {
        let (cluster, group, seats) = (config.cluster, config.group, Arc::clone(&self.seats));
        let mut links =
            LocalLinks { me: config.node, cluster, group, seats, routes: BTreeMap::new(), shared };
        config.members.keys().for_each(|&peer| links.add(peer));
        links
    }
}

fn lock<M>(seats: &Mutex<Seats<M>>) -> MutexGuard<'_, Seats<M>> {
    // Nothing in a critical section can panic half-way through a change that matters.
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a replica in memory writes and sends is there at once.
pub(crate) struct LocalShore;

impl Shore for LocalShore {
    fn hand_over(&mut self) {}

    fn is_full(&self) -> bool {
        false
    }
}

/// The outbox of one replica.
pub(crate) struct LocalLinks<M> {
    me: NodeId,
    cluster: ClusterId,
    group: GroupId,
    seats: Arc<Mutex<Seats<M>>>,
    routes: BTreeMap<NodeId, Route<M>>,
    shared: Arc<Shared>,
}

struct Route<M> {
    seat: (ClusterId, GroupId, NodeId),
    /// Looked up once the peer is there.
    mailbox: Option<Arc<Mailbox<M>>>,
    burst: Vec<FromPeer<M>>,
    /// What the receiver gives back when it has handled a burst.
    credit: Arc<Credit>,
    account: Account,
}

impl<M> Route<M> {
    fn find(&mut self, seats: &Mutex<Seats<M>>) -> bool {
        if self.mailbox.is_none() {
            self.mailbox = lock(seats).get(&self.seat).cloned();
        }
        self.is_open()
    }

    fn is_open(&self) -> bool {
        self.mailbox.as_ref().is_some_and(|mailbox| !mailbox.is_closed())
    }

    /// How many frames were handed over, and how many are lost.
    fn transmit(&mut self, me: NodeId) -> (usize, usize) {
        let count = self.burst.len();
        let Some(mailbox) = &self.mailbox else {
            self.burst.clear();
            return (0, count);
        };
        // There was room when they were posted, and nobody else takes of it.
        let Some(held) = self.credit.hold(&self.account, count) else { return (0, 0) };
        let frames = std::mem::take(&mut self.burst);
        let posted = mailbox.push(Inbound::Peer { from: me, frames, held });
        if posted { (count, 0) } else { (0, count) }
    }
}

impl<M> LocalLinks<M> {
    fn add(&mut self, peer: NodeId) {
        if peer != self.me {
            let seat = (self.cluster, self.group, peer);
            let route = || {
                let (credit, account) = (Credit::new(MOST_FRAMES), Account::default());
                Route { seat, mailbox: None, burst: Vec::new(), credit, account }
            };
            self.routes.entry(peer).or_insert_with(route);
        }
    }

    /// False if it was dropped: it will certainly not arrive.
    fn post(&mut self, to: NodeId, frame: FromPeer<M>) -> bool {
        let Some(route) = self.routes.get_mut(&to) else { return false };
        let room = route.find(&self.seats)
            && route.burst.len() < MOST_FRAMES / 2
            && route.credit.has_room(&route.account, route.burst.len() + 1);
        if room {
            route.burst.push(frame);
        } else {
            add(&self.shared.metrics.frames_dropped, 1);
        }
        room
    }
}

impl<M> Network<M> for LocalLinks<M> {
    fn send(&mut self, to: NodeId, message: M) {
        self.post(to, FromPeer::Message(message));
    }
}

impl<M> Outgoing<M> for LocalLinks<M> {
    fn is_up(&mut self, peer: NodeId) -> bool {
        let found = |route: &Route<M>| {
            route.mailbox.is_some() && route.is_open()
                || lock(&self.seats).get(&route.seat).is_some_and(|mailbox| !mailbox.is_closed())
        };
        self.routes.get(&peer).is_some_and(found)
    }

    fn forward(&mut self, to: NodeId, forward: Forward) -> bool {
        self.post(to, FromPeer::Forward(forward))
    }

    fn reply(&mut self, to: NodeId, reply: ForwardReply) -> bool {
        self.post(to, FromPeer::ForwardReply(reply))
    }

    /// Those who are members no longer keep their route: whoever lacks the entry that removed them may still need it.
    fn follow(&mut self, members: &Members) {
        members.iter().for_each(|peer| self.add(peer));
    }

    fn transmit(&mut self) {
        for route in self.routes.values_mut().filter(|route| !route.burst.is_empty()) {
            let (sent, lost) = route.transmit(self.me);
            add(&self.shared.metrics.frames_sent, sent);
            add(&self.shared.metrics.frames_dropped, lost);
        }
    }
}
