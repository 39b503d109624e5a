//! Two-phase commit with presumed abort (Mohan, Lindsay and Obermarck 1986) in its plainest form: whether the trait carries a
//! protocol that decides out of order, asks the state machine for its vote, and may have to say that it is blocked.
//!
//! Whoever takes a proposal coordinates it; all members take part. Slots are local counts. Nothing is ever forgotten, and no
//! transaction is proposed anew after a restart of its coordinator (a presumed abort may still be in flight then).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Weather, World};
use consensus_core::{
    Boot, Bytes, ClientId, ConfigError, ConsensusAlgorithm, Epoch, Faults, Guarantees, In, Input, Members,
    Membership, NodeId, Out, Outcome, Problem, ProposalId, Reads, Refusal, Reply, Resilience, Role, Slot,
    Status, Termination, Time, Timing, Verdict, quorum::Tally,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const VOTING: Duration = Duration::from_millis(50);
const RETRY: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Prepare {
        id: ProposalId,
        payload: Bytes,
    },
    Vote {
        id: ProposalId,
        yes: bool,
    },
    Outcome {
        id: ProposalId,
        commit: bool,
    },
    Acknowledge {
        id: ProposalId,
    },
    /// A prepared participant has heard nothing: what became of it?
    Inquire {
        id: ProposalId,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Record {
    /// Our YES, with all that a commit will need.
    Prepared { id: ProposalId, coordinator: NodeId, payload: Bytes },
    /// The coordinator's COMMIT.
    Committed { id: ProposalId, payload: Bytes },
    /// A prepared participant has learned the outcome.
    Settled { id: ProposalId, commit: bool },
    /// The coordinator has every acknowledgement.
    Ended { id: ProposalId },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Voting(ProposalId),
    Repeat(ProposalId),
    Inquire(ProposalId),
}

#[derive(Debug)]
enum Coordinated {
    Voting { payload: Bytes, yes: Tally },
    Committed { acknowledged: Tally },
}

#[derive(Debug)]
struct Prepared {
    coordinator: NodeId,
    payload: Bytes,
}

#[derive(Debug)]
struct TwoPhase {
    id: NodeId,
    members: Members,
    coordinated: BTreeMap<ProposalId, Coordinated>,
    /// Between PREPARE and the state machine's answer.
    judging: BTreeMap<ProposalId, Prepared>,
    prepared: BTreeMap<ProposalId, Prepared>,
    settled: BTreeMap<ProposalId, Verdict>,
}

const fn verdict(commit: bool) -> Verdict {
    if commit { Verdict::Commit } else { Verdict::Abort }
}

impl TwoPhase {
    fn settle(&mut self, id: ProposalId, commit: bool) -> Slot {
        let before = self.settled.insert(id, verdict(commit));
        assert_eq!(before, None, "{id:?} was settled before");
        Slot(self.settled.len() as u64)
    }

    fn on_propose(&mut self, now: Time, id: ProposalId, payload: Bytes, out: &mut Out<Self>) {
        if let Some(&verdict) = self.settled.get(&id) {
            return out.refuse(id, Refusal::Settled { verdict });
        }
        if self.coordinated.contains_key(&id) || self.prepared.contains_key(&id) {
            return; // A retry: the first attempt will be answered.
        }
        for peer in self.members.others(self.id) {
            // EARLY: a coordinator that forgets this is asked for the outcome, and knows no commit: abort.
            out.send_early(peer, Message::Prepare { id, payload: payload.clone() });
        }
        let voting = Coordinated::Voting { payload: payload.clone(), yes: Tally::new() };
        self.coordinated.insert(id, voting);
        out.set_timer(Timer::Voting(id), now + VOTING);
        out.judge(id, payload);
    }

    fn on_judged(&mut self, now: Time, id: ProposalId, accept: bool, out: &mut Out<Self>) {
        let Some(candidate) = self.judging.remove(&id) else {
            // Our own vote as coordinator; or, after a restart, a reservation made anew for what we voted for long ago.
            return self.on_vote(now, self.id, id, accept, out);
        };
        let Prepared { coordinator, payload } = candidate;
        if accept {
            out.persist(Record::Prepared { id, coordinator, payload: payload.clone() });
            out.send(coordinator, Message::Vote { id, yes: true });
            out.set_timer(Timer::Inquire(id), now + RETRY);
            self.prepared.insert(id, Prepared { coordinator, payload });
        } else {
            // EARLY: a NO that is forgotten is an abort all the same.
            out.send_early(coordinator, Message::Vote { id, yes: false });
            let slot = self.settle(id, false);
            out.decide_early(slot, Some(id), Verdict::Abort, payload);
        }
    }

    fn on_prepare(&mut self, from: NodeId, id: ProposalId, payload: Bytes, out: &mut Out<Self>) {
        if self.prepared.contains_key(&id) {
            return out.send(from, Message::Vote { id, yes: true });
        }
        if self.settled.contains_key(&id) {
            // EARLY: whoever has settled it never says YES again.
            return out.send_early(from, Message::Vote { id, yes: false });
        }
        self.judging.insert(id, Prepared { coordinator: from, payload: payload.clone() });
        out.judge(id, payload);
    }

    fn on_vote(&mut self, now: Time, from: NodeId, id: ProposalId, yes: bool, out: &mut Out<Self>) {
        let Some(Coordinated::Voting { payload, yes: tally }) = self.coordinated.get_mut(&id) else { return };
        if !yes {
            return self.become_aborted(id, out);
        }
        tally.add(from);
        if tally.count_among(self.members.voters()) == self.members.voter_count() {
            let payload = payload.clone();
            self.become_committed(now, id, payload, out);
        }
    }

    fn become_committed(&mut self, now: Time, id: ProposalId, payload: Bytes, out: &mut Out<Self>) {
        out.persist(Record::Committed { id, payload: payload.clone() });
        out.cancel_timer(Timer::Voting(id));
        let mut acknowledged = Tally::new();
        acknowledged.add(self.id);
        self.coordinated.insert(id, Coordinated::Committed { acknowledged });
        let slot = self.settle(id, true);
        out.decide(slot, Some(id), Verdict::Commit, payload);
        self.on_repeat(now, id, out);
    }

    fn become_aborted(&mut self, id: ProposalId, out: &mut Out<Self>) {
        let Some(Coordinated::Voting { payload, .. }) = self.coordinated.remove(&id) else { return };
        out.cancel_timer(Timer::Voting(id));
        for peer in self.members.others(self.id) {
            // EARLY: abort is what everybody presumes.
            out.send_early(peer, Message::Outcome { id, commit: false });
        }
        let slot = self.settle(id, false);
        out.decide_early(slot, Some(id), Verdict::Abort, payload);
    }

    fn on_repeat(&mut self, now: Time, id: ProposalId, out: &mut Out<Self>) {
        let Some(Coordinated::Committed { acknowledged }) = self.coordinated.get(&id) else { return };
        for peer in self.members.others(self.id).filter(|&peer| !acknowledged.contains(peer)) {
            out.send(peer, Message::Outcome { id, commit: true });
        }
        out.set_timer(Timer::Repeat(id), now + RETRY);
    }

    fn on_outcome(&mut self, from: NodeId, id: ProposalId, commit: bool, out: &mut Out<Self>) {
        if let Some(Prepared { payload, .. }) = self.prepared.remove(&id) {
            out.persist(Record::Settled { id, commit });
            out.cancel_timer(Timer::Inquire(id));
            let slot = self.settle(id, commit);
            out.decide(slot, Some(id), verdict(commit), payload);
        }
        if commit {
            // The safe `send`: a repeated COMMIT may find the record of the first one still on its way to the disk.
            out.send(from, Message::Acknowledge { id });
        }
    }

    fn on_acknowledge(&mut self, from: NodeId, id: ProposalId, out: &mut Out<Self>) {
        let Some(Coordinated::Committed { acknowledged }) = self.coordinated.get_mut(&id) else { return };
        acknowledged.add(from);
        if acknowledged.count_among(self.members.voters()) == self.members.voter_count() {
            self.coordinated.remove(&id);
            out.cancel_timer(Timer::Repeat(id));
            out.persist(Record::Ended { id });
        }
    }

    fn on_inquire(&mut self, from: NodeId, id: ProposalId, out: &mut Out<Self>) {
        match self.coordinated.get(&id) {
            Some(Coordinated::Voting { .. }) => {}
            Some(Coordinated::Committed { .. }) => out.send(from, Message::Outcome { id, commit: true }),
            None => {
                let commit = self.settled.get(&id) == Some(&Verdict::Commit);
                out.send(from, Message::Outcome { id, commit });
            }
        }
    }

    fn on_inquire_timer(&self, now: Time, id: ProposalId, out: &mut Out<Self>) {
        if let Some(prepared) = self.prepared.get(&id) {
            out.send(prepared.coordinator, Message::Inquire { id });
            out.set_timer(Timer::Inquire(id), now + RETRY);
        }
    }

    fn replay(&mut self, record: Record, out: &mut Out<Self>) {
        match record {
            Record::Prepared { id, coordinator, payload } => {
                self.prepared.insert(id, Prepared { coordinator, payload });
            }
            Record::Committed { id, payload } => {
                let mut acknowledged = Tally::new();
                acknowledged.add(self.id);
                self.coordinated.insert(id, Coordinated::Committed { acknowledged });
                let slot = self.settle(id, true);
                out.decide_early(slot, Some(id), Verdict::Commit, payload);
            }
            Record::Settled { id, commit } => {
                let prepared = self.prepared.remove(&id).expect("settled only after prepared");
                let slot = self.settle(id, commit);
                out.decide_early(slot, Some(id), verdict(commit), prepared.payload);
            }
            Record::Ended { id } => {
                self.coordinated.remove(&id);
            }
        }
    }
}

impl ConsensusAlgorithm for TwoPhase {
    const NAME: &'static str = "two-phase skeleton";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::AtomicCommit,
        faults: Faults::CrashRecovery,
        resilience: Resilience::Zero,
        timing: Timing::Asynchronous,
        termination: Termination::Blocking,
        reads: Reads::Local,
        membership: Membership::Static,
    };
    type Config = ();
    type Message = Message;
    type Record = Record;
    type Timer = Timer;

    fn validate((): &(), members: &Members) -> Result<(), ConfigError> {
        if members.voter_count() < 2 {
            Err(ConfigError::new("members", "nobody to agree with"))
        } else {
            Ok(())
        }
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Self {
        let Boot { id, members, config: (), seed: _, now, snapshot: _, records } = boot;
        let mut this = Self {
            id,
            members,
            coordinated: BTreeMap::new(),
            judging: BTreeMap::new(),
            prepared: BTreeMap::new(),
            settled: BTreeMap::new(),
        };
        for record in records {
            this.replay(record, out);
        }
        for (&id, prepared) in &this.prepared {
            // The machine is new: it must reserve again what it had promised.
            out.judge(id, prepared.payload.clone());
            out.set_timer(Timer::Inquire(id), now + RETRY);
        }
        for &id in this.coordinated.keys() {
            out.set_timer(Timer::Repeat(id), now + RETRY);
        }
        this
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        match input {
            Input::Message { from, message } => match message {
                Message::Prepare { id, payload } => self.on_prepare(from, id, payload, out),
                Message::Vote { id, yes } => self.on_vote(now, from, id, yes, out),
                Message::Outcome { id, commit } => self.on_outcome(from, id, commit, out),
                Message::Acknowledge { id } => self.on_acknowledge(from, id, out),
                Message::Inquire { id } => self.on_inquire(from, id, out),
            },
            Input::Timer(Timer::Voting(id)) => self.become_aborted(id, out),
            Input::Timer(Timer::Repeat(id)) => self.on_repeat(now, id, out),
            Input::Timer(Timer::Inquire(id)) => self.on_inquire_timer(now, id, out),
            Input::Propose { id, payload } => self.on_propose(now, id, payload, out),
            Input::Judged { id, accept } => self.on_judged(now, id, accept, out),
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            Input::Reconfigure { id, change: _ } => out.refuse(id, Refusal::Unsupported),
            Input::Durable(_)
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Suspect { .. }
            | Input::Compact { .. } => {}
        }
    }

    fn status(&self) -> Status {
        let blocked = self.prepared.iter().map(|(&id, prepared)| (id, vec![prepared.coordinator]));
        Status {
            role: Role::Peer,
            leader: None,
            epoch: Epoch::ZERO,
            decided: Slot(self.settled.len() as u64),
            members: self.members.clone(),
            blocked: blocked.collect(),
        }
    }

    fn assert_invariants(&self) {
        assert!(self.prepared.keys().all(|id| !self.settled.contains_key(id)), "prepared and settled");
    }
}

const ONE: NodeId = NodeId(1);

fn transaction(number: u64) -> ProposalId {
    ProposalId::new(ClientId::anonymous(7), number)
}

fn outcome(world: &World<TwoPhase>, node: NodeId, id: ProposalId) -> Option<Verdict> {
    let seen = &world.node(node)?.machine().seen;
    let verdicts: Vec<Verdict> = seen.iter().filter(|seen| seen.1 == Some(id)).map(|seen| seen.2).collect();
    assert!(verdicts.len() <= 1, "{node} settled {id:?} more than once: {verdicts:?}");
    verdicts.first().copied()
}

fn all_have(world: &World<TwoPhase>, id: ProposalId, verdict: Verdict) -> bool {
    world.ids().iter().all(|&node| outcome(world, node, id) == Some(verdict))
}

fn told(world: &World<TwoPhase>, node: NodeId, id: ProposalId) -> Option<Outcome> {
    world.replies.iter().find_map(|(at, reply)| match reply {
        Reply::Done { id: done, outcome, .. } if *at == node && *done == id => Some(outcome.clone()),
        Reply::Done { .. } | Reply::Refused { .. } | Reply::ReadReady { .. } | Reply::ReadRefused { .. } => {
            None
        }
    })
}

#[test]
fn all_commit_and_the_client_hears_of_it_only_when_it_is_durable() {
    let id = transaction(1);
    let mut commits = 0;
    for seed in 0..50 {
        let mut world = World::<TwoPhase>::new(3, seed, Weather { loss: 0, repetition: 20 });
        world.propose(ONE, id, b"pay");
        let committed = world.run(5_000, |world| told(world, ONE, id).is_some());
        assert!(committed, "seed {seed}: no answer");
        if told(&world, ONE, id) != Some(Outcome::Applied(Bytes::from_static(b"pay"))) {
            continue; // The clock runs at random here, and the votes may be late.
        }
        let record = Record::Committed { id, payload: Bytes::from_static(b"pay") };
        assert!(world.disk(ONE).contains(&record), "the client was told before the disk");
        assert!(world.run(5_000, |world| all_have(world, id, Verdict::Commit)), "seed {seed}");
        commits += 1;
    }
    assert!(commits > 10, "only {commits} runs committed");
}

#[test]
fn one_no_aborts_everywhere_and_leaves_no_reservation() {
    let id = transaction(1);
    let mut world = World::<TwoPhase>::new(3, 2, Weather::default());
    world.dislike(NodeId(3), id);
    world.propose(ONE, id, b"pay");
    assert!(world.run(5_000, |world| all_have(world, id, Verdict::Abort)));
    assert_eq!(told(&world, ONE, id), Some(Outcome::Aborted(Bytes::from_static(b"pay"))));
    assert!(world.ids().iter().all(|&node| world.node(node).unwrap().machine().reserved.is_empty()));
    world.propose(ONE, id, b"pay");
    let refused = Reply::Refused { id, reason: Refusal::Settled { verdict: Verdict::Abort } };
    assert_eq!(world.replies.last(), Some(&(ONE, refused)), "a retry is told what came of it");
}

fn acknowledged(world: &World<TwoPhase>, id: ProposalId) -> bool {
    world.ids().iter().any(|&node| matches!(told(world, node, id), Some(Outcome::Applied(_))))
}

fn prepared_everywhere(world: &mut World<TwoPhase>, id: ProposalId) -> bool {
    world.propose(ONE, id, b"pay");
    world.run(2_000, |world| {
        [2, 3].iter().all(|&node| {
            let blocked = world.node(NodeId(node)).unwrap().status().blocked;
            blocked.contains(&(id, vec![ONE]))
        })
    })
}

#[test]
fn what_was_committed_is_applied_whoever_proposed_it() {
    // Sessions belong to one log; elsewhere such an identity is a name like any other, and a commit is a commit.
    let id = ProposalId::new(ClientId::session(Slot(99)), 0);
    let opening = ProposalId::open_session(3);
    let mut world = World::<TwoPhase>::new(2, 8, Weather::default());
    for (node, id) in [(ONE, id), (NodeId(2), opening)] {
        world.propose(node, id, b"pay");
        for _ in 0..4 {
            world.deliver_all();
            world.sync(ONE);
            world.sync(NodeId(2));
        }
        assert!(all_have(&world, id, Verdict::Commit));
        assert_eq!(told(&world, node, id), Some(Outcome::Applied(Bytes::from_static(b"pay"))));
    }
}

#[test]
fn a_yes_and_a_commit_wait_for_the_disk() {
    let id = transaction(1);
    let mut world = World::<TwoPhase>::new(2, 4, Weather::default());
    world.propose(ONE, id, b"pay");
    let two = NodeId(2);
    world.deliver_all();
    assert_eq!(world.node(two).unwrap().status().blocked, vec![(id, vec![ONE])]);
    assert_eq!(world.in_flight().count(), 0, "the YES is not on the disk yet");
    world.sync(two);
    assert_eq!(world.in_flight().count(), 1);
    world.deliver_all();
    assert_eq!(world.in_flight().count(), 0, "the COMMIT is not on the disk yet");
    assert_eq!((told(&world, ONE, id), outcome(&world, ONE, id)), (None, None), "nor is the client told");
    world.sync(ONE);
    assert!(told(&world, ONE, id).is_some());
    assert_eq!(world.in_flight().count(), 1);
    world.deliver_all();
    assert_eq!(outcome(&world, two, id), None);
    world.sync(two);
    assert_eq!(outcome(&world, two, id), Some(Verdict::Commit));
}

#[test]
fn a_dead_coordinator_blocks_and_the_participants_say_on_whom() {
    let id = transaction(1);
    let mut world = World::<TwoPhase>::new(3, 5, Weather::default());
    assert!(prepared_everywhere(&mut world, id), "both should come to be prepared");
    world.crash(ONE);
    for _ in 0..2_000 {
        world.turn();
    }
    for node in [NodeId(2), NodeId(3)] {
        assert_eq!(world.node(node).unwrap().status().blocked, vec![(id, vec![ONE])]);
        assert_eq!(outcome(&world, node, id), None, "a prepared participant never decides alone");
    }
    world.restart(ONE);
    let settled = |world: &World<TwoPhase>| [2, 3].iter().all(|&n| outcome(world, NodeId(n), id).is_some());
    assert!(world.run(5_000, settled), "the coordinator is back, and yet they wait");
    assert_eq!(outcome(&world, NodeId(2), id), outcome(&world, NodeId(3), id));
}

#[test]
fn a_restarted_participant_keeps_its_promise_and_its_reservation() {
    let id = transaction(1);
    let mut world = World::<TwoPhase>::new(2, 6, Weather::default());
    let two = NodeId(2);
    world.propose(ONE, id, b"pay");
    world.deliver_all();
    world.sync(two);
    world.crash(two);
    world.restart(two);
    assert_eq!(world.node(two).unwrap().status().blocked, vec![(id, vec![ONE])]);
    assert!(world.node(two).unwrap().machine().reserved.contains(&id));
}

#[test]
fn nobody_disagrees_through_crashes_of_both_roles() {
    let mut verdicts = BTreeMap::new();
    for seed in 0..100 {
        let mut world = World::<TwoPhase>::new(3, seed, Weather { loss: 10, repetition: 10 });
        for number in 1..=6 {
            world.propose(NodeId(1 + number % 3), transaction(number), b"pay");
            for _ in 0..world.random_percent() {
                world.turn();
            }
            let victim = NodeId(1 + u64::from(world.random_percent()) % 3);
            world.crash(victim);
            for _ in 0..world.random_percent() {
                world.turn();
            }
            world.restart(victim);
        }
        let idle = |world: &World<TwoPhase>| {
            world.ids().iter().all(|&node| {
                let node = world.node(node).unwrap();
                node.status().blocked.is_empty() && node.algorithm().coordinated.is_empty()
            })
        };
        assert!(world.run(50_000, idle), "seed {seed}: somebody is blocked though everybody is up");
        for number in 1..=6 {
            let id = transaction(number);
            let outcomes: Vec<_> = world.ids().iter().map(|&node| outcome(&world, node, id)).collect();
            let committed = outcomes.iter().filter(|&&o| o == Some(Verdict::Commit)).count();
            assert!(committed == 0 || committed == 3, "seed {seed}: {id:?} is half done: {outcomes:?}");
            // Whatever a client was told holds for ever, restarts or not.
            let applied = acknowledged(&world, id);
            assert!(!applied || committed == 3, "seed {seed}: {id:?} was acknowledged and lost");
            *verdicts.entry(committed).or_insert(0) += 1;
        }
    }
    assert!(verdicts[&3] > 50 && verdicts[&0] > 50, "both outcomes should occur: {verdicts:?}");
}
