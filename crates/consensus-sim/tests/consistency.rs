//! The checkers of weaker promises: what each must accept, and what it must refuse by name.
#![allow(clippy::disallowed_methods)] // One test measures how long the checkers take.

use crate::histories::{causal_store, judge, sequential_store};
use consensus_core::Time;
use consensus_sim::consistency::convergence::{self, Replica};
use consensus_sim::consistency::session::Guarantee;
use consensus_sim::consistency::{
    Access, Event, Finding, HistoryError, MAX_EVENTS, Observed, causal, sequential, session,
};
use consensus_sim::{Call, Key, Moment, Operation, Value};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One step: client, register, and what is read (`Err`) or written (`Ok`). Steps come one after the other.
type Step = (u32, u16, Result<u64, u64>);

const fn w(client: u32, key: u16, value: u64) -> Step {
    (client, key, Ok(value))
}

const fn r(client: u32, key: u16, value: u64) -> Step {
    (client, key, Err(value))
}

fn history(steps: &[Step]) -> Vec<Event> {
    let moments = (1..).step_by(2);
    let numbered = steps.iter().zip(moments);
    numbered
        .map(|(&(client, key, what), moment)| Event {
            client,
            key: Key(key),
            access: what.map_or_else(|read| Access::Read(Value(read)), |mark| Access::Write(Value(mark))),
            invoked: Moment(moment),
            returned: Some(Moment(moment + 1)),
        })
        .collect()
}

#[track_caller]
fn refused(finding: Finding, named: &[&str]) {
    let Finding::Violated(text) = finding else { panic!("{finding:?}") };
    for name in named {
        assert!(text.contains(name), "{name} is not named in: {text}");
    }
}

/// Which of sequential, causal and the four guarantees hold.
#[track_caller]
fn holds(steps: &[Step]) -> [bool; 6] {
    judge(&history(steps))
}

#[test]
fn each_guarantee_is_broken_alone_and_by_name() {
    let planted: [(Guarantee, &[Step], &[&str]); 4] = [
        (
            Guarantee::ReadYourWrites,
            &[w(1, 1, 10), w(1, 1, 11), r(1, 1, 10)],
            &["read your writes", "client 1 reads k1 = a (5..6)", "client 1 writes k1 = b (3..4)"],
        ),
        (
            Guarantee::MonotonicReads,
            &[w(1, 1, 10), w(1, 1, 11), r(2, 1, 11), r(2, 1, 10)],
            &["monotonic reads", "client 2 reads k1 = a (7..8)", "client 1 writes k1 = b (3..4)"],
        ),
        (
            Guarantee::MonotonicWrites,
            &[w(1, 1, 10), w(1, 2, 20), r(2, 2, 20), r(2, 1, 0)],
            &["monotonic writes", "client 2 reads k1 = 0 (7..8)", "client 1 writes k1 = a (1..2)"],
        ),
        (
            Guarantee::WritesFollowReads,
            &[w(1, 1, 10), r(2, 1, 10), w(2, 2, 20), r(3, 2, 20), r(3, 1, 0)],
            &["writes follow reads", "client 3 reads k1 = 0 (9..10)", "client 1 writes k1 = a (1..2)"],
        ),
    ];
    for (place, (guarantee, steps, named)) in planted.into_iter().enumerate() {
        let mut expected = [false, false, true, true, true, true];
        expected[2 + place] = false;
        assert_eq!(holds(steps), expected, "{guarantee}");
        refused(session::check(&Observed::new(&history(steps)).unwrap(), guarantee), named);
    }
}

#[test]
fn a_guarantee_counts_only_what_came_before() {
    // The read came first, or another session made the write.
    assert_eq!(holds(&[r(1, 1, 0), w(1, 1, 10), r(1, 1, 10)]), [true; 6]);
    assert_eq!(holds(&[w(1, 1, 10), r(2, 1, 0), r(2, 1, 10)]), [true; 6]);
    // Of two concurrent writes a session may see either, in any order, as far as causality goes.
    let steps = [w(1, 1, 10), w(2, 1, 11), r(3, 1, 10), r(3, 1, 11), r(3, 1, 10)];
    assert_eq!(holds(&steps), [false, true, true, true, true, true]);
}

