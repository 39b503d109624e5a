//! One test per clause of the log in `spec.md`.

use crate::common::{Cluster, Envelope, n, proposal};
use benor::log::{
    BatchId, Config, Entry, Instance, Message, Numbers, Offer, Outcome, Page, Parcel, Record, Stand, Vote,
    Want, Word,
};
use benor::{Casts, Log, Proposal, Report, Standing};
use consensus_core::memory::{MemoryStorage, Outbox};
use consensus_core::{
    Bytes, ConsensusAlgorithm, Event, Members, Node, NodeConfig, NodeError, NodeId, Offence, Refusal, Slot,
    Storage, Time, WriteSeq,
};

type Group = Cluster<Log>;

fn group(size: u64, config: Config) -> Group {
    Group::with(size, config, false, 1)
}

/// Node 1 of so many, alone with what the test tells it.
fn alone_with(size: u64, config: Config) -> Group {
    let mut cluster = group(size, config);
    (2..=size).for_each(|id| cluster.crash(n(id)));
    cluster.wire.clear();
    cluster
}

fn alone(size: u64) -> Group {
    alone_with(size, Config::default())
}

const fn id(origin: u64, number: u64) -> BatchId {
    BatchId { origin: NodeId(origin), number }
}

/// A batch with one proposal in it, which tells its name.
fn parcel(origin: u64, number: u64) -> Parcel {
    let payload = Bytes::from(format!("{origin}/{number}"));
    let entry = Entry { id: proposal(origin * 1_000 + number), payload };
    Parcel { id: id(origin, number), entries: [entry].into_iter().collect() }
}

fn offers(instance: u64, offer: Offer) -> Word {
    Word {
        instance: Instance(instance),
        offer: Some(offer),
        standing: Standing::default(),
        batch: offer.batch(),
    }
}

/// Somebody votes in this round, for the batch or for nothing.
fn votes(instance: u64, round: u64, value: bool, proposal: Option<Proposal>, batch: BatchId) -> Word {
    let casts = Some(Casts { report: Report { value, tossed: false }, proposal });
    let standing = Standing { round, casts, before: None, decided: None };
    Word { instance: Instance(instance), offer: None, standing, batch: Some(batch) }
}

fn says(words: Vec<Word>) -> Message {
    Message::Tell(Stand { settled: Instance::ZERO, words })
}

fn tell(cluster: &mut Group, from: u64, message: Message) -> Vec<Envelope<Message>> {
    cluster.wire.clear();
    cluster.deliver(Envelope { from: n(from), to: n(1), message });
    cluster.wire.drain(..).collect()
}

fn word(cluster: &Group, instance: u64) -> Option<Word> {
    cluster.nodes[&n(1)].algorithm().words().find(|word| word.instance == Instance(instance))
}

/// What node 1 has offered.
fn offered(cluster: &Group, instance: u64) -> Option<Offer> {
    word(cluster, instance)?.offer
}

fn report(cluster: &Group, instance: u64) -> Option<Report> {
    Some(word(cluster, instance)?.standing.casts?.report)
}

fn settled(cluster: &Group, node: u64) -> u64 {
    cluster.nodes[&n(node)].algorithm().settled().0
}

fn texts(cluster: &Group, node: u64) -> Vec<String> {
    cluster.diary(n(node)).iter().map(|(_, line)| String::from_utf8(line.to_vec()).unwrap()).collect()
}

fn restart(cluster: &mut Group, node: u64) {
    cluster.crash(n(node));
    cluster.start(n(node));
}

const ONE: Option<Proposal> = Some(Proposal::Value(true));

