//! The judge of convergence: every write that a live replica has comes to all of them, and nowhere before what it depends on.
//!
//! A write depends on what its replica had applied when it accepted it, and on the writes that the replica accepted before it
//! in the same boot (causal broadcast, Birman, Schiper and Stephenson 1991). What no live replica has is excused: its replica
//! is lost for good, and took it along.

use super::property::{Failure, Findings, Property};
use crate::machine::Applied;
use crate::trace::hash_bytes;
use consensus_core::{NodeId, ProposalId, Time, Verdict};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// What was seen of the writes of a run, or of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConvergenceMeasures {
    /// Writes that some replica applied.
    pub writes: u64,
    /// Of those, how many were delivered to a replica other than the one that accepted them, counted per replica.
    pub deliveries: u64,
    /// Pairs of a write and a replica that had applied something which the write's replica had not, when it came: concurrency.
    pub concurrent: u64,
}

impl ConvergenceMeasures {
    pub(super) const fn add(&mut self, other: &Self) {
        self.writes += other.writes;
        self.deliveries += other.deliveries;
        self.concurrent += other.concurrent;
    }
}

/// A set of writes, by their numbers.
#[derive(Clone, Debug, Default)]
struct Writes(Vec<u64>);

impl Writes {
    fn insert(&mut self, number: usize) -> bool {
        if self.0.len() <= number / 64 {
            self.0.resize(number / 64 + 1, 0);
        }
        let Some(word) = self.0.get_mut(number / 64) else { return false };
        let before = *word;
        *word |= 1 << (number % 64);
        *word != before
    }

    fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// The first that is here and not in `other`.
    fn first_beyond(&self, other: &Self) -> Option<usize> {
        let words = self.0.iter().zip(other.0.iter().chain(core::iter::repeat(&0)));
        words.enumerate().find_map(|(place, (own, other))| {
            let beyond = own & !other;
            (beyond != 0).then(|| place * 64 + beyond.trailing_zeros() as usize)
        })
    }
}

#[derive(Debug)]
struct Write {
    id: ProposalId,
    content: u64,
    /// Who accepted it, and in which boot.
    origin: (NodeId, u64),
    /// What its replica had applied then.
    past: Writes,
}

#[derive(Debug, Default)]
struct View {
    boot: u64,
    /// What it has applied in its present boot.
    applied: Writes,
    /// What it has applied in any.
    ever: Writes,
    /// The last write that it applied of those that a replica accepted in one boot.
    last_of: BTreeMap<(NodeId, u64), usize>,
}

/// The judge.
#[derive(Debug, Default)]
pub(crate) struct ConvergenceJudge {
    writes: Vec<Write>,
    numbers: FxHashMap<ProposalId, usize>,
    views: BTreeMap<NodeId, View>,
    measures: ConvergenceMeasures,
    /// The order of deliveries is left to those who judge what clients saw.
    ignores_order: bool,
    found: Findings,
}

impl ConvergenceJudge {
    pub(super) const fn ignore_order(&mut self) {
        self.ignores_order = true;
    }

    pub(super) const fn failure(&self) -> Option<&Failure> {
        self.found.first()
    }

    pub(super) fn on_boot(&mut self, node: NodeId) {
        let view = self.views.entry(node).or_default();
        view.boot += 1;
        view.applied = Writes::default();
        view.last_of.clear();
    }

    /// `node` is handed a write. A write that was refused may be handed over again.
    pub(super) fn on_accepted(&mut self, node: NodeId, id: ProposalId, payload: &[u8]) {
        let view = self.views.entry(node).or_default();
        let (origin, past) = ((node, view.boot), view.applied.clone());
        self.numbers.insert(id, self.writes.len());
        self.writes.push(Write { id, content: hash_bytes(0, payload), origin, past });
    }

    pub(super) fn on_applied(&mut self, now: Time, node: NodeId, journal: &mut Vec<Applied>) {
        let mut view = self.views.remove(&node).unwrap_or_default();
        for entry in journal.drain(..) {
            match entry {
                Applied::Delivered { id, verdict, content } => {
                    self.on_delivered(now, node, &mut view, id, verdict, content);
                }
                Applied::Merged { writes } => self.on_merged(now, node, &mut view, &writes),
                // Of other machines than a replica's.
                Applied::Command { .. }
                | Applied::Installed { .. }
                | Applied::Chosen { .. }
                | Applied::Judged { .. }
                | Applied::Settled { .. }
                | Applied::Restored { .. } => {}
            }
        }
        self.views.insert(node, view);
    }

