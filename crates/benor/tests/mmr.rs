//! One test per clause of `spec.md` on agreement with a hidden coin.

use crate::common::{Cluster, Diary, Envelope, draws, n};
use benor::Mmr;
use benor::mmr::{Casts, Coin, Config, Message, Record, Share, Standing, Thresholds, Values, deal};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, Event, Members, Node, NodeConfig, NodeError, NodeId, Offence, Refusal, Slot, Storage, WriteSeq,
};
use std::time::Duration;

use Values::{Both, One, Zero};

/// What is no share of anything.
pub(crate) const FORGED: Share = Share { element: [0; 32], challenge: [0; 32], response: [0; 32] };

/// The coin of a group of this number and size, with the secrets of all.
pub(crate) fn coin(size: u64, group: u64) -> Coin {
    let members: Vec<NodeId> = (1..=size).map(NodeId).collect();
    let threshold = Thresholds::of(members.len()).relay;
    let (keys, secrets) = deal(&members, threshold, &[7; 32]).unwrap();
    Coin::new(group, keys, secrets).unwrap()
}

pub(crate) fn config(size: u64, group: u64) -> Config {
    Config { coin: coin(size, group), ..Config::default() }
}

/// How the coin of a round falls.
pub(crate) fn falls(coin: &Coin, round: u64) -> bool {
    let members = coin.keys().members();
    let shares: Vec<_> = members.iter().map(|&member| (member, coin.share(member, round).unwrap())).collect();
    coin.toss(round, &shares).unwrap()
}

/// A group of this size whose coin of the first round falls so.
fn falling(size: u64, value: bool) -> Config {
    (0..).map(|group| config(size, group)).find(|config| falls(&config.coin, 1) == value).unwrap()
}

/// EST, and what is cast besides.
pub(crate) fn casts(est: Values, aux: Option<bool>, conf: Option<Values>) -> Casts {
    Casts { est, aux, conf, share: None }
}

/// Somebody stands in this round with these votes, and went through the one before.
pub(crate) fn at(round: u64, casts: Casts) -> Standing {
    let before =
        (round > 1).then(|| Casts { share: Some(FORGED), ..self::casts(One, Some(true), Some(One)) });
    Standing { round, casts: Some(casts), before, decided: None }
}

fn says_decided(value: bool) -> Standing {
    Standing { decided: Some(value), ..Standing::default() }
}

/// Node 1 of so many, alone with what the test tells it, and with this value.
fn given(size: u64, config: Config, value: &'static [u8]) -> Cluster<Mmr> {
    let mut cluster = Cluster::<Mmr>::with(size, config, false, 1);
    (2..=size).for_each(|id| cluster.crash(n(id)));
    if !value.is_empty() {
        cluster.propose(n(1), 1, value);
    }
    cluster
}

fn say(cluster: &mut Cluster<Mmr>, from: u64, message: Message) -> Vec<Message> {
    cluster.wire.clear();
    cluster.deliver(Envelope { from: n(from), to: n(1), message });
    cluster.wire.drain(..).map(|envelope| envelope.message).collect()
}

fn tell(cluster: &mut Cluster<Mmr>, from: u64, standing: Standing) -> Vec<Message> {
    say(cluster, from, Message::Tell(standing))
}

/// What node 1 has cast in its round.
fn cast(cluster: &Cluster<Mmr>) -> Casts {
    stands(cluster).casts.unwrap()
}

fn stands(cluster: &Cluster<Mmr>) -> Standing {
    cluster.nodes[&n(1)].algorithm().standing()
}

fn restart(cluster: &mut Cluster<Mmr>) {
    cluster.wire.clear();
    cluster.crash(n(1));
    cluster.start(n(1));
}

fn wait(cluster: &mut Cluster<Mmr>, ms: u64) -> Vec<Message> {
    cluster.wire.clear();
    cluster.now += Duration::from_millis(ms);
    cluster.handle(n(1), Event::Tick);
    cluster.wire.drain(..).map(|envelope| envelope.message).collect()
}

