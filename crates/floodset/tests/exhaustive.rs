//! Every run of a few nodes: all inputs, and all ways in which nodes crash, in the midst of telling the others included.

use consensus_core::{
    Boot, Bytes, ClientId, ConsensusAlgorithm, Effect, Effects, Input, Members, NodeId, ProposalId, Time,
};
use floodset::{Config, FloodSet, Message, Timer};

const ROUND: u64 = 10;

/// What came of all runs.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    pub(crate) count: u64,
    /// The runs by the round in which the last node decided.
    pub(crate) last: [u64; 8],
    /// The first run that went wrong, and how.
    pub(crate) wrong: Option<String>,
    pub(crate) most_messages: usize,
}

/// A run, up to a round.
#[derive(Clone)]
struct Run {
    /// `None`: it has crashed.
    nodes: Vec<Option<FloodSet>>,
    inputs: Vec<u8>,
    /// What each node decided, and in which round, whatever became of it.
    decided: Vec<Option<(Bytes, u64)>>,
    crashes: usize,
    messages: usize,
    story: String,
}

type Sent = Vec<Vec<(NodeId, Message)>>;

/// All runs of `n` nodes of which up to `t` crash.
pub(crate) fn all_runs(n: usize, t: usize, values: u8, config: &Config) -> Runs {
    let mut runs = Runs::default();
    let config = Config { round_ms: ROUND, faults: Some(t), ..config.clone() };
    for number in 0..usize::from(values).pow(u32::try_from(n).unwrap()) {
        let digit = |place| (number / usize::from(values).pow(place) % usize::from(values)) as u8;
        let inputs: Vec<u8> = (0..u32::try_from(n).unwrap()).map(digit).collect();
        let run = Run::new(inputs, &config);
        run.rounds(1, t, &mut runs);
    }
    runs
}

impl Run {
    fn new(inputs: Vec<u8>, config: &Config) -> Self {
        let n = inputs.len();
        let members = Members::of((1..=n as u64).map(NodeId));
        let node = |id| {
            let boot = Boot::<FloodSet> {
                id: NodeId(id),
                members: members.clone(),
                config: config.clone(),
                seed: 1,
                now: Time::ZERO,
                snapshot: None,
                records: Vec::new(),
            };
            Some(FloodSet::restore(boot, &mut Effects::new()).unwrap())
        };
        let story = format!("{inputs:?}:");
        let nodes = (1..=n as u64).map(node).collect();
        Self { nodes, inputs, decided: vec![None; n], crashes: 0, messages: 0, story }
    }

