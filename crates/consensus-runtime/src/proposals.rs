//! Proposals under way: those of our own clients, and those that other nodes forwarded to us.

use crate::frame::WireOutcome;
use crate::replicated::{Applied, RequestError};
use crate::request::{Answer, Ask};
use bytes::Bytes;
use consensus_core::{ClientId, NodeId, ProposalId, Slot, Time};
use rustc_hash::FxHashMap;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// A proposal of our own client.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) id: ProposalId,
    pub(crate) ask: Ask,
    pub(crate) answer: Answer<Applied>,
    pub(crate) deadline: Time,
    pub(crate) stage: Stage,
}

/// Where a proposal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody has it: it certainly has no effect yet.
    Waiting,
    /// Our own algorithm has it.
    Local,
    /// It is under way to that node, or there.
    Forwarded { to: NodeId, attempt: u64 },
    /// The leader has applied it; it is answered once we have too, so that our client can read its own write here.
    Settled { slot: Slot, outcome: WireOutcome },
}

/// The proposals of our own clients. Their names are made of a number drawn at boot and a count that begins with it.
#[derive(Debug)]
pub(crate) struct Proposals {
    client: ClientId,
    last: u64,
    attempts: u64,
    open: FxHashMap<u64, Proposal>,
    /// The numbers of those whose name does not tell them. Of two with one name the newer one is answered. Clients choose the keys, so
    /// they are hashed with a secret.
    named: HashMap<ProposalId, u64>,
    /// In stage `Waiting`, perhaps together with some that no longer are.
    waiting: Vec<u64>,
    /// In stage `Settled`, perhaps together with some that no longer are.
    settled: Vec<u64>,
}

impl Proposals {
    pub(crate) fn new(client: ClientId) -> Self {
        let (open, named) = (FxHashMap::default(), HashMap::new());
        Self {
            client,
            last: client.to_bits(),
            attempts: 0,
            open,
            named,
            waiting: Vec::new(),
            settled: Vec::new(),
        }
    }

    /// `name` makes the name of one out of the client and a number that nobody else uses.
    pub(crate) fn add(
        &mut self,
        ask: Ask,
        name: impl FnOnce(ClientId, u64, &Ask) -> ProposalId,
        answer: Answer<Applied>,
        deadline: Time,
    ) -> u64 {
        self.last += 1;
        let id = name(self.client, self.last, &ask);
        if id != ProposalId::new(self.client, self.last) {
            self.named.insert(id, self.last);
        }
        self.open.insert(self.last, Proposal { id, ask, answer, deadline, stage: Stage::Waiting });
        self.last
    }

    /// The number of a proposal that is ours and of this boot.
    pub(crate) fn own(&self, id: ProposalId) -> Option<u64> {
        if id.client == self.client { Some(id.sequence) } else { self.named.get(&id).copied() }
    }

