//! From one configuration to the next: the clauses P37 to P42.

use crate::common::{Cluster, Envelope, n, proposal};
use consensus_core::{
    BadChange, Bytes, Change, Event, Members, NodeId, Offence, Outcome, Priority, ProposalId, Refusal, Reply,
    Role, Slot,
};
use multipaxos::{
    Accept, Ballot, Config, Configuration, Heartbeat, Learnt, Message, MultiPaxos, Piece, Prepare, Sizes,
    Tell, Value, Values, Votes,
};

type Group = Cluster<MultiPaxos>;

fn group(size: u64) -> (Group, NodeId) {
    group_with(size, Config::default())
}

fn group_with(size: u64, config: Config) -> (Group, NodeId) {
    let mut group = Group::with(size, config, false, 1);
    let leader = group.elect();
    (group, leader)
}

fn voters(ids: &[u64]) -> Members {
    Members::of(ids.iter().copied().map(NodeId))
}

/// Starts a node that knows nobody, and has the leader add it as a learner.
fn add_learner(group: &mut Group, leader: NodeId, id: u64, number: u64) -> NodeId {
    if !group.nodes.contains_key(&n(id)) {
        let birth = std::mem::take(&mut group.members);
        group.join(n(id));
        group.members = birth;
    }
    change(group, leader, number, Change::AddLearner(n(id)))
}

/// Has the members changed, and tells who leads then.
fn change(group: &mut Group, leader: NodeId, number: u64, change: Change) -> NodeId {
    group.reconfigure(leader, number, change);
    group.run_for_ms(400);
    assert!(group.changes_done(leader).contains(&number), "{:?}", group.refusals(leader));
    let [leader] = group.leaders()[..] else { panic!("they lead: {:?}", group.leaders()) };
    leader
}

fn bad_change(group: &mut Group, leader: NodeId, change: Change) -> BadChange {
    group.reconfigure(leader, 999, change);
    match group.replies.pop() {
        Some((_, Reply::Refused { reason: Refusal::BadChange(reason), .. })) => reason,
        other => panic!("it was not refused: {other:?}"),
    }
}

fn configuration(group: &Group, id: NodeId) -> &Configuration {
    group.nodes[&id].algorithm().configuration()
}

/// Whether a command that is proposed at the leader is chosen and reaches these nodes.
fn serves(group: &mut Group, leader: NodeId, number: u64, nodes: &[u64]) -> bool {
    group.propose(leader, number, b"served");
    group.run_for_ms(300);
    let is_done = |(at, reply): &(NodeId, Reply)| {
        *at == leader && matches!(reply, Reply::Done { id, .. } if *id == proposal(number))
    };
    let count = group.diary(leader).len();
    group.replies.iter().any(is_done) && nodes.iter().all(|&id| group.diary(n(id)).len() == count)
}

// tests [P37] [P39] [P40]
#[test]
fn a_change_seals_the_configuration_and_its_leader_begins_the_next_at_once() {
    let (mut group, leader) = group(3);
    group.propose(leader, 1, b"before");
    group.settle();
    let (ballot, before) = (group.node(leader).algorithm().promised(), group.now);
    group.join(n(4));
    group.reconfigure(leader, 2, Change::AddLearner(n(4)));
    group.settle();
    assert_eq!(group.now, before, "no timer is needed");
    assert_eq!((group.leaders(), group.changes_done(leader)), (vec![leader], vec![2]));
    assert!(group.node(leader).algorithm().promised() > ballot);
    group.run_for_ms(300);
    let expected = voters(&[1, 2, 3]).with_learners([n(4)]);
    for id in 1..=4 {
        assert_eq!(group.members_of(n(id)), expected);
        assert_eq!((configuration(&group, n(id)).number, configuration(&group, n(id)).since), (2, Slot(3)));
    }
    assert!(serves(&mut group, leader, 3, &[1, 2, 3, 4]));
    assert!(group.accusations.is_empty());
}