    /// What every node says, and decides, at the beginning of a round.
    fn speak(&mut self, round: u64) -> (Sent, Vec<Option<(Bytes, u64)>>) {
        let now = Time::from_millis((round - 1) * ROUND);
        let (mut sent, mut decided) = (Vec::new(), Vec::new());
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let mut out = Effects::new();
            if let Some(node) = node {
                let id = ProposalId::new(ClientId::anonymous(1), 1);
                let payload = Bytes::from(vec![self.inputs[index]]);
                let input =
                    if round == 1 { Input::Propose { id, payload } } else { Input::Timer(Timer::Round) };
                node.step(now, input, &mut out);
                node.assert_invariants();
            }
            sent.push(std::mem::take(out.free_sends()));
            let round = node.as_ref().and_then(FloodSet::decided_in);
            let decision = out.take_others().find_map(|effect| {
                if let Effect::Decide { payload, .. } = effect { Some((payload, round?)) } else { None }
            });
            decided.push(decision);
        }
        (sent, decided)
    }

    /// This round, and all that follow, in every way.
    fn rounds(mut self, round: u64, t: usize, runs: &mut Runs) {
        if runs.wrong.is_some() {
            return;
        }
        let (sent, decided) = self.speak(round);
        if round > t as u64 + 1 {
            self.note(&decided, |_, _| true);
            return self.judge(t, runs);
        }
        // Whoever is silent from now on does not crash in a way that anybody could tell.
        let speakers: Vec<usize> = (0..self.nodes.len()).filter(|&node| !sent[node].is_empty()).collect();
        for choice in 0..1_usize << speakers.len() {
            let crash =
                |node| speakers.iter().position(|&it| it == node).is_some_and(|it| (choice >> it) & 1 == 1);
            let crashing: Vec<usize> = speakers.iter().copied().filter(|&node| crash(node)).collect();
            let living = |&node: &usize| self.nodes[node].is_some() && !crash(node);
            let living: Vec<usize> = (0..self.nodes.len()).filter(living).collect();
            if self.crashes + crashing.len() > t || living.is_empty() {
                continue;
            }
            // Whom each of them still reaches: not all, or it would not have crashed yet.
            let all = (1_usize << living.len()) - 1;
            for mut reached in 0..all.pow(u32::try_from(crashing.len()).unwrap()) {
                let mut run = self.clone();
                run.crashes += crashing.len();
                // Who decides in this round does so when all are told; before, it was in the last one.
                run.note(&decided, |node, decided_in| !crash(node) || decided_in < round);
                for &from in &crashing {
                    run.nodes[from] = None;
                    run.story += &format!(" r{round}: n{} crashes ({:b})", from + 1, reached % all);
                    let reaches = |to: usize| {
                        living
                            .iter()
                            .position(|&it| it == to)
                            .is_some_and(|it| ((reached % all) >> it) & 1 == 1)
                    };
                    run.deliver(round, from, &sent[from], reaches);
                    reached /= all;
                }
                for &from in speakers.iter().filter(|from| !crashing.contains(from)) {
                    run.deliver(round, from, &sent[from], |_| true);
                }
                run.rounds(round + 1, t, runs);
            }
        }
    }

    fn note(&mut self, decided: &[Option<(Bytes, u64)>], counts: impl Fn(usize, u64) -> bool) {
        for (node, decision) in decided.iter().enumerate() {
            let decision = decision.clone().filter(|&(_, round)| counts(node, round));
            self.decided[node] = self.decided[node].take().or(decision);
        }
    }

    fn deliver(
        &mut self,
        round: u64,
        from: usize,
        sent: &[(NodeId, Message)],
        reaches: impl Fn(usize) -> bool,
    ) {
        let now = Time::from_millis((round - 1) * ROUND + 1);
        for (to, message) in sent {
            let to = usize::try_from(to.0).unwrap() - 1;
            if reaches(to)
                && let Some(node) = &mut self.nodes[to]
            {
                self.messages += 1;
                let from = NodeId(from as u64 + 1);
                node.step(now, Input::Message { from, message: message.clone() }, &mut Effects::new());
            }
        }
    }

    fn judge(self, t: usize, runs: &mut Runs) {
        runs.count += 1;
        runs.most_messages = runs.most_messages.max(self.messages);
        let bound = (self.crashes as u64 + 2).min(t as u64 + 1);
        let mut wrong = None;
        let mut values: Vec<&Bytes> = self.decided.iter().flatten().map(|(value, _)| value).collect();
        let last = self.decided.iter().flatten().map(|&(_, round)| round).max().unwrap_or_default();
        runs.last[usize::try_from(last).unwrap()] += 1;
        if values.iter().any(|value| value.len() != 1 || !self.inputs.contains(&value[0])) {
            wrong = Some("nobody was given it");
        }
        if last > bound {
            wrong = Some("it took longer than the bound");
        }
        let silent = |(node, decided): (&Option<FloodSet>, &Option<_>)| node.is_some() && decided.is_none();
        if self.nodes.iter().zip(&self.decided).any(silent) {
            wrong = Some("a live node decided nothing");
        }
        values.dedup();
        if values.len() > 1 {
            wrong = Some("they disagree");
        }
        runs.wrong = wrong.map(|wrong| format!("{wrong}: {} {:?}", self.story, self.decided));
    }
}

// tests [F3] [F4] [F5] [F6]
#[test]
fn every_pattern_of_crashes() {
    for n in 1..=4 {
        for t in 0..n {
            let values = if n < 4 { 3 } else { 2 };
            let runs = all_runs(n, t, values, &Config::default());
            eprintln!("n = {n}, t = {t}: {runs:?}");
            assert_eq!(runs.wrong, None, "n = {n}, t = {t}");
            assert!(runs.last[t + 1] > 0, "somebody needs all rounds");
        }
    }
}
