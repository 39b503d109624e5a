//! One test per clause of `spec.md`.

use crate::common::{self, Cluster, Envelope, n, proposal};
use benor::{BenOr, Byzantine, Casts, Config, Crashes, Decided, Lies, Message, Model, Proposal};
use benor::{Record, Report, Standing, Thresholds};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, ConsensusAlgorithm, Event, Members, Node, NodeConfig, NodeError, Offence, Refusal, Slot, Storage,
    Time, WriteSeq,
};
use std::time::Duration;

const NOTHING: Option<Proposal> = Some(Proposal::Nothing);
const ONE: Option<Proposal> = Some(Proposal::Value(true));
const ZERO: Option<Proposal> = Some(Proposal::Value(false));

fn casts(value: bool, proposal: Option<Proposal>) -> Casts {
    Casts { report: Report { value, tossed: false }, proposal }
}

/// Somebody stands in this round, with these votes, and has decided nothing.
fn at(round: u64, value: bool, proposal: Option<Proposal>) -> Message {
    Message::Tell(Standing { round, casts: Some(casts(value, proposal)), before: None, decided: None })
}

fn says_decided(value: bool) -> Message {
    let decided = Some(Decided { value, reached: false });
    Message::Tell(Standing { decided, ..Standing::default() })
}

/// Node 1 of so many, alone with what the test tells it.
fn alone<A>(size: u64, hold: bool) -> Cluster<A>
where
    A: ConsensusAlgorithm<Config = Config, Message = Message>,
{
    let mut cluster = Cluster::<A>::with(size, Config::default(), hold, 1);
    (2..=size).for_each(|id| cluster.crash(n(id)));
    cluster
}

/// Node 1 of so many that crash, with this value.
fn given(size: u64, value: &'static [u8]) -> Cluster<BenOr> {
    let mut cluster = alone(size, false);
    cluster.propose(n(1), 1, value);
    cluster
}

fn tell<A>(cluster: &mut Cluster<A>, from: u64, message: Message) -> Vec<Message>
where
    A: ConsensusAlgorithm<Message = Message>,
{
    cluster.wire.clear();
    cluster.deliver(Envelope { from: n(from), to: n(1), message });
    cluster.wire.drain(..).map(|envelope| envelope.message).collect()
}

/// Where node 1 stands.
fn stands(cluster: &Cluster<BenOr>) -> Standing {
    cluster.nodes[&n(1)].algorithm().standing()
}

fn restart(cluster: &mut Cluster<BenOr>) {
    cluster.wire.clear();
    cluster.crash(n(1));
    cluster.start(n(1));
}

/// What node 1 says when so much time has passed.
fn wait(cluster: &mut Cluster<BenOr>, ms: u64) -> Vec<Message> {
    cluster.wire.clear();
    cluster.now += Duration::from_millis(ms);
    cluster.handle(n(1), Event::Tick);
    cluster.wire.drain(..).map(|envelope| envelope.message).collect()
}

// tests [B1]
#[test]
fn two_models_differ_in_five_numbers() {
    let numbers = |it: Thresholds| [it.wait, it.propose, it.decide, it.adopt, it.believe];
    let crashes = [1, 2, 3, 4, 5, 6, 7].map(|n| numbers(Crashes::thresholds(n)));
    assert_eq!(crashes[0], [1, 1, 1, 1, 1]);
    assert_eq!(crashes[2], [2, 2, 2, 1, 1]);
    assert_eq!(crashes[3], [3, 3, 2, 1, 1]);
    assert_eq!(crashes[6], [4, 4, 4, 1, 1]);
    assert_eq!(numbers(Lies::thresholds(5)), [5, 3, 3, 1, 1], "nobody may lie");
    assert_eq!(numbers(Lies::thresholds(6)), [5, 4, 4, 2, 2]);
    assert_eq!(numbers(Lies::thresholds(7)), [6, 5, 5, 2, 2]);
    assert_eq!(numbers(Lies::thresholds(11)), [9, 7, 7, 3, 3]);
    for n in 1..200 {
        let Thresholds { wait, propose, decide, adopt, .. } = Lies::thresholds(n);
        let t = n - wait;
        assert!(2 * propose > n + t, "two proposals never differ, n = {n}");
        assert!(decide - t + wait - n >= adopt, "what is decided is adopted, n = {n}");
        assert!(wait - t >= propose, "who agree from the start decide at once, n = {n}");
        let Thresholds { wait, propose, decide, adopt, .. } = Crashes::thresholds(n);
        assert!(2 * propose > n && decide + wait >= n + adopt && wait >= propose, "n = {n}");
    }
}

