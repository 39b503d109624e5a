//! Ben-Or's randomized consensus (PODC 1983; the crash variant proved by Aguilera and Toueg 2012) in its plainest form:
//! whether the trait carries a protocol without a leader, without a log and without a clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{Weather, World};
use consensus_core::quorum::majority;
use consensus_core::{
    Boot, Bytes, ClientId, ConfigError, ConsensusAlgorithm, Epoch, Faults, Guarantees, In, Input, Members,
    Membership, NodeId, Out, Problem, ProposalId, Reads, Refusal, Resilience, Role, Slot, Status,
    Termination, Time, Timing, Verdict,
};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const RESEND: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Phase {
    Report,
    Proposal,
}

type Step = (u64, Phase);
/// `None` is the paper's "?".
type Vote = Option<bool>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Cast {
    step: Step,
    vote: Vote,
    /// The sender lacks votes for this step: answer with your own.
    ask: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Record {
    Started { id: Option<ProposalId> },
    Cast { step: Step, vote: Vote },
    Decided { value: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Resend,
}

#[derive(Debug)]
struct BenOr {
    id: NodeId,
    members: Members,
    rng: ChaCha8Rng,
    own: Option<ProposalId>,
    at: Option<Step>,
    votes: BTreeMap<Step, BTreeMap<NodeId, Vote>>,
    decided: Option<bool>,
}

impl BenOr {
    fn n(&self) -> usize {
        self.members.voter_count()
    }

    fn quorum(&self) -> usize {
        self.n() - Self::GUARANTEES.tolerated(self.n())
    }

    fn cast(&mut self, step: Step, vote: Vote, out: &mut Out<Self>) {
        out.persist(Record::Cast { step, vote });
        self.votes.entry(step).or_default().insert(self.id, vote);
        self.at = Some(step);
        for peer in self.members.others(self.id) {
            out.send(peer, Cast { step, vote, ask: false });
        }
    }

    fn on_cast(&mut self, from: NodeId, cast: &Cast, out: &mut Out<Self>) {
        self.votes.entry(cast.step).or_default().entry(from).or_insert(cast.vote);
        let own = self.votes.get(&cast.step).and_then(|votes| votes.get(&self.id));
        if let (true, Some(&vote)) = (cast.ask, own) {
            out.send(from, Cast { step: cast.step, vote, ask: false });
        }
        self.advance(out);
    }

    fn advance(&mut self, out: &mut Out<Self>) {
        while let (Some((round, phase)), None) = (self.at, self.decided) {
            let votes = &self.votes[&(round, phase)];
            if votes.len() < self.quorum() {
                return;
            }
            let count = |w: bool| votes.values().filter(|&&vote| vote == Some(w)).count();
            match phase {
                Phase::Report => {
                    let vote = [false, true].into_iter().find(|&w| count(w) >= majority(self.n()));
                    self.cast((round, Phase::Proposal), vote, out);
                }
                Phase::Proposal => {
                    let proposed = [false, true].into_iter().find(|&w| count(w) > 0);
                    let strong = proposed.is_some_and(|w| count(w) > Self::GUARANTEES.tolerated(self.n()));
                    // The coin is tossed only after the wait.
                    let next = proposed.unwrap_or_else(|| self.rng.random());
                    self.cast((round + 1, Phase::Report), Some(next), out);
                    if strong {
                        self.become_decided(next, round, out);
                    }
                }
            }
        }
    }

    fn become_decided(&mut self, value: bool, round: u64, out: &mut Out<Self>) {
        // Those who have not decided need both of our votes of the next round.
        self.cast((round + 1, Phase::Proposal), Some(value), out);
        out.persist(Record::Decided { value });
        self.decided = Some(value);
        out.decide(Slot(1), self.own, Verdict::Commit, encode(value));
    }

    fn on_resend(&mut self, now: Time, out: &mut Out<Self>) {
        let (Some(step), None) = (self.at, self.decided) else { return };
        let vote = self.votes[&step][&self.id];
        for peer in self.members.others(self.id) {
            out.send(peer, Cast { step, vote, ask: true });
        }
        out.set_timer(Timer::Resend, now + RESEND);
    }
}

fn encode(value: bool) -> Bytes {
    Bytes::from_static(if value { b"1" } else { b"0" })
}

impl ConsensusAlgorithm for BenOr {
    const NAME: &'static str = "ben-or skeleton";
    const GUARANTEES: Guarantees = Guarantees {
        problem: Problem::OneShot,
        faults: Faults::CrashRecovery,
        resilience: Resilience::Half,
        timing: Timing::Asynchronous,
        termination: Termination::WithProbabilityOne,
        reads: Reads::Local,
        membership: Membership::Static,
    };
    type Config = ();
    type Message = Cast;
    type Record = Record;
    type Timer = Timer;

    fn validate((): &(), members: &Members) -> Result<(), ConfigError> {
        if members.voter_count() == 0 { Err(ConfigError::new("members", "nobody votes")) } else { Ok(()) }
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Self {
        let Boot { id, members, config: (), seed, now, snapshot: _, records } = boot;
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let mut this = Self { id, members, rng, own: None, at: None, votes: BTreeMap::new(), decided: None };
        for record in records {
            match record {
                Record::Started { id } => this.own = id,
                Record::Cast { step, vote } => {
                    this.at = Some(step);
                    this.votes.entry(step).or_default().insert(id, vote);
                }
                Record::Decided { value } => {
                    this.decided = Some(value);
                    out.decide_early(Slot(1), this.own, Verdict::Commit, encode(value));
                }
            }
        }
        this.on_resend(now, out);
        this
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        match input {
            Input::Message { from, message } => self.on_cast(from, &message, out),
            Input::Timer(Timer::Resend) => self.on_resend(now, out),
            Input::Propose { id, payload } => match (self.at, payload.as_ref()) {
                (None, [b'0' | b'1']) => {
                    self.own = Some(id);
                    out.persist(Record::Started { id: self.own });
                    self.cast((1, Phase::Report), Some(payload.as_ref() == b"1"), out);
                    out.set_timer(Timer::Resend, now + RESEND);
                    self.advance(out);
                }
                (Some(_), _) => out.refuse(id, Refusal::Busy),
                (None, _) => out.refuse(id, Refusal::TooLarge),
            },
            Input::Read(id) => out.refuse_read(id, Refusal::Unsupported),
            Input::Reconfigure { id, change: _ } => out.refuse(id, Refusal::Unsupported),
            Input::Durable(_)
            | Input::Transfer { .. }
            | Input::Priority(_)
            | Input::Judged { .. }
            | Input::Suspect { .. }
            | Input::Compact { .. } => {}
        }
    }

    fn status(&self) -> Status {
        Status {
            role: Role::Peer,
            leader: None,
            epoch: Epoch(self.at.map_or(0, |(round, _)| round)),
            decided: Slot(u64::from(self.decided.is_some())),
            members: self.members.clone(),
            blocked: Vec::new(),
        }
    }

    fn assert_invariants(&self) {
        for (step, votes) in &self.votes {
            assert!(votes.len() <= self.n(), "more votes than voters in {step:?}");
            if step.1 == Phase::Proposal {
                let both =
                    votes.values().any(|v| *v == Some(true)) && votes.values().any(|v| *v == Some(false));
                assert!(!both, "two majorities in {step:?}: {votes:?}");
            }
        }
    }
}

fn proposal(node: NodeId) -> ProposalId {
    ProposalId::new(ClientId::anonymous(node.0), 1)
}

fn start(n: u64, seed: u64, weather: Weather, inputs: u64) -> World<BenOr> {
    let mut world = World::<BenOr>::new(n, seed, weather);
    for id in world.ids() {
        let payload: &'static [u8] = if inputs >> id.0 & 1 == 1 { b"1" } else { b"0" };
        world.propose(id, proposal(id), payload);
    }
    world
}

fn decision(world: &World<BenOr>, id: NodeId) -> Option<Bytes> {
    let seen = &world.node(id)?.machine().seen;
    assert!(seen.len() <= 1, "{id} decided twice: {seen:?}");
    seen.first().map(|(_, _, _, payload)| payload.clone())
}

fn agreed(world: &World<BenOr>) -> Option<Bytes> {
    let decisions: Vec<Bytes> = world.ids().iter().filter_map(|&id| decision(world, id)).collect();
    assert!(decisions.is_sorted_by(|a, b| a == b), "disagreement: {decisions:?}");
    let up = world.ids().iter().filter(|&&id| world.node(id).is_some()).count();
    decisions.first().filter(|_| decisions.len() == up).cloned()
}

#[test]
fn everybody_decides_the_same_under_random_orders_and_losses() {
    let mut both = [false; 2];
    for seed in 0..150 {
        let (n, inputs) = (if seed % 2 == 0 { 3 } else { 5 }, (seed * 0x9e37_79b9) >> 3);
        let mut world = start(n, seed, Weather { loss: 10, repetition: 10 }, inputs);
        assert!(world.run(200_000, |world| agreed(world).is_some()), "seed {seed} does not terminate");
        let value = agreed(&world).unwrap();
        let proposed = world.ids().iter().any(|id| encode(inputs >> id.0 & 1 == 1) == value);
        assert!(proposed, "seed {seed}: {value:?} was nobody's");
        both[usize::from(value == encode(true))] = true;
    }
    assert_eq!(both, [true; 2], "the inputs should lead to either decision");
}

#[test]
fn crashes_within_the_bound_do_not_stop_the_others_and_restarts_forget_no_cast() {
    for seed in 1_000..1_100 {
        let n = if seed % 2 == 0 { 3 } else { 5 };
        let mut world = start(n, seed, Weather { loss: 5, repetition: 5 }, (seed * 0x9e37_79b9) >> 3);
        for _ in 0..40 {
            let victim = NodeId(1 + u64::from(world.random_percent()) % n);
            for _ in 0..world.random_percent() {
                world.turn();
                agreed(&world);
            }
            let before = decision(&world, victim);
            world.crash(victim);
            for _ in 0..world.random_percent() {
                world.turn();
            }
            world.restart(victim);
            if before.is_some() {
                assert_eq!(before, decision(&world, victim), "a decision that was shown is durable");
            }
        }
        // Who crashed before its proposal was durable proposes again.
        for id in world.ids() {
            let payload: &'static [u8] = if id.0 % 2 == 0 { b"0" } else { b"1" };
            world.propose(id, proposal(id), payload);
        }
        let gone = NodeId(n);
        world.crash(gone);
        assert!(world.run(200_000, |world| agreed(world).is_some()), "seed {seed} does not terminate");
    }
}

#[test]
fn a_cast_does_not_leave_before_it_is_durable() {
    let mut world = start(3, 7, Weather::default(), 0b1010);
    assert_eq!(world.in_flight().count(), 0);
    world.sync(NodeId(2));
    assert_eq!(world.in_flight().filter(|(from, _, _)| *from == NodeId(2)).count(), 2);
    assert_eq!(world.in_flight().count(), 2);
}

#[test]
fn who_decided_still_helps_a_node_that_slept() {
    let mut world = start(3, 3, Weather::default(), 0);
    world.cut.insert(NodeId(3));
    let two = |world: &World<BenOr>| (1..=2).all(|id| decision(world, NodeId(id)).is_some());
    assert!(world.run(10_000, two));
    assert_eq!(decision(&world, NodeId(3)), None);
    world.cut.clear();
    assert!(world.run(10_000, |world| agreed(world).is_some()), "the sleeper was left alone");
}
