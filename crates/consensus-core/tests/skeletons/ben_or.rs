//! Ben-Or's randomized consensus (PODC 1983; the crash variant proved by Aguilera and Toueg 2012) in its plainest form.
//!
//! Nothing is ever forgotten: whoever lags is answered from all earlier rounds. A [`Flaw`] is a planted mistake, for those who
//! test the testers.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part of it")]

use consensus_core::quorum::majority;
use consensus_core::{
    Boot, Bytes, ConfigError, ConsensusAlgorithm, Epoch, Faults, Guarantees, In, Input, Members, Membership,
    NodeId, Out, Problem, ProposalId, Reads, Refusal, Resilience, RestoreError, Role, Slot, Status,
    Termination, Time, Timing, Verdict,
};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const RESEND: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    Report,
    Proposal,
}

type Step = (u64, Phase);
/// `None` is the paper's "?".
type Vote = Option<bool>;

/// A mistake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flaw {
    #[default]
    None,
    /// One proposal for a value decides it.
    DecideOnOne,
    /// The coin overrides a value that was proposed.
    AdoptNothing,
    /// Casts are not written down: a restart makes them anew.
    ForgetCasts,
    /// Casts leave before they are durable.
    CastEarly,
    /// The first report is a coin, not the proposal.
    Invent,
    /// Who decided does not help the others to the end.
    HaltAtDecision,
    /// Who is asked after its decision decides again.
    DecideAgain,
    /// A decision is not written down: a restarted node has decided nothing.
    ForgetDecision,
}

#[derive(Clone, Debug, Default)]
pub struct Config {
    pub flaw: Flaw,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cast {
    step: Step,
    vote: Vote,
    /// The sender lacks votes for this step: answer with your own.
    ask: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    Started { id: Option<ProposalId> },
    Cast { step: Step, vote: Vote },
    Decided { value: bool, round: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    Resend,
}

#[derive(Debug)]
pub struct BenOr {
    flaw: Flaw,
    id: NodeId,
    members: Members,
    rng: ChaCha8Rng,
    own: Option<ProposalId>,
    at: Option<Step>,
    votes: BTreeMap<Step, BTreeMap<NodeId, Vote>>,
    decided: Option<bool>,
    /// The round of the decision.
    decided_in: u64,
}

impl BenOr {
    fn n(&self) -> usize {
        self.members.voter_count()
    }

    fn quorum(&self) -> usize {
        self.n() - Self::GUARANTEES.tolerated(self.n())
    }

    fn cast(&mut self, step: Step, vote: Vote, out: &mut Out<Self>) {
        if self.flaw != Flaw::ForgetCasts {
            out.persist(Record::Cast { step, vote });
        }
        self.votes.entry(step).or_default().insert(self.id, vote);
        self.at = Some(step);
        for peer in self.members.others(self.id) {
            let cast = Cast { step, vote, ask: false };
            if self.flaw == Flaw::CastEarly {
                out.send_early(peer, cast);
            } else {
                out.send(peer, cast);
            }
        }
    }

    fn on_cast(&mut self, from: NodeId, cast: &Cast, out: &mut Out<Self>) {
        self.votes.entry(cast.step).or_default().entry(from).or_insert(cast.vote);
        let own = self.votes.get(&cast.step).and_then(|votes| votes.get(&self.id));
        if let (true, Some(&vote)) = (cast.ask, own) {
            out.send(from, Cast { step: cast.step, vote, ask: false });
        }
        if let (Flaw::DecideAgain, Some(value)) = (self.flaw, self.decided) {
            out.decide(Slot(1), self.own, Verdict::Commit, encode(value));
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
                    let is_hasty = self.flaw == Flaw::DecideOnOne;
                    let needed = if is_hasty { 0 } else { Self::GUARANTEES.tolerated(self.n()) };
                    let strong = proposed.is_some_and(|w| count(w) > needed);
                    let adopted = proposed.filter(|_| strong || self.flaw != Flaw::AdoptNothing);
                    // The coin is tossed only after the wait.
                    let next = adopted.unwrap_or_else(|| self.rng.random());
                    if strong && self.flaw == Flaw::HaltAtDecision {
                        return self.become_decided(next, round, out);
                    }
                    self.cast((round + 1, Phase::Report), Some(next), out);
                    if strong {
                        self.become_decided(next, round, out);
                    }
                }
            }
        }
    }

    fn become_decided(&mut self, value: bool, round: u64, out: &mut Out<Self>) {
        if self.flaw != Flaw::HaltAtDecision {
            // Those who have not decided need both of our votes of the next round.
            self.cast((round + 1, Phase::Proposal), Some(value), out);
        }
        if self.flaw != Flaw::ForgetDecision {
            out.persist(Record::Decided { value, round });
        }
        (self.decided, self.decided_in) = (Some(value), round);
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

pub fn encode(value: bool) -> Bytes {
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
    type Config = Config;
    type Message = Cast;
    type Record = Record;
    type Timer = Timer;

    fn validate(_config: &Config, members: &Members) -> Result<(), ConfigError> {
        if members.voter_count() == 0 { Err(ConfigError::new("members", "nobody votes")) } else { Ok(()) }
    }

    fn restore(boot: Boot<Self>, out: &mut Out<Self>) -> Result<Self, RestoreError> {
        let Boot { id, members, config: Config { flaw }, seed, now, snapshot: _, records } = boot;
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let votes = BTreeMap::new();
        let mut this =
            Self { flaw, id, members, rng, own: None, at: None, votes, decided: None, decided_in: 0 };
        for record in records {
            match record {
                Record::Started { id } => this.own = id,
                Record::Cast { step, vote } => {
                    this.at = Some(step);
                    this.votes.entry(step).or_default().insert(id, vote);
                }
                Record::Decided { value, round } => {
                    (this.decided, this.decided_in) = (Some(value), round);
                    out.decide_early(Slot(1), this.own, Verdict::Commit, encode(value));
                }
            }
        }
        this.on_resend(now, out);
        // Our own vote may be all that it takes.
        this.advance(out);
        Ok(this)
    }

    fn step(&mut self, now: Time, input: In<Self>, out: &mut Out<Self>) {
        match input {
            Input::Message { from, message } => self.on_cast(from, &message, out),
            Input::Timer(Timer::Resend) => self.on_resend(now, out),
            Input::Propose { id, payload } => match (self.at, payload.as_ref()) {
                (None, [b'0' | b'1']) => {
                    self.own = Some(id);
                    out.persist(Record::Started { id: self.own });
                    let proposed = payload.as_ref() == b"1";
                    let value = if self.flaw == Flaw::Invent { self.rng.random() } else { proposed };
                    self.cast((1, Phase::Report), Some(value), out);
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
            epoch: Epoch(match self.decided {
                // The votes of the next round are for the others.
                Some(_) => self.decided_in,
                None => self.at.map_or(0, |(round, _)| round),
            }),
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
