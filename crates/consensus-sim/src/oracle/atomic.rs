//! The judge of atomic commitment: the five properties AC1–AC5 (Bernstein, Hadzilacos and Goodman 1987, chapter 7), and what
//! they mean for the data.
//!
//! - AC1, agreement: all that decide decide the same.
//! - AC2, irrevocable: no process reverses its decision, restarts or not.
//! - AC3, commit validity: commit only if all participants voted yes. A vote counts as it was judged last: who voted yes keeps
//!   its promise, and never judges anew.
//! - AC4, non-triviality: if nothing fails and all vote yes, commit.
//! - AC5, termination: once failures are repaired, all decide. Until then a protocol that may block says on whom.
//!
//! What a client is told is a decision too: of the node that tells it, whether or not it has a part in the transaction. A client may hear of
//! a verdict before any participant has carried it out, of who has found it at others and has nothing to carry out itself. So whoever
//! speaks first, to its state machine or to a client, fixes the verdict: AC3 and AC4 are judged at that moment, all others must agree
//! with it from then on, and a commit must come to all who take part.
//!
//! Who changes nothing by a transaction, and only looks at something for it, need not hear of the verdict: an abort in its state
//! machine gives back what was reserved for that, and is no decision.
//!
//! What a participant applies is held against what it applied before a restart, register by register.

use super::blocking::Blocking;
use super::property::{Failure, Findings, Property};
use crate::machine::{Applied, Cell, Key, Transaction, Value};
use crate::trace::hash_bytes;
use consensus_core::{NodeId, ProposalId, Status, Time, Verdict};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// What was seen of the transactions of a run, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtomicMeasures {
    /// Transactions that were committed.
    pub committed: u64,
    /// Transactions that were aborted.
    pub aborted: u64,
    /// Transactions that nobody decided.
    pub undecided: u64,
    /// How often a live participant was blocked on a node that was down, counted per participant and transaction.
    pub blockings: u64,
    /// How long such waits took, all together.
    pub blocked: Duration,
    /// The longest of them.
    pub longest: Duration,
}

impl AtomicMeasures {
    pub(super) fn add(&mut self, other: &Self) {
        self.committed += other.committed;
        self.aborted += other.aborted;
        self.undecided += other.undecided;
        self.blockings += other.blockings;
        self.blocked += other.blocked;
        self.longest = self.longest.max(other.longest);
    }
}

/// What is known of one transaction.
#[derive(Debug)]
struct Case {
    /// The digest of what was proposed.
    content: u64,
    participants: BTreeSet<NodeId>,
    /// Who only looks at something for it.
    reader: Option<NodeId>,
    /// It was proposed when nothing failed, and everybody can accept it.
    must_commit: bool,
    /// How each participant judged it last.
    votes: BTreeMap<NodeId, bool>,
    /// The first verdict, and who decided so; nobody if a client was told before.
    verdict: Option<(Verdict, Option<NodeId>)>,
    /// What each node decided, in any boot.
    decided: BTreeMap<NodeId, Verdict>,
}

impl Case {
    /// The first word on it, of a participant's state machine or to a client: nobody may differ from it any more.
    fn fix(&mut self, now: Time, id: ProposalId, verdict: Verdict, by: Option<NodeId>, found: &mut Findings) {
        self.verdict = Some((verdict, by));
        let who = || by.map_or("a client was told that it is".into(), |node| format!("{node} has"));
        let against = self.participants.iter().find(|node| self.votes.get(node) != Some(&true));
        if let (Verdict::Commit, Some(other)) = (verdict, against) {
            let vote = self.votes.get(other).map_or("did not vote", |_| "voted no");
            let detail = format!("{} committed: {id:?}, though {other} {vote}", who());
            found.fail(Property::CommitValidity, now, detail);
        }
        if verdict != Verdict::Commit && self.must_commit {
            let detail = format!("{} aborted: {id:?}, though nothing failed and all can accept it", who());
            found.fail(Property::NonTriviality, now, detail);
        }
    }
}

/// The judge.
#[derive(Debug, Default)]
pub(crate) struct AtomicJudge {
    cases: BTreeMap<ProposalId, Case>,
    /// What each node has settled in its present boot.
    settled: BTreeMap<NodeId, BTreeSet<ProposalId>>,
    /// What each register of each node held after each of its writes.
    cells: BTreeMap<(NodeId, Key), Vec<Value>>,
    blocking: Blocking,
    found: Findings,
}

impl AtomicJudge {
    pub(super) const fn failure(&self) -> Option<&Failure> {
        self.found.first()
    }