// tests [L1]
#[test]
fn a_proposal_becomes_a_batch_of_a_number_of_its_own() {
    let config =
        Config { max_open_batches: 2, max_queued_entries: 2, max_payload_bytes: 8, ..Config::default() };
    let mut cluster = alone_with(3, config);
    for number in 1..=6 {
        cluster.propose(n(1), number, b"x");
    }
    let given: Vec<u64> = cluster
        .wire
        .drain(..)
        .filter(|sent| sent.to == n(2))
        .filter_map(|sent| {
            let Message::Parcel(parcel) = sent.message else { return None };
            Some(parcel.id.number)
        })
        .collect();
    assert_eq!(given, [1, 2], "two are open, two wait, and two are too many");
    cluster.propose(n(1), 7, b"much too long");
    let refused: Vec<_> = cluster.refusals(n(1));
    assert_eq!(refused, [(5, Refusal::Busy), (6, Refusal::Busy), (7, Refusal::TooLarge)]);
    restart(&mut cluster, 1);
    cluster.propose(n(1), 8, b"y");
    assert!(
        !cluster.wire.iter().any(|sent| matches!(&sent.message, Message::Parcel(_))),
        "both are still open"
    );

    let mut held = Group::with(3, Config::default(), true, 1);
    held.propose(n(1), 1, b"x");
    assert!(held.wire.is_empty(), "nobody hears of a batch that a crash would forget");
    held.sync(n(1));
    assert!(held.wire.iter().any(|sent| matches!(&sent.message, Message::Parcel(_))));
}

// tests [L1]
#[test]
fn learners_learn_and_propose_nothing() {
    let members = Members::of((1..=3).map(NodeId)).with_learners([NodeId(4)]);
    let mut cluster = Group::of(members, Config::default(), false, 1);
    cluster.propose(n(4), 1, b"no");
    assert_eq!(cluster.refusals(n(4)), [(1, Refusal::Unsupported)]);
    cluster.propose(n(1), 2, b"yes");
    cluster.run_for_ms(500);
    assert_eq!(texts(&cluster, 4), ["yes"]);
    cluster.read(n(4), 9);
    cluster.run_for_ms(500);
    assert_eq!(cluster.reads_ready(n(4)), [(9, Slot(1))]);
}

// tests [L2]
#[test]
fn a_batch_is_kept_if_it_is_news() {
    let mut cluster = alone_with(5, Config { max_open_batches: 2, ..Config::default() });
    for batch in [parcel(2, 1), parcel(2, 1), parcel(2, 2), parcel(2, 3), parcel(9, 1)] {
        tell(&mut cluster, 2, Message::Parcel(batch));
    }
    assert_eq!(offered(&cluster, 1), Some(Offer::Batch(id(2, 1))));
    assert_eq!(offered(&cluster, 2), Some(Offer::Batch(id(2, 2))));
    assert_eq!(offered(&cluster, 3), None, "the third is too far ahead, and node 9 is a stranger");
    restart(&mut cluster, 1);
    let fetched = tell(&mut cluster, 3, Message::Fetch(vec![id(2, 1), id(2, 3)]));
    assert_eq!(fetched.len(), 1);
    assert_eq!(fetched[0].message, Message::Parcel(parcel(2, 1)), "it is on the disk");
}

// tests [L2]
#[test]
fn a_batch_that_came_too_early_is_asked_for_when_there_is_room() {
    let mut cluster = alone_with(3, Config { max_open_batches: 1, ..Config::default() });
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    let said = tell(&mut cluster, 2, Message::Parcel(parcel(2, 2)));
    assert!(!said.iter().any(|sent| matches!(sent.message, Message::Fetch(_))), "there is no room yet");
    let said = tell(&mut cluster, 3, says(vec![Word::of_decided(Instance(1), Offer::Batch(id(2, 1)))]));
    let fetch = |sent: &&Envelope<Message>| sent.to == n(2) && sent.message == Message::Fetch(vec![id(2, 2)]);
    assert_eq!(said.iter().filter(fetch).count(), 1, "{said:?}");
    let said = tell(&mut cluster, 3, says(vec![offers(3, Offer::Nothing)]));
    assert_eq!(said.iter().filter(fetch).count(), 0, "once");
}