// tests [P37] [P29]
#[test]
fn a_learner_counts_nowhere_and_is_given_a_vote_when_it_has_caught_up() {
    let (mut group, leader) = group_with(3, Config { promotion_lag_values: 0, ..Config::default() });
    group.propose(leader, 1, b"before");
    let leader = add_learner(&mut group, leader, 4, 2);
    group.isolate(n(4));
    assert!(serves(&mut group, leader, 3, &[1, 2, 3]));
    assert_eq!(bad_change(&mut group, leader, Change::AddVoter(n(4))), BadChange::LagsBehind(n(4)));
    group.heal();
    group.run_for_ms(1_000);
    let leader = change(&mut group, leader, 4, Change::AddVoter(n(4)));
    assert_eq!(group.members_of(n(4)), voters(&[1, 2, 3, 4]));
    // Two of four choose nothing.
    for id in (1..=3).map(n).filter(|&id| id != leader).take(2) {
        group.crash(id);
    }
    group.propose(leader, 5, b"too few");
    group.run_for_ms(300);
    assert!(
        group.replies.iter().all(|(_, reply)| !matches!(reply, Reply::Done { id, .. } if id.sequence == 5))
    );
}

// tests [P37]
#[test]
fn changes_that_make_no_sense_are_refused() {
    let (mut group, leader) = group(3);
    let leader = add_learner(&mut group, leader, 4, 1);
    let other = group.others(leader)[0];
    let said = |group: &mut Group, change| bad_change(group, leader, change).to_string();
    for (change, expected) in [
        (Change::AddLearner(other), "a member already"),
        (Change::AddLearner(NodeId::ZERO), "node zero"),
        (Change::AddVoter(other), "a voter already"),
        (Change::AddVoter(n(9)), "not a learner"),
        (Change::AddWitness(n(9)), "no witnesses"),
        (Change::Remove(n(9)), "not a member"),
        (Change::Replace(vec![]), "nobody would be left"),
        (Change::Replace(vec![n(1), n(1)]), "named twice"),
        (Change::Replace(vec![n(3), n(2), n(1)]), "voters already"),
        (Change::Replace(vec![n(9)]), "not a learner"),
    ] {
        let said = said(&mut group, change.clone());
        assert!(said.contains(expected), "{change:?}: {said}");
    }
    let (mut alone, only) = self::group(1);
    assert_eq!(bad_change(&mut alone, only, Change::Remove(only)), BadChange::NobodyLeft);
    group.reconfigure(other, 5, Change::Remove(n(4)));
    assert_eq!(group.refusals(other), [(5, Refusal::NotLeader { hint: Some(leader) })]);
}

// tests [P37]
#[test]
fn a_change_that_would_leave_too_few_who_answer_is_refused() {
    let (mut group, leader) = group(4);
    let others = group.others(leader);
    group.crash(others[0]);
    group.run_for_ms(2_000);
    let remaining = Change::Replace(vec![leader, others[0]]);
    assert_eq!(bad_change(&mut group, leader, remaining), BadChange::NoQuorum);
    assert_eq!(bad_change(&mut group, leader, Change::Replace(vec![others[0]])), BadChange::NoQuorum);
    change(&mut group, leader, 1, Change::Replace(vec![leader, others[1]]));
}

// tests [P37] [P11]
#[test]
fn nothing_is_proposed_behind_a_stop_sign_and_one_change_is_made_at_a_time() {
    let (mut group, leader) = group(3);
    let others = group.others(leader);
    group.isolate(leader);
    group.propose(leader, 1, b"before");
    group.reconfigure(leader, 2, Change::Remove(others[0]));
    let last = group.node(leader).algorithm().last();
    assert_eq!(bad_change(&mut group, leader, Change::Remove(others[1])), BadChange::UnderWay);
    group.propose(leader, 3, b"behind");
    assert_eq!(group.refusals(leader), [(3, Refusal::NotLeader { hint: None })]);
    assert_eq!(group.node(leader).algorithm().last(), last);
    assert_eq!(configuration(&group, leader).number, 1, "nobody else has accepted it");
    group.heal();
    group.run_for_ms(300);
    assert_eq!(group.changes_done(leader), [2]);
    assert_eq!(configuration(&group, leader).since, last.next());
}

