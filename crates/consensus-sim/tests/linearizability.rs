//! The checker itself: it must accept what is linearizable and refuse what is not.
#![allow(clippy::disallowed_methods)] // One test measures how long the checker takes.

use consensus_core::{Slot, Time};
use consensus_sim::linearizability::{Finding, check_operations};
use consensus_sim::{Answer, Call, Key, Moment, Operation, Stream, Value};
use std::time::{Duration, Instant};

const KEY: Key = Key(1);

fn operation(client: u32, call: Call, invoked: u64, outcome: Option<(u64, Answer)>) -> Operation {
    Operation {
        client,
        key: KEY,
        call,
        invoked: Moment(invoked),
        invoked_at: Time::ZERO,
        id: None,
        outcome: outcome.map(|(at, answer)| (Moment(at), answer)),
        slot: None,
    }
}

fn put(client: u32, mark: u64, from: u64, to: u64) -> Operation {
    operation(client, Call::Put(mark), from, Some((to, Answer::Done)))
}

fn get(client: u32, value: Value, from: u64, to: u64) -> Operation {
    operation(client, Call::Get, from, Some((to, Answer::Value(value))))
}

fn one(mark: u64) -> Value {
    Value::written(mark)
}

#[track_caller]
fn accepts(operations: &[Operation]) {
    assert_eq!(check_operations(operations), Finding::Linearizable);
}

#[track_caller]
fn refuses(operations: &[Operation]) {
    let finding = check_operations(operations);
    assert!(matches!(finding, Finding::Violation { key: KEY, .. }), "{finding:?}");
}

#[test]
fn what_happens_in_turn_is_linearizable() {
    accepts(&[]);
    accepts(&[get(1, Value::default(), 1, 2), put(1, 7, 3, 4), get(2, one(7), 5, 6)]);
}

#[test]
fn a_stale_read_is_found() {
    refuses(&[put(1, 7, 1, 2), get(2, Value::default(), 3, 4)]);
    refuses(&[put(1, 7, 1, 2), put(1, 8, 3, 4), get(2, one(7), 5, 6)]);
}

#[test]
fn a_read_beside_a_write_may_see_either_value_but_not_go_back() {
    accepts(&[put(1, 7, 1, 10), get(2, one(7), 2, 3)]);
    accepts(&[put(1, 7, 1, 10), get(2, Value::default(), 2, 3)]);
    accepts(&[put(1, 7, 1, 10), get(2, Value::default(), 2, 3), get(2, one(7), 4, 5)]);
    refuses(&[put(1, 7, 1, 10), get(2, one(7), 2, 3), get(3, Value::default(), 4, 5)]);
}

#[test]
fn a_lost_update_is_found() {
    let swap = |client, mark, from, to| {
        let call = Call::Cas { expected: Value::default(), mark };
        operation(client, call, from, Some((to, Answer::Swapped(true))))
    };
    // Both compare-and-swaps found the register empty.
    refuses(&[swap(1, 7, 1, 10), swap(2, 8, 2, 9)]);
    accepts(&[swap(1, 7, 1, 10)]);
    // An acknowledged append is gone.
    let append = operation(1, Call::Append(7), 1, Some((2, Answer::Value(one(7)))));
    let after = operation(2, Call::Append(8), 3, Some((4, Answer::Value(one(8)))));
    refuses(&[append, after]);
}

#[test]
fn a_command_that_takes_effect_twice_is_found() {
    let append = operation(1, Call::Append(7), 1, Some((2, Answer::Value(one(7)))));
    refuses(&[append.clone(), get(2, one(7).appended(7), 3, 4)]);
    accepts(&[append, get(2, one(7), 3, 4)]);
}

#[test]
fn two_leaders_that_both_serve_are_found() {
    let append = |client, mark, from, to, value| {
        operation(client, Call::Append(mark), from, Some((to, Answer::Value(value))))
    };
    let root = append(1, 1, 1, 2, one(1));
    refuses(&[root.clone(), append(1, 2, 3, 4, one(1).appended(2)), append(2, 3, 3, 5, one(1).appended(3))]);
    accepts(&[
        root,
        append(1, 2, 3, 4, one(1).appended(2)),
        append(2, 3, 3, 5, one(1).appended(2).appended(3)),
    ]);
}