    /// Who is blocked, on what and on whom.
    pub(crate) const fn blocking(&self) -> &Blocking {
        &self.blocking
    }

    pub(super) fn on_proposed(&mut self, id: ProposalId, payload: &[u8]) {
        let participants = Transaction::decode(payload).unwrap_or_default().participants();
        self.cases.insert(
            id,
            Case {
                content: hash_bytes(0, payload),
                participants,
                reader: None,
                must_commit: false,
                votes: BTreeMap::new(),
                verdict: None,
                decided: BTreeMap::new(),
            },
        );
    }

    /// Nothing fails from now on, and all can accept it.
    pub(crate) fn expect_commit(&mut self, id: ProposalId) {
        if let Some(case) = self.cases.get_mut(&id) {
            case.must_commit = true;
        }
    }

    /// This node changes nothing by it, and may give back what it has looked at whatever becomes of it.
    pub(crate) fn expect_no_verdict(&mut self, id: ProposalId, node: NodeId) {
        if let Some(case) = self.cases.get_mut(&id) {
            case.reader = Some(node).filter(|node| !case.participants.contains(node));
        }
    }

    pub(super) fn on_boot(&mut self, now: Time, node: NodeId) {
        self.settled.insert(node, BTreeSet::new());
        self.blocking.on_boot(now, node);
    }

    pub(super) fn on_down(&mut self, now: Time, node: NodeId) {
        self.blocking.on_down(now, node);
    }

    pub(super) fn on_status(&mut self, now: Time, node: NodeId, status: &Status) {
        for (id, on) in &status.blocked {
            if on.iter().all(|&other| other == node) {
                let detail = format!("{node} is blocked on {id:?}, and does not say on whom: {on:?}");
                self.found.fail(Property::HonestBlocking, now, detail);
            }
        }
        self.blocking.on_status(now, node, &status.blocked);
    }

    pub(super) fn on_applied(&mut self, now: Time, node: NodeId, journal: &mut Vec<Applied>) {
        for entry in journal.drain(..) {
            match entry {
                Applied::Judged { id, accept } => {
                    if let Some(case) = self.cases.get_mut(&id) {
                        case.votes.insert(node, accept);
                    }
                }
                Applied::Settled { id, verdict, content, cells, intruded } => {
                    self.on_settled(now, node, id, verdict, content);
                    if let Some(other) = intruded {
                        let detail =
                            format!("{node} committed {id:?} over what it had reserved for {other:?}");
                        self.found.fail(Property::Isolation, now, detail);
                    }
                    for (key, cell) in cells {
                        self.on_written(now, node, key, cell);
                    }
                }
                Applied::Restored { settled, cells } => {
                    for (id, is_commit) in settled {
                        let verdict = if is_commit { Verdict::Commit } else { Verdict::Abort };
                        let content = self.cases.get(&id).map_or(0, |case| case.content);
                        self.on_settled(now, node, Some(id), verdict, content);
                    }
                    for (key, cell) in cells {
                        self.on_written(now, node, key, cell);
                    }
                }
                // Of other machines than a participant's.
                Applied::Command { .. }
                | Applied::Installed { .. }
                | Applied::Chosen { .. }
                | Applied::Delivered { .. }
                | Applied::Merged { .. } => {}
            }
        }
    }

    fn on_settled(
        &mut self,
        now: Time,
        node: NodeId,
        id: Option<ProposalId>,
        verdict: Verdict,
        content: u64,
    ) {
        let found = &mut self.found;
        let known = id.and_then(|id| Some((id, self.cases.get_mut(&id)?)));
        let Some((id, case)) = known.filter(|(_, case)| case.content == content) else {
            return found.fail(
                Property::Integrity,
                now,
                format!("{node} decided {id:?}, which nobody proposed so"),
            );
        };
        if case.reader == Some(node) && verdict == Verdict::Abort {
            return; // What it looked at is given back: that is no word on the transaction.
        }
        if !self.settled.entry(node).or_default().insert(id) {
            found.fail(Property::Integrity, now, format!("{node} decided {id:?} again: {verdict:?}"));
        }
        if let Some(before) = case.decided.insert(node, verdict).filter(|&before| before != verdict) {
            let detail = format!("{node} decided {verdict:?} of {id:?}, and had decided {before:?}");
            found.fail(Property::Irrevocable, now, detail);
        }
        match case.verdict {
            Some((first, other)) if first != verdict => {
                let other = other.map_or("a client was told".into(), |other| format!("{other} had decided"));
                let detail = format!("{node} decided {verdict:?} of {id:?}, and {other} {first:?}");
                found.fail(Property::Agreement, now, detail);
            }
            Some(_) => {}
            None => case.fix(now, id, verdict, Some(node), found),
        }
    }