// tests [B2]
#[test]
fn each_voter_counts_once() {
    let mut cluster = given(5, b"1");
    for _ in 0..5 {
        tell(&mut cluster, 2, at(1, true, None));
    }
    assert_eq!(stands(&cluster).casts, Some(casts(true, None)), "two of five have reported");
    tell(&mut cluster, 3, at(1, true, None));
    assert_eq!(stands(&cluster).casts, Some(casts(true, ONE)));
}

// tests [B2]
#[test]
fn the_first_vote_counts_and_another_is_evidence() {
    let mut cluster = given(5, b"1");
    tell(&mut cluster, 2, at(1, true, None));
    tell(&mut cluster, 2, at(1, false, None));
    tell(&mut cluster, 3, at(1, true, NOTHING));
    tell(&mut cluster, 3, at(1, true, ONE));
    let accused: Vec<_> = cluster.accusations.iter().map(|(_, peer, _)| peer.0).collect();
    assert_eq!(accused, [2, 3]);
    assert!(cluster.accusations.iter().all(|(_, _, why)| matches!(why, Offence::Equivocation(_))));
    assert_eq!(stands(&cluster).casts, Some(casts(true, ONE)), "three reported 1 first");
}

// tests [B2]
#[test]
fn votes_of_other_rounds_count_for_nothing() {
    let mut cluster = given(5, b"1");
    tell(&mut cluster, 2, at(2, true, ONE));
    tell(&mut cluster, 3, at(3, true, ONE));
    assert_eq!(stands(&cluster).casts, Some(casts(true, None)));
    // Round 1 ends with a coin; what was voted in it counts in round 2 no more.
    for from in [4, 5] {
        tell(&mut cluster, from, at(1, false, NOTHING));
    }
    assert_eq!(stands(&cluster).round, 2);
    for from in [3, 4, 5] {
        tell(&mut cluster, from, at(1, false, NOTHING));
    }
    assert_eq!(stands(&cluster).casts.unwrap().proposal, None, "the reports of 2 and of itself are in");
    // What was heard early counts now.
    tell(&mut cluster, 4, at(2, true, None));
    assert!(stands(&cluster).casts.unwrap().proposal.is_some());
}

// tests [B2]
#[test]
fn votes_of_the_other_phase_count_for_nothing() {
    let mut cluster = given(3, b"1");
    tell(&mut cluster, 2, at(1, true, None));
    assert_eq!(stands(&cluster).casts, Some(casts(true, ONE)));
    tell(&mut cluster, 3, at(1, true, None));
    assert_eq!(stands(&cluster).round, 1, "three reports, and one proposal: its own");
}

// tests [B1] [B3]
#[test]
fn a_majority_is_one_of_all_voters() {
    // Two of the three that were heard are less than half of five, and two of four are half.
    for size in [5, 4] {
        let mut cluster = given(size, b"1");
        tell(&mut cluster, 2, at(1, true, None));
        tell(&mut cluster, 3, at(1, false, None));
        assert_eq!(stands(&cluster).casts, Some(casts(true, NOTHING)), "n = {size}");
    }
    let mut cluster = given(5, b"0");
    for from in [2, 3] {
        tell(&mut cluster, from, at(1, true, None));
    }
    assert_eq!(stands(&cluster).casts, Some(casts(false, NOTHING)), "it goes by the first n − f");
}

