//! Fairness: whoever waits for a message that was sent gets it, and not too late.
//!
//! A scheduler that may hold back what it likes can keep any protocol from deciding (Fischer, Lynch and Paterson 1985), so
//! liveness is claimed for fair ones only, and a run that claims it must show that it was fair. The monitor sees each delivery.
//! A link (or a node) is *starved* when a message for it waits longer than the plan's `fair_within`, and nothing comes over it
//! (to it) in that time. The knob that brings this about is `hardships.starvation`. Once there is a bound, no message may
//! break it.

use super::World;
use crate::mask::FaultClass;
use crate::oracle::Property;
use crate::random::{MILLION, Stream};
use crate::record::{self, Happened};
use consensus_core::{ConsensusAlgorithm, Time};
use core::time::Duration;

/// What the monitor has seen, and what is held back.
#[derive(Debug)]
pub(super) struct Fairness {
    nodes: usize,
    /// When the link from (row) to (column) delivered last.
    links: Vec<Time>,
    /// When each node got something last.
    inboxes: Vec<Time>,
    /// Until when the link from (row) to (column) is held back.
    held: Vec<Time>,
    /// From when on every message must keep to `bound`, if the network has a bound only in the calm.
    calm_since: Option<Time>,
}

/// How long somebody waited in vain before this delivery.
fn gap(last: &mut Time, sent: Time, now: Time) -> Duration {
    let gap = now.since((*last).max(sent));
    *last = now;
    gap
}

impl Fairness {
    pub(super) fn new(nodes: usize) -> Self {
        let none = |length| vec![Time::ZERO; length];
        Self {
            nodes,
            links: none(nodes * nodes),
            inboxes: none(nodes),
            held: none(nodes * nodes),
            calm_since: None,
        }
    }

    /// Nothing is held back any more.
    pub(super) fn release(&mut self) {
        self.held.fill(Time::ZERO);
    }

    pub(super) fn held_until(&self, from: usize, to: usize) -> Time {
        self.held.get(from * self.nodes + to).copied().unwrap_or_default()
    }

    fn hold(&mut self, from: usize, to: usize, until: Time) {
        if let Some(held) = self.held.get_mut(from * self.nodes + to) {
            *held = until.max(*held);
        }
    }

    pub(super) const fn calm(&mut self, now: Time) {
        self.calm_since = Some(now);
    }
}

impl<A: ConsensusAlgorithm> World<A> {
    /// A message is delivered, to a node that is up or not.
    pub(super) fn watch_delivery(&mut self, (from, to): (usize, usize), sent: Time) {
        let (now, within) = (self.now, self.plan.fair_within);
        let waited = now.since(sent);
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.counts.longest_wait_us = self.counts.longest_wait_us.max(micros);
        let place = from * self.hosts.len() + to;
        let of_link = self.fairness.links.get_mut(place).map(|last| gap(last, sent, now));
        let of_node = self.fairness.inboxes.get_mut(to).map(|last| gap(last, sent, now));
        self.counts.starved_links += u64::from(of_link.is_some_and(|gap| gap > within));
        self.counts.starved_nodes += u64::from(of_node.is_some_and(|gap| gap > within));
        if !self.is_core(from) || !self.is_core(to) || self.is_byzantine(from) || self.is_byzantine(to) {
            return;
        }
        // What was sent in the very instant in which the storm ended was sent in the storm.
        let calm = self.fairness.calm_since.is_some_and(|since| sent > since);
        let timing = self.plan.timing;
        let latest = match timing.latest(sent) {
            Some(latest) => latest,
            None if calm => sent + self.links.calm_bound(),
            None => return,
        };
        if calm && timing.stabilisation().is_none_or(|stabilised| sent >= stabilised) {
            self.counts.longest_calm_wait_us = self.counts.longest_calm_wait_us.max(micros);
        }
        if now > latest {
            let detail = format!(
                "a message from n{} to n{} waited {waited:?}, until {now}, not {latest}",
                from + 1,
                to + 1
            );
            self.oracle.fail(Property::Fairness, now, detail);
        }
    }

    /// If deliveries over this link are held back: until when a message of `sent` is.
    pub(super) fn held_back(&self, from: usize, to: usize, sent: Time) -> Option<Time> {
        let until = self.fairness.held_until(from, to);
        // What was under way at a stabilisation keeps to the bound.
        let until = self.plan.timing.latest(sent).map_or(until, |latest| until.min(latest));
        (until > self.now).then_some(until)
    }

    /// Holds back deliveries over a link by hand.
    pub fn hold_back(&mut self, from: usize, to: usize, until: Time) {
        self.fairness.hold(from, to, until);
    }

    /// A link, or all that lead to a node, deliver nothing for a while.
    pub(super) fn starve(&mut self, victim: usize, span: Duration, choices: &mut Stream) {
        let (from, whole) = (choices.index(self.hosts.len()), choices.chance(MILLION / 2));
        if !self.injector.allows_if(FaultClass::Starvation, whole || from != victim) {
            return;
        }
        self.counts.starvations += 1;
        let until = self.now + span;
        let whom =
            if whole { "all that is sent to it".into() } else { format!("what n{} sends to it", from + 1) };
        let text = format!("{whom} is held back until {until}");
        self.trace.say(self.now, || format!("n{}: {text}", victim + 1));
        let node = record::node(victim);
        self.tape.note(self.now, || Happened::Act { node, class: "starved".into(), text });
        for sender in (0..self.hosts.len()).filter(|&sender| whole || sender == from) {
            self.fairness.hold(sender, victim, until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn a_wait_counts_from_the_sending_or_from_the_last_delivery() {
        let mut last = Time::ZERO;
        let millis = Duration::from_millis;
        assert_eq!(gap(&mut last, at(10), at(15)), millis(5), "nothing waited before it was sent");
        assert_eq!(gap(&mut last, at(11), at(35)), millis(20), "another came in between");
        assert_eq!(gap(&mut last, at(100), at(101)), millis(1));
    }

    #[test]
    fn what_is_held_back_stays_so_until_the_last_of_its_spans_ends() {
        let mut fairness = Fairness::new(3);
        fairness.hold(0, 1, at(30));
        fairness.hold(0, 1, at(20));
        assert_eq!((fairness.held_until(0, 1), fairness.held_until(1, 0)), (at(30), Time::ZERO));
        fairness.release();
        assert_eq!(fairness.held_until(0, 1), Time::ZERO);
    }
}
