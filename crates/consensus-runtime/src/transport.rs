//! Keeps what is dialled in step with the roster: a task per link, begun with it and ended with it.

use crate::Runnable;
use crate::dial::Dialler;
use crate::handshake::Hello;
use crate::listen::Reception;
use crate::peers::Link;
use crate::request::Inbound;
use consensus_core::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument;

/// The sockets of one replica.
pub(crate) struct Transport<A: Runnable> {
    reception: Arc<Reception<A>>,
    /// Whom we dial.
    dialled: BTreeMap<NodeId, (Arc<Link>, AbortHandle)>,
    tasks: JoinSet<()>,
    span: tracing::Span,
}

impl<A: Runnable> Transport<A> {
    pub(crate) fn new(reception: Reception<A>) -> Self {
        // Several replicas may share a process: each line of the transport says whose it is.
        let span = tracing::info_span!("transport", node = %reception.me);
        let (dialled, tasks) = (BTreeMap::new(), JoinSet::new());
        Self { reception: Arc::new(reception), dialled, tasks, span }
    }

    /// Runs until `end` completes; every connection is gone when it returns.
    pub(crate) async fn run(mut self, listener: TcpListener, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        let roster = Arc::clone(&self.reception.roster);
        self.tasks.spawn(Arc::clone(&self.reception).run(listener).instrument(self.span.clone()));
        let mut changes = roster.subscribe();
        loop {
            self.follow(roster.links()).await;
            let farewell = roster.next_farewell();
            tokio::select! {
                () = &mut end => break,
                changed = changes.changed() => if changed.is_err() { break },
                () = sleep_until(farewell) => roster.pass_time(),
                // A dialler that has ended of itself has asked the replica to stop.
                Some(_) = self.tasks.join_next() => {}
            }
        }
        self.tasks.shutdown().await;
    }

    async fn follow(&mut self, links: BTreeMap<NodeId, Arc<Link>>) {
        let is_over = |(peer, (link, _)): &(&NodeId, &(Arc<Link>, AbortHandle))| {
            links.get(peer).is_none_or(|wanted| !Arc::ptr_eq(wanted, link))
        };
        let over: Vec<NodeId> = self.dialled.iter().filter(is_over).map(|(&peer, _)| peer).collect();
        for peer in over {
            if let Some((link, task)) = self.dialled.remove(&peer) {
                task.abort();
                link.disconnect();
                tracing::info!(parent: &self.span, %peer, "a peer is dialled no longer, or elsewhere");
                // What was under way to it will not arrive. The core loop may be gone already.
                drop(self.reception.inbox.send(Inbound::LinkLost(peer)).await);
            }
        }
        for (peer, link) in links {
            if !self.dialled.contains_key(&peer) {
                let task = self.tasks.spawn(self.dialler(&link).run().instrument(self.span.clone()));
                self.dialled.insert(peer, (link, task));
            }
        }
    }

    fn dialler(&self, link: &Arc<Link>) -> Dialler<A::Message> {
        let reception = &self.reception;
        Dialler {
            link: Arc::clone(link),
            hello: Hello { cluster: reception.cluster, from: reception.me, to: link.peer },
            group: reception.group,
            roster: Arc::clone(&reception.roster),
            inbox: reception.inbox.clone(),
            shared: Arc::clone(&reception.shared),
        }
    }
}

/// Never, if there is no such moment.
async fn sleep_until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