// tests [B4]
#[test]
fn a_value_is_decided_by_enough_proposals() {
    let mut cluster = given(5, b"1");
    for from in [2, 3] {
        tell(&mut cluster, from, at(1, true, ONE));
    }
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"1"))]);
    // Two of five are f, and whoever waits for three may hear neither.
    let mut cluster = given(5, b"1");
    tell(&mut cluster, 2, at(1, true, ONE));
    tell(&mut cluster, 3, at(1, true, NOTHING));
    assert_eq!(stands(&cluster).round, 2);
    assert_eq!(cluster.diary(n(1)), []);
}

// tests [B5]
#[test]
fn one_proposal_is_adopted_and_no_coin_is_tossed() {
    for seed in 0..20 {
        let mut cluster = Cluster::<BenOr>::with(5, Config::default(), false, seed);
        (2..=5).for_each(|id| cluster.crash(n(id)));
        cluster.propose(n(1), 1, b"0");
        tell(&mut cluster, 2, at(1, false, NOTHING));
        tell(&mut cluster, 3, at(1, true, ONE));
        let Standing { round, casts, .. } = stands(&cluster);
        assert_eq!((round, casts), (2, Some(self::casts(true, None))), "seed {seed}");
    }
}

// tests [B5]
#[test]
fn in_the_first_rounds_all_toss_alike_if_so_configured() {
    let toss = |coin_key, common_rounds, seed| {
        let config = Config { coin_key, common_rounds, ..Config::default() };
        let mut cluster = Cluster::<BenOr>::with(3, config, false, seed);
        (2..=3).for_each(|id| cluster.crash(n(id)));
        cluster.propose(n(1), 1, b"0");
        tell(&mut cluster, 2, at(1, true, NOTHING));
        stands(&cluster).casts.unwrap().report.value
    };
    let common = [1, 2].map(|seed| (0..100).map(|key| toss(key, 1, seed)).collect::<Vec<bool>>());
    let [common, again] = common;
    assert_eq!(common, again, "whatever the seed of the boot");
    assert!((30..70).contains(&common.iter().filter(|&&coin| coin).count()));
    assert!((0..20).any(|seed| toss(7, 0, seed) != toss(7, 0, 100)), "otherwise each its own");
}

// tests [B5]
#[test]
fn a_coin_is_tossed_after_the_wait_and_by_each_node_for_itself() {
    let toss = |seed| {
        let mut cluster = Cluster::<BenOr>::with(3, Config::default(), false, seed);
        (2..=3).for_each(|id| cluster.crash(n(id)));
        cluster.propose(n(1), 1, b"0");
        tell(&mut cluster, 2, at(1, true, None));
        assert_eq!(stands(&cluster).round, 1, "a proposal is missing");
        tell(&mut cluster, 2, at(1, true, NOTHING));
        let Standing { round, casts, .. } = stands(&cluster);
        assert_eq!((round, casts.unwrap().report.tossed), (2, true));
        casts.unwrap().report.value
    };
    let ones = (0..200).filter(|&seed| toss(seed)).count();
    assert!((70..130).contains(&ones), "{ones} of 200");
    // With equal seeds, too.
    let first = |id: u64| {
        let mut config = NodeConfig::<BenOr>::new(n(id), Members::of((1..=3).map(n)), 7);
        config.check_invariants = true;
        let disk = MemoryStorage::default();
        let mut node =
            Node::open(config, Time::ZERO, Outbox::default(), disk, common::Diary::default()).unwrap();
        let payload = Bytes::from_static(b"0");
        node.handle(Time::ZERO, Event::Propose { id: proposal(1), payload }).unwrap();
        let from = n(id % 3 + 1);
        // As many coins as there are rounds.
        for round in 1..40 {
            let known = node.algorithm().standing().casts.unwrap().report.value;
            node.handle(Time::ZERO, Event::Message { from, message: at(round, !known, NOTHING) }).ok();
        }
        node.network().sent.iter().map(|(_, message)| message.standing().casts).collect::<Vec<_>>()
    };
    assert!(first(1) != first(2) && first(2) != first(3));
}

