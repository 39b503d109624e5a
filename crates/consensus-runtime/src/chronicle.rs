//! What protocols note, as events of `tracing` and as counters. The names of the fields are stable: tools may look for them.

use crate::metrics::add;
use crate::shared::Shared;
use consensus_core::Note;

/// Writes down what has happened in a group.
pub(crate) fn record(shared: &Shared, note: Note) {
    let (node, group, metrics) = (shared.node, shared.group, &shared.metrics);
    match note {
        Note::ElectionStarted { epoch, why } => {
            add(&metrics.elections_started, 1);
            tracing::info!(%node, %group, %epoch, why, "election started");
        }
        Note::ElectionWon { epoch } => {
            add(&metrics.elections_won, 1);
            tracing::info!(%node, %group, %epoch, "election won");
        }
        Note::ElectionLost { epoch, why } => {
            tracing::info!(%node, %group, %epoch, why, "election lost");
        }
        Note::SteppedDown { epoch, why } => {
            add(&metrics.step_downs, 1);
            tracing::warn!(%node, %group, %epoch, why, "stepped down");
        }
        Note::ChangeBegun { slot } => tracing::info!(%node, %group, %slot, "change of members begun"),
        Note::ChangeDone { slot } => {
            add(&metrics.changes_done, 1);
            tracing::info!(%node, %group, %slot, "change of members done");
        }
        Note::SnapshotTaken { through } => {
            add(&metrics.snapshots_taken, 1);
            tracing::info!(%node, %group, %through, "snapshot taken");
        }
        Note::SnapshotSending { to, through } => {
            add(&metrics.snapshots_sent, 1);
            tracing::info!(%node, %group, peer = %to, %through, "sending a snapshot");
        }
        Note::SnapshotSent { to } => tracing::info!(%node, %group, peer = %to, "snapshot sent"),
        Note::SnapshotInstalled { through } => {
            add(&metrics.snapshots_installed, 1);
            tracing::info!(%node, %group, %through, "snapshot installed");
        }
        Note::StatesDiffer { peer, place } => {
            tracing::warn!(%node, %group, %peer, place, "a peer came to another state: it lies, or is it configured otherwise?");
        }
    }
}
