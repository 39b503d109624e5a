//! One test per clause of `spec.md`, P1 to P31, but for those with a file of their own: `election.rs`, `catch_up.rs`,
//! `snapshot.rs`, `lies.rs`.

use crate::alone::{
    Alone, accept, accepted, ballot, command, heartbeat, learnt, prepare, promise, unhappy, values, votes,
};
use crate::common::{Cluster, Diary, Envelope, n};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, Event, Members, Node, NodeConfig, NodeError, Offence, ProposalId, Refusal, Role, Slot, Storage,
    Time, WriteSeq,
};
use multipaxos::{
    Accepted, Ballot, Config, Configuration, Heartbeat, Learn, Message, MultiPaxos, Prepare, ReadAnswer,
    ReadToken, Record, Value, Votes,
};

/// The slots that this accepts, if it is such an answer.
fn span(said: &[Message]) -> Option<(u64, u64)> {
    match said {
        [.., Message::Accepted(Accepted { first, durable, .. })] => Some((first.0, durable.0)),
        _ => None,
    }
}

/// The slots that are to be accepted, and the values.
fn proposed(said: &[Message]) -> Vec<(u64, Vec<Value>)> {
    let of = |message: &Message| {
        let Message::Accept(accept) = message else { return None };
        Some((accept.first.0, accept.values.to_vec()))
    };
    said.iter().filter_map(of).collect()
}

fn overtaken(said: &[Message]) -> Option<Ballot> {
    match said {
        [Message::Preempted(preempted)] => Some(preempted.ballot),
        _ => None,
    }
}

fn told(said: &[Message]) -> Option<(u64, Vec<Votes>, Option<Slot>)> {
    match said {
        [Message::Promise(promise)] => Some((promise.chosen.0, promise.votes.clone(), promise.next)),
        _ => None,
    }
}

// tests [P1]
#[test]
fn a_promise_holds_for_all_slots_and_is_durable() {
    let mut alone = Alone::new(3, true);
    assert_eq!(alone.hear(2, prepare(ballot(2, 2), 1)), [], "it is not on disk");
    assert_eq!(told(&alone.sync()), Some((0, Vec::new(), None)));
    for said in [alone.hear(3, prepare(ballot(1, 3), 1)), alone.hear(3, accept(ballot(1, 3), 50, 0, &["a"]))]
    {
        assert_eq!(overtaken(&said), Some(ballot(2, 2)));
    }
    alone.restart();
    assert_eq!(overtaken(&alone.hear(3, prepare(ballot(1, 3), 1))), Some(ballot(2, 2)));
    // It may be told once more, as long as the ballot is not led yet.
    assert!(told(&alone.hear(2, prepare(ballot(2, 2), 1))).is_some());
    alone.hear(2, accept(ballot(2, 2), 1, 0, &["a"]));
    alone.sync();
    assert_eq!(alone.hear(2, prepare(ballot(2, 2), 1)), [], "it came late");
}

// tests [P1] [S1]
#[test]
fn a_ballot_is_durable_before_anybody_is_asked_for_it() {
    let mut alone = Alone::new(3, true);
    let round = alone.asked();
    alone.hear(2, Message::Tell(unhappy(round, ballot(4, 2), 0)));
    assert_eq!(alone.hear(3, Message::Tell(unhappy(round, ballot(7, 3), 0))), []);
    assert_eq!(alone.sync(), [prepare(ballot(8, 1), 1), prepare(ballot(8, 1), 1)]);
    // A crash does not bring the ballot back.
    alone.restart();
    assert_eq!(alone.candidate(Ballot::ZERO), ballot(9, 1));
}

// tests [P1] [S4]
#[test]
fn the_own_promise_counts_when_it_is_durable() {
    let mut alone = Alone::new(3, true);
    let round = alone.asked();
    for from in [2, 3] {
        alone.hear(from, Message::Tell(unhappy(round, Ballot::ZERO, 0)));
    }
    alone.hear(2, promise(ballot(1, 1), 1, 0, Vec::new()));
    assert_eq!(alone.role(), Role::Candidate);
    alone.sync();
    assert_eq!(alone.role(), Role::Leader);
}