/// The others' votes in round 1: both of them as these, with their shares if they are to be given.
fn both_cast(cluster: &mut Cluster<Mmr>, casts: Casts, has_shares: bool) {
    for from in [2, 3] {
        let share = cluster.config.coin.share(n(from), 1).filter(|_| has_shares);
        tell(cluster, from, at(1, Casts { share, ..casts }));
    }
}

// tests [M1]
#[test]
fn waits_depend_on_n_and_what_liars_cannot_do_alone_on_t() {
    let numbers = |n| {
        let it = Thresholds::of(n);
        [it.wait, it.accept, it.relay, it.believe]
    };
    assert_eq!([1, 3, 4, 5].map(numbers), [[1, 1, 1, 1], [3, 1, 1, 1], [3, 3, 2, 2], [4, 3, 2, 2]]);
    assert_eq!([6, 7, 10].map(numbers), [[5, 3, 2, 2], [5, 5, 3, 3], [7, 7, 4, 4]]);
    for n in 1..200 {
        let Thresholds { wait, accept, relay, believe } = Thresholds::of(n);
        let t = n - wait;
        assert!(n > 3 * t && 2 * wait > n + t, "two waits share a correct voter, n = {n}");
        assert!(accept <= wait && accept - t >= relay, "what is accepted comes to be passed on, n = {n}");
        assert!(relay > t && believe > t && wait > 2 * (relay - 1), "something is passed on, n = {n}");
    }
}

// tests [M2]
#[test]
fn each_voter_counts_once() {
    let mut cluster = given(4, config(4, 0), b"1");
    for _ in 0..4 {
        tell(&mut cluster, 2, at(1, casts(One, Some(true), None)));
    }
    assert_eq!(cast(&cluster), Casts::of(true), "two of four speak for 1");
    tell(&mut cluster, 3, at(1, casts(One, None, None)));
    assert_eq!(cast(&cluster), casts(One, Some(true), None), "two have named a value, itself among them");
}

// tests [M2]
#[test]
fn the_first_vote_counts_and_another_is_evidence() {
    let mut cluster = given(7, config(7, 0), b"1");
    let share = cluster.config.coin.share(n(4), 1);
    let lies = [
        (2, casts(One, Some(true), None), casts(Both, Some(false), None)),
        (3, casts(One, Some(true), Some(One)), casts(One, Some(true), Some(Both))),
        (
            4,
            Casts { share: Some(FORGED), ..casts(One, Some(true), Some(One)) },
            Casts { share, ..casts(One, Some(true), Some(One)) },
        ),
    ];
    for (from, one, other) in lies {
        tell(&mut cluster, from, at(1, one));
        tell(&mut cluster, from, at(1, other));
    }
    let accused: Vec<_> = cluster.accusations.iter().map(|(_, peer, _)| peer.0).collect();
    assert_eq!(accused, [2, 3, 4]);
    assert!(cluster.accusations.iter().all(|(_, _, why)| matches!(why, Offence::Equivocation(_))));
    // Their first votes stand: 1 was named by 2, 3 and 4, and it takes one more.
    tell(&mut cluster, 5, at(1, casts(One, Some(true), None)));
    assert_eq!(cast(&cluster), casts(One, Some(true), Some(One)));
    // To speak for both values is no lie, and neither is to say less than one has said before.
    tell(&mut cluster, 5, at(1, casts(Both, Some(true), Some(One))));
    tell(&mut cluster, 5, at(1, Casts::of(true)));
    tell(&mut cluster, 6, says_decided(true));
    tell(&mut cluster, 6, says_decided(false));
    assert_eq!(cluster.accusations.len(), 4, "two decisions are");
}