// tests [P37] [P38]
#[test]
fn a_quorum_of_the_old_configuration_seals_it_and_none_of_it_is_needed_afterwards() {
    let (mut group, leader) = group(3);
    let leader = add_learner(&mut group, leader, 4, 1);
    let leader = add_learner(&mut group, leader, 5, 2);
    let leader = add_learner(&mut group, leader, 6, 3);
    // The newcomers alone cannot seal it.
    let others: Vec<NodeId> = (1..=3).map(n).filter(|&id| id != leader).collect();
    for &other in &others {
        group.isolate(other);
    }
    group.reconfigure(leader, 4, Change::Replace(vec![n(4), n(5), n(6)]));
    group.run_for_ms(300);
    assert!((4..=6).all(|id| configuration(&group, n(id)).number == 4), "{:?}", configuration(&group, n(4)));
    group.heal();
    group.run_for_ms(3_000);
    assert!((4..=6).all(|id| group.members_of(n(id)) == voters(&[4, 5, 6])));
    for id in 1..=3 {
        group.crash(n(id));
    }
    let leader = group.elect();
    assert!(serves(&mut group, leader, 5, &[4, 5, 6]));
}

// tests [P38]
#[test]
fn the_next_leader_proposes_a_stop_sign_anew_and_ends_there() {
    let (mut group, leader) = group(3);
    let others = group.others(leader);
    // All accept it, and nobody tells the leader.
    group.cut = others.iter().map(|&other| (other, leader)).collect();
    group.reconfigure(leader, 1, Change::Remove(leader));
    group.settle();
    assert!(group.nodes.keys().all(|&id| configuration(&group, id).number == 1));
    group.crash(leader);
    group.heal();
    let next = group.elect();
    group.run_for_ms(300);
    assert_eq!(group.members_of(next), voters(&[others[0].0, others[1].0]));
    assert!(serves(&mut group, next, 2, &[others[0].0, others[1].0]));
    // Whoever was removed learns it when it is back, and stays quiet.
    group.start(leader);
    group.run_for_ms(4_000);
    assert_eq!(configuration(&group, leader).number, 2);
    assert_eq!(group.leaders(), [next]);
}

// tests [P39] [P41]
#[test]
fn a_leader_that_is_removed_calls_another_and_is_quiet() {
    let (mut group, leader) = group(3);
    let others = group.others(leader);
    let before = group.now;
    group.reconfigure(leader, 1, Change::Remove(leader));
    group.settle();
    assert_eq!(group.now, before, "no timer is needed");
    let [next] = group.leaders()[..] else { panic!("nobody was called") };
    assert!(others.contains(&next));
    // It learns that the others have begun, and that ends the change for whoever asked for it.
    group.run_for_ms(200);
    assert_eq!(group.changes_done(leader), [1]);
    assert_eq!(group.members_of(leader), voters(&[others[0].0, others[1].0]));
    assert_eq!(group.node(leader).status().role, Role::Learner);
    group.run_for_ms(2_000);
    let end = group.now + std::time::Duration::from_secs(20);
    while let Some((at, id)) = group.next_deadline().filter(|&(at, _)| at <= end) {
        group.now = at;
        group.handle(id, Event::Tick);
        assert!(group.wire.iter().all(|envelope| envelope.from != leader && envelope.to != leader));
        group.settle();
    }
    group.propose(leader, 2, b"gone");
    assert_eq!(group.refusals(leader), [(2, Refusal::NotLeader { hint: None })]);
    assert!(serves(&mut group, next, 3, &[others[0].0, others[1].0]));
}

// tests [P39] [P24]
#[test]
fn who_does_not_wish_to_lead_on_calls_another() {
    let (mut group, leader) = group(3);
    // Nobody else can be called yet.
    group.isolate(leader);
    group.handle(leader, Event::Priority(Priority::Never));
    group.handle(leader, Event::Transfer { to: Some(leader) });
    group.heal();
    let other = group.others(leader)[0];
    group.reconfigure(leader, 1, Change::AddLearner(n(9)));
    group.settle();
    assert_ne!(group.leaders(), [leader]);
    assert_eq!(configuration(&group, other).number, 2);
}

// tests [P39] [P23]
#[test]
fn a_hand_over_across_a_seal_leads_to_whoever_was_named() {
    let (mut group, leader) = group(3);
    let others = group.others(leader);
    let to = others[0];
    // All hold the stop-sign, and the leader does not know.
    group.cut = others.iter().map(|&other| (other, leader)).collect();
    group.reconfigure(leader, 1, Change::AddLearner(n(9)));
    group.settle();
    group.handle(leader, Event::Transfer { to: Some(to) });
    group.reconfigure(leader, 2, Change::Remove(to));
    assert_eq!(group.refusals(leader), [(2, Refusal::Busy)]);
    group.heal();
    group.run_for_ms(300);
    assert_eq!(group.leaders(), [to]);
    assert_eq!(configuration(&group, to).number, 2);
}

