//! The sockets of a host: its reception, its failure detector, and a task for each link, begun with it and ended with it.

use crate::detector;
use crate::dial::Dialler;
use crate::host::Inner;
use crate::link::{Link, Table};
use crate::listen::Reception;
use consensus_core::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument;

/// Whom we dial.
type Dialled = BTreeMap<NodeId, (Arc<Link>, AbortHandle)>;

/// Runs until it is told to end, or nobody is left to tell; its tasks are gone when it returns.
pub(crate) async fn run(host: Arc<Inner>, listener: TcpListener, mut end: oneshot::Receiver<()>) {
    // Several hosts may share a process: each line of the transport says whose it is.
    let span = tracing::info_span!("transport", node = %host.config.node);
    let mut tasks = JoinSet::new();
    tasks.spawn(detector::watch(Arc::clone(&host)).instrument(span.clone()));
    tasks.spawn(Reception(Arc::clone(&host)).run(listener).instrument(span.clone()));
    let mut dialled = Dialled::new();
    let mut changes = host.contacts.subscribe();
    loop {
        // In this order, so that a change meanwhile is seen.
        changes.mark_unchanged();
        let table = host.contacts.links().table();
        hang_up(&host, &table, &mut dialled);
        for (&peer, link) in table.iter().filter(|(peer, _)| !dialled.contains_key(peer)).collect::<Vec<_>>()
        {
            let dialler = Dialler { link: Arc::clone(link), host: Arc::clone(&host) };
            let task = tasks.spawn(dialler.run().instrument(span.clone()));
            dialled.insert(peer, (Arc::clone(link), task));
        }
        tokio::select! {
            _ = &mut end => break,
            // The host holds the sender, so the channel is open.
            _ = changes.changed() => {}
        }
        // Those that were ended leave nothing behind.
        while tasks.try_join_next().is_some() {}
    }
    tasks.shutdown().await;
}

/// Ends the tasks of links that are no more.
fn hang_up(host: &Inner, table: &Table, dialled: &mut Dialled) {
    dialled.retain(|peer, (link, task)| {
        let stays = table.get(peer).is_some_and(|wanted| Arc::ptr_eq(wanted, link));
        if !stays {
            task.abort();
            tracing::info!(node = %host.config.node, %peer, "a node is dialled no longer");
            // What was under way to it will not arrive.
            host.on_disconnected(link);
        }
        stays
    });
}
