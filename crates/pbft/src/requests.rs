//! Requests that wait for being executed, and who vouches for them.
//!
//! Nobody can tell whether a client asked for something but a replica that was asked. So replicas tell each other what they were
//! asked for, as in a reliable broadcast (Bracha 1987): of f+1 who vouch one is correct and was asked; who sees that many vouches
//! too; and what 2f+1 vouch for everybody will see enough of. Only then the primary is expected to order it. Where the replicas are
//! trusted as gateways of their clients, or clients sign, one voucher is enough.

use crate::digest::Digest;
use crate::request::{Batch, Request};
use crate::shares::{Share, Shares};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use consensus_core::{NodeId, ProposalId, Time};
use core::time::Duration;

/// How many requests are remembered after they were executed.
const REMEMBERED: usize = 8_192;

/// A request, whoever vouches for it: two clients, or a liar, may use one name for two things.
type Key = (ProposalId, Digest);

/// The requests that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    waiting: BTreeMap<Key, Waiting>,
    arrivals: u64,
    /// How many of them the primary is to order.
    ready: usize,
    /// What a primary may order next, by turn and arrival.
    queue: BTreeMap<(u64, u64), Key>,
    shares: Shares,
    /// What we vouch for, and have not told yet.
    fresh: Vec<Key>,
    /// How much each replica vouches for.
    load: BTreeMap<NodeId, Load>,
    executed: VecDeque<ProposalId>,
    executed_at: BTreeMap<ProposalId, (Digest, Time)>,
}

#[derive(Clone, Debug)]
struct Waiting {
    request: Request,
    vouchers: BTreeSet<NodeId>,
    /// The primary is to order it.
    is_ready: bool,
    /// Where clients can be told apart, its client's turn.
    turn: u64,
    arrival: u64,
    since: Time,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    count: usize,
    bytes: usize,
}

/// What holds for a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Who we are.
    pub(crate) own: NodeId,
    /// With so many vouchers we vouch too, and take it over from the primary.
    pub(crate) genuine: usize,
    /// With so many the primary is to order it.
    pub(crate) ready: usize,
    /// How many requests each replica may vouch for at once.
    pub(crate) count: usize,
    /// The same in bytes.
    pub(crate) bytes: usize,
    /// For so long copies of what was executed are taken for late ones.
    pub(crate) late: Duration,
    /// How much of that one client may have, if clients can be told apart.
    pub(crate) share: Option<Share>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It counts.
    Counted,
    /// It counted already, or was executed not long ago.
    Known,
    /// Whoever vouches for it vouches for too many.
    TooMany,
    /// Its client has too many waiting.
    OverShare,
}

fn key(request: &Request) -> Key {
    (request.id(), request.digest())
}

impl Requests {
    /// `voucher` was asked for this.
    pub(crate) fn add(&mut self, now: Time, voucher: NodeId, request: Request, rules: &Rules) -> Admitted {
        let key = key(&request);
        let is_late = self.executed_at.get(&key.0).is_some_and(|(_, at)| *at + rules.late > now);
        if is_late && voucher != rules.own {
            return Admitted::Known;
        }
        if self.waiting.get(&key).is_some_and(|waiting| waiting.vouchers.contains(&voucher)) {
            return Admitted::Known;
        }
        let (load, size) = (self.load.entry(voucher).or_default(), request.size());
        if load.count >= rules.count || load.bytes.saturating_add(size) > rules.bytes.max(size) {
            return Admitted::TooMany;
        }
        if rules.share.is_some_and(|share| !self.shares.has_room(voucher, &request, share)) {
            return Admitted::OverShare;
        }
        let is_shared = rules.share.is_some();
        if is_shared {
            self.shares.take(voucher, &request);
        }
        load.count += 1;
        load.bytes += size;
        self.arrivals += 1;
        let (vouchers, arrival) = (BTreeSet::new(), self.arrivals);
        let shares = &mut self.shares;
        let new = || {
            let turn = if is_shared { shares.next_turn(key.0.client) } else { 0 };
            Waiting { request, vouchers, is_ready: false, turn, arrival, since: now }
        };
        let waiting = self.waiting.entry(key).or_insert_with(new);
        waiting.vouchers.insert(voucher);
        if voucher == rules.own {
            self.fresh.push(key);
        }
        let (count, place) = (waiting.vouchers.len(), (waiting.turn, waiting.arrival));
        let vouches = waiting.vouchers.contains(&rules.own);
        // Not with each voucher that comes after that: it would be ordered once more.
        if count >= rules.ready && !waiting.is_ready {
            (waiting.is_ready, waiting.since) = (true, now);
            self.ready += 1;
            self.queue.insert(place, key);
        }
        if count >= rules.genuine && !vouches && rules.genuine < rules.ready {
            let request = waiting.request.clone();
            self.add(now, rules.own, request, rules);
        }
        Admitted::Counted
    }