// tests [P2]
#[test]
fn a_promise_tells_of_each_slot_the_highest_ballot_page_by_page() {
    let mut alone = Alone::with(3, Config { max_accept_values: 2, ..Config::default() }, false);
    alone.hear(2, accept(ballot(1, 2), 1, 0, &["z"]));
    alone.hear(2, heartbeat(ballot(1, 2), 2, 1, 1));
    alone.hear(2, accept(ballot(1, 2), 2, 1, &["a", "b"]));
    alone.hear(3, accept(ballot(2, 3), 3, 1, &["c"]));
    alone.hear(3, accept(ballot(2, 3), 6, 1, &["e"]));
    let first = vec![votes(2, ballot(1, 2), &["a"]), votes(3, ballot(2, 3), &["c"])];
    assert_eq!(told(&alone.hear(2, prepare(ballot(3, 2), 1))), Some((1, first, Some(Slot(6)))));
    let second = vec![votes(6, ballot(2, 3), &["e"])];
    assert_eq!(told(&alone.hear(2, prepare(ballot(3, 2), 6))), Some((1, second, None)));
}

// tests [P2] [S4]
#[test]
fn a_promise_counts_when_its_last_page_has_come() {
    let mut alone = Alone::new(3, false);
    let own = alone.candidate(ballot(5, 2));
    let Message::Promise(mut page) = promise(own, 1, 0, vec![votes(1, ballot(1, 2), &["a"])]) else {
        panic!()
    };
    page.next = Some(Slot(2));
    let asked = alone.hear(2, Message::Promise(page));
    assert_eq!((asked, alone.role()), (vec![prepare(own, 2)], Role::Candidate));
    // Neither the first page again, nor a page of somebody else.
    alone.hear(2, promise(own, 1, 0, Vec::new()));
    alone.hear(3, promise(own, 2, 0, Vec::new()));
    assert_eq!(alone.role(), Role::Candidate);
    let said = alone.hear(2, promise(own, 2, 0, vec![votes(2, ballot(1, 2), &["b"])]));
    assert_eq!(proposed(&said)[0], (1, values(&["a", "b"]).to_vec()));
}

// tests [P3] [S5]
#[test]
fn a_new_leader_proposes_anew_what_may_be_chosen() {
    // Slot 1 is chosen, whoever told of a vote: it is learnt, of whoever knows it.
    let mut alone = Alone::new(5, false);
    let own = alone.candidate(ballot(5, 2));
    alone.hear(2, promise(own, 1, 1, vec![votes(2, ballot(3, 2), &["a"]), votes(4, ballot(2, 2), &["d"])]));
    alone.cluster.wire.clear();
    let message = promise(own, 1, 0, vec![votes(1, ballot(1, 2), &["z"]), votes(2, ballot(4, 3), &["b"])]);
    alone.cluster.deliver(Envelope { from: n(3), to: n(1), message });
    let said = alone.said_to(2);
    assert_eq!(proposed(&said), [(2, vec![command("b"), Value::Noop, command("d")])]);
    assert!(said.contains(&Message::Learn(Learn { first: Slot(1), last: Slot(1), piece: None })));
    // What clients want comes behind it.
    assert_eq!(proposed(&alone.propose(1, b"own"))[0].0, 5);
}

// tests [P4]
#[test]
fn a_choice_takes_a_durable_quorum_in_the_leaders_ballot() {
    let mut alone = Alone::new(3, true);
    let own = alone.lead();
    assert_eq!(proposed(&alone.propose(1, b"a")).len(), 2, "accepts leave before the own write is done");
    alone.hear(2, accepted(ballot(0, 1).next(n(2)), 1, 1, 0, 0));
    alone.hear(2, accepted(own, 1, 1, 0, 0));
    alone.hear(2, accepted(own, 1, 1, 0, 0));
    assert_eq!(alone.decided(), 0, "one, and one that may be forgotten");
    alone.hear(3, accepted(own, 1, 1, 0, 0));
    assert_eq!(alone.decided(), 1, "two others are enough");
    alone.propose(2, b"b");
    alone.hear(2, accepted(own, 1, 2, 0, 0));
    assert_eq!(alone.decided(), 1);
    alone.sync();
    assert_eq!(alone.decided(), 2);
    // An acceptor claims only what is on its disk.
    let mut alone = Alone::new(3, true);
    assert_eq!(alone.hear(2, accept(ballot(1, 2), 1, 0, &["a"])), []);
    assert_eq!(span(&alone.sync()), Some((1, 1)));
}