// tests [B6]
#[test]
fn who_has_decided_helps_the_others() {
    let mut cluster = given(3, b"1");
    let said = tell(&mut cluster, 2, at(1, true, ONE));
    let decided = Some(Decided { value: true, reached: true });
    let standing =
        Standing { round: 2, casts: Some(Casts::all_for(true)), before: Some(Casts::all_for(true)), decided };
    assert_eq!(said, [Message::Tell(standing); 2], "it tells everybody once");
    assert_eq!(wait(&mut cluster, 10_000), [], "and then whoever asks");
    assert_eq!(tell(&mut cluster, 3, at(2, false, None)), []);
    let ask = |message: Message| Message::Ask(*message.standing());
    assert_eq!(tell(&mut cluster, 3, ask(at(2, false, None))), [Message::Tell(standing)]);
    assert_eq!(standing.casts_in(9), Some(Casts::all_for(true)), "it votes in later rounds too");
    // Who is further behind hears of its own round and the next, and is told the decision.
    let [Message::Tell(told)] = tell(&mut cluster, 3, Message::Ask(Standing::default()))[..] else {
        panic!()
    };
    let decided = Some(Decided { value: true, reached: false });
    assert_eq!(told, Standing { round: 1, casts: Some(Casts::all_for(true)), before: None, decided });
}

// tests [B6]
#[test]
fn a_decision_is_made_once() {
    let mut cluster = given(3, b"1");
    tell(&mut cluster, 2, at(1, true, ONE));
    for message in [at(1, true, ONE), at(2, true, ONE), says_decided(true), says_decided(false)] {
        tell(&mut cluster, 3, message);
    }
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"1"))]);
    restart(&mut cluster);
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"1"))], "and made known again by a new boot");
    assert_eq!(cluster.nodes[&n(1)].status().epoch.0, 1);
    assert_eq!(cluster.next_deadline(), None);
}

// tests [B7]
#[test]
fn a_vote_is_durable_before_anybody_hears_of_it() {
    let mut cluster = alone::<BenOr>(3, true);
    cluster.propose(n(1), 1, b"1");
    assert!(cluster.wire.is_empty(), "the report is not on disk");
    cluster.sync(n(1));
    assert_eq!(cluster.wire.len(), 2);
    assert_eq!(tell(&mut cluster, 2, at(1, true, None)), [], "nor is the proposal");
    assert_eq!(tell(&mut cluster, 2, at(1, true, ONE)), []);
    assert_eq!(cluster.diary(n(1)), [], "nor the decision");
    restart(&mut cluster);
    assert_eq!(stands(&cluster).casts, Some(casts(true, None)));
    assert_eq!(wait(&mut cluster, 50), [Message::Ask(stands(&cluster)); 2]);
}

// tests [B7]
#[test]
fn a_restart_votes_as_before_and_tosses_nothing_anew() {
    for seed in 0..20 {
        let mut cluster = Cluster::<BenOr>::with(3, Config::default(), false, seed);
        (2..=3).for_each(|id| cluster.crash(n(id)));
        cluster.propose(n(1), 1, b"0");
        tell(&mut cluster, 2, at(1, true, NOTHING));
        let before = stands(&cluster);
        assert!(before.casts.unwrap().report.tossed);
        restart(&mut cluster);
        assert_eq!(stands(&cluster), before, "seed {seed}");
        assert_eq!(tell(&mut cluster, 2, at(2, true, None)).len(), 2, "and goes on from there");
    }
}

