//! The checkers against definitions carried out by brute force, on tiny histories; and the order of their strength.

use crate::histories::{arbitrary, causal_store, judge, sequential_store};
use consensus_core::Time;
use consensus_sim::consistency::{Access, Event};
use consensus_sim::linearizability::{Finding, check_operations};
use consensus_sim::{Answer, Call, Key, Operation, Value};
use std::collections::BTreeMap;

/// All orders of `count` things.
fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for next in 0..count {
        all = all
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |place| {
                    let mut longer = order.clone();
                    longer.insert(place, next);
                    longer
                })
            })
            .collect();
    }
    all
}

/// The histories that may have happened: reads without a return left out, writes without one there or not.
fn outcomes(events: &[Event]) -> Vec<Vec<Event>> {
    let mut all = vec![Vec::new()];
    for event in events {
        let is_write = matches!(event.access, Access::Write(_));
        let without = if event.returned.is_none() { all.clone() } else { Vec::new() };
        if is_write || event.returned.is_some() {
            all.iter_mut().for_each(|one: &mut Vec<Event>| one.push(*event));
            all.extend(without);
        }
    }
    all
}

fn precedes(earlier: &Event, later: &Event) -> bool {
    earlier.returned.is_some_and(|moment| moment < later.invoked)
}

fn session_precedes(earlier: &Event, later: &Event) -> bool {
    earlier.client == later.client && precedes(earlier, later)
}

/// Whether some order of everything keeps `before` and explains every read.
fn some_order(events: &[Event], before: fn(&Event, &Event) -> bool) -> bool {
    outcomes(events).into_iter().any(|events| {
        permutations(events.len()).into_iter().any(|order| {
            let line: Vec<&Event> = order.iter().map(|&index| &events[index]).collect();
            let keeps = (0..line.len()).all(|late| (0..late).all(|early| !before(line[late], line[early])));
            keeps && explains(&line, |_| true)
        })
    })
}

/// Whether the reads that are `judged` see the last write before them.
fn explains(line: &[&Event], judged: impl Fn(&Event) -> bool) -> bool {
    let mut held: BTreeMap<Key, Value> = BTreeMap::new();
    line.iter().all(|event| match event.access {
        Access::Write(value) => {
            held.insert(event.key, value);
            true
        }
        Access::Read(value) => !judged(event) || held.get(&event.key).copied().unwrap_or_default() == value,
    })
}

/// All strict partial orders of `count` things: for each the mask of what is before it.
fn partial_orders(count: usize) -> Vec<Vec<u8>> {
    let pairs: Vec<(usize, usize)> = (0..count)
        .flat_map(|one| (0..count).filter(move |&other| other != one).map(move |other| (one, other)))
        .collect();
    (0u32..1 << pairs.len())
        .filter_map(|chosen| {
            let mut before = vec![0u8; count];
            for (bit, &(one, other)) in pairs.iter().enumerate() {
                if chosen & (1 << bit) != 0 {
                    before[one] |= 1 << other;
                }
            }
            // Transitive, and therefore without a cycle if nothing is before itself through another.
            let is_order = (0..count).all(|one| {
                (0..count)
                    .filter(|other| before[one] & (1 << other) != 0)
                    .all(|other| before[other] & !before[one] == 0 && before[other] & (1 << one) == 0)
            });
            is_order.then_some(before)
        })
        .collect()
}

/// The definition of CC itself: some partial order contains session order, and what is before each operation can be lined up
/// such that this operation is answered right.
fn is_causal(events: &[Event], orders: &[Vec<Vec<u8>>]) -> bool {
    outcomes(events).into_iter().any(|events| {
        let count = events.len();
        orders[count].iter().any(|before| {
            let has = |one: usize, other: usize| before[one] & (1 << other) != 0;
            let keeps = (0..count).all(|one| {
                (0..count).all(|other| !session_precedes(&events[other], &events[one]) || has(one, other))
            });
            keeps && (0..count).all(|index| is_answered(&events, before, index))
        })
    })
}

