//! Each of the two searches alone, against all orders of tiny histories.

use super::{Configurations, DepthFirst, Verdict};
use crate::history::{Moment, Operation};
use crate::machine::{Answer, Call, Key, Value};
use crate::random::Stream;
use consensus_core::Time;

/// Few marks, so that equal writes, some of unknown outcome, are frequent.
fn call(choices: &mut Stream, is_plain: bool) -> Call {
    let mark = choices.between(1, if is_plain { 4 } else { 2 });
    match choices.below(if is_plain { 4 } else { 6 }) {
        0 | 1 => Call::Get,
        2 | 3 => Call::Put(mark),
        4 => Call::Append(mark),
        _ => Call::Cas { expected: Value::written(choices.between(1, 2)), mark },
    }
}

/// Operations that took effect in some order; then some replies are spoilt, and some lost.
fn history(seed: u64) -> Vec<Operation> {
    let mut choices = Stream::derive(seed, "searches");
    let count = choices.between(2, 6);
    let mut value = Value::default();
    let mut operations = Vec::new();
    for number in 0..count {
        let call = call(&mut choices, seed.is_multiple_of(2));
        let at = number * 400;
        let (after, mut answer) = call.carry_out(value);
        let is_lost = choices.chance(250_000);
        if !is_lost || choices.chance(500_000) {
            value = after;
        }
        if choices.chance(120_000) {
            answer = call.carry_out(Value::written(choices.between(1, 2))).1;
        }
        let invoked = Moment(at.saturating_sub(choices.below(900)) * 10 + number + 10);
        let returned = Moment((at + 1 + choices.below(900)) * 10 + number + 10);
        operations.push(Operation {
            client: u32::try_from(number).unwrap(),
            key: Key(1),
            call,
            invoked,
            invoked_at: Time::ZERO,
            id: None,
            outcome: (!is_lost).then_some((returned, answer)),
            slot: None,
        });
    }
    operations.sort_by_key(|operation| operation.invoked);
    operations
}

/// Tries every operation that no outstanding one has to precede, and gives those of unknown outcome up at the end.
fn some_order(left: &[&Operation], value: Value) -> bool {
    left.iter().all(|operation| operation.outcome.is_none())
        || (0..left.len()).any(|index| {
            let mut rest = left.to_vec();
            let next = rest.remove(index);
            let is_late = rest.iter().any(|other| other.outcome.is_some_and(|(end, _)| end < next.invoked));
            let (after, answer) = next.call.carry_out(value);
            let is_told = next.outcome.is_none_or(|(_, told): (Moment, Answer)| told == answer);
            !is_late && is_told && some_order(&rest, after)
        })
}

#[test]
fn each_search_agrees_with_all_orders() {
    let mut good = 0;
    for seed in 0..20_000 {
        let history = history(seed);
        let operations: Vec<&Operation> = history.iter().collect();
        let expected = some_order(&operations, Value::default());
        good += usize::from(expected);
        let verdicts = [
            DepthFirst::new(&operations).advance(1_000_000),
            Configurations::new(&operations).advance(1_000_000),
        ];
        for verdict in verdicts {
            let found = match verdict {
                Some(Verdict::Found) => true,
                Some(Verdict::Impossible(detail)) => {
                    assert!(detail.contains("client"), "{detail}");
                    false
                }
                None => panic!("undecided"),
            };
            assert_eq!(found, expected, "seed {seed}: {history:#?}");
        }
    }
    assert!(good > 4_000 && good < 18_000, "{good}");
}

#[test]
fn a_search_that_is_cut_into_slices_finds_the_same() {
    for seed in 0..500 {
        let history = history(seed);
        let operations: Vec<&Operation> = history.iter().collect();
        let (mut depth_first, mut configurations) =
            (DepthFirst::new(&operations), Configurations::new(&operations));
        let slices = |advance: &mut dyn FnMut() -> Option<Verdict>| {
            let verdict = (0..1_000_000).find_map(|_| advance()).unwrap();
            matches!(verdict, Verdict::Found)
        };
        let found = [slices(&mut || depth_first.advance(1)), slices(&mut || configurations.advance(1))];
        assert_eq!(found, [some_order(&operations, Value::default()); 2], "seed {seed}");
    }
}

#[test]
fn equal_writes_of_unknown_outcome_may_each_be_needed() {
    let steps = [
        (Call::Put(7), None),
        (Call::Get, Some(Answer::Value(Value::written(7)))),
        (Call::Put(8), Some(Answer::Done)),
        (Call::Put(7), None),
        (Call::Get, Some(Answer::Value(Value::written(7)))),
    ];
    let history: Vec<Operation> = steps
        .into_iter()
        .zip(1u32..)
        .map(|((call, answer), number)| Operation {
            client: number,
            key: Key(1),
            call,
            invoked: Moment(u64::from(number) * 2),
            invoked_at: Time::ZERO,
            id: None,
            outcome: answer.map(|answer| (Moment(u64::from(number) * 2 + 1), answer)),
            slot: None,
        })
        .collect();
    let all: Vec<&Operation> = history.iter().collect();
    // Without the second write nothing explains the second read.
    let fewer: Vec<&Operation> = [0, 1, 2, 4].into_iter().map(|index| &history[index]).collect();
    for (operations, expected) in [(all, true), (fewer, false)] {
        let depth_first = DepthFirst::new(&operations).advance(1_000);
        let configurations = Configurations::new(&operations).advance(1_000);
        for verdict in [depth_first, configurations] {
            assert_eq!(matches!(verdict.unwrap(), Verdict::Found), expected);
        }
    }
}