// tests [P4]
#[test]
fn a_group_of_one_chooses_with_its_own_disk() {
    let mut cluster = Cluster::<MultiPaxos>::with(1, Config::default(), true, 1);
    cluster.run_for_ms(600);
    assert_eq!(cluster.leaders(), [], "its own promise is not on disk");
    cluster.sync(n(1));
    assert_eq!(cluster.leaders(), [n(1)]);
    cluster.propose(n(1), 1, b"a");
    assert_eq!(cluster.diary(n(1)), []);
    cluster.sync(n(1));
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"a"))]);
    cluster.read(n(1), 1);
    assert_eq!(cluster.reads_ready(n(1)), [(1, Slot(1))]);
}

// tests [P5] [S3]
#[test]
fn an_acceptor_keeps_the_highest_ballot_and_what_is_chosen() {
    let mut alone = Alone::new(3, false);
    alone.hear(2, accept(ballot(1, 2), 1, 0, &["a", "b"]));
    assert_eq!(alone.node().promised(), ballot(1, 2), "accepting promises, too");
    assert_eq!(alone.hear(2, accept(ballot(1, 2), 2, 0, &["other"])), []);
    let equivocation = Offence::Equivocation("two values in one ballot");
    assert_eq!(alone.cluster.accusations, [(n(1), n(2), equivocation)]);
    alone.hear(3, accept(ballot(2, 3), 2, 0, &["c"]));
    alone.hear(3, accept(ballot(2, 3), 1, 2, &["d"]));
    assert_eq!(alone.decided(), 2);
    // Late, in whatever ballot.
    alone.hear(2, accept(ballot(9, 2), 1, 0, &["e", "f", "g"]));
    assert_eq!(alone.node().accepted_in(Slot(3)), Some(ballot(9, 2)));
    assert_eq!(alone.lines(), [(1, &b"d"[..]), (2, b"c")]);
    assert_eq!(alone.node().accepted_in(Slot(1)), Some(ballot(2, 3)));
}

// tests [P6]
#[test]
fn slots_are_accepted_in_any_order() {
    let mut alone = Alone::new(3, false);
    let own = ballot(1, 2);
    assert_eq!(span(&alone.hear(2, accept(own, 3, 0, &["c"]))), Some((3, 3)));
    assert_eq!(span(&alone.hear(2, accept(own, 1, 0, &["a"]))), Some((1, 1)));
    assert_eq!(span(&alone.hear(2, accept(own, 2, 0, &["b"]))), Some((1, 3)));
    // With nothing around it says so.
    assert_eq!(span(&alone.hear(2, heartbeat(own, 9, 0, 1))), Some((9, 8)));
}

// tests [P6]
#[test]
fn a_leader_sends_a_hole_again_once_per_interval() {
    let mut alone = Alone::new(3, false);
    let own = alone.lead();
    for (number, payload) in [(1, b"a"), (2, b"b"), (3, b"c")] {
        alone.propose(number, payload);
    }
    let hole = proposed(&alone.hear(2, accepted(own, 3, 3, 0, 0)));
    assert_eq!(hole.iter().map(|(first, values)| (*first, values.len())).collect::<Vec<_>>(), [(1, 2)]);
    assert_eq!(alone.hear(2, accepted(own, 3, 3, 0, 0)), [], "it is under way");
    assert_eq!(alone.decided(), 0, "what lies behind a hole counts for nothing");
    alone.wait(100);
    assert_eq!(proposed(&alone.hear(2, accepted(own, 3, 3, 0, 0))).len(), 1);
    alone.hear(2, accepted(own, 1, 3, 0, 0));
    assert_eq!(alone.decided(), 3);
}