fn is_answered(events: &[Event], before: &[u8], index: usize) -> bool {
    let past: Vec<usize> = (0..events.len()).filter(|other| before[index] & (1 << other) != 0).collect();
    permutations(past.len()).into_iter().any(|order| {
        let order: Vec<usize> = order.into_iter().map(|place| past[place]).collect();
        let keeps = (0..order.len())
            .all(|late| (0..late).all(|early| before[order[early]] & (1 << order[late]) == 0));
        let line: Vec<&Event> = order.iter().chain([&index]).map(|&index| &events[index]).collect();
        keeps && explains(&line, |event| *event == events[index])
    })
}

fn is_linearizable(events: &[Event]) -> bool {
    let operations: Vec<Operation> = events
        .iter()
        .map(|event| {
            let (call, answer) = match event.access {
                Access::Write(value) => (Call::Put(value.0), Answer::Done),
                Access::Read(Value(0)) => (Call::Get, Answer::Value(Value::default())),
                Access::Read(Value(mark)) => (Call::Get, Answer::Value(Value::written(mark))),
            };
            Operation {
                client: event.client,
                key: event.key,
                call,
                invoked: event.invoked,
                invoked_at: Time::ZERO,
                id: None,
                outcome: event.returned.map(|moment| (moment, answer)),
                slot: None,
            }
        })
        .collect();
    match check_operations(&operations) {
        Finding::Linearizable => true,
        Finding::Violation { .. } => false,
        Finding::Undecided { .. } => panic!("undecided"),
    }
}

#[test]
fn linearizable_and_sequential_agree_with_all_permutations() {
    let mut yes = [0; 2];
    for seed in 0..3_000 {
        let events = arbitrary(seed, 6);
        let expected = [some_order(&events, precedes), some_order(&events, session_precedes)];
        assert_eq!([is_linearizable(&events), judge(&events)[0]], expected, "seed {seed}: {events:#?}");
        for (count, holds) in yes.iter_mut().zip(expected) {
            *count += usize::from(holds);
        }
    }
    eprintln!("of 3000 histories linearizable, sequential: {yes:?}");
    assert!(yes[0] > 300 && yes[0] < yes[1] && yes[1] < 2_700, "{yes:?}");
}

#[test]
fn causal_agrees_with_all_partial_orders() {
    let orders: Vec<Vec<Vec<u8>>> = (0..=5).map(partial_orders).collect();
    assert_eq!(orders.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 3, 19, 219, 4231]);
    let mut yes = 0;
    for seed in 0..1_500 {
        let events = arbitrary(seed, 5);
        let expected = is_causal(&events, &orders);
        assert_eq!(judge(&events)[1], expected, "seed {seed}: {events:#?}");
        yes += usize::from(expected);
    }
    eprintln!("of 1500 histories causal: {yes}");
    assert!(yes > 150 && yes < 1_350, "{yes}");
}

#[test]
fn the_stronger_promise_implies_the_weaker() {
    // How many histories are of each level and of none above it.
    let mut levels = [0; 5];
    let tiny = (0..4_000).map(|seed| arbitrary(seed, 9));
    let stores = (0..40).flat_map(|seed| [sequential_store(seed, 3, 2, 60), causal_store(seed, 3, 2, 60)]);
    for events in tiny.chain(stores) {
        let verdict = judge(&events);
        let [sequential, causal, guarantees @ ..] = verdict;
        let all_guarantees = guarantees == [true; 4];
        let chain = [is_linearizable(&events), sequential, causal, all_guarantees, true];
        assert!(chain.is_sorted(), "{verdict:?}: {events:#?}");
        levels[chain.iter().position(|&holds| holds).unwrap()] += 1;
    }
    eprintln!("linearizable, sequential, causal, the four guarantees, none: {levels:?}");
    assert!(levels.iter().all(|&count| count > 20), "{levels:?}");
}