// tests [L3]
#[test]
fn offers_count_by_distinct_voter() {
    let mut cluster = alone(5);
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    for _ in 0..5 {
        tell(&mut cluster, 2, says(vec![offers(1, Offer::Batch(id(2, 1)))]));
    }
    assert_eq!(report(&cluster, 1), None, "two of five have offered");
    tell(&mut cluster, 2, says(vec![offers(1, Offer::Nothing)]));
    assert_eq!(cluster.accusations.len(), 1, "{:?}", cluster.accusations);
    tell(&mut cluster, 3, says(vec![offers(1, Offer::Batch(id(2, 1)))]));
    assert_eq!(report(&cluster, 1), Some(Report { value: true, tossed: false }));
}

// tests [L3]
#[test]
fn a_majority_of_offers_is_one_of_all_voters() {
    let mut cluster = alone(5);
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    tell(&mut cluster, 2, says(vec![offers(1, Offer::Batch(id(2, 1)))]));
    tell(&mut cluster, 3, says(vec![offers(1, Offer::Batch(id(3, 1)))]));
    assert_eq!(report(&cluster, 1), Some(Report { value: false, tossed: false }), "two of three, of five");
}

// tests [L3]
#[test]
fn the_offer_of_others_is_followed() {
    let mut cluster = alone(3);
    tell(&mut cluster, 2, says(vec![offers(1, Offer::Batch(id(3, 1)))]));
    assert_eq!(offered(&cluster, 1), None, "it is not here yet");
    cluster.handle(n(1), Event::Message { from: n(3), message: Message::Parcel(parcel(3, 1)) });
    assert_eq!(offered(&cluster, 1), Some(Offer::Batch(id(3, 1))));

    // Instance 1 is the second voter's, and so on: whoever offers first takes the oldest of whose turn it is.
    let mut cluster = alone(3);
    let now = cluster.now;
    for batch in [parcel(3, 1), parcel(2, 2), parcel(2, 1)] {
        let message = Message::Parcel(batch);
        cluster.node(n(1)).push(now, Event::Message { from: n(2), message }).unwrap();
    }
    cluster.handle(n(1), Event::Tick);
    let made: Vec<_> =
        (1..=3).map(|instance| offered(&cluster, instance).unwrap().batch().unwrap()).collect();
    assert_eq!(made, [id(2, 1), id(3, 1), id(2, 2)]);
}

// tests [L3]
#[test]
fn a_batch_that_has_waited_for_long_is_offered_in_its_turn() {
    // Instances 4 and 10 are the second voter's. The third offers its own batch there, once all before came to nothing.
    let offered_in = |instance: u64| {
        let mut cluster = alone(3);
        tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
        tell(&mut cluster, 3, Message::Parcel(parcel(3, 1)));
        let settled = (1..instance).map(|before| Word::of_decided(Instance(before), Offer::Nothing));
        let words = settled.chain([offers(instance, Offer::Batch(id(3, 1)))]).collect();
        tell(&mut cluster, 3, says(words));
        offered(&cluster, instance)
    };
    assert_eq!(offered_in(4), Some(Offer::Batch(id(3, 1))), "others are followed");
    assert_eq!(offered_in(10), Some(Offer::Batch(id(2, 1))), "it was passed over for two turns of everybody");
}

// tests [L3]
#[test]
fn who_votes_has_offered() {
    let mut cluster = alone(3);
    tell(&mut cluster, 2, says(vec![offers(1, Offer::Batch(id(2, 1)))]));
    tell(&mut cluster, 3, says(vec![offers(1, Offer::Batch(id(2, 1)))]));
    assert_eq!(offered(&cluster, 1), Some(Offer::Nothing), "it may be on its way, but two have offered it");
    assert_eq!(report(&cluster, 1), Some(Report { value: true, tossed: false }));
}