    fn take(&mut self, number: u64) -> Option<Proposal> {
        let proposal = self.open.remove(&number)?;
        unname(&mut self.named, number, &proposal);
        Some(proposal)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut Proposal> {
        self.open.get_mut(&number)
    }

    pub(crate) const fn next_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    /// Puts a proposal aside until somebody leads. Only for one that certainly has no effect.
    pub(crate) fn park(&mut self, number: u64) {
        if let Some(proposal) = self.open.get_mut(&number) {
            proposal.stage = Stage::Waiting;
            self.waiting.push(number);
        }
    }

    /// Those that were put aside.
    pub(crate) fn unpark(&mut self) -> Vec<u64> {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting
            .retain(|number| self.open.get(number).is_some_and(|proposal| proposal.stage == Stage::Waiting));
        waiting
    }

    pub(crate) const fn has_parked(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// It was decided, and applied here.
    pub(crate) fn finish(&mut self, number: u64, slot: Slot, outcome: impl Into<WireOutcome>) {
        if let Some(proposal) = self.take(number) {
            proposal.answer.give(answer_of(slot, outcome.into()));
        }
    }

    pub(crate) fn fail(&mut self, number: u64, error: RequestError) {
        if let Some(proposal) = self.take(number) {
            proposal.answer.give(Err(error));
        }
    }

    /// Whether this is the attempt that the proposal waits for.
    pub(crate) fn awaits(&self, number: u64, from: NodeId, attempt: u64) -> bool {
        self.open.get(&number).is_some_and(|open| open.stage == Stage::Forwarded { to: from, attempt })
    }

    /// It was decided, and applied at the leader.
    pub(crate) fn settle(&mut self, number: u64, slot: Slot, outcome: WireOutcome) {
        if let Some(proposal) = self.open.get_mut(&number) {
            proposal.stage = Stage::Settled { slot, outcome };
            self.settled.push(number);
        }
    }

    /// Answers what is settled and has been applied here too (normally [`Proposals::finish`] did; a snapshot from the leader
    /// brings the state without the single decisions).
    pub(crate) fn finish_settled(&mut self, applied: Slot) {
        if self.settled.is_empty() {
            return;
        }
        let (open, named) = (&mut self.open, &mut self.named);
        self.settled.retain(|&number| match open.get(&number).map(|open| &open.stage) {
            Some(Stage::Settled { slot, .. }) if *slot <= applied => {
                if let Some(proposal) = open.remove(&number) {
                    unname(named, number, &proposal);
                    if let Stage::Settled { slot, outcome } = proposal.stage {
                        proposal.answer.give(answer_of(slot, outcome));
                    }
                }
                false
            }
            Some(Stage::Settled { .. }) => true,
            Some(Stage::Waiting | Stage::Local | Stage::Forwarded { .. }) | None => false,
        });
    }

    /// Fails what was forwarded to a node for which `lost` holds.
    pub(crate) fn lose(&mut self, lost: impl Fn(NodeId) -> bool) {
        let is_lost =
            |_: &u64, open: &mut Proposal| matches!(open.stage, Stage::Forwarded { to, .. } if lost(to));
        for (number, proposal) in self.open.extract_if(is_lost) {
            unname(&mut self.named, number, &proposal);
            proposal.answer.give(Err(RequestError::LeaderLost));
        }
    }

    /// Gives up what is too late, and what nobody wants any more and nobody has.
    pub(crate) fn sweep(&mut self, now: Time) {
        let over = |open: &Proposal| {
            open.deadline <= now || (open.stage == Stage::Waiting && open.answer.is_cancelled())
        };
        for (number, proposal) in self.open.extract_if(|_, open| over(open)) {
            unname(&mut self.named, number, &proposal);
            proposal.answer.give(match proposal.stage {
                Stage::Waiting => Err(RequestError::NoLeader),
                Stage::Local | Stage::Forwarded { .. } => Err(RequestError::TimedOut),
                Stage::Settled { slot, outcome } => answer_of(slot, outcome),
            });
        }
    }
}

/// It is gone; a newer one of the same name stays.
fn unname(named: &mut HashMap<ProposalId, u64>, number: u64, proposal: &Proposal) {
    if named.get(&proposal.id) == Some(&number) {
        named.remove(&proposal.id);
    }
}

fn answer_of(slot: Slot, outcome: WireOutcome) -> Result<Applied, RequestError> {
    match outcome {
        WireOutcome::Applied(reply) => Ok(Applied { slot, reply }),
        WireOutcome::Aborted(reply) => Err(RequestError::Aborted { slot, reply }),
        WireOutcome::Opened(client) => {
            Ok(Applied { slot, reply: Bytes::copy_from_slice(&client.to_le_bytes()) })
        }
        WireOutcome::Noop => Ok(Applied { slot, reply: Bytes::new() }),
        // Only sessions forget, and algorithms under which a proposal may be decided twice.
        WireOutcome::Stale | WireOutcome::Expired => Err(RequestError::Forgotten),
    }
}

/// Proposals of other nodes' clients that we brought before the algorithm.
#[derive(Debug)]
pub(crate) struct Adopted {
    /// Peers choose the keys, so they are hashed with a secret; the order of iteration decides nothing.
    open: HashMap<ProposalId, Origin>,
    per_peer: BTreeMap<NodeId, usize>,
    most_per_peer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) peer: NodeId,
    pub(crate) attempt: u64,
    deadline: Time,
}

impl Adopted {
    pub(crate) fn new(most_per_peer: usize) -> Self {
        Self { open: HashMap::new(), per_peer: BTreeMap::new(), most_per_peer }
    }

    /// False if the peer has too many under way.
    pub(crate) fn add(&mut self, id: ProposalId, peer: NodeId, attempt: u64, deadline: Time) -> bool {
        let count = self.per_peer.entry(peer).or_default();
        if *count >= self.most_per_peer {
            return false;
        }
        *count += 1;
        if let Some(before) = self.open.insert(id, Origin { peer, attempt, deadline }) {
            self.uncount(before.peer);
        }
        true
    }

    pub(crate) fn take(&mut self, id: ProposalId) -> Option<Origin> {
        if self.open.is_empty() {
            return None;
        }
        let origin = self.open.remove(&id)?;
        self.uncount(origin.peer);
        Some(origin)
    }

    /// Forgets what is too late.
    pub(crate) fn sweep(&mut self, now: Time) {
        self.forget(|origin| origin.deadline <= now);
    }

