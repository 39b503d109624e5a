//! Where what concerns a group waits until its lane turns to it.
//!
//! What is in it is bounded elsewhere: requests by their [`crate::request::Gauge`], frames by what their connection may have
//! waiting, news by the number of peers.

use crate::request::Inbound;
use crate::shared::Shared;
use consensus_core::NodeId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A group's mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox<M> {
    pub(crate) shared: Arc<Shared>,
    mail: Mutex<Mail<M>>,
}

/// What has come.
#[derive(Debug)]
pub(crate) struct Mail<M> {
    /// Oldest first.
    pub(crate) inbound: VecDeque<Inbound<M>>,
    /// The latest of each peer.
    pub(crate) news: Vec<(NodeId, News)>,
    closed: bool,
}

impl<M> Default for Mail<M> {
    fn default() -> Self {
        Self { inbound: VecDeque::new(), news: Vec::new(), closed: false }
    }
}

/// What became of the ways to and from a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// A connection was lost: what was under way on it may never arrive.
    pub(crate) lost: bool,
    /// It can be reached (again).
    pub(crate) up: bool,
    /// Whether it is suspected from now on.
    pub(crate) suspected: Option<bool>,
}

impl News {
    /// A connection to or from the peer was lost, or the peer itself.
    pub(crate) const LOST: Self = Self { lost: true, up: false, suspected: Some(true) };
    /// The peer is there.
    pub(crate) const THERE: Self = Self { lost: false, up: true, suspected: Some(false) };
}

impl<M> Mailbox<M> {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, mail: Mutex::default() })
    }

    /// Puts something in. False if the group is gone.
    pub(crate) fn push(&self, inbound: Inbound<M>) -> bool {
        {
            let mut mail = self.lock();
            if mail.closed {
                return false;
            }
            mail.inbound.push_back(inbound);
        }
        self.shared.bell.ring();
        true
    }

    /// Tells what became of the ways to and from a peer.
    pub(crate) fn tell(&self, peer: NodeId, news: News) {
        {
            let mut mail = self.lock();
            match mail.news.iter_mut().find(|(of, _)| *of == peer) {
                Some((_, known)) => {
                    known.lost |= news.lost;
                    known.up = news.up || (known.up && !news.lost);
                    known.suspected = news.suspected.or(known.suspected);
                }
                None => mail.news.push((peer, news)),
            }
        }
        self.shared.bell.ring();
    }

    /// Takes everything out; `into` is empty. True if the bell was rung since the last time.
    pub(crate) fn take(&self, into: &mut Mail<M>) -> bool {
        let rung = self.shared.bell.silence();
        std::mem::swap(&mut *self.lock(), into);
        rung
    }

    /// Nobody will look into it any more: what is in it is dropped, and nothing more taken.
    pub(crate) fn close(&self) {
        let mail = std::mem::replace(&mut *self.lock(), Mail { closed: true, ..Mail::default() });
        // Unlocked, since answers that are dropped wake those who wait for them.
        drop(mail);
    }

    /// Whether the group is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, Mail<M>> {
        // Nothing in a critical section can panic half-way through a change that matters.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