// tests [P39] [P28]
#[test]
fn reads_and_proposals_over_a_seal_are_answered() {
    let (mut group, leader) = group(3);
    let follower = group.others(leader)[0];
    group.isolate(leader);
    for number in 0..4 {
        group.propose(leader, number, b"x");
        group.read(leader, number);
        group.read(follower, 10 + number);
    }
    group.reconfigure(leader, 4, Change::Remove(leader));
    group.propose(leader, 5, b"x");
    group.read(leader, 5);
    group.heal();
    group.run_for_ms(3_000);
    let answered = |at: NodeId, read: u64| {
        let ready = group.reads_ready(at).iter().any(|(id, _)| *id == read);
        ready || group.reads_refused(at).iter().any(|(id, _)| *id == read)
    };
    assert!([0, 1, 2, 3, 5].iter().all(|&read| answered(leader, read)));
    assert!((10..14).all(|read| answered(follower, read)));
    let settled = |number: u64| {
        group.replies.iter().any(|(at, reply)| match reply {
            Reply::Done { id, .. } | Reply::Refused { id, .. } => *at == leader && *id == proposal(number),
            Reply::ReadReady { .. } | Reply::ReadRefused { .. } => false,
        })
    };
    assert!((0..6).all(settled));
}

// tests [P41]
#[test]
fn whoever_missed_the_seal_learns_it_also_when_it_is_cut_off() {
    for compact_after_bytes in [1 << 20, 1] {
        let config = Config { retained_values: 0, ..Config::default() };
        let (mut group, leader) = group_with(5, config);
        group.compact_after_bytes = compact_after_bytes;
        let (stays, goes) = (group.others(leader)[0], group.others(leader)[1]);
        for id in (1..=5).map(n).filter(|&id| id != leader) {
            group.crash(id);
            group.start(id);
        }
        group.run_for_ms(500);
        group.isolate(stays);
        let leader = change(&mut group, leader, 1, Change::AddLearner(n(7)));
        group.isolate(goes);
        let leader = change(&mut group, leader, 2, Change::Remove(goes));
        for number in 3..9 {
            assert!(serves(&mut group, leader, number, &[]));
        }
        group.run_for_ms(2_000);
        group.heal();
        group.run_for_ms(4_000);
        for id in [stays, goes] {
            assert_eq!(configuration(&group, id).number, 3, "{id}");
            assert!(!group.members_of(id).contains(goes));
        }
        assert!(serves(&mut group, leader, 9, &[stays.0]));
        assert_eq!(group.leaders(), [leader], "whoever missed it disturbs nobody");
    }
}

// tests [P41]
#[test]
fn a_leader_that_hears_of_a_later_configuration_leads_no_longer() {
    let (mut group, leader) = group(3);
    group.isolate(leader);
    group.propose(leader, 1, b"x");
    let other = group.others(leader)[0];
    let tell =
        Message::Preempted(multipaxos::Preempted { configuration: 2, ballot: Ballot::ZERO, chosen: Slot(9) });
    group.deliver(Envelope { from: other, to: leader, message: tell });
    assert_eq!(group.node(leader).status().role, Role::Follower);
    assert_eq!(group.refusals(leader), [(1, Refusal::Interrupted)]);
}

// tests [P41]
#[test]
fn a_learner_that_hears_nobody_asks() {
    let (mut group, leader) = group(3);
    let leader = add_learner(&mut group, leader, 4, 1);
    group.isolate(n(4));
    let leader = change(&mut group, leader, 2, Change::Remove(n(4)));
    assert!(group.members_of(n(4)).contains(n(4)));
    group.heal();
    group.run_for_ms(3_000);
    assert!(!group.members_of(n(4)).contains(n(4)));
    assert_eq!(group.leaders(), [leader]);
}