// tests [B7]
#[test]
fn a_crash_between_the_first_two_records_loses_no_proposal() {
    let mut disk = MemoryStorage::default();
    disk.append(WriteSeq(1), Record::Given { id: proposal(1), value: true });
    let config = NodeConfig::<BenOr>::new(n(1), Members::of([n(1)]), 1);
    let node = Node::open(config, Time::ZERO, Outbox::default(), disk.crash(), common::Diary::default());
    assert_eq!(node.unwrap().machine().lines, [(1, Bytes::from_static(b"1"))]);
}

// tests [B7]
#[test]
fn records_that_contradict_each_other_keep_a_node_from_starting() {
    let reported = |round, tossed| Record::Reported { round, report: Report { value: true, tossed } };
    let proposed = || Record::Proposed(Proposal::Nothing);
    let decided = |value| Record::Decided { decided: Decided { value, reached: false }, round: 1 };
    let reached = Record::Decided { decided: Decided { value: true, reached: true }, round: 1 };
    for records in [
        vec![reported(1, false), reported(1, false)],
        vec![reported(1, false), reported(2, false)],
        vec![reported(2, false)],
        vec![reported(1, true)],
        vec![proposed()],
        vec![reported(1, false), proposed(), proposed()],
        vec![decided(true), decided(false)],
        vec![reached],
    ] {
        let mut disk = MemoryStorage::default();
        for (seq, &record) in (1..).map(WriteSeq).zip(&records) {
            disk.append(seq, record);
        }
        let config = NodeConfig::<BenOr>::new(n(1), Members::of([n(1)]), 1);
        let opened =
            Node::open(config, Time::ZERO, Outbox::default(), disk.crash(), common::Diary::default());
        assert!(matches!(opened.map(|_| ()), Err(NodeError::Restore(_))), "{records:?}");
    }
}

// tests [B8]
#[test]
fn who_waits_asks_again_and_again() {
    let mut cluster = given(3, b"1");
    for _ in 0..5 {
        assert_eq!(wait(&mut cluster, 49), []);
        assert_eq!(wait(&mut cluster, 1), [Message::Ask(stands(&cluster)); 2]);
    }
    // Who has heard of anything wants to know the end of it; others are left in peace.
    let mut cluster = alone::<BenOr>(3, false);
    assert_eq!(wait(&mut cluster, 1_000), []);
    tell(&mut cluster, 2, Message::Ask(Standing::default()));
    assert_eq!(wait(&mut cluster, 50), [Message::Ask(Standing::default()); 2]);
}

/// Three of five nodes in round 4, none of which has decided; the others are down. `None`: they have.
fn three_ahead(seed: u64) -> Option<Cluster<BenOr>> {
    let mut cluster = Cluster::<BenOr>::with(5, Config::default(), false, seed);
    for id in [4, 5] {
        cluster.crash(n(id));
    }
    for id in 1..=3 {
        cluster.propose(n(id), id, if id == 1 { b"0" } else { b"1" });
    }
    let round = |cluster: &Cluster<BenOr>, id| cluster.nodes[&n(id)].algorithm().standing().round;
    while (1..=3).any(|id| round(&cluster, id) < 4) {
        let envelope = cluster.wire.pop_front()?;
        cluster.deliver(envelope);
        if cluster.nodes.keys().any(|&id| !cluster.diary(id).is_empty()) {
            return None;
        }
    }
    cluster.wire.clear();
    Some(cluster)
}

