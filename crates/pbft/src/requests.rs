//! Requests that wait for being executed, and who vouches for them.
//!
//! Nobody can tell whether a client asked for something but a replica that was asked. So replicas tell each other what they were
//! asked for, as in a reliable broadcast (Bracha 1987): of f+1 who vouch one is correct and was asked; who sees that many vouches
//! too; and what 2f+1 vouch for everybody will see enough of. Only then the primary is expected to order it. Where the replicas are
//! trusted as gateways of their clients, or clients sign, one voucher is enough.

use crate::digest::Digest;
use crate::request::{Batch, Request};
use crate::shares::{Share, Shares};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use consensus_core::{NodeId, ProposalId, Time};
use core::time::Duration;

/// At least so many requests are remembered after they were executed, and at most twice as many.
const REMEMBERED: usize = 8_192;

/// A request, whoever vouches for it: two clients, or a liar, may use one name for two things.
type Key = (ProposalId, Digest);

/// When a request's turn is, where clients can be told apart, and when it arrived.
type Place = (u64, u64);

/// The requests that wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    waiting: BTreeMap<Key, Box<Waiting>>,
    arrivals: u64,
    /// How many of them the primary is to order.
    ready: usize,
    /// What we may order next as the primary, by turn and then by arrival; some of it may wait no more.
    queue: VecDeque<(Place, Key)>,
    shares: Shares,
    /// What we vouch for, and have not told yet.
    fresh: Vec<Request>,
    /// How much each replica vouches for.
    load: BTreeMap<NodeId, Share>,
    executed: Executed,
}

#[derive(Clone, Debug)]
struct Waiting {
    request: Request,
    vouchers: Vec<NodeId>,
    /// The primary is to order it.
    is_ready: bool,
    /// It was executed not long before it was asked for.
    is_repeated: bool,
    /// Zero where clients cannot be told apart.
    turn: u64,
    arrival: u64,
    since: Time,
}

/// What was executed not long ago, and when: in two generations, of which the older one goes as a whole.
#[derive(Clone, Debug, Default)]
struct Executed {
    young: BTreeMap<ProposalId, (Digest, Time)>,
    old: BTreeMap<ProposalId, (Digest, Time)>,
}

impl Executed {
    fn insert(&mut self, now: Time, request: &Request) {
        self.young.insert(request.id(), (request.digest(), now));
        if self.young.len() >= REMEMBERED {
            self.old = core::mem::take(&mut self.young);
        }
    }

    fn get(&self, id: ProposalId) -> Option<(Digest, Time)> {
        self.young.get(&id).or_else(|| self.old.get(&id)).copied()
    }
}

/// What holds for a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Who we are.
    pub(crate) own: NodeId,
    /// Whether we order what is ready: as the primary.
    pub(crate) orders: bool,
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
    /// Its client did not ask for it.
    Unasked,
}

/// `voucher` vouches for it no more.
fn give_back(load: &mut BTreeMap<NodeId, Share>, shares: &mut Shares, voucher: NodeId, request: &Request) {
    shares.give_back(voucher, request);
    if let Some(load) = load.get_mut(&voucher) {
        load.give_back(request.size());
    }
}

fn key(request: &Request) -> Key {
    (request.id(), request.digest())
}

impl Requests {
    /// `voucher` was asked for this. `is_asked` looks at whether its client signed it, where clients sign: once, since what waits, or
    /// was executed not long ago, was looked at. [B29]
    pub(crate) fn add(
        &mut self,
        now: Time,
        voucher: NodeId,
        request: Request,
        rules: &Rules,
        is_asked: &dyn Fn(&Request) -> bool,
    ) -> Admitted {
        let key = key(&request);
        let known = self.waiting.get_mut(&key);
        let lately = match &known {
            Some(waiting) if !waiting.is_repeated => None,
            Some(_) | None => self.executed.get(key.0),
        };
        let is_late = lately.is_some_and(|(_, at)| at + rules.late > now) && voucher != rules.own;
        if is_late || known.as_ref().is_some_and(|waiting| waiting.vouchers.contains(&voucher)) {
            return Admitted::Known;
        }
        let (load, size) = (self.load.entry(voucher).or_default(), request.size());
        if load.count >= rules.count || load.bytes.saturating_add(size) > rules.bytes.max(size) {
            return Admitted::TooMany;
        }
        if rules.share.is_some_and(|share| !self.shares.has_room(voucher, &request, share)) {
            return Admitted::OverShare;
        }
        let was_looked_at = known.is_some() || lately.is_some_and(|(digest, _)| digest == key.1);
        if !was_looked_at && !is_asked(&request) {
            return Admitted::Unasked;
        }
        if rules.share.is_some() {
            self.shares.take(voucher, &request);
        }
        load.take(size);
        if voucher == rules.own {
            self.fresh.push(request.clone());
        }
        let waiting = match known {
            Some(waiting) => waiting,
            None => {
                self.arrivals += 1;
                let (arrival, vouchers, is_repeated) = (self.arrivals, Vec::new(), lately.is_some());
                let turn = rules.share.map_or(0, |_| self.shares.next_turn(key.0.client));
                let (is_ready, since) = (false, now);
                let new = Waiting { request, vouchers, is_ready, is_repeated, turn, arrival, since };
                self.waiting.entry(key).or_insert_with(|| Box::new(new))
            }
        };
        waiting.vouchers.push(voucher);
        let count = waiting.vouchers.len();
        // Not with each voucher that comes after that: it would be ordered once more.
        if count >= rules.ready && !waiting.is_ready {
            (waiting.is_ready, waiting.since) = (true, now);
            self.ready += 1;
            if rules.orders {
                let behind = self.queue.partition_point(|((turn, _), _)| *turn <= waiting.turn);
                self.queue.insert(behind, ((waiting.turn, waiting.arrival), key));
            }
        }
        if count >= rules.genuine && rules.genuine < rules.ready && !waiting.vouchers.contains(&rules.own) {
            let request = waiting.request.clone();
            self.add(now, rules.own, request, rules, is_asked);
        }
        Admitted::Counted
    }