// tests [P42]
#[test]
fn a_newcomer_waits_until_somebody_speaks_to_it() {
    for compact_after_bytes in [1 << 20, 1] {
        let config = Config { retained_values: 0, ..Config::default() };
        let (mut group, leader) = group_with(1, config);
        group.compact_after_bytes = compact_after_bytes;
        group.crash(leader);
        group.start(leader);
        let leader = group.elect();
        for number in 1..5 {
            assert!(serves(&mut group, leader, number, &[]));
        }
        let birth = std::mem::take(&mut group.members);
        group.join(n(4));
        group.members = birth;
        group.run_for_ms(5_000);
        assert_eq!((configuration(&group, n(4)).number, group.members_of(n(4))), (0, Members::default()));
        let leader = change(&mut group, leader, 5, Change::AddLearner(n(4)));
        assert!(serves(&mut group, leader, 6, &[1, 4]));
        assert_eq!(group.members_of(n(4)), voters(&[1]).with_learners([n(4)]));
        // What it knows survives a restart, though it is told nothing at its start.
        group.crash(n(4));
        let birth = std::mem::take(&mut group.members);
        group.start(n(4));
        group.members = birth;
        group.run_for_ms(500);
        assert_eq!(configuration(&group, n(4)).number, 2);
        let leader = change(&mut group, leader, 7, Change::AddVoter(n(4)));
        assert!(serves(&mut group, leader, 8, &[1, 4]));
    }
}

// tests [P42]
#[test]
fn a_newcomer_that_knows_no_members_takes_no_snapshot() {
    let mut group = Group::of(Members::default(), Config::default(), false, 1);
    group.compact_after_bytes = 1;
    group.join(n(4));
    let ballot = Ballot { round: 1, node: n(1) };
    let heartbeat =
        Heartbeat { configuration: 1, ballot, start: Slot(4), next: Slot(4), chosen: Slot(3), probe: 1 };
    group.deliver(Envelope { from: n(1), to: n(4), message: Message::Heartbeat(heartbeat) });
    let command = |number| Value::Command { id: proposal(number), payload: Bytes::from_static(b"x") };
    let values: Values = (1..=3).map(command).collect();
    let learnt = Learnt { first: Slot(1), chosen: Slot(3), values };
    group.deliver(Envelope { from: n(1), to: n(4), message: Message::Learnt(learnt) });
    assert_eq!(group.diary(n(4)).len(), 3);
    group.crash(n(4));
    group.start(n(4));
    assert_eq!(group.node(n(4)).algorithm().last(), Slot(3), "the log is not cut");
}

/// What a node promises in the next configuration that has accepted something behind the stop-sign of its own.
pub(crate) fn votes_told_after_a_seal(config: Config) -> Vec<Votes> {
    let mut group = Group::with(3, config, false, 1);
    let (leader, to) = (n(1), n(3));
    for id in [1, 2] {
        group.crash(n(id));
    }
    let command = |number| Value::Command { id: proposal(number), payload: Bytes::from_static(b"x") };
    let say = |group: &mut Group, message| group.deliver(Envelope { from: leader, to, message });
    let ballot = Ballot { round: 2, node: leader };
    let values: Values = (1..=2).map(command).collect();
    let accept = Accept { configuration: 1, ballot, first: Slot(1), chosen: Slot::ZERO, probe: 0, values };
    say(&mut group, Message::Accept(accept));
    // Another leader had the first slot sealed.
    let ballot = Ballot { round: 5, ..ballot };
    let prepare = Prepare { configuration: 2, ballot, from: Slot(2), promises: 2, called_by: None };
    say(&mut group, Message::Prepare(prepare));
    let values = [Value::Stop(Box::new(next(2, 2)))].into_iter().collect();
    say(&mut group, Message::Learnt(Learnt { first: Slot(1), chosen: Slot(1), values }));
    assert_eq!(configuration(&group, to).number, 2);
    group.wire.clear();
    say(&mut group, Message::Prepare(prepare));
    let promised = group.wire.drain(..).find_map(|envelope| {
        if let Message::Promise(promise) = envelope.message { Some(promise.votes) } else { None }
    });
    promised.expect("it promises")
}

// tests [P38]
#[test]
fn what_was_accepted_behind_a_stop_sign_is_void() {
    assert_eq!(votes_told_after_a_seal(Config::default()), []);
}

