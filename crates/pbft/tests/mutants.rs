//! Planted bugs that random runs are unlikely to show, each with the schedule in which it does: `cargo xtask mutants` runs them
//! beside its hunts. The same schedule without the bug must go well.

use crate::clients::narrow;
use crate::common::asking::{asks, name, sign, signed};
use crate::common::lone::{Lone, commits, prepares, vouches};
use crate::common::signing::{
    GROUP, batch, begins, checkpoint, commit, new_view, null, pre_prepare, prepare, prepared, says, stable,
    view_change, vote, wish, wishes,
};
use crate::common::{Cluster, gateway, n, payload, request};
use crate::history::{batches, two_batches};
use consensus_core::{Bytes, ClientId, ConsensusAlgorithm, Event, NodeId, ProposalId, Reply, Slot};
use pbft::{
    Ask, Config, Digest, Kind, Manifest, Message, Mutant, Pbft, PrePrepare, Request, Sequence, Stable, View,
    Vouching,
};

fn with(mutant: Option<Mutant>) -> Config {
    Config { mutant, ..gateway() }
}

fn lone(mutant: Option<Mutant>) -> Lone {
    Lone::new(4, 4, with(mutant))
}

/// Whether somebody's vote counts that it never cast.
fn believes_anybody(mutant: Option<Mutant>) -> bool {
    let mut lone = lone(mutant);
    let digest = lone.come_to_prepare(1, 0, 1, 1, &[]);
    let mut forged = vote(1, Kind::Prepare, 0, 1, digest);
    forged.signature = vote(1, Kind::Commit, 0, 1, digest).signature;
    !commits(&lone.hear(2, Message::Prepare(forged))).is_empty()
}

/// [B2]
#[test]
fn signatures_that_nobody_checks_are_found() {
    assert!(!believes_anybody(None));
    assert!(believes_anybody(Some(Mutant::SignaturesUnchecked)));
}

/// Whether a replica says that it has prepared in view 1 what somebody's forged vote is part of.
fn counts_what_it_skips(mutant: Option<Mutant>) -> bool {
    let mut lone = lone(mutant);
    let digest = lone.come_to_prepare(1, 0, 1, 1, &[2]);
    let told = |id| view_change(id, 1, Stable::default(), vec![prepared(1, 0, 1, digest, &[2, 4])]);
    lone.hear(2, begins(new_view(2, 1, [1, 2, 3].map(told).into(), &[(1, digest)])));
    let mut forged = vote(3, Kind::Prepare, 1, 1, digest);
    forged.signature = vote(3, Kind::Prepare, 0, 1, digest).signature;
    !commits(&lone.hear(3, Message::Prepare(forged))).is_empty()
}

/// [B28]
#[test]
fn an_unchecked_vote_that_counts_is_found() {
    assert!(!counts_what_it_skips(None));
    assert!(counts_what_it_skips(Some(Mutant::SkippedCounted)));
}

/// Whether a vote of one view, with its signature, passes for one of another.
fn takes_a_vote_of_another_view(mutant: Option<Mutant>) -> bool {
    let mut lone = lone(mutant);
    let mut vote = vote(3, Kind::Commit, 0, 1, Digest([1; 32]));
    vote.view = View(6);
    lone.hear(3, Message::Commit(vote));
    lone.accused(3) == 0
}

/// [B2]
#[test]
fn a_view_that_is_not_signed_is_found() {
    assert!(!takes_a_vote_of_another_view(None));
    assert!(takes_a_vote_of_another_view(Some(Mutant::ViewNotSigned)));
}

/// What two replicas execute to whom the primary sends one digest, and two batches.
fn executes_another_body(mutant: Option<Mutant>) -> bool {
    let mut cluster = Cluster::with(4, with(mutant));
    cluster.crash(1);
    let Message::PrePrepare(sound) = pre_prepare(1, 0, 1, batch([request(1)])) else { panic!() };
    let digest = sound.digest;
    let swapped = PrePrepare { batch: batch([request(2)]), ..sound.clone() };
    cluster.tell(1, 2, Message::PrePrepare(swapped));
    [3, 4].into_iter().for_each(|to| cluster.tell(1, to, Message::PrePrepare(sound.clone())));
    cluster.settle();
    cluster.tell_all(1, &commit(1, 0, 1, digest));
    cluster.settle();
    cluster.diary(2) == [payload(2)] && cluster.diary(3) == [payload(1)]
}

/// [B5]
#[test]
fn a_body_that_is_not_its_digests_is_found() {
    assert!(!executes_another_body(None));
    assert!(executes_another_body(Some(Mutant::BodyUnchecked)));
}