// tests [B8] [B9]
#[test]
fn who_is_behind_is_told_round_by_round() {
    let mut cluster = (0..).find_map(three_ahead).unwrap();
    cluster.start(n(4));
    cluster.propose(n(4), 4, b"0");
    let mut rounds = vec![1];
    for _ in 0..20 {
        let round = cluster.nodes[&n(4)].algorithm().standing().round;
        if rounds.last() != Some(&round) {
            rounds.push(round);
        }
        // The others stand still, and answer.
        cluster.wire.clear();
        cluster.now += Duration::from_millis(50);
        cluster.handle(n(4), Event::Tick);
        for asked in cluster.wire.drain(..).filter(|envelope| envelope.to != n(5)).collect::<Vec<_>>() {
            cluster.deliver(asked);
        }
        for told in cluster.wire.drain(..).filter(|envelope| envelope.to == n(4)).collect::<Vec<_>>() {
            cluster.deliver(told);
        }
    }
    assert!(rounds.len() > 2 && rounds.last() >= Some(&4), "it votes its way: {rounds:?}");
    cluster.run_for_ms(2_000);
    assert!((1..=4).all(|id| cluster.diary(n(id)).len() == 1 && cluster.diary(n(id)) == cluster.diary(n(1))));
}

// tests [B10]
#[test]
fn who_was_given_nothing_takes_part() {
    let mut cluster = alone::<BenOr>(3, false);
    tell(&mut cluster, 2, at(1, true, None));
    assert_eq!(stands(&cluster).round, 0, "its own client may come yet");
    let said = wait(&mut cluster, 50);
    assert_eq!(stands(&cluster).casts, Some(casts(true, ONE)));
    assert_eq!(said, [Message::Ask(stands(&cluster)); 2]);
    // From one voter alone, a whole group decides.
    let mut cluster = Cluster::<BenOr>::new(5);
    cluster.propose(n(3), 1, b"1");
    cluster.run_for_ms(1_000);
    assert!((1..=5).all(|id| cluster.diary(n(id)) == [(1, Bytes::from_static(b"1"))]));
}

/// Two of three are given different values, and get into the third round before the third node hears of them; then one of the two is gone. In how many
/// of some runs that come so far the others decide, and in how many not.
pub(crate) fn decide_with_a_late_third(config: &Config) -> (usize, usize) {
    let run = |seed: u64| {
        let mut cluster = Cluster::<BenOr>::with(3, config.clone(), false, seed);
        cluster.isolate(n(3));
        cluster.propose(n(1), 1, b"0");
        cluster.propose(n(2), 2, b"1");
        let round = |cluster: &Cluster<BenOr>, id| cluster.nodes[&n(id)].algorithm().standing().round;
        while round(&cluster, 1).min(round(&cluster, 2)) < 3 {
            let envelope = cluster.wire.pop_front()?;
            cluster.deliver(envelope);
        }
        cluster.crash(n(1));
        cluster.wire.clear();
        if !cluster.diary(n(2)).is_empty() {
            return None;
        }
        cluster.heal();
        cluster.run_for_ms(10_000);
        Some((2..=3).all(|id| cluster.diary(n(id)).len() == 1))
    };
    let (decide, wait): (Vec<bool>, Vec<bool>) = (1..100).filter_map(run).partition(|&decides| decides);
    (decide.len(), wait.len())
}

// tests [B10]
#[test]
fn who_was_given_nothing_takes_part_however_late_it_hears_of_it() {
    let (decide, wait) = decide_with_a_late_third(&Config::default());
    assert!(decide > 5 && wait == 0, "{decide} runs end, and {wait} do not");
}

// tests [B10]
#[test]
fn among_liars_one_given_value_is_not_believed() {
    let mut cluster = alone::<Byzantine>(6, false);
    tell(&mut cluster, 2, at(1, true, None));
    tell(&mut cluster, 3, at(1, false, None));
    cluster.run_for_ms(500);
    assert_eq!(cluster.nodes[&n(1)].algorithm().standing().round, 0);
    tell(&mut cluster, 4, at(1, true, None));
    cluster.run_for_ms(500);
    assert_eq!(cluster.nodes[&n(1)].algorithm().standing().casts, Some(casts(true, None)));
}