// tests [M3]
#[test]
fn a_value_is_accepted_that_correct_voters_will_all_pass_on() {
    let mut cluster = given(7, config(7, 0), b"1");
    for from in 2..=4 {
        tell(&mut cluster, from, at(1, Casts::of(true)));
        assert_eq!(cast(&cluster).aux, None, "two of {from} may lie, and the others not hear of it");
    }
    tell(&mut cluster, 5, at(1, Casts::of(true)));
    assert_eq!(cast(&cluster).aux, Some(true));
}

// tests [M4]
#[test]
fn what_one_correct_voter_holds_is_passed_on() {
    let mut cluster = given(7, config(7, 0), b"1");
    for from in [2, 3] {
        tell(&mut cluster, from, at(1, Casts::of(false)));
        assert_eq!(cast(&cluster), Casts::of(true), "these two may be liars");
    }
    assert_eq!(tell(&mut cluster, 4, at(1, Casts::of(false))).len(), 6, "and everybody is told");
    assert_eq!(cast(&cluster), casts(Both, None, None));
}

/// Node 1 of seven, in round 2: it went through the first with five voters who all speak for 1.
fn in_round_two(config: Config) -> Cluster<Mmr> {
    let mut cluster = given(7, config, b"1");
    for from in [2, 3, 6, 7] {
        let share = cluster.config.coin.share(n(from), 1);
        tell(&mut cluster, from, at(1, Casts { share, ..casts(One, Some(true), Some(One)) }));
    }
    assert_eq!(stands(&cluster).round, 2);
    cluster
}

// tests [M4] [M9]
#[test]
fn a_value_is_passed_on_in_rounds_that_are_over() {
    let mut cluster = in_round_two(config(7, 0));
    // Node 5 is left behind: some voter accepted 0 too, and it cannot count that one before it has accepted 0 itself.
    let behind = at(1, casts(Both, None, None));
    let said = say(&mut cluster, 5, Message::Ask(behind));
    assert_eq!(said.last().unwrap().standing().before.unwrap().est, One, "one voter's word");
    // It may be right, and who else speaks for 0 may have been lost: that is asked for.
    let said = wait(&mut cluster, 50);
    let asked: Vec<u64> = said.iter().map(|message| message.standing().round).collect();
    assert_eq!(asked, [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]);
    for from in [2, 3] {
        let before = Some(Casts { share: Some(FORGED), ..casts(Both, Some(true), Some(One)) });
        tell(&mut cluster, from, Standing { before, ..at(2, Casts::of(true)) });
    }
    let said = say(&mut cluster, 5, Message::Ask(behind));
    assert_eq!(said.last().unwrap().standing().before.unwrap().est, Both);
    assert!(
        wait(&mut cluster, 50).iter().all(|message| message.standing().round == 2),
        "nothing is in doubt"
    );
    restart(&mut cluster);
    assert_eq!(stands(&cluster).before.unwrap().est, Both, "and it was written down");
}

// tests [M5]
#[test]
fn one_value_is_named_and_what_enough_have_named_is_confirmed() {
    let mut cluster = given(4, config(4, 0), b"1");
    both_cast(&mut cluster, Casts::of(true), false);
    assert_eq!(cast(&cluster), casts(One, Some(true), None));
    tell(&mut cluster, 2, at(1, casts(One, Some(true), None)));
    // Nobody else speaks for 0: whoever names it is not counted, since it may have made it up.
    tell(&mut cluster, 4, at(1, casts(Zero, Some(false), Some(Zero))));
    assert_eq!(cast(&cluster).conf, None);
    // Once it is accepted it counts.
    tell(&mut cluster, 3, at(1, casts(Both, None, None)));
    assert_eq!(cast(&cluster), casts(Both, Some(true), Some(Both)));
}