/// Whether a liar makes a new view begin with what nobody prepared.
fn begins_with_an_invention(mutant: Option<Mutant>) -> bool {
    let mut lone = lone(mutant);
    let digest = batch([request(66)]).digest();
    let lie = view_change(2, 1, Stable::default(), vec![prepared(1, 0, 1, digest, &[2])]);
    lone.hear(2, begins(new_view(2, 1, vec![wish(1, 1), lie, wish(3, 1)], &[(1, digest)])));
    lone.view() == 1
}

/// [B19]
#[test]
fn certificates_that_nobody_checks_are_found() {
    assert!(!begins_with_an_invention(None));
    assert!(begins_with_an_invention(Some(Mutant::CertificatesUnchecked)));
}

/// Whether a primary puts something else where something was prepared.
fn follows_another_proposal(mutant: Option<Mutant>) -> bool {
    let mut lone = lone(mutant);
    let digest = batch([request(1)]).digest();
    let told = view_change(1, 1, Stable::default(), vec![prepared(1, 0, 1, digest, &[3, 4])]);
    lone.hear(2, begins(new_view(2, 1, vec![told, wish(2, 1), wish(3, 1)], &[(1, null())])));
    lone.view() == 1
}

/// [B22]
#[test]
fn proposals_that_nobody_computes_are_found() {
    assert!(!follows_another_proposal(None));
    assert!(follows_another_proposal(Some(Mutant::ProposalsNotRecomputed)));
}

/// Whether a place is prepared with one PREPARE too few. [B7]
fn prepares_with_too_few(mutant: Option<Mutant>) -> bool {
    let mut lone = Lone::new(7, 7, with(mutant));
    lone.come_to_prepare(1, 0, 1, 1, &[2, 3]);
    lone.cluster.records(7).iter().any(|record| matches!(record, pbft::Record::Prepared(_)))
}

#[test]
fn a_primary_that_counts_twice_is_found() {
    assert!(!prepares_with_too_few(None));
    assert!(prepares_with_too_few(Some(Mutant::PrimaryCounted)));
}

/// Whether one liar's state is taken for the group's.
fn takes_any_state(mutant: Option<Mutant>) -> bool {
    let config = Config { checkpoint_interval: 2, window: 4, ..with(mutant) };
    let mut lone = Lone::new(4, 4, config);
    let manifest = |chunk: &[u8]| Manifest {
        sequence: Sequence(2),
        slot: Slot(2),
        length: chunk.len() as u64,
        chunks: vec![Digest::of(b"chunk", chunk)],
        batches: Vec::new(),
    };
    let proof = stable(2, manifest(b"right").digest(), &[1, 2, 3]);
    lone.cluster.tell(1, 4, Message::Stable(Box::new(proof)));
    lone.wait(150);
    lone.cluster.tell(3, 4, Message::State(Box::new(manifest(b"wrong"))));
    let asks = |message: &Message| matches!(message, Message::FetchChunk { .. });
    lone.cluster.wire.iter().any(|envelope| asks(&envelope.message))
}

/// [B17]
#[test]
fn a_state_that_nobody_checks_is_found() {
    assert!(!takes_any_state(None));
    assert!(takes_any_state(Some(Mutant::StateUnchecked)));
}

/// Whether the digests of two states differ of which one client was given other replies.
fn sees_other_replies(mutant: Option<Mutant>) -> bool {
    let states = [ClientId::anonymous(7), ClientId::session(Slot(1))].map(|client| {
        let mut cluster = Cluster::with(4, Config { checkpoint_interval: 2, window: 4, ..with(mutant) });
        for id in [ProposalId::open_session(5), ProposalId::new(client, 1)] {
            cluster.handle(crate::common::n(1), Event::Propose { id, payload: Bytes::from_static(b"x") });
            cluster.settle();
        }
        assert_eq!((cluster.agreed().len(), cluster.stable(1)), (1, 2));
        cluster.tell(2, 1, Message::FetchState { sequence: Sequence(2) });
        let [Message::State(manifest)] = &cluster.said(1, 2)[..] else { panic!() };
        manifest.chunks.clone()
    });
    states[0] != states[1]
}

/// [B15]
#[test]
fn replies_that_are_not_digested_are_found() {
    assert!(sees_other_replies(None));
    assert!(!sees_other_replies(Some(Mutant::RepliesNotDigested)));
}