    fn on_delivered(
        &mut self,
        now: Time,
        node: NodeId,
        view: &mut View,
        id: Option<ProposalId>,
        verdict: Verdict,
        content: u64,
    ) {
        let number = id.and_then(|id| self.numbers.get(&id)).copied();
        let known = number.and_then(|number| Some((number, self.writes.get(number)?)));
        let Some((number, write)) =
            known.filter(|(_, write)| write.content == content && verdict == Verdict::Commit)
        else {
            let detail = format!("{node} applied {id:?} ({verdict:?}), which nobody wrote so");
            return self.found.fail(Property::Integrity, now, detail);
        };
        if let Some(missing) = self.missing_cause(write, view) {
            let detail = format!(
                "{node} applied {:?} before {:?}, which {} had applied when it accepted it",
                write.id, missing.id, write.origin.0
            );
            self.found.fail(Property::CausalOrder, now, detail);
        }
        let last = view.last_of.insert(write.origin, number);
        let later = last.filter(|&last| last > number && !self.ignores_order);
        if let Some(later) = later.and_then(|last| self.writes.get(last)) {
            let detail = format!(
                "{node} applied {:?} after {:?}, which its replica accepted later",
                write.id, later.id
            );
            self.found.fail(Property::CausalOrder, now, detail);
        }
        let is_concurrent = view.applied.first_beyond(&write.past).is_some();
        if !view.applied.insert(number) {
            self.found.fail(Property::Integrity, now, format!("{node} applied {:?} twice", write.id));
        }
        if view.ever.insert(number) && write.origin.0 != node {
            self.measures.deliveries += 1;
            self.measures.concurrent += u64::from(is_concurrent);
        }
    }

    /// Something that the write depends on, and the replica lacks.
    fn missing_cause(&self, write: &Write, view: &View) -> Option<&Write> {
        let missing = write.past.first_beyond(&view.applied).filter(|_| !self.ignores_order)?;
        self.writes.get(missing)
    }

    fn on_merged(&mut self, now: Time, node: NodeId, view: &mut View, writes: &[ProposalId]) {
        let numbers: Vec<usize> = writes.iter().filter_map(|id| self.numbers.get(id)).copied().collect();
        if numbers.len() < writes.len() {
            let detail = format!("{node} took over a snapshot with writes that nobody made");
            self.found.fail(Property::Integrity, now, detail);
        }
        for &number in &numbers {
            view.applied.insert(number);
            view.ever.insert(number);
        }
        for write in numbers.into_iter().filter_map(|number| self.writes.get(number)) {
            if let Some(missing) = self.missing_cause(write, view) {
                let detail =
                    format!("{node} took over {:?} without {:?}, which it depends on", write.id, missing.id);
                self.found.fail(Property::CausalOrder, now, detail);
            }
        }
    }

    /// Whether a replica among `live` has this write, or had it before a restart.
    pub(crate) fn is_somewhere(&self, id: ProposalId, live: &[NodeId]) -> bool {
        self.has(id, live, |view| &view.ever)
    }

    /// Whether a replica among `live` has this write now.
    pub(crate) fn is_present(&self, id: ProposalId, live: &[NodeId]) -> bool {
        self.has(id, live, |view| &view.applied)
    }

    fn has(&self, id: ProposalId, live: &[NodeId], writes: impl Fn(&View) -> &Writes) -> bool {
        let mut views = live.iter().filter_map(|node| self.views.get(node));
        self.numbers.get(&id).is_some_and(|&number| views.any(|view| writes(view).contains(number)))
    }

    /// A write that one of these replicas lacks, though another has it (or had it).
    pub(crate) fn missing(&self, live: &[NodeId]) -> Option<(ProposalId, NodeId)> {
        let views: Vec<(NodeId, &View)> =
            live.iter().filter_map(|&node| Some((node, self.views.get(&node)?))).collect();
        views.iter().find_map(|&(node, view)| {
            let beyond = views.iter().find_map(|(_, other)| other.ever.first_beyond(&view.applied))?;
            Some((self.writes.get(beyond)?.id, node))
        })
    }

    /// The replica that accepted this write.
    pub(crate) fn origin(&self, id: ProposalId) -> Option<NodeId> {
        Some(self.writes.get(*self.numbers.get(&id)?)?.origin.0)
    }

    pub(super) fn decisions(&self) -> u64 {
        let applied = |number: usize| self.views.values().any(|view| view.ever.contains(number));
        (0..self.writes.len()).filter(|&number| applied(number)).count() as u64
    }

    pub(super) fn measures(&self) -> ConvergenceMeasures {
        ConvergenceMeasures { writes: self.decisions(), ..self.measures }
    }
}
