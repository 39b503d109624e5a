//! Planted bugs that no random run shows, each with the schedule in which it does: `cargo xtask mutants` runs them beside its
//! hunts. The same schedule without the bug must go well.

use crate::common::{Cluster, Envelope, n};
use benor::{BenOr, Byzantine, Casts, Config, Log, Message, Mutant, Proposal, Report, Standing};
use consensus_core::{Event, NodeId};

fn with(mutant: Option<Mutant>) -> Config {
    Config { mutant, ..Config::default() }
}

/// Nodes of which the odd ones are given 1 and the others 0.
fn divided(size: u64, mutant: Option<Mutant>) -> Cluster<BenOr> {
    let mut cluster = Cluster::<BenOr>::with(size, with(mutant), false, 1);
    for id in 1..=size {
        cluster.propose(n(id), id, if id % 2 == 0 { b"0" } else { b"1" });
    }
    cluster
}

fn has_decided(cluster: &Cluster<BenOr>) -> bool {
    cluster.nodes.keys().any(|&id| !cluster.diary(id).is_empty())
}

/// Whether four nodes decide in a thousand rounds of lockstep: everything arrives, everywhere, before anybody goes on.
fn decides_in_lockstep(mutant: Option<Mutant>) -> bool {
    let mut cluster = divided(4, mutant);
    for _ in 0..2_000 {
        let phase: Vec<_> = cluster.wire.drain(..).collect();
        let now = cluster.now;
        for Envelope { from, to, message } in phase {
            // One burst: a node hears all of them before it speaks.
            cluster.nodes.get_mut(&to).unwrap().push(now, Event::Message { from, message }).unwrap();
        }
        (1..=4).for_each(|id| cluster.handle(n(id), Event::Tick));
    }
    has_decided(&cluster)
}

/// Where all hear the same and are divided, the coin alone can bring them together (Fischer, Lynch and Paterson 1985).
#[test]
fn a_coin_that_never_changes_the_value_is_found() {
    assert!(decides_in_lockstep(None));
    assert!(!decides_in_lockstep(Some(Mutant::FixedCoin)));
}

/// Whether three nodes decide in three hundred rounds, if whoever delivers the messages foresees a coin that all share: of x, y and z
/// the first two hold what it will not give. It lets x see that, and adopt it, and keeps it from the others, who toss.
fn decides_though_foreseen(mutant: Option<Mutant>) -> bool {
    let mut cluster = divided(3, mutant);
    let [mut x, mut y, mut z] = [1, 3, 2].map(NodeId);
    let stand =
        |cluster: &Cluster<BenOr>, id: NodeId| Message::Tell(cluster.nodes[&id].algorithm().standing());
    let tell = |cluster: &mut Cluster<BenOr>, from, to, message| {
        cluster.deliver(Envelope { from, to, message });
        cluster.wire.clear();
    };
    for _ in 0..300 {
        let report = stand(&cluster, y);
        tell(&mut cluster, y, x, report);
        let report = stand(&cluster, z);
        tell(&mut cluster, z, y, report);
        let nothing = stand(&cluster, y);
        tell(&mut cluster, y, z, nothing);
        let tossed = stand(&cluster, z);
        tell(&mut cluster, z, y, tossed);
        tell(&mut cluster, y, x, nothing);
        if has_decided(&cluster) {
            return true;
        }
        (x, y, z) = (y, z, x);
    }
    let rounds = cluster.nodes.values().map(|node| node.algorithm().standing().round).min();
    assert_eq!(rounds, Some(301), "everybody goes through all rounds");
    false
}

/// A coin that all share, or that can be foreseen, does not help against whoever orders the messages by what it will give.
#[test]
fn a_coin_that_can_be_foreseen_is_found() {
    assert!(decides_though_foreseen(None));
    assert!(!decides_though_foreseen(Some(Mutant::SharedCoin)));
}