/// Where a replica stands in view 2 that hears an old VIEW-CHANGE.
fn view_after_an_old_wish(mutant: Option<Mutant>) -> u64 {
    let mut lone = lone(mutant);
    lone.hear(3, begins(new_view(3, 2, wishes(&[1, 2, 3], 2), &[])));
    lone.hear(1, says(wish(1, 1)));
    lone.view()
}

/// [B23]
#[test]
fn a_view_that_moves_back_is_found() {
    assert_eq!(view_after_an_old_wish(None), 2);
    assert_eq!(view_after_an_old_wish(Some(Mutant::ViewMovesBack)), 1);
}

/// How far a replica runs ahead that nobody else agrees with.
fn view_of_an_impatient_one(mutant: Option<Mutant>) -> u64 {
    let mut lone = lone(mutant);
    lone.ask(1);
    lone.wait(60_000);
    lone.view()
}

/// [B18]
#[test]
fn a_timer_that_runs_at_once_is_found() {
    assert_eq!(view_of_an_impatient_one(None), 1);
    assert!(view_of_an_impatient_one(Some(Mutant::TimerAtOnce)) > 3);
}

/// Where a replica is after a crash that wanted view 1.
fn view_after_a_crash(mutant: Option<Mutant>) -> u64 {
    let mut lone = lone(mutant);
    lone.ask(1);
    lone.wait(1_001);
    assert_eq!(lone.view(), 1);
    lone.restart();
    lone.view()
}

/// Whoever forgets that it left a view goes on in it, and contradicts what it told the next one. [B16] [B19]
#[test]
fn a_wish_that_is_not_written_is_found() {
    assert_eq!(view_after_a_crash(None), 1);
    assert_eq!(view_after_a_crash(Some(Mutant::ViewChangeNotWritten)), 0);
}

/// Whether a replica says PREPARE to two batches at one place, with a crash between.
fn prepares_two(mutant: Option<Mutant>) -> bool {
    let mut lone = lone(mutant);
    let said = [1, 2].map(|number| {
        lone.restart();
        prepares(&lone.hear(1, pre_prepare(1, 0, 1, batch([request(number)]))))
    });
    said.iter().all(|said| !said.is_empty())
}

/// [B5] [B16]
#[test]
fn a_proposal_that_is_not_written_is_found() {
    assert!(!prepares_two(None));
    assert!(prepares_two(Some(Mutant::ProposalNotWritten)));
}

/// How many certificates a replica tells the next view of that crashed after it had said COMMIT.
fn certificates_after_a_crash(mutant: Option<Mutant>) -> usize {
    let mut lone = lone(mutant);
    let digest = lone.come_to_prepare(1, 0, 1, 1, &[]);
    assert_eq!(commits(&lone.hear(2, prepare(2, 0, 1, digest))).len(), 1);
    lone.restart();
    let said = lone.wait(1_200);
    crate::common::lone::changes(&said)[0].prepared.len()
}

/// [B8] [B16]
#[test]
fn a_certificate_that_is_not_written_is_found() {
    assert_eq!(certificates_after_a_crash(None), 1);
    assert_eq!(certificates_after_a_crash(Some(Mutant::CertificateNotWritten)), 0);
}

/// Which of two certificates a new view is held to.
fn wins(mutant: Option<Mutant>) -> Vec<bool> {
    let [old, new] = [1, 2].map(|number| batch([request(number)]).digest());
    let changes = || {
        let one = view_change(1, 2, Stable::default(), vec![prepared(1, 0, 1, old, &[2, 3])]);
        vec![one, view_change(2, 2, Stable::default(), vec![prepared(2, 1, 1, new, &[1, 4])]), wish(3, 2)]
    };
    let takes = |digest| {
        let mut lone = lone(mutant);
        lone.hear(3, begins(new_view(3, 2, changes(), &[(1, digest)])));
        lone.view() == 2
    };
    [old, new, null()].into_iter().map(takes).collect()
}

/// [B21]
#[test]
fn a_new_view_that_takes_the_wrong_certificate_is_found() {
    assert_eq!(wins(None), [false, true, false]);
    assert_eq!(wins(Some(Mutant::LowestViewWins)), [true, false, false]);
    assert_eq!(wins(Some(Mutant::NullForPrepared)), [false, false, true]);
}

/// What is told of after a view that put something else there was entered.
fn remembers(mutant: Option<Mutant>) -> usize {
    let mut lone = lone(mutant);
    lone.come_to_prepare(1, 0, 1, 1, &[2]);
    lone.hear(2, begins(new_view(2, 1, wishes(&[1, 2, 3], 1), &[])));
    lone.hear(2, pre_prepare(2, 1, 1, batch([request(9)])));
    let said = lone.wait(1_200);
    crate::common::lone::changes(&said)[0].prepared.len()
}