// tests [B11]
#[test]
fn a_proposal_is_one_bit_and_comes_once() {
    let mut cluster = alone::<BenOr>(3, false);
    for (number, payload) in [(1, &b""[..]), (2, b"2"), (3, b"10"), (4, b"true")] {
        cluster.propose(n(1), number, payload);
    }
    cluster.propose(n(1), 5, b"1");
    cluster.propose(n(1), 6, b"0");
    let unsupported = [1, 2, 3, 4].map(|number| (number, Refusal::Unsupported));
    let refused: Vec<_> = unsupported.into_iter().chain([(6, Refusal::Busy)]).collect();
    assert_eq!(cluster.refusals(n(1)), refused);
    assert_eq!(stands(&cluster).casts, Some(casts(true, None)));
    tell(&mut cluster, 2, says_decided(false));
    cluster.propose(n(1), 7, b"0");
    assert_eq!(cluster.refusals(n(1)).last(), Some(&(7, Refusal::Busy)));
}

// tests [B11]
#[test]
fn whose_proposal_comes_too_late_is_told_the_decision() {
    let mut cluster = alone::<BenOr>(3, false);
    tell(&mut cluster, 2, at(1, true, None));
    wait(&mut cluster, 50);
    cluster.propose(n(1), 9, b"0");
    tell(&mut cluster, 2, at(1, true, ONE));
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"1"))]);
    let done = |reply: &consensus_core::Reply| matches!(reply, consensus_core::Reply::Done { id, .. } if *id == proposal(9));
    assert!(cluster.replies.iter().any(|(_, reply)| done(reply)));
}

// tests [B12]
#[test]
fn under_crashes_one_word_of_a_decision_suffices() {
    let mut cluster = given(5, b"1");
    let said = tell(&mut cluster, 2, says_decided(false));
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"0"))]);
    assert_eq!(said.len(), 4, "it tells the others");
    assert_eq!(wait(&mut cluster, 10_000), [], "and is done");
}

// tests [B12]
#[test]
fn among_liars_one_word_is_not_believed() {
    let mut cluster = alone::<Byzantine>(7, false);
    cluster.propose(n(1), 1, b"1");
    for message in [says_decided(false), says_decided(false), says_decided(true)] {
        tell(&mut cluster, 2, message);
    }
    assert_eq!(cluster.diary(n(1)), []);
    tell(&mut cluster, 3, says_decided(false));
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"0"))]);
    // It votes on: another may hear but one correct node say so.
    for from in 2..=6 {
        let decided = (from < 4).then_some(Decided { value: false, reached: false });
        let votes = Some(casts(from % 2 == 0, None));
        tell(&mut cluster, from, Message::Tell(Standing { round: 1, casts: votes, before: None, decided }));
    }
    assert!(cluster.nodes[&n(1)].algorithm().standing().casts.unwrap().proposal.is_some());
    assert!(cluster.next_deadline().is_some());
    // Until all but the liars have decided.
    for from in 4..=6 {
        tell(&mut cluster, from, says_decided(false));
    }
    cluster.run_for_ms(1_000);
    assert_eq!(cluster.next_deadline(), None);
}

// tests [B12]
#[test]
fn who_agree_from_the_start_decide_in_the_first_round_whatever_a_liar_says() {
    for (value, other) in [(&b"1"[..], false), (b"0", true)] {
        let mut cluster = alone::<Byzantine>(6, false);
        let own = value == b"1";
        cluster.propose(n(1), 1, value);
        tell(
            &mut cluster,
            6,
            Message::Tell(Standing {
                round: 1,
                casts: Some(Casts::all_for(other)),
                before: None,
                decided: Some(Decided { value: other, reached: false }),
            }),
        );
        for from in 2..=5 {
            tell(&mut cluster, from, at(1, own, Some(Proposal::Value(own))));
        }
        assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(value))]);
    }
}