/// The incident: what was learnt in a slot beyond a hole broke the run of acceptances in two. The leader, which did not know it to
/// be chosen, waited for an acceptance that could not be told any more.
// tests [P6]
#[test]
fn what_is_known_to_be_chosen_counts_as_held() {
    let mut alone = Alone::with(3, Config { max_accept_values: 4, ..Config::default() }, false);
    alone.hear(2, Message::Tell(unhappy(0, Ballot::ZERO, 4)));
    alone.hear(2, learnt(1, 4, &["a", "b", "c", "d"]));
    assert_eq!((alone.decided(), alone.node().last()), (4, Slot(4)));
    let own = ballot(1, 3);
    assert_eq!(span(&alone.hear(3, accept(own, 3, 2, &["c", "d", "e", "f"]))), Some((1, 6)));
    assert_eq!(span(&alone.hear(3, accept(own, 7, 2, &["g", "h"]))), Some((1, 8)));
}

// tests [P6]
#[test]
fn no_slot_far_ahead_is_accepted() {
    let config = Config { max_ahead_values: 4, max_open_values: 4, ..Config::default() };
    let mut alone = Alone::with(3, config, false);
    alone.hear(2, accept(ballot(1, 2), 5, 0, &["e"]));
    assert_eq!(alone.node().accepted_in(Slot(5)), None);
    alone.hear(2, accept(ballot(1, 2), 1, 1, &["a"]));
    alone.hear(2, accept(ballot(1, 2), 5, 1, &["e"]));
    assert_eq!(alone.node().accepted_in(Slot(5)), Some(ballot(1, 2)));
}

// tests [P7]
#[test]
fn a_mark_is_believed_of_its_own_ballot_alone() {
    let mut alone = Alone::new(3, false);
    alone.hear(2, accept(ballot(1, 2), 1, 0, &["a", "b"]));
    alone.hear(3, heartbeat(ballot(2, 3), 3, 2, 1));
    assert_eq!(alone.decided(), 0, "it holds what another ballot proposed");
    alone.hear(3, accept(ballot(2, 3), 1, 2, &["c"]));
    assert_eq!(alone.lines(), [(1, &b"c"[..])]);
    alone.hear(3, accept(ballot(2, 3), 2, 2, &["d"]));
    assert_eq!(alone.lines(), [(1, &b"c"[..]), (2, b"d")]);
}

// tests [P8]
#[test]
fn every_slot_is_decided_once_per_boot_and_in_order() {
    for seed in 0..20 {
        let mut cluster = Cluster::<MultiPaxos>::with(3, Config::default(), false, seed);
        for round in 0..4 {
            let leader = cluster.elect();
            for number in 1..=3 {
                cluster.propose(leader, round * 10 + number, b"x");
            }
            cluster.settle();
            cluster.crash(leader);
            cluster.elect();
            cluster.start(leader);
        }
        let leader = cluster.elect();
        cluster.propose(leader, 100, b"last");
        cluster.run_for_ms(2_000);
        let whole = cluster.diary(leader).to_vec();
        assert!(whole.is_sorted_by(|a, b| a.0 < b.0) && whole.len() == 13, "seed {seed}: {whole:?}");
        assert!((1..=3).all(|id| cluster.diary(n(id)) == whole), "seed {seed}");
    }
}

// tests [P9]
#[test]
fn what_is_lost_is_said_again() {
    let mut cluster = Cluster::<MultiPaxos>::new(3);
    let leader = cluster.elect();
    cluster.settle();
    cluster.propose(leader, 1, b"a");
    cluster.wire.clear();
    cluster.propose(leader, 2, b"b");
    cluster.run_for_ms(250);
    assert!((1..=3).all(|id| cluster.diary(n(id)).len() == 2));
    // A candidate asks those who did not answer once more.
    let mut alone = Alone::new(5, false);
    let own = alone.candidate(Ballot::ZERO);
    alone.hear(2, promise(own, 1, 0, Vec::new()));
    let again =
        |message: &Message| matches!(message, Message::Prepare(Prepare { ballot, .. }) if *ballot == own);
    assert_eq!(alone.wait(100).iter().filter(|message| again(message)).count(), 3);
}