/// Whether node 1 of so many, some of which lie, has decided, and what it holds, after it has heard these proposals.
fn after(size: u64, proposals: &[Proposal], mutant: Option<Mutant>) -> (bool, Option<Report>) {
    let mut cluster = Cluster::<Byzantine>::with(size, with(mutant), false, 1);
    (2..=size).for_each(|id| cluster.crash(n(id)));
    cluster.propose(n(1), 1, b"0");
    for (from, &proposal) in (2..).zip(proposals) {
        let report = Report { value: from % 2 == 0, tossed: false };
        let casts = Some(Casts { report, proposal: Some(proposal) });
        let standing = Standing { round: 1, casts, before: None, decided: None };
        cluster.deliver(Envelope { from: n(from), to: n(1), message: Message::Tell(standing) });
    }
    let standing = cluster.nodes[&n(1)].algorithm().standing();
    (standing.decided.is_some(), standing.casts.map(|casts| casts.report))
}

const ONE: Proposal = Proposal::Value(true);
const ZERO: Proposal = Proposal::Value(false);
const NOTHING: Proposal = Proposal::Nothing;

/// Six of eleven proposals, two of them lies: of the other four, somebody else may miss two, and the liars tell it otherwise.
#[test]
fn half_of_all_proposals_is_found_too_few() {
    let here = [ONE, ONE, ONE, ONE, ONE, ONE, NOTHING, NOTHING];
    let elsewhere = [ONE, ONE, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING];
    assert_eq!(after(11, &here, None), (false, Some(Report { value: true, tossed: false })));
    let (has_decided, _) = after(11, &here, Some(Mutant::HalfDecides));
    let (_, held) = after(11, &elsewhere, Some(Mutant::HalfDecides));
    assert!(has_decided && held.is_some_and(|report| report.tossed), "one decides, and another tosses");
}

/// Four of six propose 1, which is decided where all four are heard. Somebody else hears three of them, and a liar.
#[test]
fn a_single_lie_that_is_adopted_is_found() {
    let here = [ZERO, ONE, ONE, ONE];
    assert_eq!(after(6, &here, None), (false, Some(Report { value: true, tossed: false })));
    let lie = Some(Report { value: false, tossed: false });
    assert_eq!(after(6, &here, Some(Mutant::AdoptsOnOne)), (false, lie));
}

/// Whether two nodes of a log go on, if the third offered a batch to one of them only, and stopped. It lacks the batch, and has heard the
/// other offer it too: it needs no more offers, but the other does.
fn goes_on_without_the_third(mutant: Option<Mutant>) -> bool {
    let config = benor::log::Config { mutant, ..benor::log::Config::default() };
    let mut cluster = Cluster::<Log>::with(3, config, false, 1);
    cluster.propose(n(3), 1, b"x");
    let is_parcel = |message: &benor::log::Message| matches!(message, benor::log::Message::Parcel(_));
    let (parcels, words): (Vec<_>, Vec<_>) =
        cluster.wire.drain(..).partition(|sent| is_parcel(&sent.message));
    parcels.into_iter().filter(|sent| sent.to == n(2)).for_each(|sent| cluster.deliver(sent));
    words.into_iter().filter(|sent| sent.to == n(1)).for_each(|sent| cluster.deliver(sent));
    cluster.wire.retain(|sent| sent.to == n(1));
    cluster.crash(n(3));
    cluster.run_for_ms(5_000);
    (1..=2).all(|id| !cluster.diary(n(id)).is_empty())
}

#[test]
fn a_vote_without_an_offer_is_found() {
    assert!(goes_on_without_the_third(None));
    assert!(!goes_on_without_the_third(Some(Mutant::VotesWithoutOffer)));
}

/// Whether two nodes of three decide what the first is given before anybody's patience ends, if the third is gone.
fn decides_at_once(mutant: Option<Mutant>) -> bool {
    let mut cluster =
        Cluster::<Log>::with(3, benor::log::Config { mutant, ..benor::log::Config::default() }, false, 1);
    cluster.crash(n(3));
    cluster.propose(n(1), 1, b"x");
    cluster.settle_in_bursts();
    (1..=2).all(|id| !cluster.diary(n(id)).is_empty())
}

#[test]
fn a_decision_that_is_kept_to_oneself_is_found() {
    assert!(decides_at_once(None));
    assert!(!decides_at_once(Some(Mutant::DecidesSilently)));
}

#[test]
fn a_late_node_that_never_joins_is_found() {
    let (_, wait) = crate::paper::decide_with_a_late_third(&with(Some(Mutant::FirstReportsForgotten)));
    assert!(wait > 5);
}