// tests [L4]
#[test]
fn a_batch_is_offered_in_one_instance_at_a_time() {
    let mut cluster = alone(5);
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    assert_eq!(offered(&cluster, 1), Some(Offer::Batch(id(2, 1))));
    tell(&mut cluster, 3, says(vec![offers(2, Offer::Batch(id(2, 1)))]));
    assert_eq!(offered(&cluster, 2), None, "it is offered in the first");
    restart(&mut cluster, 1);
    tell(&mut cluster, 3, says(vec![offers(2, Offer::Batch(id(2, 1)))]));
    assert_eq!(offered(&cluster, 2), None, "and was before the crash");
    cluster.run_for_ms(60);
    assert_eq!(offered(&cluster, 2), None, "it may be on its way");
    cluster.run_for_ms(60);
    assert_eq!(offered(&cluster, 2), Some(Offer::Nothing), "after an interval");
}

// tests [L4]
#[test]
fn nothing_is_offered_at_once_where_nothing_can_be_decided_any_more() {
    let mut cluster = alone(5);
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    tell(&mut cluster, 3, says(vec![offers(2, Offer::Batch(id(2, 1)))]));
    tell(&mut cluster, 4, says(vec![offers(3, Offer::Batch(id(4, 1)))]));
    assert_eq!(offered(&cluster, 2), None, "it is offered in the first, and may come to nothing there");
    tell(&mut cluster, 3, says(vec![Word::of_decided(Instance(1), Offer::Batch(id(2, 1)))]));
    assert_eq!(offered(&cluster, 2), Some(Offer::Nothing), "it was decided there, and node 3 waits");
    assert_eq!(offered(&cluster, 3), None, "a batch that nobody has decided may be on its way");
}

// tests [L4]
#[test]
fn what_comes_to_nothing_is_offered_again() {
    let mut cluster = alone(3);
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 2)));
    assert_eq!(offered(&cluster, 2), Some(Offer::Batch(id(2, 2))), "two at once");
    tell(&mut cluster, 2, says(vec![Word::of_decided(Instance(1), Offer::Nothing)]));
    tell(&mut cluster, 2, says(vec![Word::of_decided(Instance(2), Offer::Nothing)]));
    assert_eq!(settled(&cluster, 1), 2);
    assert_eq!(offered(&cluster, 3), Some(Offer::Batch(id(2, 1))), "the oldest again");
    assert_eq!(offered(&cluster, 4), None, "and one at a time");
    tell(&mut cluster, 2, says(vec![Word::of_decided(Instance(3), Offer::Batch(id(2, 1)))]));
    assert_eq!(offered(&cluster, 4), Some(Offer::Batch(id(2, 2))));
    assert_eq!(texts(&cluster, 1), ["2/1"]);
}

// tests [L5]
#[test]
fn a_batch_is_decided_by_enough_proposals_and_has_one_name() {
    let mut cluster = alone(3);
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    tell(&mut cluster, 2, says(vec![offers(1, Offer::Batch(id(2, 1)))]));
    tell(&mut cluster, 2, says(vec![votes(1, 1, true, None, id(2, 1))]));
    assert_eq!(word(&cluster, 1).unwrap().standing.casts.unwrap().proposal, ONE);
    assert_eq!(settled(&cluster, 1), 0, "one proposal decides nothing");
    tell(&mut cluster, 3, says(vec![votes(1, 1, true, ONE, id(3, 3))]));
    let accused = matches!(cluster.accusations[..], [(_, NodeId(3), Offence::Impossible(_))]);
    assert!(accused, "{:?}", cluster.accusations);
    tell(&mut cluster, 2, says(vec![votes(1, 1, true, ONE, id(2, 1))]));
    assert_eq!((settled(&cluster, 1), texts(&cluster, 1)), (1, vec!["2/1".to_owned()]));
}

// tests [L15]
#[test]
fn proposals_of_both_values_are_a_lie() {
    const ZERO: Option<Proposal> = Some(Proposal::Value(false));
    let batch = id(2, 1);
    let mut cluster = alone(5);
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    for voter in 2..=3 {
        tell(&mut cluster, voter, says(vec![offers(1, Offer::Batch(batch))]));
    }
    tell(&mut cluster, 2, says(vec![votes(1, 1, true, ZERO, batch)]));
    tell(&mut cluster, 3, says(vec![votes(1, 1, true, ONE, batch)]));
    let accused = matches!(cluster.accusations[..], [(_, NodeId(3), Offence::Impossible(_))]);
    assert!(accused, "{:?}", cluster.accusations);
    tell(&mut cluster, 4, says(vec![votes(1, 1, true, None, batch)]));
    let own = word(&cluster, 1).unwrap().standing.casts.unwrap().proposal;
    assert_eq!(own, Some(Proposal::Nothing), "ours is not the second");
}