    fn forget(&mut self, key: Key) {
        let Some(waiting) = self.waiting.remove(&key) else { return };
        self.queue.remove(&(waiting.turn, waiting.arrival));
        self.ready -= usize::from(waiting.is_ready);
        self.shares.serve(waiting.turn);
        for voucher in &waiting.vouchers {
            self.shares.give_back(*voucher, &waiting.request);
            if let Some(load) = self.load.get_mut(voucher) {
                load.count = load.count.saturating_sub(1);
                load.bytes = load.bytes.saturating_sub(waiting.request.size());
            }
        }
    }

    fn forget_all(&mut self, id: ProposalId) {
        let all = (id, Digest::LOWEST)..=(id, Digest::HIGHEST);
        let keys: Vec<Key> = self.waiting.range(all).map(|(&key, _)| key).collect();
        keys.into_iter().for_each(|key| self.forget(key));
    }

    /// It was executed.
    pub(crate) fn execute(&mut self, now: Time, request: &Request) {
        self.forget_all(request.id());
        if self.executed_at.insert(request.id(), (request.digest(), now)).is_none() {
            self.executed.push_back(request.id());
        }
        if self.executed.len() > REMEMBERED
            && let Some(oldest) = self.executed.pop_front()
        {
            self.executed_at.remove(&oldest);
        }
    }

    /// What too few vouched for since `since` is forgotten: its client asked too few.
    pub(crate) fn expire(&mut self, since: Time) {
        let is_over = |waiting: &Waiting| waiting.since < since && !waiting.is_ready;
        let over = self.waiting.iter().filter(|(_, waiting)| is_over(waiting));
        let over: Vec<Key> = over.map(|(&key, _)| key).collect();
        over.into_iter().for_each(|key| self.forget(key));
    }

    /// Whether this very request waits, or was executed: who signed it was looked at.
    pub(crate) fn knows(&self, request: &Request) -> bool {
        let key = key(request);
        self.waiting.contains_key(&key)
            || self.executed_at.get(&key.0).is_some_and(|(digest, _)| *digest == key.1)
    }

    /// Whether it would be counted if this replica vouched for it.
    pub(crate) fn would_count(&self, now: Time, voucher: NodeId, request: &Request, rules: &Rules) -> bool {
        let load = self.load.get(&voucher).copied().unwrap_or_default();
        let is_late = self.executed_at.get(&request.id()).is_some_and(|(_, at)| *at + rules.late > now);
        let has_room = rules.share.is_none_or(|share| self.shares.has_room(voucher, request, share));
        load.count < rules.count && has_room && !(is_late && voucher != rules.own)
    }

    /// Whether somebody correct was asked for each of these, if `primary` vouches for them too.
    pub(crate) fn are_genuine(&self, batch: &Batch, primary: NodeId, rules: &Rules) -> bool {
        batch.requests().iter().all(|request| {
            let key = key(request);
            let vouchers = self.waiting.get(&key).map(|waiting| &waiting.vouchers);
            let count =
                vouchers.map_or(1, |vouchers| vouchers.len() + usize::from(!vouchers.contains(&primary)));
            let was_executed = self.executed_at.get(&key.0).is_some_and(|(digest, _)| *digest == key.1);
            count >= rules.genuine || was_executed
        })
    }