/// Whether a node in the second configuration promises what is asked for in the first; it says in which it is instead.
pub(crate) fn promises_in_an_earlier_configuration(config: Config) -> bool {
    let (mut group, leader) = group_with(3, config);
    let leader = change(&mut group, leader, 1, Change::AddLearner(n(9)));
    let (from, to) = (group.others(leader)[0], group.others(leader)[1]);
    let ballot = Ballot { round: 50, node: from };
    let prepare = Prepare { configuration: 1, ballot, from: Slot(1), promises: 2, called_by: None };
    group.wire.clear();
    group.deliver(Envelope { from, to, message: Message::Prepare(prepare) });
    let says_so = |envelope: &Envelope<Message>| matches!(&envelope.message, Message::Preempted(said) if said.configuration == 2);
    assert!(group.wire.iter().any(says_so));
    group.wire.iter().any(|envelope| matches!(envelope.message, Message::Promise(_)))
}

// tests [P38] [P41]
#[test]
fn promises_are_given_within_one_configuration() {
    assert!(!promises_in_an_earlier_configuration(Config::default()));
}

// tests [P38] [P30]
#[test]
fn a_restart_brings_the_configuration_back() {
    let (mut group, leader) = group(3);
    let leader = add_learner(&mut group, leader, 4, 1);
    let leader = change(&mut group, leader, 2, Change::AddVoter(n(4)));
    assert!(serves(&mut group, leader, 3, &[1, 2, 3, 4]));
    for id in 1..=4 {
        group.crash(n(id));
    }
    for id in 1..=4 {
        group.start(n(id));
    }
    let leader = group.elect();
    assert!(serves(&mut group, leader, 4, &[1, 2, 3, 4]));
    for id in 1..=4 {
        assert_eq!(
            (configuration(&group, n(id)).number, group.members_of(n(id))),
            (3, voters(&[1, 2, 3, 4]))
        );
    }
}

/// A node that was the only voter is removed, learns that its successor has begun, and forgets in a crash what was not written:
/// that its own stop-sign was chosen. Alone in its old configuration, it took what it had learnt behind the stop-sign for a vote
/// that overruled it, and went on as the leader of a group that had gone.
// tests [P38] [P14] [P30]
#[test]
fn what_was_learnt_behind_a_stop_sign_proves_that_it_was_chosen() {
    let (mut group, leader) = group(1);
    let leader = add_learner(&mut group, leader, 5, 1);
    let heir = change(&mut group, leader, 2, Change::Replace(vec![n(5)]));
    group.run_for_ms(2_000);
    assert_eq!((heir, group.changes_done(leader)), (n(5), vec![1, 2]));
    group.isolate(leader);
    group.crash(leader);
    group.start(leader);
    assert_eq!(configuration(&group, leader).number, 3);
    group.run_for_ms(5_000);
    assert_eq!(group.leaders(), [heir]);
}

// tests [P14] [P41]
#[test]
fn answers_that_come_early_wait_for_those_before_them() {
    let (mut group, leader) = group_with(3, Config { max_accept_values: 2, ..Config::default() });
    let late = group.others(leader)[0];
    group.isolate(late);
    for number in 0..20 {
        assert!(serves(&mut group, leader, number, &[]));
    }
    group.heal();
    let end = group.now + std::time::Duration::from_secs(5);
    let mut came_early = false;
    while let Some((at, id)) = group.next_deadline().filter(|&(at, _)| at <= end) {
        group.now = group.now.max(at);
        group.handle(id, Event::Tick);
        // What was sent last arrives first.
        while let Some(envelope) = group.wire.pop_back() {
            let next = group.nodes[&late].status().decided.next();
            came_early |= matches!(&envelope.message, Message::Learnt(learnt) if learnt.first > next);
            group.deliver(envelope);
        }
    }
    assert!(came_early);
    assert_eq!(group.diary(late), group.diary(leader));
}

// tests [P37] [S10]
#[test]
fn quorums_fit_themselves_to_the_members() {
    let config = Config { quorums: Some(Sizes { promises: 4, acceptances: 2 }), ..Config::default() };
    let (mut group, mut leader) = group_with(5, config);
    for (number, left) in [(1, 4), (2, 3), (3, 2), (4, 1)] {
        let gone = (1..=5).map(n).find(|&id| id != leader && group.members_of(leader).is_voter(id)).unwrap();
        leader = change(&mut group, leader, number, Change::Remove(gone));
        let Configuration { promises, acceptances, members, .. } = configuration(&group, leader);
        assert_eq!((members.voter_count() as u64, *acceptances), (left, 2.min(left)));
        assert!(promises + acceptances > left && *promises <= left);
        assert!(serves(&mut group, leader, 10 + number, &[]));
    }
}

