//! Who waits for whom: spans in which a live participant says that it is blocked, and how much of them fell into times when a
//! node that it named was down.

use consensus_core::{NodeId, ProposalId, Time};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// A participant that waits.
#[derive(Clone, Debug)]
struct Wait {
    on: Vec<NodeId>,
    /// How long a named node was down so far.
    blocked: Duration,
    /// Since when a named node is down.
    since: Option<Time>,
}

impl Wait {
    /// Notes whether a named node is down from now on.
    fn look(&mut self, now: Time, down: &BTreeSet<NodeId>) {
        let is_down = self.on.iter().any(|node| down.contains(node));
        match (self.since, is_down) {
            (None, true) => self.since = Some(now),
            (Some(since), false) => {
                self.blocked += now.since(since);
                self.since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    fn length(&self, now: Time) -> Duration {
        self.blocked + self.since.map_or(Duration::ZERO, |since| now.since(since))
    }
}

/// The waits of a run.
#[derive(Debug, Default)]
pub(crate) struct Blocking {
    down: BTreeSet<NodeId>,
    waits: BTreeMap<(NodeId, ProposalId), Wait>,
    count: u64,
    total: Duration,
    longest: Duration,
}

impl Blocking {
    pub(super) fn on_boot(&mut self, now: Time, node: NodeId) {
        self.end(now, |(waiting, _)| waiting == node);
        self.down.remove(&node);
        self.look(now);
    }

    pub(super) fn on_down(&mut self, now: Time, node: NodeId) {
        // A node that is down itself waits for nobody.
        self.end(now, |(waiting, _)| waiting == node);
        self.down.insert(node);
        self.look(now);
    }

    pub(super) fn on_status(&mut self, now: Time, node: NodeId, blocked: &[(ProposalId, Vec<NodeId>)]) {
        let still: BTreeSet<ProposalId> = blocked.iter().map(|&(id, _)| id).collect();
        self.end(now, |(waiting, id)| waiting == node && !still.contains(&id));
        for (id, on) in blocked {
            let begun = Wait { on: Vec::new(), blocked: Duration::ZERO, since: None };
            let wait = self.waits.entry((node, *id)).or_insert(begun);
            wait.on.clone_from(on);
            wait.look(now, &self.down);
        }
    }

    fn look(&mut self, now: Time) {
        for wait in self.waits.values_mut() {
            wait.look(now, &self.down);
        }
    }

    fn end(&mut self, now: Time, ends: impl Fn((NodeId, ProposalId)) -> bool) {
        let over: Vec<_> = self.waits.keys().copied().filter(|&key| ends(key)).collect();
        for key in over {
            let length = self.waits.remove(&key).map_or(Duration::ZERO, |wait| wait.length(now));
            self.count += u64::from(!length.is_zero());
            self.total += length;
            self.longest = self.longest.max(length);
        }
    }

    /// How often somebody waited for a node that was down, how long all together, and how long at most.
    pub(super) fn measured(&self, now: Time) -> (u64, Duration, Duration) {
        let lengths = self.waits.values().map(|wait| wait.length(now)).filter(|length| !length.is_zero());
        lengths.fold((self.count, self.total, self.longest), |(count, total, longest), length| {
            (count + 1, total + length, longest.max(length))
        })
    }

    /// Whom the live nodes wait for, most awaited first.
    pub(crate) fn awaited(&self) -> Option<NodeId> {
        let mut counts: BTreeMap<NodeId, usize> = BTreeMap::new();
        for node in self.waits.values().flat_map(|wait| &wait.on) {
            *counts.entry(*node).or_default() += 1;
        }
        counts.into_iter().max_by_key(|&(_, count)| count).map(|(node, _)| node)
    }

    /// The waits of `node`: for which transaction, on whom.
    pub(crate) fn of(&self, node: NodeId) -> impl Iterator<Item = (ProposalId, &[NodeId])> {
        self.waits
            .iter()
            .filter(move |((waiting, _), _)| *waiting == node)
            .map(|(&(_, id), wait)| (id, wait.on.as_slice()))
    }

    /// Whether `node` is down.
    pub(crate) fn is_down(&self, node: NodeId) -> bool {
        self.down.contains(&node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_counts_in_which_a_named_node_was_down() {
        let (mut blocking, at) = (Blocking::default(), Time::from_millis);
        let (waiting, named) = (NodeId(1), NodeId(2));
        let listed = [(ProposalId::default(), vec![named])];
        blocking.on_status(at(0), waiting, &listed);
        blocking.on_down(at(10), named);
        blocking.on_boot(at(15), named);
        blocking.on_down(at(20), named);
        assert_eq!(blocking.measured(at(22)), (1, Duration::from_millis(7), Duration::from_millis(7)));
        assert_eq!((blocking.awaited(), blocking.is_down(named)), (Some(named), true));
        blocking.on_status(at(30), waiting, &[]);
        assert_eq!(blocking.measured(at(99)), (1, Duration::from_millis(15), Duration::from_millis(15)));
        // Waiting for the living is no blocking.
        blocking.on_status(at(40), waiting, &[(ProposalId::default(), vec![NodeId(3)])]);
        assert_eq!(blocking.measured(at(99)).0, 1);
    }
}