// tests [M5]
#[test]
fn what_is_left_is_what_enough_have_confirmed() {
    let mut cluster = given(4, falling(4, false), b"1");
    both_cast(&mut cluster, casts(One, Some(true), None), false);
    assert_eq!(cast(&cluster), casts(One, Some(true), Some(One)));
    // Both values were confirmed, but 0 was not accepted here.
    tell(&mut cluster, 4, at(1, casts(Zero, Some(false), Some(Both))));
    tell(&mut cluster, 2, at(1, casts(One, Some(true), Some(One))));
    assert_eq!(cast(&cluster).share, None);
    // Now it is, and both are left: the coin gives the value.
    let share = cluster.config.coin.share(n(2), 1);
    tell(&mut cluster, 2, at(1, Casts { share, ..casts(Both, Some(true), Some(One)) }));
    let Standing { round, casts: present, before, decided } = stands(&cluster);
    assert_eq!((round, present, decided), (2, Some(Casts::of(false)), None));
    assert!(before.unwrap().share.is_some());
}

// tests [M6]
#[test]
fn a_share_is_told_after_the_wait_and_not_before() {
    let mut cluster = given(4, config(4, 0), b"1");
    both_cast(&mut cluster, casts(One, Some(true), None), false);
    tell(&mut cluster, 2, at(1, casts(One, Some(true), Some(One))));
    assert_eq!(cast(&cluster), casts(One, Some(true), Some(One)), "two have confirmed");
    let said = tell(&mut cluster, 3, at(1, casts(One, Some(true), Some(One))));
    let share = said.last().unwrap().standing().casts.unwrap().share.unwrap();
    assert!(cluster.config.coin.verify(n(1), 1, &share));
    assert_eq!(stands(&cluster).round, 1, "one share is no coin");
}

// tests [M6]
#[test]
fn a_share_that_proves_nothing_is_not_counted_and_its_voter_accused() {
    let mut cluster = given(4, config(4, 0), b"1");
    let all = casts(One, Some(true), Some(One));
    tell(&mut cluster, 2, at(1, Casts { share: Some(FORGED), ..all }));
    // A share of another coin is one as well.
    let other = cluster.config.coin.share(n(3), 2);
    tell(&mut cluster, 3, at(1, Casts { share: other, ..all }));
    assert_eq!(stands(&cluster).round, 1);
    let accused = [(n(1), n(2), Offence::Forged), (n(1), n(3), Offence::Forged)];
    assert_eq!(cluster.accusations, accused);
    tell(&mut cluster, 3, at(1, Casts { share: other, ..all }));
    assert_eq!(cluster.accusations.len(), 2, "each is looked at once");
    let share = cluster.config.coin.share(n(4), 1);
    tell(&mut cluster, 4, at(1, Casts { share, ..all }));
    assert_eq!(stands(&cluster).round, 2);
    // One that is not needed is not looked at.
    let mut cluster = given(4, config(4, 0), b"1");
    let share = cluster.config.coin.share(n(2), 1);
    tell(&mut cluster, 3, at(1, casts(One, Some(true), None)));
    tell(&mut cluster, 4, at(1, Casts { share: Some(FORGED), ..all }));
    tell(&mut cluster, 2, at(1, Casts { share, ..all }));
    assert_eq!((stands(&cluster).round, cluster.accusations.len()), (2, 0));
}

// tests [M7]
#[test]
fn the_value_that_is_left_is_decided_if_the_coin_falls_on_it_and_kept_if_not() {
    for falls in [false, true] {
        let mut cluster = given(4, falling(4, falls), b"1");
        both_cast(&mut cluster, casts(One, Some(true), Some(One)), true);
        let Standing { round, casts, decided, .. } = stands(&cluster);
        assert_eq!((round, casts), (2, Some(Casts::of(true))));
        assert_eq!(decided, falls.then_some(true));
        assert_eq!(cluster.diary(n(1)).len(), usize::from(falls));
    }
}