// tests [L5]
#[test]
fn who_decides_tells_the_others() {
    for size in 1..=5 {
        let mut cluster = group(size, Config::default());
        // Each vote is needed.
        let most = size / 2 + 1;
        (most + 1..=size).for_each(|node| cluster.crash(n(node)));
        cluster.propose(n(1), 1, b"x");
        // Everything arrives, and no timer runs out.
        cluster.settle_in_bursts();
        assert!((1..=most).all(|node| texts(&cluster, node) == ["x"]), "{most} of {size} nodes");
    }
}

/// Node 1 of three has reported 1, node 2 has reported 0.
fn divided(config: Config) -> Group {
    let mut cluster = alone_with(3, config);
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    tell(&mut cluster, 2, says(vec![offers(1, Offer::Batch(id(2, 1)))]));
    tell(&mut cluster, 2, says(vec![votes(1, 1, false, None, id(2, 1))]));
    cluster
}

fn tossed(config: Config) -> bool {
    let mut cluster = divided(config);
    tell(&mut cluster, 2, says(vec![votes(1, 1, false, Some(Proposal::Nothing), id(2, 1))]));
    let report = report(&cluster, 1).unwrap();
    assert!(report.tossed);
    report.value
}

// tests [L6]
#[test]
fn no_coin_is_tossed_before_the_wait() {
    let cluster = divided(Config::default());
    let word = word(&cluster, 1).unwrap();
    assert_eq!((word.standing.round, word.standing.casts.unwrap().proposal), (1, Some(Proposal::Nothing)));
}

// tests [L6]
#[test]
fn the_first_coins_are_common_and_the_later_ones_everybodys_own() {
    let with = |coin_key, common_rounds| Config { coin_key, common_rounds, ..Config::default() };
    let common: Vec<bool> = (0..64).map(|key| tossed(with(key, 1))).collect();
    assert_eq!(
        common,
        (0..64).map(|key| tossed(with(key, 1))).collect::<Vec<_>>(),
        "equal keys, equal coins"
    );
    assert!((16..48).contains(&common.iter().filter(|&&coin| coin).count()), "and fair ones");
    let own: Vec<bool> = (0..64).map(|key| tossed(with(key, 0))).collect();
    assert!(own.iter().all(|&coin| coin == own[0]), "the key is none of theirs");
}

// tests [L7]
#[test]
fn instances_are_settled_in_order_and_fill_slots_without_gaps() {
    let mut cluster = alone(3);
    for batch in [parcel(2, 1), parcel(2, 2), parcel(2, 3)] {
        tell(&mut cluster, 2, Message::Parcel(batch));
    }
    tell(&mut cluster, 2, says(vec![Word::of_decided(Instance(3), Offer::Batch(id(2, 3)))]));
    tell(&mut cluster, 2, says(vec![Word::of_decided(Instance(2), Offer::Nothing)]));
    assert_eq!(settled(&cluster, 1), 0);
    tell(&mut cluster, 2, says(vec![Word::of_decided(Instance(1), Offer::Batch(id(2, 1)))]));
    assert_eq!(settled(&cluster, 1), 3);
    let lines: Vec<_> = cluster.diary(n(1)).iter().map(|(slot, line)| (*slot, &line[..])).collect();
    assert_eq!(lines, [(1, &b"2/1"[..]), (2, &b"2/3"[..])]);
}