// tests [B13]
#[test]
fn impostors_and_what_nobody_casts_are_accused_and_ignored() {
    let mut cluster = given(3, b"1");
    let before = stands(&cluster);
    let standing = |round, casts, before, decided| Message::Tell(Standing { round, casts, before, decided });
    let (one, reached) = (Some(Casts::all_for(true)), Some(Decided { value: true, reached: true }));
    let tossed = Casts { report: Report { value: true, tossed: true }, proposal: None };
    let lies = [
        (1, at(1, true, ONE)),
        (7, at(1, true, ONE)),
        (2, at(u64::MAX, true, ONE)),
        (2, standing(0, one, None, None)),
        (2, standing(1, None, None, None)),
        (2, standing(1, one, one, None)),
        (2, standing(1, Some(tossed), None, None)),
        (2, standing(1, one, None, reached)),
        (2, standing(3, Some(casts(true, ZERO)), one, reached)),
    ];
    let count = lies.len();
    for (from, lie) in lies {
        assert_eq!(tell(&mut cluster, from, lie), [], "{lie:?}");
    }
    assert_eq!(cluster.accusations.len(), count);
    assert_eq!(stands(&cluster), before);
}

// tests [B13]
#[test]
fn who_has_no_vote_is_not_counted_and_learns() {
    let members = Members::of([n(1), n(2), n(3)]).with_learners([n(4)]);
    let mut cluster = Cluster::<BenOr>::of(members, Config::default(), false, 1);
    cluster.propose(n(1), 1, b"1");
    cluster.propose(n(4), 2, b"0");
    assert_eq!(cluster.refusals(n(4)), [(2, Refusal::Unsupported)]);
    cluster.wire.clear();
    cluster.deliver(Envelope { from: n(4), to: n(1), message: at(1, true, ONE) });
    cluster.deliver(Envelope { from: n(4), to: n(1), message: says_decided(false) });
    assert_eq!(
        stands(&cluster),
        Standing { round: 1, casts: Some(casts(true, None)), ..Standing::default() }
    );
    cluster.run_for_ms(1_000);
    assert!((1..=4).all(|id| cluster.diary(n(id)) == [(1, Bytes::from_static(b"1"))]));
    assert_eq!(cluster.nodes[&n(4)].algorithm().standing().round, 0);
    assert_eq!(cluster.nodes[&n(4)].status().decided, Slot(1));
    // Among liars too: nobody misses its votes.
    let members = Members::of((2..=7).map(n)).with_learners([n(1)]);
    let mut cluster = Cluster::<Byzantine>::of(members, Config::default(), false, 1);
    (2..=7).for_each(|id| cluster.crash(n(id)));
    tell(&mut cluster, 2, says_decided(true));
    tell(&mut cluster, 3, says_decided(true));
    cluster.run_for_ms(1_000);
    assert_eq!((cluster.diary(n(1)).len(), cluster.next_deadline()), (1, None));
}

// tests [B13]
#[test]
fn configurations_that_cannot_work_are_refused() {
    let open = |config: Config, members: Members| {
        let mut node = NodeConfig::<BenOr>::new(n(1), members, 1);
        node.algorithm = config;
        let disk = MemoryStorage::default();
        Node::open(node, Time::ZERO, Outbox::default(), disk, common::Diary::default()).map(|_| ())
    };
    let voters = Members::of([n(1), n(2), n(3)]);
    for retry_ms in [0, u64::MAX] {
        let refused = open(Config { retry_ms, ..Config::default() }, voters.clone());
        assert!(matches!(refused, Err(NodeError::Config(error)) if error.field == "retry_ms"));
    }
    let refused = open(Config { common_rounds: 1 << 11, ..Config::default() }, voters.clone());
    assert!(matches!(refused, Err(NodeError::Config(error)) if error.field == "common_rounds"));
    for members in [Members::of([]).with_learners([n(1)]), voters.with_outgoing([n(4)])] {
        let refused = open(Config::default(), members);
        assert!(matches!(refused, Err(NodeError::Config(error)) if error.field == "members"));
    }
}