// tests [P10]
#[test]
fn what_is_in_flight_is_bounded() {
    let by_count = Config { max_accept_values: 1, max_in_flight_accepts: 2, ..Config::default() };
    let by_bytes = Config { max_accept_values: 1, max_in_flight_bytes: 50, ..Config::default() };
    for config in [by_count, by_bytes] {
        let mut alone = Alone::with(3, config, false);
        let own = alone.lead();
        let mut sent = 0;
        for number in 1..=5 {
            alone.propose(number, b"x").iter().for_each(|_| sent += 1);
        }
        assert_eq!(sent, 2 * 2);
        let more = alone.hear(2, accepted(own, 1, 1, 0, 0));
        assert_eq!(proposed(&more).iter().map(|(first, _)| *first).collect::<Vec<_>>(), [3]);
    }
}

// tests [P11]
#[test]
fn proposals_are_refused_with_a_reason() {
    let config = Config { max_open_values: 2, max_payload_bytes: 8, ..Config::default() };
    let mut cluster = Cluster::<MultiPaxos>::with(3, config, false, 1);
    cluster.propose(n(1), 1, b"a");
    assert_eq!(cluster.refusals(n(1)), [(1, Refusal::NotLeader { hint: None })]);
    let leader = cluster.elect();
    let follower = cluster.others(leader)[0];
    cluster.propose(follower, 2, b"a");
    let refusal = (2, Refusal::NotLeader { hint: Some(leader) });
    assert!(cluster.refusals(follower).contains(&refusal));
    cluster.replies.clear();
    cluster.propose(leader, 3, b"much too long");
    cluster.isolate(leader);
    for number in 4..=6 {
        cluster.propose(leader, number, b"a");
    }
    assert_eq!(cluster.refusals(leader), [(3, Refusal::TooLarge), (6, Refusal::Busy)]);
    cluster.run_for_ms(3_000);
    let interrupted = [(4, Refusal::Interrupted), (5, Refusal::Interrupted)];
    assert_eq!(cluster.refusals(leader)[2..], interrupted);
}

// tests [P12]
#[test]
fn idle_nodes_are_told_at_once_what_was_chosen() {
    for eager_commit in [true, false] {
        let config = Config { eager_commit, ..Config::default() };
        let mut cluster = Cluster::<MultiPaxos>::with(3, config, false, 1);
        let leader = cluster.elect();
        cluster.settle();
        cluster.propose(leader, 1, b"a");
        cluster.settle();
        for follower in cluster.others(leader) {
            assert_eq!(cluster.diary(follower).len(), usize::from(eager_commit));
        }
        cluster.run_for_ms(200);
        assert!((1..=3).all(|id| cluster.diary(n(id)).len() == 1));
    }
}

// tests [P25] [S7]
#[test]
fn whoever_is_overtaken_stands_back_and_goes_higher() {
    let mut alone = Alone::new(3, false);
    let own = alone.lead();
    alone.propose(1, b"a");
    assert_eq!(overtaken(&alone.hear(2, prepare(ballot(0, 2), 1))), None, "no ballot at all");
    let lower = ballot(own.round, 0);
    let preempted =
        |ballot| Message::Preempted(multipaxos::Preempted { configuration: 1, ballot, chosen: Slot::ZERO });
    alone.hear(2, preempted(lower));
    assert_eq!(alone.role(), Role::Leader);
    alone.hear(2, preempted(ballot(9, 2)));
    assert_eq!(alone.role(), Role::Follower);
    assert_eq!(alone.cluster.refusals(n(1)), [(1, Refusal::Interrupted)]);
    assert_eq!(alone.candidate(Ballot::ZERO), ballot(10, 1));
}

// tests [P26]
#[test]
fn a_read_waits_for_a_quorum_that_is_asked_after_it() {
    let mut alone = Alone::new(3, false);
    let own = alone.candidate(ballot(5, 2));
    alone.hear(2, promise(own, 1, 0, vec![votes(1, ballot(1, 2), &["a"])]));
    alone.read(1);
    alone.hear(2, accepted(own, 2, 1, 0, 1));
    assert_eq!(alone.cluster.reads_ready(n(1)), [], "slot 1 may have been chosen before");
    let probe = |said: &[Message]| match said {
        [.., Message::Heartbeat(Heartbeat { probe, .. })] => *probe,
        _ => 0,
    };
    let first = probe(&alone.hear(2, accepted(own, 1, 1, 0, 1)));
    assert_eq!((alone.decided(), alone.cluster.reads_ready(n(1)).len()), (1, 0));
    let second = probe(&alone.read(2));
    assert!(first > 1 && second > first);
    alone.hear(2, accepted(own, 1, 1, 0, first));
    assert_eq!(alone.cluster.reads_ready(n(1)), [(1, Slot(1))]);
    alone.hear(3, accepted(own, 1, 1, 0, second));
    assert_eq!(alone.cluster.reads_ready(n(1)), [(1, Slot(1)), (2, Slot(1))]);
}

