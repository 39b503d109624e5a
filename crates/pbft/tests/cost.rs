//! What it costs to have something executed: messages, delays, and writes.

use crate::common::signing::{batch, commit, prepare, signatures};
use crate::common::{Cluster, config, gateway, n, request};
use pbft::{Message, Record};

const REQUESTS: u64 = 10;

/// How many PRE-PREPAREs, PREPAREs, COMMITs and others there are for each request, one at a time; time stands still.
fn messages(cluster: &mut Cluster, ask: impl Fn(&mut Cluster, u64)) -> [u64; 4] {
    let mut counts = [0; 4];
    for number in 1..=REQUESTS {
        ask(cluster, number);
        while let Some(envelope) = cluster.wire.pop_front() {
            let kind = match envelope.message {
                Message::PrePrepare(_) => 0,
                Message::Prepare(_) => 1,
                Message::Commit(_) => 2,
                Message::Requests(_)
                | Message::Checkpoint(_)
                | Message::ViewChange(_)
                | Message::NewView(_)
                | Message::Status(_)
                | Message::Committed(_)
                | Message::Stable(_)
                | Message::FetchBatch { .. }
                | Message::BatchIs { .. }
                | Message::FetchState { .. }
                | Message::State(_)
                | Message::FetchChunk { .. }
                | Message::Chunk { .. }
                | Message::FetchBatches { .. }
                | Message::Batches { .. } => 3,
            };
            counts[kind] += 1;
            cluster.deliver(envelope);
        }
        assert_eq!((cluster.agreed().len() as u64, cluster.executed(1)), (number, number));
    }
    counts.map(|count| {
        assert_eq!(count % REQUESTS, 0, "every request costs the same");
        count / REQUESTS
    })
}

#[test]
fn a_place_costs_what_the_paper_says() {
    for size in [4, 7, 10, 13] {
        let phases = [size - 1, (size - 1) * (size - 1), size * (size - 1)];
        let counts =
            messages(&mut Cluster::with(size, gateway()), |cluster, number| cluster.propose(1, number));
        assert_eq!(counts, [phases[0], phases[1], phases[2], 0], "its gateway is the primary");
        let counts =
            messages(&mut Cluster::with(size, gateway()), |cluster, number| cluster.propose(2, number));
        assert_eq!(counts, [phases[0], phases[1], phases[2], 1], "its gateway passes it on");
        let counts = messages(&mut Cluster::with(size, config()), Cluster::propose_everywhere);
        assert_eq!(counts, [phases[0], phases[1], phases[2], size * (size - 1)], "all vouch for it to all");
    }
}

// tests [B28]
#[test]
fn a_place_costs_the_signatures_of_two_quorums_and_no_more() {
    for size in [4, 5, 6, 7, 10, 13] {
        let mut cluster = Cluster::with(size, gateway());
        signatures();
        for number in 1..=REQUESTS {
            cluster.propose(1, number);
            while !cluster.wire.is_empty() {
                std::mem::take(&mut cluster.wire).into_iter().for_each(|envelope| cluster.deliver(envelope));
            }
        }
        let quorum = consensus_core::quorum::byzantine(size as usize) as u64;
        let places = REQUESTS * size;
        assert_eq!(signatures(), (2 * places, 2 * (quorum - 1) * places), "{size} replicas");
        assert_eq!(cluster.agreed().len() as u64, REQUESTS);
    }
}

/// Delivers everything that is on the wire, and then what that brought about, until all have executed it.
fn delays(cluster: &mut Cluster) -> u64 {
    for delay in 0..10 {
        if cluster.up().iter().all(|&id| cluster.executed(id) == 1) {
            return delay;
        }
        std::mem::take(&mut cluster.wire).into_iter().for_each(|envelope| cluster.deliver(envelope));
    }
    panic!("it takes long");
}

// tests [B12] [B13]
#[test]
fn a_request_takes_three_one_way_delays_to_execution_and_one_more_to_be_vouched_for() {
    for size in [4, 7, 10, 13] {
        let mut cluster = Cluster::with(size, gateway());
        cluster.propose(1, 1);
        assert_eq!(delays(&mut cluster), 3);
        let mut cluster = Cluster::with(size, config());
        cluster.propose_everywhere(1);
        assert_eq!(delays(&mut cluster), 4);
    }
}

// tests [B5] [B8]
#[test]
fn a_place_costs_two_writes() {
    let mut cluster = Cluster::with(4, gateway());
    for number in 1..=3 {
        cluster.propose(1, number);
        cluster.settle();
    }
    for id in 1..=4 {
        let records = cluster.records(id);
        assert_eq!(records.len(), 6, "{id}");
        assert!(records.iter().all(|record| matches!(record, Record::PrePrepare(_) | Record::Prepared(_))));
    }
}

/// A vote that comes again costs its check and nothing else.
// tests [B26]
#[test]
fn what_comes_again_is_not_answered() {
    let mut cluster = Cluster::with(4, gateway());
    cluster.propose(1, 1);
    cluster.settle();
    let digest = batch([request(1)]).digest();
    for from in [2, 3] {
        cluster.tell(from, 4, prepare(from, 0, 1, digest));
        cluster.tell(from, 4, commit(from, 0, 1, digest));
    }
    assert!(cluster.wire.is_empty());
    assert_eq!((cluster.nodes[&n(4)].durable().0, cluster.accusations.len()), (2, 0));
}