    fn forget(&mut self, key: Key) {
        let Some(waiting) = self.waiting.remove(&key) else { return };
        self.ready -= usize::from(waiting.is_ready);
        self.shares.serve(waiting.turn);
        for &voucher in &waiting.vouchers {
            give_back(&mut self.load, &mut self.shares, voucher, &waiting.request);
        }
    }

    /// It was executed, and nothing else under its name will be.
    pub(crate) fn execute(&mut self, now: Time, request: &Request) {
        let all = (request.id(), Digest::LOWEST)..=(request.id(), Digest::HIGHEST);
        while let Some((&key, _)) = self.waiting.range(all.clone()).next() {
            self.forget(key);
        }
        self.executed.insert(now, request);
    }

    /// What too few vouched for since `since` is forgotten: its client asked too few.
    pub(crate) fn expire(&mut self, since: Time) {
        let is_over = |waiting: &Waiting| waiting.since < since && !waiting.is_ready;
        let over = self.waiting.iter().filter(|(_, waiting)| is_over(waiting));
        let over: Vec<Key> = over.map(|(&key, _)| key).collect();
        over.into_iter().for_each(|key| self.forget(key));
    }

    /// Whether this very request waits, or was executed not long ago: who signed it was looked at.
    pub(crate) fn knows(&self, request: &Request) -> bool {
        let key = key(request);
        self.waiting.contains_key(&key) || self.executed.get(key.0).is_some_and(|(digest, _)| digest == key.1)
    }