#[test]
fn a_store_buffer_is_causal_and_not_sequential() {
    let steps = [w(1, 1, 10), r(1, 2, 0), w(2, 2, 20), r(2, 1, 0)];
    assert_eq!(holds(&steps), [false, true, true, true, true, true]);
    let named = [
        "sequential",
        "client 1 reads k2 = 0",
        "client 2 reads k1 = 0",
        "client 1 writes k1",
        "client 2 writes k2",
    ];
    refused(sequential::check(&Observed::new(&history(&steps)).unwrap()), &named);
    // Each register alone is sequentially consistent: the notion is not local.
    for key in [1, 2] {
        let part: Vec<Step> = steps.iter().copied().filter(|step| step.1 == key).collect();
        assert_eq!(holds(&part), [true; 6]);
    }
}

#[test]
fn each_bad_pattern_of_causality_is_named() {
    // CyclicCO: each read what the other wrote later.
    let cyclic = [r(1, 1, 10), w(1, 2, 20), r(2, 2, 20), w(2, 1, 10)];
    assert_eq!(holds(&cyclic), [false, false, true, true, true, true]);
    let named =
        ["client 1 reads k1 = a", "client 1 writes k2", "client 2 reads k2", "client 2 writes k1 = a"];
    refused(causal::check(&Observed::new(&history(&cyclic)).unwrap()), &named);
    // ThinAirRead: nobody wrote it.
    refused(causal::check(&Observed::new(&history(&[r(1, 1, 99)])).unwrap()), &["nobody wrote", "k1 = 63"]);
    // WriteCOInitRead and WriteCORead over two sessions: more than any of the four guarantees sees.
    let through = [w(1, 3, 30), r(2, 3, 30), w(2, 1, 10), r(3, 1, 10), w(3, 2, 20), r(4, 2, 20)];
    for (start, end) in [(None, r(4, 3, 0)), (Some(w(1, 3, 29)), r(4, 3, 29))] {
        let steps: Vec<Step> = start.into_iter().chain(through).chain([end]).collect();
        assert_eq!(holds(&steps), [false, false, true, true, true, true]);
        let named = ["client 1 writes k3 = 1e", "client 4 reads k3", "client 2 writes k1"];
        refused(causal::check(&Observed::new(&history(&steps)).unwrap()), &named);
    }
}

#[test]
fn a_write_of_unknown_outcome_may_come_late_or_never() {
    let mut late = history(&[w(1, 1, 10), r(1, 1, 0), r(1, 1, 10), r(1, 1, 10)]);
    assert!(!judge(&late)[2]);
    late[0].returned = None;
    assert_eq!(judge(&late), [true; 6]);
    let mut back = history(&[w(1, 1, 10), r(2, 1, 10), r(2, 1, 0)]);
    back[0].returned = None;
    assert_eq!(judge(&back), [false, false, true, false, true, true]);
    let mut never = history(&[w(1, 1, 10), r(1, 1, 0)]);
    never[0].returned = None;
    assert_eq!(judge(&never), [true; 6]);
    // A read without a return tells nothing, whatever it claims.
    let mut silent = history(&[r(1, 1, 99)]);
    silent[0].returned = None;
    assert_eq!(judge(&silent), [true; 6]);
}

#[test]
fn what_real_stores_do_is_accepted() {
    let mut beyond_sequential = 0;
    for seed in 0..60 {
        let plenty = sequential_store(seed, 4, 3, 120);
        assert_eq!(judge(&plenty), [true; 6], "seed {seed}");
        let weaker = causal_store(seed, 4, 3, 120);
        let verdict = judge(&weaker);
        assert_eq!(verdict[1..], [true; 5], "seed {seed}");
        beyond_sequential += usize::from(!verdict[0]);
    }
    assert!(beyond_sequential > 30, "the causal store is too tame: {beyond_sequential}");
}

#[test]
fn what_is_planted_in_what_real_stores_do_is_found() {
    let planted: [(usize, &[Step]); 6] = [
        (0, &[w(1, 1, 10), r(1, 2, 0), w(2, 2, 20), r(2, 1, 0)]),
        (1, &[r(1, 1, 10), w(1, 2, 20), r(2, 2, 20), w(2, 1, 10)]),
        (2, &[w(1, 1, 10), w(1, 1, 11), r(1, 1, 10)]),
        (3, &[w(1, 1, 10), w(1, 1, 11), r(2, 1, 11), r(2, 1, 10)]),
        (4, &[w(1, 1, 10), w(1, 2, 20), r(2, 2, 20), r(2, 1, 0)]),
        (5, &[w(1, 1, 10), r(2, 1, 10), w(2, 2, 20), r(3, 2, 20), r(3, 1, 0)]),
    ];
    for seed in 0..20 {
        for (place, steps) in planted {
            let store = if place == 0 { sequential_store } else { causal_store };
            let mut events = store(seed, 4, 3, 100);
            let end = events.iter().filter_map(|event| event.returned).max().unwrap().0;
            for mut event in history(steps) {
                // Registers and values that the stores do not use.
                event.key.0 += 100;
                event.invoked.0 += end;
                event.returned = event.returned.map(|moment| Moment(moment.0 + end));
                events.push(event);
            }
            assert!(!judge(&events)[place], "seed {seed}, plant {place}");
        }
    }
}