// tests [M7]
#[test]
fn where_both_are_left_the_coin_gives_the_value() {
    for falls in [false, true] {
        let mut cluster = given(4, falling(4, falls), b"1");
        both_cast(&mut cluster, casts(Both, Some(false), Some(Both)), true);
        let Standing { round, casts, decided, .. } = stands(&cluster);
        assert_eq!((round, casts, decided), (2, Some(Casts::of(falls)), None));
    }
}

// tests [M7]
#[test]
fn who_has_decided_goes_on_until_all_but_the_liars_have() {
    let mut cluster = given(4, falling(4, true), b"1");
    both_cast(&mut cluster, casts(One, Some(true), Some(One)), true);
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"1"))]);
    let said = wait(&mut cluster, 50);
    assert_eq!(said, [Message::Ask(stands(&cluster)); 3], "others may need its votes");
    both_cast(&mut cluster, casts(One, Some(true), Some(One)), true);
    tell(&mut cluster, 2, says_decided(true));
    assert!(cluster.next_deadline().is_some(), "one of these two may lie");
    tell(&mut cluster, 4, says_decided(true));
    cluster.run_for_ms(1_000);
    assert_eq!(cluster.next_deadline(), None);
    // And then answers whoever asks.
    let [Message::Tell(told)] = say(&mut cluster, 3, Message::Ask(Standing::default()))[..] else { panic!() };
    assert_eq!((told.round, told.decided), (1, Some(true)));
    restart(&mut cluster);
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"1"))]);
    assert_eq!(cluster.nodes[&n(1)].status().epoch.0, 1);
}

// tests [M7]
#[test]
fn a_decision_is_believed_that_a_correct_node_tells() {
    let mut cluster = given(4, config(4, 0), b"1");
    for standing in [says_decided(false), says_decided(false)] {
        tell(&mut cluster, 2, standing);
    }
    assert_eq!(cluster.diary(n(1)), []);
    tell(&mut cluster, 3, says_decided(false));
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"0"))]);
    for from in [2, 3, 4] {
        tell(&mut cluster, from, says_decided(true));
    }
    assert_eq!(cluster.diary(n(1)), [(1, Bytes::from_static(b"0"))], "there is one");
}

// tests [M8]
#[test]
fn a_vote_is_durable_before_anybody_hears_of_it() {
    let mut cluster = Cluster::<Mmr>::with(4, config(4, 0), true, 1);
    (2..=4).for_each(|id| cluster.crash(n(id)));
    cluster.propose(n(1), 1, b"1");
    assert!(cluster.wire.is_empty(), "EST is not on disk");
    cluster.sync(n(1));
    assert_eq!(cluster.wire.len(), 3);
    for casts in [Casts::of(true), casts(One, Some(true), None), casts(One, Some(true), Some(One))] {
        for from in [2, 3] {
            assert_eq!(tell(&mut cluster, from, at(1, casts)), [], "nor is what comes of {casts:?}");
        }
    }
    assert!(cast(&cluster).share.is_some());
    restart(&mut cluster);
    assert_eq!(cast(&cluster), Casts::of(true), "nobody has heard of more");
    assert_eq!(wait(&mut cluster, 50), [Message::Ask(stands(&cluster)); 3]);
}

// tests [M8]
#[test]
fn a_restart_votes_as_before() {
    let mut cluster = given(4, config(4, 0), b"0");
    let steps = [casts(One, None, None), casts(One, Some(true), None), casts(One, Some(true), Some(One))];
    for step in steps {
        both_cast(&mut cluster, step, false);
        let before = stands(&cluster);
        restart(&mut cluster);
        assert_eq!(stands(&cluster), before);
    }
    assert_eq!(cast(&cluster).est, Both);
    assert!(cast(&cluster).share.is_some());
    // It counts the others' votes anew, and goes on.
    both_cast(&mut cluster, steps[2], true);
    assert_eq!(stands(&cluster).round, 2);
    let before = stands(&cluster);
    restart(&mut cluster);
    assert_eq!(stands(&cluster), before);
}