fn next(number: u64, since: u64) -> Configuration {
    Configuration {
        number,
        id: ProposalId::default(),
        since: Slot(since),
        members: voters(&[1, 2, 3]),
        promises: 2,
        acceptances: 2,
    }
}

fn accept(stop: Configuration, behind: Option<Value>) -> Message {
    let values: Values = [Value::Stop(Box::new(stop))].into_iter().chain(behind).collect();
    Message::Accept(Accept {
        configuration: 1,
        ballot: Ballot { round: 9, node: n(2) },
        first: Slot(5),
        chosen: Slot::ZERO,
        probe: 0,
        values,
    })
}

// tests [P31] [P37]
#[test]
fn stop_signs_that_cannot_be_are_accused() {
    let (few, many) =
        (Configuration { promises: 1, ..next(2, 6) }, Configuration { acceptances: 4, ..next(2, 6) });
    let nobody = Configuration { members: Members::default(), ..next(2, 6) };
    let joint = Configuration { members: voters(&[1, 2, 3]).with_outgoing([n(1)]), ..next(2, 6) };
    for wrong in [few, many, nobody, joint, next(2, 7), next(2, 5)] {
        let said = accept(wrong, None).check(n(2));
        assert_eq!(said, Err(Offence::Malformed("a stop-sign names a configuration that cannot follow it")));
    }
    for number in [1, 3, 1 << 40] {
        let said = accept(next(number, 6), None).check(n(2));
        assert!(
            matches!(said, Err(Offence::Impossible(what)) if what.contains("follows its own")),
            "{said:?}"
        );
    }
    let said = accept(next(2, 6), Some(Value::Noop)).check(n(2));
    assert_eq!(said, Err(Offence::Impossible("it proposes something behind its stop-sign")));
    assert_eq!(accept(next(2, 6), None).check(n(2)), Ok(()));
}

// tests [P31] [P41]
#[test]
fn a_snapshot_of_an_earlier_configuration_that_holds_more_is_accused() {
    let (mut group, leader) = group(3);
    let leader = change(&mut group, leader, 1, Change::AddLearner(n(9)));
    let (liar, to) = (group.others(leader)[0], group.others(leader)[1]);
    group.isolate(to);
    // It hears nobody, and is told that there is much that it lacks.
    group.run_for_ms(2_000);
    let asked = group.node(to).status().decided.next();
    let tell = Tell {
        round: 0,
        configuration: 2,
        ballot: Ballot::ZERO,
        leader: None,
        happy: false,
        chosen: Slot(50),
    };
    group.deliver(Envelope { from: liar, to, message: Message::Tell(tell) });
    let piece = Piece {
        first: asked,
        through: Slot(40),
        configuration: next(1, 1),
        total: 0,
        offset: 0,
        data: Bytes::new(),
    };
    group.deliver(Envelope { from: liar, to, message: Message::Piece(Box::new(piece)) });
    let offence = Offence::Impossible("its snapshot ends in an earlier configuration");
    assert_eq!(group.accusations, [(to, liar, offence)]);
}

// tests [P40]
#[test]
fn a_change_is_done_when_the_next_configuration_has_chosen_something() {
    let (mut group, leader) = group(3);
    let others = group.others(leader);
    group.reconfigure(leader, 1, Change::Remove(others[0]));
    // The seal is chosen; whoever remains never hears of the new ballot.
    while configuration(&group, leader).number == 1 {
        let envelope = group.wire.pop_front().unwrap();
        group.deliver(envelope);
    }
    group.wire.clear();
    assert!(group.changes_done(leader).is_empty());
    group.run_for_ms(2_000);
    assert_eq!(group.changes_done(leader), [1]);
    let opening = configuration(&group, leader).since;
    let at_opening = |(_, reply): &(NodeId, Reply)| match reply {
        Reply::Done { id, slot, outcome } => {
            *id == proposal(1) && *slot == opening && *outcome == Outcome::Noop
        }
        Reply::Refused { .. } | Reply::ReadReady { .. } | Reply::ReadRefused { .. } => false,
    };
    assert!(group.replies.iter().any(at_opening));
}