    /// Whether there is anything that the primary is to order.
    pub(crate) const fn has_ready(&self) -> bool {
        self.ready > 0
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Since when the oldest waits that the primary is to order.
    pub(crate) fn oldest(&self) -> Option<Time> {
        let ready = self.waiting.values().filter(|waiting| waiting.is_ready);
        ready.map(|waiting| waiting.since).min()
    }

    /// The next batch of a primary, if there is anything to order.
    pub(crate) fn next_batch(&mut self, most: usize, bytes: usize) -> Option<Batch> {
        let (mut requests, mut size) = (Vec::new(), 0);
        while requests.len() < most
            && let Some(next) = self.queue.first_entry()
        {
            if let Some(waiting) = self.waiting.get(next.get()) {
                size += waiting.request.size();
                if size > bytes && !requests.is_empty() {
                    break;
                }
                requests.push(waiting.request.clone());
            }
            next.remove();
        }
        (!requests.is_empty()).then(|| Batch::new(requests))
    }

    /// Of what waits since before `since` only our own word is kept: it may have been executed without us, or others may have
    /// forgotten it in a crash. Who still waits for it says so again.
    pub(crate) fn doubt(&mut self, now: Time, since: Time, rules: &Rules) {
        let old = self.waiting.values_mut().filter(|waiting| waiting.since < since);
        for waiting in old {
            let size = waiting.request.size();
            for voucher in waiting.vouchers.iter().filter(|&&voucher| voucher != rules.own) {
                self.shares.give_back(*voucher, &waiting.request);
                if let Some(load) = self.load.get_mut(voucher) {
                    load.count = load.count.saturating_sub(1);
                    load.bytes = load.bytes.saturating_sub(size);
                }
            }
            waiting.vouchers.retain(|voucher| *voucher == rules.own);
            waiting.is_ready &= waiting.vouchers.len() >= rules.ready;
            waiting.since = now;
        }
        self.waiting.retain(|_, waiting| !waiting.vouchers.is_empty());
        self.ready = self.waiting.values().filter(|waiting| waiting.is_ready).count();
        self.queue.retain(|_, key| self.waiting.get(key).is_some_and(|waiting| waiting.is_ready));
    }

    /// Everything that is ready is to be ordered, but for what these batches hold.
    pub(crate) fn requeue<'a>(&mut self, ordered: impl Iterator<Item = &'a Batch>) {
        let ordered: BTreeSet<ProposalId> =
            ordered.flat_map(|batch| batch.requests().iter().map(Request::id)).collect();
        let ready =
            self.waiting.iter().filter(|(key, waiting)| waiting.is_ready && !ordered.contains(&key.0));
        self.queue = ready.map(|(&key, waiting)| ((waiting.turn, waiting.arrival), key)).collect();
    }

    /// What we vouch for, and have not told yet.
    pub(crate) fn take_fresh(&mut self) -> Vec<Request> {
        let fresh = core::mem::take(&mut self.fresh);
        fresh.iter().filter_map(|key| Some(self.waiting.get(key)?.request.clone())).collect()
    }

    /// What we have vouched for since before `since`, as much as fits: the oldest first.
    pub(crate) fn overdue(&self, own: NodeId, since: Time, most: usize, bytes: usize) -> Vec<Request> {
        let is_late = |waiting: &&Waiting| waiting.since <= since && waiting.vouchers.contains(&own);
        let mut late: Vec<&Waiting> = self.waiting.values().filter(is_late).collect();
        late.sort_unstable_by_key(|waiting| waiting.arrival);
        let mut size = 0;
        let fits = |waiting: &&Waiting| {
            size += waiting.request.size();
            size <= bytes.max(waiting.request.size())
        };
        late.into_iter().take(most).take_while(fits).map(|waiting| waiting.request.clone()).collect()
    }

    /// Checks that the counts are what they count.
    pub(crate) fn check(&self) {
        let ready = self.waiting.values().filter(|waiting| waiting.is_ready).count();
        assert_eq!(ready, self.ready, "what is ready adds up");
        let mut counted: BTreeMap<NodeId, Load> = BTreeMap::new();
        for waiting in self.waiting.values() {
            for &voucher in &waiting.vouchers {
                let load = counted.entry(voucher).or_default();
                load.count += 1;
                load.bytes += waiting.request.size();
            }
        }
        let shared: usize = counted.values().map(|load| load.count).sum();
        assert!(self.shares.waiting() == shared || self.shares.waiting() == 0, "shares add up");
        for (node, load) in &self.load {
            assert_eq!(
                *load,
                counted.get(node).copied().unwrap_or_default(),
                "what {node} vouches for adds up"
            );
        }
    }
}