// tests [P27] [P28]
#[test]
fn any_node_reads_by_its_leader() {
    let mut cluster = Cluster::<MultiPaxos>::new(3);
    cluster.read(n(2), 1);
    assert_eq!(cluster.reads_refused(n(2)), [(1, Refusal::NotLeader { hint: None })]);
    let leader = cluster.elect();
    cluster.propose(leader, 1, b"a");
    cluster.settle();
    let follower = cluster.others(leader)[0];
    for number in 2..=4 {
        cluster.read(follower, number);
    }
    // Lost, and asked again.
    cluster.wire.clear();
    cluster.run_for_ms(300);
    let at = cluster.nodes[&leader].status().decided;
    assert_eq!(cluster.reads_ready(follower), [(2, at), (3, at), (4, at)]);
    cluster.isolate(leader);
    cluster.read(leader, 5);
    cluster.read(follower, 6);
    cluster.run_for_ms(3_000);
    for (node, read) in [(leader, 5), (follower, 6)] {
        assert!(
            matches!(cluster.reads_refused(node)[..], [.., (id, Refusal::NotLeader { .. })] if id == read)
        );
    }
    // An answer to what was asked before a crash serves nothing.
    cluster.heal();
    cluster.elect();
    let (leader, asker) = (cluster.leaders()[0], cluster.others(cluster.leaders()[0])[0]);
    cluster.run_for_ms(300);
    cluster.read(asker, 7);
    let Message::ReadIndex(token) = cluster.wire.pop_back().unwrap().message else { panic!() };
    cluster.crash(asker);
    cluster.start(asker);
    cluster.run_for_ms(300);
    cluster.isolate(asker);
    cluster.read(asker, 8);
    for boot in [token.boot, 0] {
        let token = ReadToken { boot, round: 1 };
        let message = Message::ReadIndexReply { token, answer: ReadAnswer::At(Slot(1)) };
        cluster.deliver(Envelope { from: leader, to: asker, message });
    }
    assert!(cluster.reads_ready(asker).iter().all(|(read, _)| *read < 7));
}

// tests [P29]
#[test]
fn a_learner_takes_part_and_counts_nowhere() {
    let members = Members::of([n(1), n(2), n(3)]).with_learners([n(4)]);
    let mut cluster = Cluster::<MultiPaxos>::of(members.clone(), Config::default(), false, 1);
    let leader = cluster.elect();
    cluster.propose(leader, 1, b"a");
    cluster.settle();
    assert_eq!(cluster.diary(n(4)), [(1, Bytes::from_static(b"a"))]);
    cluster.read(n(4), 1);
    cluster.settle();
    assert_eq!(cluster.reads_ready(n(4)).len(), 1);
    // With two voters gone it helps neither to choose nor to lead.
    for other in cluster.others(leader).into_iter().filter(|&id| id != n(4)) {
        cluster.crash(other);
    }
    cluster.propose(leader, 2, b"b");
    cluster.run_for_ms(20_000);
    assert_eq!((cluster.diary(n(4)).len(), cluster.leaders()), (1, Vec::new()));
    assert_eq!(cluster.nodes[&n(4)].status().role, Role::Learner);
    // Who leads without a vote is named.
    let message = prepare(ballot(900, 4), 1);
    cluster.deliver(Envelope { from: n(4), to: leader, message });
    let offence = Offence::Impossible("it leads without a vote");
    assert_eq!(cluster.accusations, [(leader, n(4), offence)]);
}