    /// Forgets those of a peer that has lost its way to us, and gave them up itself.
    pub(crate) fn lose(&mut self, peer: NodeId) {
        self.forget(|origin| origin.peer == peer);
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    fn forget(&mut self, over: impl Fn(&Origin) -> bool) {
        let gone: Vec<Origin> =
            self.open.extract_if(|_, origin| over(origin)).map(|(_, origin)| origin).collect();
        for origin in gone {
            self.uncount(origin.peer);
        }
    }

    fn uncount(&mut self, peer: NodeId) {
        if let Entry::Occupied(mut count) = self.per_peer.entry(peer) {
            *count.get_mut() -= 1;
            // Peers come and go: those without any leave no trace.
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Gauge;
    use tokio::sync::oneshot::Receiver;

    type Reply = Receiver<Result<Applied, RequestError>>;

    fn add(proposals: &mut Proposals, stage: Stage) -> (u64, Reply) {
        let charge = Gauge::new(1, 1).charge(0).unwrap();
        let (answer, reply) = Answer::new(charge);
        let name = |client, number, _: &Ask| ProposalId::new(client, number);
        let number = proposals.add(Ask::Propose("x".into()), name, answer, Time::from_millis(100));
        proposals.get_mut(number).unwrap().stage = stage;
        (number, reply)
    }

    fn fresh() -> Proposals {
        Proposals::new(ClientId::anonymous(5))
    }

    const fn forwarded(to: u64) -> Stage {
        Stage::Forwarded { to: NodeId(to), attempt: 1 }
    }

    #[test]
    fn losing_a_leader_fails_only_what_went_to_it() {
        let mut proposals = fresh();
        let stages = [Stage::Local, forwarded(2), forwarded(3), Stage::Waiting];
        let mut replies = stages.map(|stage| add(&mut proposals, stage).1);
        proposals.lose(|to| to == NodeId(2));
        let lost = replies.each_mut().map(|reply| reply.try_recv().ok());
        assert_eq!(lost, [None, Some(Err(RequestError::LeaderLost)), None, None]);
    }

    #[test]
    fn only_the_awaited_attempt_counts() {
        let mut proposals = fresh();
        let (number, _reply) = add(&mut proposals, forwarded(2));
        assert!(proposals.awaits(number, NodeId(2), 1));
        assert!(!proposals.awaits(number, NodeId(2), 2), "an answer to another attempt");
        assert!(!proposals.awaits(number, NodeId(3), 1), "an answer of another node");
        proposals.park(number);
        assert!(!proposals.awaits(number, NodeId(2), 1), "nobody has it");
    }

    #[test]
    fn what_is_settled_at_the_leader_is_answered_once_it_is_applied_here() {
        let mut proposals = fresh();
        let (number, mut reply) = add(&mut proposals, forwarded(2));
        proposals.settle(number, Slot(7), WireOutcome::Applied("ok".into()));
        proposals.lose(|_| true);
        proposals.finish_settled(Slot(6));
        assert!(reply.try_recv().is_err(), "our client could not read its own write yet");
        proposals.finish_settled(Slot(7));
        assert_eq!(reply.try_recv().unwrap(), Ok(Applied { slot: Slot(7), reply: "ok".into() }));
    }

    #[test]
    fn of_two_with_one_name_the_newer_is_answered() {
        let mut proposals = fresh();
        let name = ProposalId::new(ClientId::anonymous(77), 1);
        let mut add = |deadline| {
            let (answer, reply) = Answer::new(Gauge::new(1, 1).charge(0).unwrap());
            let ask = Ask::Propose("x".into());
            (proposals.add(ask, |_, _, _| name, answer, Time::from_millis(deadline)), reply)
        };
        let ((_, mut older), (newer, mut reply)) = (add(10), add(100));
        proposals.sweep(Time::from_millis(10));
        assert!(older.try_recv().unwrap().is_err(), "it is too late");
        assert_eq!(proposals.own(name), Some(newer), "the end of the older one takes nothing from it");
        proposals.finish(newer, Slot(3), WireOutcome::Noop);
        assert_eq!(reply.try_recv().unwrap().map(|applied| applied.slot), Ok(Slot(3)));
        assert_eq!(proposals.own(name), None);
    }

    #[test]
    fn the_deadline_says_what_is_known() {
        let mut proposals = fresh();
        let settled = Stage::Settled { slot: Slot(3), outcome: WireOutcome::Noop };
        let stages = [Stage::Waiting, Stage::Local, forwarded(2), settled];
        let mut replies = stages.map(|stage| add(&mut proposals, stage).1);
        proposals.sweep(Time::from_millis(99));
        assert!(replies.iter_mut().all(|reply| reply.try_recv().is_err()), "too early");
        proposals.sweep(Time::from_millis(100));
        let [waiting, local, forwarded, settled] = replies.each_mut().map(|reply| reply.try_recv().unwrap());
        assert_eq!(waiting, Err(RequestError::NoLeader));
        assert_eq!([local, forwarded], [Err(RequestError::TimedOut), Err(RequestError::TimedOut)]);
        assert_eq!(settled.unwrap().slot, Slot(3));
        assert_eq!(proposals.len(), 0);
    }

    #[test]
    fn each_peer_has_its_own_share() {
        let mut adopted = Adopted::new(2);
        let id = |number| ProposalId::new(ClientId::anonymous(9), number);
        let mut add = |number, peer| adopted.add(id(number), NodeId(peer), 1, Time::from_millis(number));
        assert_eq!([add(1, 2), add(2, 2), add(3, 2), add(3, 3)], [true, true, false, true]);
        assert_eq!(adopted.take(id(1)).map(|origin| origin.peer), Some(NodeId(2)));
        assert!(adopted.add(id(4), NodeId(2), 1, Time::from_millis(4)), "an answer makes room");
        adopted.lose(NodeId(2));
        assert_eq!((adopted.take(id(2)), adopted.take(id(4))), (None, None));
        adopted.sweep(Time::from_millis(3));
        assert_eq!(adopted.len(), 0);
    }
}