/// The first slot is agreement on one value out of many.
// tests [L7]
#[test]
fn the_first_slot_is_one_of_the_values_for_all() {
    let mut firsts = std::collections::BTreeSet::new();
    for seed in 1..=30 {
        let mut cluster = Group::with(5, Config { coin_key: seed, ..Config::default() }, false, seed);
        for node in 1..=5 {
            let payload = Bytes::from(format!("{node}"));
            cluster.handle(n(node), Event::Propose { id: proposal(node), payload });
        }
        // Everybody hears the others in another order.
        let mut order = seed;
        while !cluster.wire.is_empty() {
            order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let place = usize::try_from(order >> 33).unwrap() % cluster.wire.len();
            let envelope = cluster.wire.remove(place).unwrap();
            cluster.deliver(envelope);
        }
        cluster.run_for_ms(1_000);
        let first = texts(&cluster, 1)[0].clone();
        assert!((2..=5).all(|node| texts(&cluster, node)[0] == first), "seed {seed}");
        firsts.insert(first);
    }
    assert!(firsts.len() > 1, "whose it is depends on the order: {firsts:?}");
}

// tests [L8]
#[test]
fn a_settled_batch_that_comes_again_is_not_kept() {
    let mut cluster = alone(3);
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    tell(&mut cluster, 2, says(vec![Word::of_decided(Instance(1), Offer::Batch(id(2, 1)))]));
    for _ in 0..2 {
        tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
        assert_eq!(offered(&cluster, 2), None);
        restart(&mut cluster, 1);
    }
}

// tests [L9]
#[test]
fn a_batch_that_is_lacking_is_fetched() {
    let mut cluster = alone(3);
    tell(&mut cluster, 2, says(vec![offers(1, Offer::Batch(id(3, 1)))]));
    let mut asked = Vec::new();
    for _ in 0..2 {
        cluster.now += std::time::Duration::from_millis(60);
        cluster.handle(n(1), Event::Tick);
        asked.extend(cluster.wire.drain(..).filter(|sent| matches!(sent.message, Message::Fetch(_))));
    }
    assert!(asked.iter().all(|sent| sent.to == n(2) && sent.message == Message::Fetch(vec![id(3, 1)])));
    assert_eq!(asked.len(), 2, "of who has offered it, and again");
}

// tests [L9]
#[test]
fn who_votes_in_vain_is_told_at_once_and_who_is_behind_is_given_a_page() {
    let mut cluster = alone(3);
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    tell(&mut cluster, 2, says(vec![Word::of_decided(Instance(1), Offer::Batch(id(2, 1)))]));
    let told = tell(&mut cluster, 3, says(vec![votes(1, 2, true, None, id(2, 1))]));
    let words = vec![Word::of_decided(Instance(1), Offer::Batch(id(2, 1)))];
    let stand = Stand { settled: Instance(1), words };
    assert_eq!(told.into_iter().map(|sent| sent.message).collect::<Vec<_>>(), [Message::Tell(stand)]);

    let ask = |want| Message::Ask { stand: Stand::default(), want };
    let answers = tell(&mut cluster, 3, ask(Some(Want::Page)));
    let page =
        Page { first: Instance(1), outcomes: vec![Outcome::Batch(parcel(2, 1))], settled: Instance(1) };
    assert_eq!(answers[1].message, Message::Page(page.clone()));
    assert_eq!(tell(&mut cluster, 3, ask(None)).len(), 1, "another gives it");

    let mut other = alone(3);
    tell(&mut other, 2, Message::Page(page));
    assert_eq!(texts(&other, 1), ["2/1"]);
}

// tests [L10]
#[test]
fn a_read_asks_as_many_as_any_decision_needs() {
    let mut cluster = alone(5);
    cluster.read(n(1), 1);
    let Message::Read(token) = cluster.wire.pop_front().unwrap().message else { panic!("it asks") };
    let reply = |highest| Message::ReadReply { token, highest: Instance(highest) };
    tell(&mut cluster, 2, reply(0));
    tell(&mut cluster, 2, reply(0));
    assert!(cluster.reads_ready(n(1)).is_empty(), "two of five have answered");
    tell(&mut cluster, 3, reply(0));
    assert_eq!(cluster.reads_ready(n(1)), [(1, Slot(0))]);
}