// tests [M8]
#[test]
fn records_that_do_not_fit_together_are_refused() {
    let entered = |round| Record::Entered { round, value: true };
    let relayed = Record::Relayed { round: 1, value: false };
    let (named, confirmed, shared) = (Record::Named(true), Record::Confirmed(One), Record::Shared(FORGED));
    let decided = Record::Decided { value: true, round: 1 };
    let open = |records: &[Record]| {
        let mut disk = MemoryStorage::default();
        for (seq, record) in (1..).zip(records) {
            disk.append(WriteSeq(seq), *record);
        }
        let mut node = NodeConfig::<Mmr>::new(n(1), Members::of((1..=4).map(n)), 1);
        node.algorithm = config(4, 0);
        Node::open(node, consensus_core::Time::ZERO, Outbox::default(), disk, Diary::default()).map(|_| ())
    };
    let sound: [&[Record]; 3] = [
        &[entered(1), relayed, named, confirmed, shared, entered(2), relayed, decided, named],
        &[decided],
        &[Record::Given { id: crate::common::proposal(1), value: true }],
    ];
    for records in sound {
        assert!(open(records).is_ok(), "{records:?}");
    }
    let broken: [&[Record]; 12] = [
        &[entered(2)],
        &[entered(1), entered(2)],
        &[entered(1), entered(1)],
        &[relayed],
        &[entered(1), Record::Relayed { round: 2, value: true }],
        &[named],
        &[entered(1), named, named],
        &[entered(1), confirmed],
        &[entered(1), named, shared],
        &[entered(1), named, confirmed, shared, shared],
        &[entered(1), named, confirmed, confirmed],
        &[decided, decided],
    ];
    for records in broken {
        assert!(matches!(open(records), Err(NodeError::Restore(_))), "{records:?}");
    }
}

// tests [M9]
#[test]
fn what_is_lost_is_made_up_for() {
    for size in [4, 7] {
        for seed in 1..=10 {
            let mut cluster = Cluster::<Mmr>::with(size, config(size, seed), false, seed);
            let mut draw = draws(seed);
            for id in 1..=size {
                cluster.propose(n(id), id, if id % 2 == 0 { b"0" } else { b"1" });
            }
            // Half of all messages are lost, and any may overtake any.
            for _ in 0..200_000 {
                if cluster.nodes.keys().all(|&id| !cluster.diary(id).is_empty()) {
                    break;
                }
                let place = draw(cluster.wire.len());
                match cluster.wire.swap_remove_back(place) {
                    Some(envelope) if draw(2) == 0 => cluster.deliver(envelope),
                    Some(_) => {}
                    None => {
                        let (at, id) = cluster.next_deadline().unwrap();
                        cluster.now = cluster.now.max(at);
                        cluster.handle(id, Event::Tick);
                    }
                }
            }
            let first = cluster.diary(n(1)).to_vec();
            assert_eq!(first.len(), 1);
            assert!((2..=size).all(|id| cluster.diary(n(id)) == first), "n = {size}, seed {seed}");
            assert_eq!(cluster.accusations, []);
        }
    }
}

// tests [M9]
#[test]
fn who_is_behind_is_told_of_its_round_and_the_next() {
    let mut cluster = in_round_two(config(7, 0));
    let ask = |round| Message::Ask(if round == 0 { Standing::default() } else { at(round, Casts::of(true)) });
    let [Message::Tell(told)] = say(&mut cluster, 4, ask(1))[..] else { panic!() };
    assert_eq!(told, stands(&cluster));
    let [Message::Tell(told)] = say(&mut cluster, 5, ask(0))[..] else { panic!() };
    assert_eq!((told.round, told.before), (1, None));
    assert_eq!(say(&mut cluster, 4, ask(2)), [], "who is not behind hears of it when it asks itself");
    // Somebody is far ahead: it asks at once.
    let said = tell(&mut cluster, 6, at(5, Casts::of(true)));
    assert_eq!(said, []);
    let said = tell(&mut cluster, 2, at(2, casts(Both, None, None)));
    assert_eq!(said, []);
}