    /// A client was told `verdict`: it must be what is decided, now or later.
    pub(super) fn on_told(&mut self, now: Time, id: ProposalId, verdict: Verdict) {
        let Some(case) = self.cases.get_mut(&id) else { return };
        match case.verdict {
            Some((first, other)) if first != verdict => {
                let other =
                    other.map_or("another client was told".into(), |other| format!("{other} had decided"));
                let detail = format!("a client was told {verdict:?} of {id:?}, and {other} {first:?}");
                self.found.fail(Property::Agreement, now, detail);
            }
            Some(_) => {}
            None => case.fix(now, id, verdict, None, &mut self.found),
        }
    }

    fn on_written(&mut self, now: Time, node: NodeId, key: Key, cell: Cell) {
        let history = self.cells.entry((node, key)).or_default();
        let place = usize::try_from(cell.version).ok().and_then(|version| version.checked_sub(1));
        match place.map(|place| (place, history.get(place))) {
            Some((_, Some(&before))) if before == cell.value => {}
            Some((place, None)) if place == history.len() => history.push(cell.value),
            Some(_) | None => {
                let detail = format!(
                    "{node} wrote {key:?} for the {}th time, and it holds something else than after that write before",
                    cell.version
                );
                self.found.fail(Property::StateEqual, now, detail);
            }
        }
    }

    /// A committed transaction that one of these nodes has not carried out (in its present boot), though it takes part.
    pub(crate) fn missing(&self, live: &[NodeId]) -> Option<(ProposalId, NodeId)> {
        self.cases.iter().find_map(|(&id, case)| {
            let is_commit = matches!(case.verdict, Some((Verdict::Commit, _)));
            let lacks = |node: &&NodeId| !self.settled.get(node).is_some_and(|settled| settled.contains(&id));
            let mut those = live.iter().filter(|node| is_commit && case.participants.contains(node));
            those.find(lacks).map(|&node| (id, node))
        })
    }

    /// Whether one of these nodes has carried out this transaction.
    pub(crate) fn is_somewhere(&self, id: ProposalId, live: &[NodeId]) -> bool {
        live.iter().any(|node| self.settled.get(node).is_some_and(|settled| settled.contains(&id)))
    }

    pub(super) fn decisions(&self) -> u64 {
        self.cases.values().filter(|case| case.verdict.is_some()).count() as u64
    }