/// [B8]
#[test]
fn certificates_that_a_view_forgets_are_found() {
    assert_eq!(remembers(None), 1);
    assert_eq!(remembers(Some(Mutant::PreparedForgotten)), 0);
    assert_eq!(remembers(Some(Mutant::PreparedNotTold)), 0);
}

/// Whether a replica that wants view 1 goes on preparing in view 0.
fn hears_the_old_view(mutant: Option<Mutant>) -> bool {
    let mut lone = lone(mutant);
    lone.ask(1);
    lone.wait(1_001);
    assert_eq!(lone.cluster.replica(4).view(), View(1));
    !prepares(&lone.hear(1, pre_prepare(1, 0, 1, batch([request(1)])))).is_empty()
}

/// [B19]
#[test]
fn an_old_view_that_is_heard_is_found() {
    assert!(!hears_the_old_view(None));
    assert!(hears_the_old_view(Some(Mutant::OldViewHeard)));
}

/// Whether a replica forgets what led to a checkpoint that one other has come to.
fn forgets_early(mutant: Option<Mutant>) -> bool {
    let config = Config { checkpoint_interval: 1, window: 2, max_batch_requests: 1, ..with(mutant) };
    let mut lone = Lone::new(4, 4, config);
    let digest = lone.come_to_prepare(1, 0, 1, 1, &[2]);
    let mut said = lone.hear(1, commit(1, 0, 1, digest));
    said.extend(lone.hear(2, commit(2, 0, 1, digest)));
    let [(1, state)] = crate::common::lone::checkpoints(&said)[..] else {
        panic!("one after each place: {said:?}")
    };
    lone.hear(1, checkpoint(1, 1, state));
    lone.cluster.stable(4) == 1
}

/// It holds where nobody lies: of f+1 one is correct. But only a quorum leaves enough who have it if f say nothing. [B15]
#[test]
fn a_checkpoint_of_too_few_is_found() {
    assert!(!forgets_early(None));
    assert!(forgets_early(Some(Mutant::StableAtWeak)));
}

/// Whether a primary puts something where a backup that has not heard of its stable checkpoint does not look.
fn outruns_its_backups(mutant: Option<Mutant>) -> bool {
    let config = Config { checkpoint_interval: 1, window: 2, max_batch_requests: 1, ..with(mutant) };
    let mut cluster = Cluster::with(4, config);
    let is_news = |envelope: &crate::common::Envelope| {
        let is_second =
            matches!(&envelope.message, Message::Checkpoint(vote) if vote.sequence == Sequence(2));
        envelope.to == n(4) && is_second
    };
    for numbers in [1..=1, 2..=2, 3..=4] {
        numbers.for_each(|number| cluster.propose(1, number));
        cluster.settle_but(is_news);
    }
    assert_eq!(cluster.executed(1), 4);
    cluster.executed(1) > cluster.executed(4)
}

/// [B12]
#[test]
fn a_primary_that_outruns_its_backups_is_found() {
    assert!(!outruns_its_backups(None));
    assert!(outruns_its_backups(Some(Mutant::OutrunsBackups)));
}

/// Whether a replica that is behind a stable checkpoint goes on telling of what it waits for.
fn repeats_what_may_be_over(mutant: Option<Mutant>) -> bool {
    let mut lone = lone(mutant);
    lone.ask(1);
    assert!(vouches(&lone.wait(500)), "the primary may never have got it");
    lone.hear(2, Message::Stable(Box::new(stable(128, Digest::default(), &[1, 2, 3]))));
    vouches(&lone.wait(500))
}

/// Simulated runs show it, but seldom: a group with a small window runs away from whoever is behind. [B13]
#[test]
fn who_is_behind_does_not_say_again_what_may_be_over() {
    assert!(!repeats_what_may_be_over(None));
    assert!(repeats_what_may_be_over(Some(Mutant::RepeatsWhatIsOver)));
}