#[test]
fn replicas_converge_on_something_that_was_written() {
    let events = history(&[w(1, 1, 10), w(2, 1, 11), r(1, 2, 0)]);
    let replica = |number, held: &[(u16, u64)]| Replica {
        number,
        registers: held.iter().map(|&(key, value)| (Key(key), Value(value))).collect::<BTreeMap<_, _>>(),
    };
    let check = |held: &[&[(u16, u64)]]| {
        let replicas: Vec<Replica> =
            held.iter().zip(1..).map(|(held, number)| replica(number, held)).collect();
        convergence::check(&events, &replicas)
    };
    assert_eq!(check(&[]), Finding::Holds);
    assert_eq!(check(&[&[(1, 10)], &[(1, 10)], &[(1, 10), (2, 0)]]), Finding::Holds);
    assert_eq!(check(&[&[(1, 11)], &[(1, 11)]]), Finding::Holds);
    refused(
        check(&[&[(1, 10)], &[(1, 10)], &[(1, 11)]]),
        &["replicas 1 and 3 differ in k1", "client 1 writes k1 = a", "client 2 writes k1 = b"],
    );
    refused(check(&[&[(1, 10)], &[]]), &["replica 2 holds 0, never written"]);
    refused(check(&[&[], &[]]), &["empty", "client 1 writes k1 = a"]);
    refused(check(&[&[(1, 12)], &[(1, 12)]]), &["k1 = c, which nobody wrote"]);
    // What was never acknowledged may be there or not.
    let mut unknown = history(&[w(1, 1, 10)]);
    unknown[0].returned = None;
    for held in [&[][..], &[(1, 10)]] {
        assert_eq!(convergence::check(&unknown, &[replica(1, held), replica(2, held)]), Finding::Holds);
    }
}

#[test]
fn a_history_that_does_not_name_its_writes_is_refused() {
    let twice = Observed::new(&history(&[w(1, 1, 10), w(2, 1, 10)])).unwrap_err();
    assert_eq!(twice, HistoryError::Ambiguous { key: Key(1), value: Value(10) });
    assert!(Observed::new(&history(&[w(1, 1, 10), w(2, 2, 10)])).is_ok());
    assert!(matches!(Observed::new(&history(&[w(1, 1, 0)])), Err(HistoryError::Ambiguous { .. })));
    let endless = vec![r(1, 1, 0); MAX_EVENTS + 1];
    assert!(matches!(Observed::new(&history(&endless)), Err(HistoryError::TooLong { .. })));
    let mut operation = Operation {
        client: 1,
        key: Key(1),
        call: Call::Put(7),
        invoked: Moment(1),
        invoked_at: Time::ZERO,
        id: None,
        outcome: None,
        slot: None,
    };
    let event = Event::from_operation(&operation).unwrap();
    assert_eq!(event.access, Access::Write(Value::written(7)));
    operation.call = Call::Append(7);
    assert!(matches!(Event::from_operation(&operation), Err(HistoryError::NotPlain { client: 1, .. })));
}

#[test]
fn long_histories_take_seconds() {
    for (name, count) in [("saturated", 2_000), ("searched", 8_000)] {
        let observed = Observed::new(&sequential_store(7, 10, 8, count)).unwrap();
        let began = Instant::now();
        assert_eq!(sequential::check(&observed), Finding::Holds);
        let took = began.elapsed();
        eprintln!("sequential, {name}: {count} operations of 10 clients on 8 registers: {took:?}");
        assert!(took < Duration::from_secs(10), "it took {took:?}");
    }
    let began = Instant::now();
    let observed = Observed::new(&causal_store(7, 10, 8, 10_000)).unwrap();
    assert_eq!(causal::check(&observed), Finding::Holds);
    for guarantee in Guarantee::ALL {
        assert_eq!(session::check(&observed, guarantee), Finding::Holds);
    }
    let took = began.elapsed();
    eprintln!("causal and the four guarantees: 10,000 operations of 10 clients on 8 registers: {took:?}");
    assert!(took < Duration::from_secs(10), "it took {took:?}");
}
