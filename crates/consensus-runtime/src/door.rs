//! Where what peers send enters a group, whatever its algorithm: bytes become messages here, on the task that read them.

use crate::Runnable;
use crate::contacts::Standing;
use crate::credit::Held;
use crate::frame::{self, Forward, ForwardReply, FrameError, Kind, Piece};
use crate::mailbox::{Mailbox, News};
use crate::metrics::add;
use crate::request::{FromPeer, Inbound};
use crate::shared::Shared;
use consensus_core::wire::{self, MAX_FRAME_BYTES};
use consensus_core::{GroupId, Membership, NodeId};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A running group, as its host sees it.
pub(crate) trait Door: Send + Sync {
    fn shared(&self) -> &Arc<Shared>;
    /// The name of its algorithm.
    fn algorithm(&self) -> &'static str;
    /// What it makes of a node of which nobody else tells.
    fn standing(&self, node: NodeId) -> Standing;
    /// Takes in whole frames for this group, in order. What it does not understand it drops and counts: the others on this
    /// connection have nothing to do with it.
    fn receive(&self, from: NodeId, frames: &[u8], held: Held);
    /// Tells it what became of the ways to and from a peer.
    fn tell(&self, peer: NodeId, news: News);
}

/// The door of a group that runs `A`.
pub(crate) struct GroupDoor<A: Runnable> {
    pub(crate) group: GroupId,
    pub(crate) algorithm: A::Config,
    pub(crate) mailbox: Arc<Mailbox<A::Message>>,
}

impl<A: Runnable> Door for GroupDoor<A> {
    fn shared(&self) -> &Arc<Shared> {
        &self.mailbox.shared
    }

    fn algorithm(&self) -> &'static str {
        A::NAME
    }

    fn standing(&self, node: NodeId) -> Standing {
        let is_static = matches!(A::GUARANTEES.membership, Membership::Static);
        match self.shared().view.borrow().status.members.contains(node) {
            true => Standing::Member,
            false if is_static => Standing::Stranger,
            false => Standing::Guest,
        }
    }

    fn receive(&self, from: NodeId, frames: &[u8], held: Held) {
        let metrics = &self.shared().metrics;
        let mut understood = Vec::new();
        for piece in frame::split(frames) {
            match self.open(from, &piece) {
                Ok(frame) => understood.extend(frame),
                Err(error) => {
                    let before = metrics.frames_malformed.fetch_add(1, Relaxed);
                    // Not a line for each: a peer of another version sends nothing else.
                    if (before + 1).is_power_of_two() {
                        tracing::warn!(peer = %from, group = %self.group, %error, count = before + 1, "dropped a frame: does the peer run the same algorithm, of the same release?");
                    }
                }
            }
        }
        if !understood.is_empty() {
            add(&metrics.frames_received, understood.len());
            self.mailbox.push(Inbound::Peer { from, frames: understood, held });
        }
    }

    fn tell(&self, peer: NodeId, news: News) {
        self.mailbox.tell(peer, news);
    }
}

impl<A: Runnable> GroupDoor<A> {
    /// `None` for a message that was screened out: its sender may lie, but its frames are well.
    fn open(&self, from: NodeId, piece: &Piece<'_>) -> Result<Option<FromPeer<A::Message>>, FrameError> {
        let (kind, body) = piece.content().ok_or(FrameError::Kind(0))?;
        Ok(match kind {
            Kind::Message => {
                let message = wire::decode(body, MAX_FRAME_BYTES)?;
                match A::screen(&self.algorithm, from, &message) {
                    Ok(()) => Some(FromPeer::Message(message)),
                    Err(offence) => {
                        add(&self.shared().metrics.accusations, 1);
                        tracing::warn!(peer = %from, group = %self.group, ?offence, "dropped a message that breaks the protocol");
                        None
                    }
                }
            }
            Kind::Forward => Some(FromPeer::Forward(wire::decode::<Forward>(body, MAX_FRAME_BYTES)?)),
            Kind::ForwardReply => {
                Some(FromPeer::ForwardReply(wire::decode::<ForwardReply>(body, MAX_FRAME_BYTES)?))
            }
            Kind::Notice => return Err(FrameError::Notice("it is for a group")),
            Kind::Question | Kind::Answer => return Err(FrameError::Kind(kind as u8)),
        })
    }
}