    /// Whether somebody correct was asked for each of these, if `primary` vouches for them too.
    pub(crate) fn are_genuine(&self, batch: &Batch, primary: NodeId, rules: &Rules) -> bool {
        batch.requests().iter().all(|request| {
            let key = key(request);
            let vouchers = self.waiting.get(&key).map(|waiting| &waiting.vouchers);
            let count =
                vouchers.map_or(1, |vouchers| vouchers.len() + usize::from(!vouchers.contains(&primary)));
            let was_executed = || self.executed.get(key.0).is_some_and(|(digest, _)| digest == key.1);
            count >= rules.genuine || was_executed()
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
            && let Some(&((_, arrival), key)) = self.queue.front()
        {
            if let Some(waiting) = self.awaits(arrival, key) {
                size += waiting.request.size();
                if size > bytes && !requests.is_empty() {
                    break;
                }
                requests.push(waiting.request.clone());
            }
            self.queue.pop_front();
        }
        (!requests.is_empty()).then(|| Batch::new(requests))
    }

    /// What is still to be ordered of what came under this number.
    fn awaits(&self, arrival: u64, key: Key) -> Option<&Waiting> {
        let waiting = self.waiting.get(&key)?;
        (waiting.is_ready && waiting.arrival == arrival).then_some(waiting)
    }

    /// Of what waits since before `since` only our own word is kept: it may have been executed without us, or others may have
    /// forgotten it in a crash. Who still waits for it says so again.
    pub(crate) fn doubt(&mut self, now: Time, since: Time, rules: &Rules) {
        let old = self.waiting.values_mut().filter(|waiting| waiting.since < since);
        for waiting in old {
            for &voucher in waiting.vouchers.iter().filter(|&&voucher| voucher != rules.own) {
                give_back(&mut self.load, &mut self.shares, voucher, &waiting.request);
            }
            waiting.vouchers.retain(|voucher| *voucher == rules.own);
            waiting.is_ready &= waiting.vouchers.len() >= rules.ready;
            waiting.since = now;
        }
        self.waiting.retain(|_, waiting| !waiting.vouchers.is_empty());
        self.ready = self.waiting.values().filter(|waiting| waiting.is_ready).count();
        self.tidy_queue();
    }

    /// Everything that is ready is to be ordered, but for what these batches hold.
    pub(crate) fn requeue<'a>(&mut self, ordered: impl Iterator<Item = &'a Batch>) {
        let ordered: BTreeSet<ProposalId> =
            ordered.flat_map(|batch| batch.requests().iter().map(Request::id)).collect();
        let ready =
            self.waiting.iter().filter(|(key, waiting)| waiting.is_ready && !ordered.contains(&key.0));
        let places = ready.map(|(&key, waiting)| ((waiting.turn, waiting.arrival), key));
        let mut queue: Vec<(Place, Key)> = places.collect();
        queue.sort_unstable_by_key(|(place, _)| *place);
        self.queue = queue.into();
    }

    /// Forgets what waits no more.
    fn tidy_queue(&mut self) {
        let mut queue = core::mem::take(&mut self.queue);
        queue.retain(|&((_, arrival), key)| self.awaits(arrival, key).is_some());
        self.queue = queue;
    }

    /// What we vouch for, and have not told yet.
    pub(crate) fn take_fresh(&mut self) -> Vec<Request> {
        core::mem::take(&mut self.fresh)
    }

    /// What we have vouched for since before `since`, as much as fits: the oldest first.
    pub(crate) fn overdue(&self, own: NodeId, since: Time, most: usize, bytes: usize) -> Vec<Request> {
        let is_late = |waiting: &&Waiting| waiting.since <= since && waiting.vouchers.contains(&own);
        let mut late: Vec<&Waiting> =
            self.waiting.values().map(|waiting| &**waiting).filter(is_late).collect();
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
        let mut counted: BTreeMap<NodeId, Share> = BTreeMap::new();
        for waiting in self.waiting.values() {
            for &voucher in &waiting.vouchers {
                counted.entry(voucher).or_default().take(waiting.request.size());
            }
        }
        let shared: usize = counted.values().map(|load| load.count).sum();
        assert!([0, shared].contains(&self.shares.waiting()), "shares add up");
        for (node, load) in &self.load {
            assert_eq!(
                *load,
                counted.get(node).copied().unwrap_or_default(),
                "what {node} vouches for adds up"
            );
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use consensus_core::ClientId;

    fn request(number: u64) -> Request {
        Request::new(ProposalId::new(ClientId::anonymous(7), number), Bytes::from_static(b"x"))
    }

    fn rules(orders: bool) -> Rules {
        let (own, late) = (NodeId(1), Duration::from_secs(1));
        Rules { own, orders, genuine: 2, ready: 3, count: 1 << 20, bytes: 1 << 30, late, share: None }
    }

    #[test]
    fn what_was_executed_is_remembered_for_so_many_others_and_then_forgotten() {
        let (mut requests, count) = (Requests::default(), REMEMBERED as u64);
        let add = |requests: &mut Requests, number| {
            requests.add(Time::ZERO, NodeId(2), request(number), &rules(false), &|_| true)
        };
        (1..=count).for_each(|number| requests.execute(Time::ZERO, &request(number)));
        assert_eq!([1, count].map(|number| add(&mut requests, number)), [Admitted::Known; 2]);
        (1..=count).for_each(|number| requests.execute(Time::ZERO, &request(count + number)));
        assert_eq!(
            [1, count + 1].map(|number| add(&mut requests, number)),
            [Admitted::Counted, Admitted::Known]
        );
        requests.check();
    }

    #[test]
    fn a_primary_orders_what_is_ready_once_and_nothing_that_waits_no_more() {
        let mut requests = Requests::default();
        for number in 1..=3 {
            for voucher in [2, 3, 4, 1] {
                requests.add(Time::ZERO, NodeId(voucher), request(number), &rules(true), &|_| true);
            }
        }
        requests.execute(Time::ZERO, &request(2));
        let batch = requests.next_batch(10, 1 << 20).unwrap();
        assert_eq!(batch.requests(), [request(1), request(3)]);
        assert_eq!(requests.next_batch(10, 1 << 20), None);
        requests.requeue([Batch::new(Vec::from([request(3)]))].iter());
        assert_eq!(requests.next_batch(10, 1 << 20).unwrap().requests(), [request(1)]);
        requests.check();
    }
}