// tests [P30]
#[test]
fn a_restart_keeps_every_promise_and_vote() {
    let mut alone = Alone::new(3, false);
    alone.hear(2, accept(ballot(1, 2), 1, 1, &["a", "b"]));
    alone.hear(2, accept(ballot(1, 2), 3, 1, &["c"]));
    alone.hear(3, prepare(ballot(2, 3), 1));
    alone.restart();
    assert_eq!((alone.node().promised(), alone.decided()), (ballot(2, 3), 1), "what the last vote told");
    assert_eq!(alone.lines(), [(1, &b"a"[..])]);
    let tale = vec![votes(2, ballot(1, 2), &["b", "c"])];
    let (chosen, told, next) = told(&alone.hear(2, prepare(ballot(3, 2), 1))).unwrap();
    assert_eq!((chosen, next), (1, None));
    let flat = |votes: &[Votes]| votes.iter().flat_map(|votes| votes.values.to_vec()).collect::<Vec<_>>();
    assert_eq!(flat(&told), flat(&tale));
}

// tests [P30]
#[test]
fn records_that_contradict_each_other_keep_a_node_from_starting() {
    let vote = |round, first, chosen| Record::Accepted {
        ballot: ballot(round, 2),
        first: Slot(first),
        values: values(&["a"]),
        chosen: Slot(chosen),
    };
    let learnt = |first| Record::Learnt { first: Slot(first), values: values(&["a"]) };
    let configuration = |number, since| Configuration {
        number,
        id: ProposalId::default(),
        since: Slot(since),
        members: Members::of([n(1)]),
        promises: 1,
        acceptances: 1,
    };
    let born = |configuration| Record::Configuration {
        through: Slot::ZERO,
        configuration: Box::new(configuration),
        base: Slot::ZERO,
    };
    let stop =
        |next| Record::Learnt { first: Slot(1), values: [Value::Stop(Box::new(next))].into_iter().collect() };
    for records in [
        vec![born(configuration(1, 4))],
        vec![born(configuration(u64::MAX, 1))],
        vec![born(Configuration { promises: 0, ..configuration(1, 1) })],
        vec![stop(configuration(2, 7))],
        vec![stop(Configuration { acceptances: 2, ..configuration(2, 2) })],
        vec![vote(1, u64::MAX, 0)],
        vec![Record::Promised(ballot(2, 1)), Record::Promised(ballot(1, 1))],
        vec![Record::Promised(ballot(2, 1)), vote(1, 1, 0)],
        vec![vote(1, 1, 0), vote(1, 3, 2)],
        vec![learnt(1), vote(1, 1, 0)],
        vec![learnt(1), learnt(1)],
        vec![Record::Learnt { first: Slot(1), values: values(&[]) }],
    ] {
        let mut storage = MemoryStorage::default();
        for (seq, record) in (1..).map(WriteSeq).zip(records.clone()) {
            storage.append(seq, record);
        }
        let config = NodeConfig::<MultiPaxos>::new(n(1), Members::of([n(1)]), 1);
        let opened = Node::open(config, Time::ZERO, Outbox::default(), storage.crash(), Diary::default());
        assert!(matches!(opened.map(|_| ()), Err(NodeError::Restore(_))), "{records:?}");
    }
}

// tests [P24] [P23]
#[test]
fn whoever_does_not_wish_to_lead_hands_over_and_declines() {
    use consensus_core::Priority;
    let mut cluster = Cluster::<MultiPaxos>::new(3);
    let leader = cluster.elect();
    let [first, second] = cluster.others(leader)[..] else { panic!() };
    cluster.handle(first, Event::Priority(Priority::Never));
    cluster.handle(leader, Event::Priority(Priority::Never));
    cluster.run_for_ms(1_000);
    assert_eq!(cluster.leaders(), [second]);
    // Who wishes most leads first, who wishes least last.
    for seed in 0..50 {
        let mut cluster = Cluster::<MultiPaxos>::with(3, Config::default(), false, seed);
        cluster.elect();
        let leader = cluster.elect();
        let [keen, lazy] = cluster.others(leader)[..] else { panic!() };
        cluster.handle(keen, Event::Priority(Priority::High));
        cluster.handle(lazy, Event::Priority(Priority::Low));
        cluster.crash(leader);
        assert_eq!(cluster.elect(), keen, "seed {seed}");
    }
}
