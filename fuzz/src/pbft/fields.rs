//! A message as the list of its fields, however deep they lie: what the liar learns from, and what it changes.

use bytes::Bytes;
use consensus_core::{NodeId, Slot};
use pbft::{
    Batch, Committed, Digest, Manifest, Message, NewView, PrePrepare, Prepared, Proposal, Request, Sequence,
    Signature, Signers, Stable, Status, View, ViewChange, Vote,
};

/// One field, by what it means. One that consists of others comes before them.
pub(crate) enum Field<'a> {
    View(&'a mut View),
    Sequence(&'a mut Sequence),
    Digest(&'a mut Digest),
    Signature(&'a mut Signature),
    Node(&'a mut NodeId),
    Slot(&'a mut Slot),
    Length(&'a mut u64),
    Index(&'a mut u32),
    Flag(&'a mut bool),
    Bytes(&'a mut Bytes),
    Batch(&'a mut Batch),
    Requests(&'a mut Vec<Request>),
    Signers(&'a mut Signers),
    Stable(&'a mut Stable),
    Certificates(&'a mut Vec<Prepared>),
    Changes(&'a mut Vec<ViewChange>),
    Proposals(&'a mut Vec<Proposal>),
    Chunks(&'a mut Vec<Digest>),
}

/// Whoever looks at fields.
pub(crate) type Each<'a> = &'a mut dyn FnMut(Field<'_>);

/// Goes through all fields of a message.
pub(crate) fn of_message(message: &mut Message, each: Each<'_>) {
    match message {
        Message::Requests(requests) => each(Field::Requests(requests)),
        Message::PrePrepare(PrePrepare { view, sequence, digest, batch, signature }) => {
            each(Field::View(view));
            of_place(sequence, digest, each);
            each(Field::Batch(batch));
            each(Field::Signature(signature));
        }
        Message::Prepare(vote) | Message::Commit(vote) | Message::Checkpoint(vote) => of_vote(vote, each),
        Message::ViewChange(change) => of_change(change, each),
        Message::NewView(new_view) => of_new_view(new_view, each),
        Message::Status(Status { view, is_changing, stable, executed }) => {
            each(Field::View(view));
            each(Field::Flag(is_changing));
            each(Field::Sequence(stable));
            each(Field::Sequence(executed));
        }
        Message::Committed(proven) => {
            let Committed { view, sequence, digest, commits } = &mut proven.certificate;
            each(Field::View(view));
            of_place(sequence, digest, each);
            of_signers(commits, each);
            each(Field::Batch(&mut proven.batch));
        }
        Message::Stable(stable) => of_stable(stable, each),
        Message::FetchBatch { sequence, digest } => of_place(sequence, digest, each),
        Message::BatchIs { sequence, batch } => {
            each(Field::Sequence(sequence));
            each(Field::Batch(batch));
        }
        Message::FetchState { sequence } => each(Field::Sequence(sequence)),
        Message::State(manifest) => {
            let Manifest { sequence, slot, length, chunks, batches } = &mut **manifest;
            each(Field::Sequence(sequence));
            each(Field::Slot(slot));
            each(Field::Length(length));
            each(Field::Chunks(chunks));
            each(Field::Chunks(batches));
        }
        Message::FetchChunk { sequence, index } => {
            each(Field::Sequence(sequence));
            each(Field::Index(index));
        }
        Message::Chunk { sequence, index, bytes } => {
            each(Field::Sequence(sequence));
            each(Field::Index(index));
            each(Field::Bytes(bytes));
        }
        Message::FetchBatches { sequence, after } => {
            each(Field::Sequence(sequence));
            each(Field::Sequence(after));
        }
        Message::Batches { sequence, after, batches } => {
            each(Field::Sequence(sequence));
            each(Field::Sequence(after));
            batches.iter_mut().for_each(|batch| each(Field::Batch(batch)));
        }
    }
}

fn of_place(sequence: &mut Sequence, digest: &mut Digest, each: Each<'_>) {
    each(Field::Sequence(sequence));
    each(Field::Digest(digest));
}

fn of_vote(Vote { view, sequence, digest, signature }: &mut Vote, each: Each<'_>) {
    each(Field::View(view));
    of_place(sequence, digest, each);
    each(Field::Signature(signature));
}

fn of_signers(signers: &mut Signers, each: Each<'_>) {
    each(Field::Signers(signers));
    for (node, signature) in &mut signers.0 {
        each(Field::Node(node));
        each(Field::Signature(signature));
    }
}

fn of_stable(stable: &mut Stable, each: Each<'_>) {
    each(Field::Stable(stable));
    let Stable { sequence, digest, votes } = stable;
    of_place(sequence, digest, each);
    of_signers(votes, each);
}

fn of_certificate(Prepared { view, sequence, digest, pre_prepare, prepares }: &mut Prepared, each: Each<'_>) {
    each(Field::View(view));
    of_place(sequence, digest, each);
    each(Field::Signature(pre_prepare));
    of_signers(prepares, each);
}

fn of_change(ViewChange { node, view, stable, prepared, signature }: &mut ViewChange, each: Each<'_>) {
    each(Field::Node(node));
    each(Field::View(view));
    of_stable(stable, each);
    each(Field::Certificates(prepared));
    prepared.iter_mut().for_each(|certificate| of_certificate(certificate, each));
    each(Field::Signature(signature));
}

fn of_new_view(NewView { view, changes, proposals, signature }: &mut NewView, each: Each<'_>) {
    each(Field::View(view));
    each(Field::Changes(changes));
    changes.iter_mut().for_each(|change| of_change(change, each));
    each(Field::Proposals(proposals));
    for Proposal { sequence, digest, signature } in proposals {
        of_place(sequence, digest, each);
        each(Field::Signature(signature));
    }
    each(Field::Signature(signature));
}
