//! Histories to judge: of stores that keep a promise by construction, and of no store at all.

use consensus_sim::consistency::session::Guarantee;
use consensus_sim::consistency::{Access, Event, Finding, Observed, causal, sequential, session};
use consensus_sim::{Key, Moment, Stream, Value};
use std::collections::BTreeMap;

/// Which of sequential, causal and the four guarantees hold. All must be decided.
#[track_caller]
pub(crate) fn judge(events: &[Event]) -> [bool; 6] {
    let observed = Observed::new(events).unwrap();
    let [first, second, third, fourth] = Guarantee::ALL.map(|guarantee| session::check(&observed, guarantee));
    [sequential::check(&observed), causal::check(&observed), first, second, third, fourth].map(|finding| {
        assert_ne!(finding, Finding::Undecided);
        finding == Finding::Holds
    })
}

/// One store that serves one operation at a time; only the clocks of the clients are far apart, so that real time tells
/// nothing.
pub(crate) fn sequential_store(seed: u64, clients: u32, keys: u16, count: usize) -> Vec<Event> {
    let mut choices = Stream::derive(seed, "sequential");
    let mut held: BTreeMap<Key, Value> = BTreeMap::new();
    let mut clocks = vec![0u64; clients as usize];
    let mut events = Vec::new();
    for number in 0..count {
        let client = choices.index(clocks.len());
        let key = Key(u16::try_from(choices.below(u64::from(keys))).unwrap());
        let access = if choices.chance(400_000) {
            let value = Value(number as u64 + 1);
            held.insert(key, value);
            Access::Write(value)
        } else {
            Access::Read(held.get(&key).copied().unwrap_or_default())
        };
        clocks[client] += 2;
        let moment = clocks[client] * 1_000 + client as u64;
        let (invoked, returned) = (Moment(moment), Some(Moment(moment + 1_000)));
        events.push(Event { client: client as u32, key, access, invoked, returned });
    }
    events
}

/// A write under way: whose it is, its number there, and what had arrived at its writer from everybody.
#[derive(Clone)]
struct Update {
    from: usize,
    key: Key,
    value: Value,
    after: Vec<u64>,
}

/// A replica for each client. Writes arrive in causal order and late; what arrives replaces what was there.
pub(crate) fn causal_store(seed: u64, clients: u32, keys: u16, count: usize) -> Vec<Event> {
    let mut choices = Stream::derive(seed, "causal");
    let size = clients as usize;
    let mut held = vec![BTreeMap::<Key, Value>::new(); size];
    let mut arrived = vec![vec![0u64; size]; size];
    let mut waiting: Vec<Vec<Update>> = vec![Vec::new(); size];
    let mut events = Vec::new();
    for number in 0..count {
        let client = choices.index(size);
        for _ in 0..choices.below(6) {
            let at = choices.index(size);
            let is_due = |update: &Update| (0..size).all(|who| update.after[who] <= arrived[at][who]);
            if let Some(place) = waiting[at].iter().position(is_due) {
                let update = waiting[at].remove(place);
                arrived[at][update.from] += 1;
                held[at].insert(update.key, update.value);
            }
        }
        let key = Key(u16::try_from(choices.below(u64::from(keys))).unwrap());
        let access = if choices.chance(400_000) {
            let value = Value(number as u64 + 1);
            let update = Update { from: client, key, value, after: arrived[client].clone() };
            for (_, queue) in waiting.iter_mut().enumerate().filter(|(other, _)| *other != client) {
                queue.push(update.clone());
            }
            arrived[client][client] += 1;
            held[client].insert(key, value);
            Access::Write(value)
        } else {
            Access::Read(held[client].get(&key).copied().unwrap_or_default())
        };
        let moment = number as u64 * 2 + 1;
        let (invoked, returned) = (Moment(moment), Some(Moment(moment + 1)));
        events.push(Event { client: client as u32, key, access, invoked, returned });
    }
    events
}

/// Up to `most` operations of no store at all: a read sees anything that is written somewhere in the history, or nothing.
pub(crate) fn arbitrary(seed: u64, most: u64) -> Vec<Event> {
    let mut choices = Stream::derive(seed, "arbitrary");
    let count = choices.between(2, most);
    let (clients, keys) = (choices.between(1, 3), choices.between(1, 2));
    let shape: Vec<(u32, Key, bool)> = (0..count)
        .map(|_| {
            let (client, key) = (choices.below(clients), choices.below(keys));
            (u32::try_from(client).unwrap(), Key(u16::try_from(key).unwrap()), choices.chance(450_000))
        })
        .collect();
    let mut clocks = [0u64; 3];
    let mut events = Vec::new();
    for (number, &(client, key, is_write)) in shape.iter().enumerate() {
        let access = if is_write {
            Access::Write(Value(number as u64 + 1))
        } else {
            let written = shape.iter().zip(1u64..).filter(|(other, _)| other.1 == key && other.2);
            let values: Vec<u64> = written.map(|(_, value)| value).chain([0]).collect();
            Access::Read(Value(*choices.pick(&values).unwrap()))
        };
        let clock = &mut clocks[client as usize];
        let invoked = *clock + choices.between(1, 4);
        let returned = invoked + choices.between(1, 8);
        // Now and then a client does not wait for the reply.
        *clock = if choices.chance(100_000) { invoked } else { returned };
        let unique = |moment: u64, end: u64| Moment(moment * 100 + number as u64 * 2 + end);
        let returned = (!choices.chance(100_000)).then_some(unique(returned, 1));
        events.push(Event { client, key, access, invoked: unique(invoked, 0), returned });
    }
    events
}