// tests [M10]
#[test]
fn rounds_far_ahead_are_not_kept_and_there_is_a_last_one() {
    let mut cluster = given(4, config(4, 0), b"1");
    for round in [2, 9, 1 << 10] {
        tell(&mut cluster, 2, at(round, casts(One, Some(true), None)));
    }
    assert_eq!(stands(&cluster).round, 1, "of others it keeps the last word");
    assert_eq!(cluster.accusations, []);
    tell(&mut cluster, 2, at((1 << 10) + 1, Casts::of(true)));
    assert!(matches!(cluster.accusations[..], [(_, _, Offence::Malformed(_))]));
}

// tests [M11]
#[test]
fn who_was_given_nothing_takes_what_a_correct_voter_was_given() {
    let mut cluster = given(4, config(4, 0), b"");
    tell(&mut cluster, 2, at(1, Casts::of(true)));
    tell(&mut cluster, 3, at(1, Casts::of(false)));
    cluster.run_for_ms(500);
    assert_eq!(stands(&cluster).round, 0, "one of them may lie, and nobody knows which");
    tell(&mut cluster, 4, at(1, Casts::of(false)));
    assert_eq!(cast(&cluster), casts(Zero, Some(false), None));
    // From two voters, a whole group decides.
    let mut cluster = Cluster::<Mmr>::with(4, config(4, 0), false, 1);
    cluster.propose(n(3), 1, b"1");
    cluster.propose(n(2), 1, b"1");
    cluster.run_for_ms(1_000);
    assert!((1..=4).all(|id| cluster.diary(n(id)) == [(1, Bytes::from_static(b"1"))]));
}

// tests [M12]
#[test]
fn a_proposal_is_one_bit_and_comes_once() {
    let mut cluster = given(4, config(4, 0), b"");
    for (number, payload) in [(1, &b""[..]), (2, b"2"), (3, b"10"), (4, b"true")] {
        cluster.propose(n(1), number, payload);
    }
    cluster.propose(n(1), 5, b"1");
    cluster.propose(n(1), 6, b"0");
    let unsupported = [1, 2, 3, 4].map(|number| (number, Refusal::Unsupported));
    let refused: Vec<_> = unsupported.into_iter().chain([(6, Refusal::Busy)]).collect();
    assert_eq!(cluster.refusals(n(1)), refused);
    assert_eq!(cast(&cluster), Casts::of(true));
    for from in [2, 3] {
        tell(&mut cluster, from, says_decided(false));
    }
    cluster.propose(n(1), 7, b"0");
    assert_eq!(cluster.refusals(n(1)).last(), Some(&(7, Refusal::Busy)));
}

// tests [M13]
#[test]
fn impostors_and_what_nobody_casts_are_accused_and_ignored() {
    let mut cluster = given(4, config(4, 0), b"1");
    let before = stands(&cluster);
    let one = Casts::of(true);
    let complete = Casts { share: Some(FORGED), ..casts(One, Some(true), Some(One)) };
    let standing = |round, casts, before| Standing { round, casts, before, decided: None };
    let lies = [
        (1, at(1, one)),
        (9, at(1, one)),
        (2, at(u64::MAX, one)),
        (2, standing(0, Some(one), None)),
        (2, standing(1, None, None)),
        (2, standing(1, Some(one), Some(complete))),
        (2, standing(2, Some(one), None)),
        (2, standing(2, Some(one), Some(one))),
        (2, at(1, casts(One, None, Some(One)))),
        (2, at(1, Casts { share: Some(FORGED), ..casts(One, Some(true), None) })),
    ];
    let count = lies.len();
    for (from, lie) in lies {
        assert_eq!(tell(&mut cluster, from, lie), [], "{lie:?}");
    }
    assert_eq!(cluster.accusations.len(), count);
    assert_eq!(stands(&cluster), before);
}