#[test]
fn an_operation_of_unknown_outcome_may_happen_late_or_never() {
    let lost = operation(1, Call::Put(7), 1, None);
    accepts(&[lost.clone(), get(2, Value::default(), 2, 3), get(2, Value::default(), 4, 5)]);
    accepts(&[lost.clone(), get(2, Value::default(), 2, 3), get(2, one(7), 4, 5)]);
    refuses(&[lost, get(2, one(7), 2, 3), get(2, Value::default(), 4, 5)]);
    // A read without an answer tells nothing.
    accepts(&[operation(1, Call::Get, 1, None)]);
}

#[test]
fn a_false_witness_neither_accepts_nor_refuses() {
    // The slots stand against real time, though there is an order that explains the replies.
    let (mut first, mut second, mut read) = (put(1, 7, 1, 2), put(1, 8, 3, 4), get(2, one(8), 5, 6));
    (first.slot, second.slot, read.slot) = (Some(Slot(2)), Some(Slot(1)), Some(Slot(2)));
    accepts(&[first.clone(), second.clone(), read.clone()]);
    // They agree with the replies and not with real time: the witness must not be believed.
    read.outcome = Some((Moment(6), Answer::Value(one(7))));
    refuses(&[first, second, read]);
}

#[test]
fn registers_are_judged_one_by_one() {
    let mut other = put(1, 7, 1, 2);
    other.key = Key(2);
    accepts(&[other.clone(), get(2, Value::default(), 3, 4)]);
    let mut read = get(2, Value::default(), 3, 4);
    read.key = Key(2);
    assert!(matches!(check_operations(&[other, read]), Finding::Violation { key: Key(2), .. }));
}

/// A history of a correct register: each operation takes effect at a moment between its call and its return.
fn concurrent(seed: u64, clients: u32, keys: u16, count: usize, witness: bool) -> Vec<Operation> {
    let mut choices = Stream::derive(seed, "history");
    let mut values = vec![Value::default(); usize::from(keys)];
    let mut free_at = vec![0u64; clients as usize];
    let mut operations: Vec<(u64, Operation)> = Vec::new();
    for number in 0..count {
        let client = choices.index(clients as usize);
        let from = free_at[client] + choices.between(1, 40);
        let at = from + choices.between(1, 40);
        let to = at + choices.between(1, 40);
        free_at[client] = to;
        let key = Key(u16::try_from(choices.below(u64::from(keys))).unwrap());
        let call = match choices.below(4) {
            0 => Call::Put(number as u64),
            1 => Call::Append(number as u64),
            _ => Call::Get,
        };
        // Stretch the numbers, so that no two moments are equal.
        let unique = |moment: u64| moment * 1_000_000 + number as u64;
        let mut operation =
            operation(u32::try_from(client).unwrap(), call, unique(from), Some((unique(to), Answer::Done)));
        operation.key = key;
        operations.push((unique(at), operation));
    }
    operations.sort_by_key(|(at, _)| *at);
    for (place, (_, operation)) in operations.iter_mut().enumerate() {
        let value = &mut values[usize::from(operation.key.0)];
        let (after, answer) = operation.call.carry_out(*value);
        *value = after;
        operation.outcome = operation.outcome.map(|(moment, _)| (moment, answer));
        operation.slot = witness.then_some(Slot(place as u64 + 1));
    }
    operations.into_iter().map(|(_, operation)| operation).collect()
}

#[test]
fn ten_thousand_concurrent_operations_take_well_under_a_second() {
    for witness in [true, false] {
        let history = concurrent(1, 10, 16, 10_000, witness);
        let began = Instant::now();
        accepts(&history);
        let took = began.elapsed();
        eprintln!("10,000 operations of 10 clients on 16 registers, witness {witness}: {took:?}");
        assert!(took < Duration::from_secs(1), "it took {took:?}");
    }
}

#[test]
fn a_single_wrong_reply_among_many_is_found() {
    for seed in 0..30 {
        let mut history = concurrent(seed, 6, 2, 400, seed % 2 == 0);
        accepts(&history);
        let reads: Vec<usize> = (100..400).filter(|&index| history[index].call == Call::Get).collect();
        let spoilt = reads[Stream::derive(seed, "spoil").index(reads.len())];
        let (moment, _) = history[spoilt].outcome.unwrap();
        history[spoilt].outcome = Some((moment, Answer::Value(Value(1))));
        let finding = check_operations(&history);
        assert!(matches!(finding, Finding::Violation { .. }), "seed {seed}: {finding:?}");
    }
}