// tests [L10]
#[test]
fn a_read_waits_for_what_others_have_voted_in() {
    let mut cluster = alone(3);
    tell(&mut cluster, 2, Message::Parcel(parcel(2, 1)));
    cluster.wire.clear();
    cluster.read(n(1), 1);
    let Some(Message::Read(token)) = cluster.wire.pop_front().map(|sent| sent.message) else {
        panic!("it asks")
    };
    tell(&mut cluster, 2, Message::ReadReply { token, highest: Instance::ZERO });
    assert!(cluster.reads_ready(n(1)).is_empty(), "we have offered in the first ourselves");
    let answers = tell(&mut cluster, 3, Message::Read(token));
    assert_eq!(answers[0].message, Message::ReadReply { token, highest: Instance(1) });
    tell(&mut cluster, 2, says(vec![Word::of_decided(Instance(1), Offer::Batch(id(2, 1)))]));
    assert_eq!(cluster.reads_ready(n(1)), [(1, Slot(1))]);
}

// tests [L11]
#[test]
fn offers_and_votes_outlive_a_crash() {
    let mut cluster = divided(Config::default());
    let before = word(&cluster, 1);
    restart(&mut cluster, 1);
    assert_eq!(word(&cluster, 1), before);

    let mut held = Group::with(3, Config::default(), true, 1);
    held.handle(n(1), Event::Message { from: n(2), message: Message::Parcel(parcel(2, 1)) });
    assert!(held.wire.is_empty(), "an offer is on the disk before anybody hears of it");
    held.sync(n(1));
    assert_eq!(held.wire.len(), 2);
}

// tests [L11]
#[test]
fn records_that_do_not_fit_together_are_refused() {
    let offered = |number| Record::Offered { instance: Instance(1), offer: Offer::Batch(id(2, number)) };
    let report = Vote::Report(Report { value: true, tossed: false });
    let voted = |vote, number| Record::Voted { instance: Instance(1), vote, batch: Some(id(2, number)) };
    let decided = |decided| Record::Decided { instance: Instance(1), decided };
    let base = Record::Base { instance: Instance(3), numbers: Numbers::default() };
    for records in [
        vec![offered(1), offered(2)],
        vec![voted(report, 1), voted(report, 1)],
        vec![voted(Vote::Proposal(Proposal::Nothing), 1)],
        vec![voted(report, 1), voted(Vote::Proposal(Proposal::Nothing), 2)],
        vec![decided(Offer::Nothing), decided(Offer::Batch(id(2, 1)))],
        vec![base],
        vec![Record::Offered { instance: Instance::ZERO, offer: Offer::Nothing }],
    ] {
        let mut disk = MemoryStorage::<Record>::default();
        for (seq, record) in (1..).zip(records.clone()) {
            disk.append(WriteSeq(seq), record);
        }
        let config = NodeConfig::<Log>::new(n(1), Members::of((1..=3).map(NodeId)), 1);
        let opened = Node::open(config, Time::ZERO, Outbox::default(), disk, crate::common::Diary::default());
        assert!(matches!(opened, Err(NodeError::Restore(_))), "{records:?}");
    }
}

// tests [L12]
#[test]
fn who_lacks_nothing_is_silent() {
    let mut cluster = group(3, Config::default());
    cluster.propose(n(2), 1, b"x");
    cluster.run_for_ms(1_000);
    assert!((1..=3).all(|node| texts(&cluster, node) == ["x"]));
    assert_eq!(cluster.next_deadline(), None);
    cluster.crash(n(3));
    cluster.propose(n(2), 2, b"y");
    cluster.run_for_ms(1_000);
    assert!(cluster.next_deadline().is_some(), "node 3 lacks what they have");
    cluster.start(n(3));
    cluster.run_for_ms(1_000);
    assert_eq!(texts(&cluster, 3), ["x", "y"]);
    assert_eq!(cluster.next_deadline(), None);
}