/// What a replica answers a client whose name a liar gave to another request.
fn answers_for_another(mutant: Option<Mutant>) -> bool {
    let config = Config { vouching: Vouching::Named, ..with(mutant) };
    let mut cluster = Cluster::with(4, config);
    let id = Pbft::name(ClientId::default(), 1, &payload(1));
    cluster.crash(1);
    cluster.handle(n(2), Event::Propose { id, payload: payload(1) });
    let forged = Request::new(id, payload(2));
    let Message::PrePrepare(lie) = pre_prepare(1, 0, 1, batch([forged])) else { panic!() };
    let digest = lie.digest;
    cluster.tell_all(1, &Message::PrePrepare(lie));
    cluster.settle();
    cluster.tell_all(1, &commit(1, 0, 1, digest));
    cluster.settle();
    let answers = |(node, reply): &(NodeId, Reply)| {
        *node == n(2) && matches!(reply, Reply::Done { id: done, .. } if *done == id)
    };
    cluster.replies.iter().any(answers)
}

/// [B27]
#[test]
fn names_that_nobody_checks_are_found() {
    assert!(!answers_for_another(None));
    assert!(answers_for_another(Some(Mutant::NamesUnchecked)));
}

fn with_clients(mutant: Option<Mutant>) -> Config {
    Config { mutant, ..signed() }
}

/// What is carried out of what a primary puts in a client's name.
fn carries_out_a_forged_request(mutant: Option<Mutant>) -> bool {
    let mut cluster = Cluster::with(4, with_clients(mutant));
    cluster.crash(1);
    let signature = sign(2, Ask::of(name(1, 1), b"pay"), GROUP);
    let lie = batch([Request::signed(name(1, 1), b"pay", &signature)]);
    let digest = lie.digest();
    cluster.tell_all(1, &pre_prepare(1, 0, 1, lie));
    cluster.settle();
    cluster.tell_all(1, &commit(1, 0, 1, digest));
    cluster.settle();
    cluster.diary(2) == ["pay"]
}

/// [B29]
#[test]
fn a_clients_signature_that_nobody_checks_is_found() {
    assert!(!carries_out_a_forged_request(None));
    assert!(carries_out_a_forged_request(Some(Mutant::AskUnchecked)));
}

/// How often what a client signed once is carried out that a liar passes on under other numbers.
fn payments(mutant: Option<Mutant>) -> usize {
    let mut cluster = Cluster::with(4, with_clients(mutant));
    let mut ask = Ask::of(name(1, 1), b"pay");
    if mutant.is_some() {
        ask.id.sequence = 0;
    }
    let signature = sign(1, ask, GROUP);
    cluster.ask_all(&Request::signed(name(1, 1), b"pay", &signature));
    cluster.settle();
    let again = (2..=4).map(|number| Request::signed(name(1, number), b"pay", &signature));
    cluster.tell(2, 1, Message::Requests(again.collect()));
    cluster.settle();
    cluster.agreed().len()
}

/// [B29] [B30]
#[test]
fn a_number_that_is_not_signed_is_found() {
    assert_eq!(payments(None), 1);
    assert_eq!(payments(Some(Mutant::NumberNotAsked)), 4);
}

/// Whether a client is served while another one asks for all that there is room for.
fn is_served_beside_a_flood(mutant: Option<Mutant>) -> bool {
    let mut cluster = Cluster::with(4, Config { max_open_requests: 100, mutant, ..narrow() });
    (1..=400).for_each(|number| cluster.ask(1, &asks(1, number, "flood")));
    cluster.ask(1, &asks(2, 1, "mine"));
    cluster.settle();
    cluster.agreed().iter().any(|line| line == "mine")
}

/// [B31]
#[test]
fn a_client_without_a_bound_is_found() {
    assert!(is_served_beside_a_flood(None));
    assert!(!is_served_beside_a_flood(Some(Mutant::ShareIgnored)));
}

/// [B17]
#[test]
fn a_history_that_nobody_checks_is_found() {
    let executes_a_lie = |mutant| {
        let (mut lone, manifest, [one, _]) = two_batches(with(mutant));
        lone.hear(1, Message::State(Box::new(manifest)));
        lone.hear(3, batches(0, &[one, batch([request(9)])]));
        lone.cluster.diary(4).contains(&payload(9))
    };
    assert!(!executes_a_lie(None));
    assert!(executes_a_lie(Some(Mutant::HistoryUnchecked)));
}

/// [B16]
#[test]
fn a_checkpoint_that_is_not_written_down_is_found() {
    let settled = |mutant| {
        let config =
            Config { checkpoint_interval: 2, window: 4, snapshot_after_bytes: 1 << 20, ..with(mutant) };
        let mut cluster = Cluster::with(4, config);
        cluster.serve(1..=2);
        cluster.crash(4);
        cluster.start(4);
        (cluster.stable(4), cluster.executed(4))
    };
    assert_eq!(settled(None), (2, 2));
    assert_eq!(settled(Some(Mutant::StableNotWritten)), (0, 0));
}