    pub(super) fn measures(&self, now: Time) -> AtomicMeasures {
        let of = |wanted: Option<Verdict>| {
            let verdicts = self.cases.values().map(|case| case.verdict.map(|(verdict, _)| verdict));
            verdicts.filter(|&verdict| verdict == wanted).count() as u64
        };
        let (blockings, blocked, longest) = self.blocking.measured(now);
        AtomicMeasures {
            committed: of(Some(Verdict::Commit)),
            aborted: of(Some(Verdict::Abort)),
            undecided: of(None),
            blockings,
            blocked,
            longest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::TransactionWrite;
    use consensus_core::wire;

    const COORDINATOR: NodeId = NodeId(1);
    const ONE: NodeId = NodeId(2);
    const OTHER: NodeId = NodeId(3);

    /// A transaction of two participants that its coordinator takes no part in.
    fn proposed() -> (AtomicJudge, ProposalId, u64) {
        let mut judge = AtomicJudge::default();
        let write = |node| TransactionWrite { node, key: Key(1), mark: 1 };
        let transaction = Transaction { writes: vec![write(ONE), write(OTHER)], ..Transaction::default() };
        let payload = wire::encode(&transaction);
        let id = ProposalId::default();
        [COORDINATOR, ONE, OTHER].into_iter().for_each(|node| judge.on_boot(Time::ZERO, node));
        judge.on_proposed(id, &payload);
        (judge, id, hash_bytes(0, &payload))
    }

    fn vote(judge: &mut AtomicJudge, node: NodeId, id: ProposalId, accept: bool) {
        judge.on_applied(Time::ZERO, node, &mut vec![Applied::Judged { id, accept }]);
    }

    /// Both have voted yes, and a client was told of the commit before either has heard of it.
    fn told_first() -> (AtomicJudge, ProposalId, u64) {
        let (mut judge, id, content) = proposed();
        [ONE, OTHER].into_iter().for_each(|node| vote(&mut judge, node, id, true));
        judge.on_told(Time::ZERO, id, Verdict::Commit);
        assert_eq!(judge.failure(), None);
        (judge, id, content)
    }

    fn failed(judge: &AtomicJudge) -> Option<Property> {
        judge.failure().map(|failure| failure.property)
    }

    #[test]
    fn a_client_may_hear_of_a_commit_before_it_is_carried_out_and_it_must_be() {
        let (mut judge, id, content) = told_first();
        let live = [COORDINATOR, ONE, OTHER];
        assert_eq!(judge.missing(&live), Some((id, ONE)), "nobody has carried it out");
        assert!(!judge.is_somewhere(id, &live), "which is a loss");
        judge.on_settled(Time::ZERO, ONE, Some(id), Verdict::Commit, content);
        assert_eq!((judge.missing(&live), judge.is_somewhere(id, &live)), (Some((id, OTHER)), true));
        judge.on_settled(Time::ZERO, OTHER, Some(id), Verdict::Commit, content);
        assert_eq!((judge.failure(), judge.missing(&live)), (None, None));
        // A restart without it is a loss again.
        judge.on_boot(Time::ZERO, OTHER);
        assert_eq!(judge.missing(&live), Some((id, OTHER)));
    }

    #[test]
    fn what_a_client_was_told_first_is_the_verdict() {
        let (mut judge, id, content) = told_first();
        judge.on_settled(Time::ZERO, ONE, Some(id), Verdict::Abort, content);
        assert_eq!(failed(&judge), Some(Property::Agreement));
        let (mut judge, id, _) = told_first();
        judge.on_told(Time::ZERO, id, Verdict::Abort);
        assert_eq!(failed(&judge), Some(Property::Agreement));
        // The same the other way round.
        let (mut judge, id, content) = proposed();
        [ONE, OTHER].into_iter().for_each(|node| vote(&mut judge, node, id, true));
        judge.on_told(Time::ZERO, id, Verdict::Abort);
        assert_eq!(failed(&judge), None, "who remembers nothing may say so");
        judge.on_settled(Time::ZERO, ONE, Some(id), Verdict::Commit, content);
        assert_eq!(failed(&judge), Some(Property::Agreement));
        // And if a participant was first.
        let (mut judge, id, content) = proposed();
        judge.on_settled(Time::ZERO, ONE, Some(id), Verdict::Abort, content);
        judge.on_told(Time::ZERO, id, Verdict::Commit);
        assert_eq!(failed(&judge), Some(Property::Agreement));
    }

    #[test]
    fn a_client_is_told_of_a_commit_only_if_all_have_voted_yes() {
        for refusal in [Some(false), None] {
            let (mut judge, id, _) = proposed();
            vote(&mut judge, ONE, id, true);
            refusal.into_iter().for_each(|accept| vote(&mut judge, OTHER, id, accept));
            judge.on_told(Time::ZERO, id, Verdict::Commit);
            assert_eq!(failed(&judge), Some(Property::CommitValidity), "{refusal:?}");
        }
    }

    #[test]
    fn who_only_looks_gives_back_what_it_has_looked_at_and_nobody_else() {
        let (mut judge, id, content) = told_first();
        let look = |judge: &mut AtomicJudge, node| {
            judge.on_settled(Time::ZERO, node, Some(id), Verdict::Abort, content);
        };
        judge.expect_no_verdict(id, COORDINATOR);
        look(&mut judge, COORDINATOR);
        look(&mut judge, COORDINATOR);
        assert_eq!(failed(&judge), None, "it has no verdict, however often it looks");
        judge.on_settled(Time::ZERO, COORDINATOR, Some(id), Verdict::Commit, content + 1);
        assert_eq!(
            failed(&judge),
            Some(Property::Integrity),
            "of what nobody proposed it has no word to say"
        );
        // Who has something to write is no such reader, whatever is claimed.
        let (mut judge, id, content) = told_first();
        judge.expect_no_verdict(id, ONE);
        judge.on_settled(Time::ZERO, ONE, Some(id), Verdict::Abort, content);
        assert_eq!(failed(&judge), Some(Property::Agreement));
    }

    #[test]
    fn a_client_is_not_told_of_an_abort_if_nothing_failed_and_all_can_accept_it() {
        let (mut judge, id, _) = proposed();
        judge.expect_commit(id);
        judge.on_told(Time::ZERO, id, Verdict::Abort);
        assert_eq!(failed(&judge), Some(Property::NonTriviality));
    }
}