// tests [L13] [L14]
#[test]
fn a_snapshot_takes_the_place_of_instances() {
    let config = Config { retained_slots: 0, snapshot_piece_bytes: 16, ..Config::default() };
    let mut cluster = group(3, config);
    cluster.compact_after_bytes = 100;
    (1..=3).for_each(|node| restart(&mut cluster, node));
    cluster.crash(n(3));
    for number in 1..=40 {
        cluster.propose(n(1 + number % 2), number, b"some words to be kept");
        cluster.run_for_ms(5);
    }
    cluster.run_for_ms(200);
    assert_eq!(settled(&cluster, 1), settled(&cluster, 2));
    let first = cluster.nodes[&n(1)].algorithm().inspect().first;
    assert!(first > Slot(20), "{first} is the first that is kept");
    cluster.start(n(3));
    cluster.run_for_ms(2_000);
    assert_eq!(cluster.diary(n(3)), cluster.diary(n(1)));
    assert_eq!(cluster.diary(n(3)).len(), 40);
    (1..=3).for_each(|node| restart(&mut cluster, node));
    cluster.propose(n(3), 41, b"and one more");
    cluster.run_for_ms(1_000);
    assert!((1..=3).all(|node| cluster.diary(n(node)).len() == 41), "after a power loss, too");
}

// tests [L14]
#[test]
fn who_is_given_a_snapshot_gives_up_the_replies_that_it_contains() {
    let config = Config { retained_slots: 0, ..Config::default() };
    let mut cluster = group(3, config);
    cluster.compact_after_bytes = 100;
    (1..=3).for_each(|node| restart(&mut cluster, node));
    cluster.propose(n(3), 1, b"mine");
    // The others have it, and the third hears no more.
    (1..=2).for_each(|node| {
        cluster.cut.insert((n(node), n(3)));
    });
    for number in 2..=40 {
        cluster.propose(n(1), number, b"some words to be kept");
        cluster.run_for_ms(5);
    }
    assert_eq!((texts(&cluster, 1).first().map(String::as_str), settled(&cluster, 3)), (Some("mine"), 0));
    assert_eq!(cluster.refusals(n(3)), []);
    cluster.heal();
    cluster.run_for_ms(1_000);
    assert_eq!(settled(&cluster, 3), settled(&cluster, 1));
    assert_eq!(cluster.refusals(n(3)), [(1, Refusal::Interrupted)]);
}

// tests [L15]
#[test]
fn strangers_and_what_no_node_says_are_accused() {
    let mut cluster = alone(3);
    let far = Word { instance: Instance(u64::MAX), ..offers(1, Offer::Nothing) };
    let nameless = Word { batch: None, ..votes(1, 1, true, None, id(2, 1)) };
    let reached = Standing {
        round: 2,
        casts: Some(Casts::all_for(false)),
        before: None,
        decided: Some(benor::Decided { value: false, reached: true }),
    };
    let empty = Parcel { id: id(2, 1), entries: [].into_iter().collect() };
    for (from, message) in [
        (7, says(Vec::new())),
        (1, says(Vec::new())),
        (2, says(vec![far])),
        (2, says(vec![nameless])),
        (2, says(vec![Word { standing: reached, ..offers(1, Offer::Nothing) }])),
        (2, says(vec![Word { batch: Some(id(2, 0)), ..offers(1, Offer::Nothing) }])),
        (2, Message::Parcel(empty)),
        (2, Message::Fetch(vec![id(0, 1)])),
        (2, Message::Tell(Stand { settled: Instance(u64::MAX), words: Vec::new() })),
    ] {
        cluster.accusations.clear();
        assert!(tell(&mut cluster, from, message.clone()).is_empty(), "{message:?}");
        assert_eq!(cluster.accusations.len(), 1, "{message:?}");
    }
    tell(&mut cluster, 2, says(vec![offers(5_000, Offer::Nothing)]));
    assert_eq!(word(&cluster, 5_000), None, "too far ahead to be kept");
}