// tests [M13]
#[test]
fn who_has_no_vote_is_not_counted_and_learns() {
    let members = Members::of((1..=4).map(n)).with_learners([n(5)]);
    let mut cluster = Cluster::<Mmr>::of(members, config(4, 0), false, 1);
    cluster.propose(n(5), 9, b"0");
    assert_eq!(cluster.refusals(n(5)), [(9, Refusal::Unsupported)]);
    for id in 1..=4 {
        cluster.propose(n(id), id, b"1");
    }
    cluster.wire.clear();
    cluster.deliver(Envelope { from: n(5), to: n(1), message: Message::Tell(at(1, Casts::of(false))) });
    cluster.run_for_ms(2_000);
    assert!((1..=5).all(|id| cluster.diary(n(id)) == [(1, Bytes::from_static(b"1"))]));
    assert_eq!(cluster.nodes[&n(5)].algorithm().standing().round, 0);
    assert_eq!(cluster.nodes[&n(5)].status().decided, Slot(1));
    assert_eq!(cluster.next_deadline(), None, "all are done");
}

// tests [M13]
#[test]
fn configurations_that_cannot_work_are_refused() {
    let open = |config: Config, members: Members| {
        let mut node = NodeConfig::<Mmr>::new(n(1), members, 1);
        node.algorithm = config;
        let disk = MemoryStorage::default();
        Node::open(node, consensus_core::Time::ZERO, Outbox::default(), disk, Diary::default()).map(|_| ())
    };
    let voters = Members::of((1..=4).map(n));
    let names = |result: Result<(), NodeError>, field| matches!(result, Err(NodeError::Config(error)) if error.field == field);
    for retry_ms in [0, u64::MAX] {
        assert!(names(open(Config { retry_ms, ..config(4, 0) }, voters.clone()), "retry_ms"));
    }
    for members in [Members::of([]).with_learners([n(1)]), voters.clone().with_outgoing([n(5)])] {
        assert!(names(open(config(4, 0), members), "members"));
    }
    let of = |size: u64, threshold| {
        let members: Vec<_> = (1..=size).map(n).collect();
        let (keys, secrets) = deal(&members, threshold, &[3; 32]).unwrap();
        Config { coin: Coin::new(0, keys, secrets).unwrap(), ..Config::default() }
    };
    for config in [Config::default(), of(5, 2), of(4, 1), of(4, 3)] {
        assert!(names(open(config, voters.clone()), "coin"));
    }
    // The secret of somebody else.
    let (keys, secrets) = deal(&[1, 2, 3, 4].map(n), 2, &[3; 32]).unwrap();
    let coin = Coin::new(0, keys, secrets.into_iter().skip(1)).unwrap();
    let refused = open(Config { coin, ..Config::default() }, voters.clone());
    assert!(matches!(refused, Err(NodeError::Restore(_))));
    assert!(open(config(4, 0), voters).is_ok());
}

/// Whatever the sizes, all decide the same, and what all were given if that was one value.
#[test]
fn groups_of_many_sizes_decide() {
    for size in 1..=10 {
        for given in [&[b"1"][..], &[b"0"], &[b"0", b"1"]] {
            let mut cluster = Cluster::<Mmr>::with(size, config(size, size), false, 1);
            for (id, value) in (1..=size).zip(given.iter().cycle()) {
                cluster.propose(n(id), id, *value);
            }
            cluster.run_for_ms(2_000);
            let first = cluster.diary(n(1)).to_vec();
            assert!((1..=size).all(|id| cluster.diary(n(id)) == first), "n = {size}");
            assert!(first.len() == 1 && given.iter().any(|value| first[0].1 == value[..]), "n = {size}");
            assert_eq!(cluster.next_deadline(), None, "all are done, n = {size}");
        }
    }
}
