//! Seeds that once found a defect, each with its incident. They run in every `cargo test`.

use conformance::{Recipe, run_seed, subjects};

/// What a seed means may change with the simulator; the incident stays, and the seed costs nothing.
const RAFT: &[(u64, &str)] = &[
    (
        25,
        "A follower was fed an old snapshot for ever: it had all of the transfer, but the leader had compacted on \
         meanwhile, and took its acknowledgement for too little.",
    ),
    (
        469,
        "A follower was never fed again: its window was full of lost appends when the leader compacted past them, \
         and heartbeats behind slot zero were accepted instead of refused.",
    ),
    (218, "As 469, with a follower that had crashed."),
    (6, "As 469, with one node lost for good, so that no client was served any more."),
    (
        292,
        "A leader removed itself and lost the only voter of the new members before that was committed. It had the longer \
         log, and did not campaign since it had no vote any more: nobody could be elected.",
    ),
    (166, "As 292, with a voter that was being removed."),
    (
        6,
        "Reads waited for a quorum of two when one of them was removed. The other was a quorum alone then, and nobody \
         looked: with a queue full of reads none was taken any more.",
    ),
    (
        292,
        "The voters were replaced beside a witness that was to leave. The joint configuration did not say that it is a \
         witness: it was sent payloads, could not take them as the replica that it seemed to be, and nothing was committed.",
    ),
    (
        1478,
        "A newcomer was made a witness and was asked for a read before it knew. The leader told it which slot to wait for; it \
         took the entries up to there without their payloads, and answered from an empty state.",
    ),
];

const MULTIPAXOS: &[(u64, &str)] = &[
    (
        2_001_552,
        "Pieces of a snapshot that the network repeated were asked on, each answer was repeated in turn, and in the end there \
         was nothing but pieces: the run never ended.",
    ),
    (
        1205,
        "A value that was learnt out of order stood in the log as if accepted in a ballot above all. After a crash it passed for a \
         vote that overrules a stop-sign, and two values were chosen.",
    ),
    (811, "A snapshot answered the first part of a question, and nobody asked for the rest of it any more."),
];

#[test]
fn raft_passes_where_it_once_failed() {
    for (seed, incident) in RAFT {
        let report = run_seed::<raft::Raft>(*seed, &subjects::raft, false).unwrap();
        assert_eq!(report.failure, None, "seed {seed} fails again; then it was: {incident}");
    }
}

#[test]
fn multipaxos_passes_where_it_once_failed() {
    for (seed, incident) in MULTIPAXOS {
        let report = run_seed::<multipaxos::MultiPaxos>(*seed, &subjects::multipaxos, false).unwrap();
        assert_eq!(report.failure, None, "seed {seed} fails again; then it was: {incident}");
    }
}

const BENOR_LOG: &[(u64, &str)] = &[
    (
        238,
        "Who had heard enough offers voted, and made none of its own. Another had heard too few: with the third gone it waited for \
         that offer for ever.",
    ),
    (
        1177,
        "Of two nodes that were left each lacked what the other offered, and asked for it in turns: always when it was the turn of \
         the third, which was gone. So it offered nothing, and nothing was decided any more.",
    ),
    (2706, "As 1177, with a disk that took long."),
];

#[test]
fn the_log_without_a_leader_passes_where_it_once_failed() {
    passes("benor-log", BENOR_LOG);
}

const TWOPHASE: &[(u64, &str)] = &[
    (
        1_000_901,
        "The answer to a reader was lost. When it asked again, its coordinator had forgotten the transaction, and presumed an abort: \
         the reader aborted what all others had committed.",
    ),
    (1_000_059, "As 1000901, with commits presumed, after a client was told of the abort."),
    (1_005_314, "As 1000059, and nobody else had heard of the abort yet."),
    (
        1_007_025,
        "A question to a reader came again after a crash, in one burst with the verdict: the reader accused its coordinator of a \
         commit that it had not voted for.",
    ),
];

const PAXOS_COMMIT: &[(u64, &str)] = &[(
    518,
    "A coordinator that takes no part in a transaction had lost its payload in a crash. It learnt from the acceptors that it is \
     committed, and told its client before any participant heard: the judge took that for a lie.",
)];

#[test]
fn atomic_commitment_passes_where_it_once_failed() {
    passes("twophase", TWOPHASE);
    passes("paxos-commit", PAXOS_COMMIT);
}

fn passes(name: &str, incidents: &[(u64, &str)]) {
    let subject = subjects::ALL.iter().find(|subject| subject.name() == name).unwrap();
    for (seed, incident) in incidents {
        let report = subject.run(&Recipe::from(*seed), false).unwrap();
        assert_eq!(report.failure, None, "{name}: seed {seed} fails again; then it was: {incident}");
    }
}