/// Some read in the middle of the history sees what was there long before.
fn with_a_stale_read(mut history: Vec<Operation>, seed: u64) -> Vec<Operation> {
    let reads: Vec<usize> = (0..history.len()).filter(|&index| history[index].call == Call::Get).collect();
    let late = reads[reads.len() / 2 + Stream::derive(seed, "stale").index(reads.len() / 2)];
    let early = reads[reads.len() / 4];
    assert_ne!(history[early].outcome.unwrap().1, history[late].outcome.unwrap().1);
    let moment = history[late].outcome.unwrap().0;
    history[late].outcome = Some((moment, history[early].outcome.unwrap().1));
    history
}

#[track_caller]
fn violates(operations: &[Operation]) {
    let finding = check_operations(operations);
    assert!(matches!(finding, Finding::Violation { .. }), "{finding:?}");
}

#[test]
fn one_contended_register_is_decided_in_seconds_good_or_bad() {
    for (seed, count) in [(1, 2_500), (2, 10_000)] {
        let history = concurrent(seed, 10, 1, count, false);
        let began = Instant::now();
        accepts(&history);
        eprintln!("{count} operations of 10 clients on one register, good: {:?}", began.elapsed());
        let spoilt = with_a_stale_read(history, seed);
        let again = Instant::now();
        violates(&spoilt);
        eprintln!("{count} operations of 10 clients on one register, bad: {:?}", again.elapsed());
        assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    }
}

/// Every so many writes is never answered; `same` gives all of these the same mark.
fn with_lost_replies(mut history: Vec<Operation>, every: usize, same: bool) -> Vec<Operation> {
    let lost = history.iter_mut().filter(|operation| matches!(operation.call, Call::Put(_)));
    for operation in lost.step_by(every) {
        operation.outcome = None;
        if same {
            operation.call = Call::Put(u64::MAX);
        }
    }
    history
}

/// The replies of a register on which every operation takes effect in this order.
fn answered(mut history: Vec<Operation>) -> Vec<Operation> {
    let mut value = Value::default();
    for operation in &mut history {
        let (after, answer) = operation.call.carry_out(value);
        value = after;
        operation.outcome = operation.outcome.map(|(moment, _)| (moment, answer));
    }
    history
}

#[test]
fn lost_replies_on_a_contended_register_do_not_blow_up() {
    for (seed, same) in [(1, false), (2, true)] {
        let history = answered(with_lost_replies(concurrent(seed, 10, 1, 2_000, false), 10, same));
        let lost = history.iter().filter(|operation| operation.outcome.is_none()).count();
        assert!(lost > 40, "{lost}");
        let began = Instant::now();
        accepts(&history);
        violates(&with_a_stale_read(history, seed));
        eprintln!("2,000 operations, {lost} without a reply, same {same}: {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    }
}

#[test]
fn blind_writes_do_not_blow_up() {
    // Ten clients of which nearly all write all the time, each for long: hardly anything that they write is ever seen.
    let mut history = concurrent(3, 10, 1, 10_000, false);
    for (number, operation) in history.iter_mut().enumerate() {
        let is_read = operation.call == Call::Get && number.is_multiple_of(5);
        operation.call = if is_read { Call::Get } else { Call::Put(1_000_000 + number as u64) };
        // The next operation of the client stays behind this return; its invocation moves up to it.
        operation.invoked.0 = operation.invoked.0.saturating_sub(39_000_000);
    }
    let mut last: std::collections::BTreeMap<u32, Moment> = std::collections::BTreeMap::new();
    for operation in &mut history {
        let floor = last.insert(operation.client, operation.outcome.unwrap().0).unwrap_or_default();
        operation.invoked = operation.invoked.max(Moment(floor.0 + 1));
    }
    let history = answered(history);
    let began = Instant::now();
    accepts(&history);
    violates(&with_a_stale_read(history, 3));
    eprintln!("10,000 operations, nearly all blind writes: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
}
