//! One group's life on its host: from what is on the disk to a handle, and back to the disk.

use crate::Runnable;
use crate::clock::Clock;
use crate::config::{GroupConfig, StartError};
use crate::door::GroupDoor;
use crate::driver::Driver;
use crate::handle::Handle;
use crate::host::{Host, Inner, blocking, random};
use crate::journal::Port;
use crate::lane::Board;
use crate::link::Routes;
use crate::mailbox::Mailbox;
use crate::network::{Outgoing, PeerNetwork};
use crate::registry::Claim;
use crate::request::Gauge;
use crate::shared::{Shared, StopReason};
use crate::title::Title;
use consensus_core::{ClientId, GroupId, Members, Network, Node, NodeConfig, NodeId, StateMachine, Storage};
use consensus_wal::RecoveredRaw;
use std::sync::Arc;

/// Starts a group. If `is_all`, its host ends with it.
pub(crate) async fn start<A, M>(
    host: Host,
    config: GroupConfig<A>,
    machine: M,
    is_all: bool,
) -> Result<Handle<A>, StartError>
where
    A: Runnable,
    M: StateMachine + Send + 'static,
{
    config.validate()?;
    let inner = Arc::clone(&host.inner);
    let group = config.group;
    let mut claim = inner.registry.claim(group)?;
    check(&inner, &config, &claim)?;
    let title = claim.on_disk.clone().unwrap_or_else(|| Title::of_group(A::NAME, config.members.clone()));
    let records = match claim.records.take() {
        Some(records) => records,
        None if claim.on_disk.is_some() => inner.desk.read_group(group).await?,
        None => RecoveredRaw::default(),
    };
    let board = if config.own_thread { inner.open_lane_of_its_own(group)? } else { inner.quietest_lane() };
    let lodging = Lodging { own: config.own_thread.then(|| Arc::clone(&board)) };
    let mailbox = new_mailbox(&config, inner.config.node, title.birth.clone(), &board);
    let shared = Arc::clone(&mailbox.shared);
    let (storage, port) = inner.desk.attach(group, title.clone(), records, Arc::clone(&shared));
    let (at, of) = (Arc::clone(&inner), Arc::clone(&shared));
    let routes = Routes::default();
    let network = PeerNetwork { group, algorithm: A::NAME, host: at, routes, shared: of };
    let birth = title.birth.clone();
    let opened = open_driver(&config, birth, &mailbox, inner.clock, network, storage, machine).await;
    claim.on_disk = port.is_titled().then(|| title.clone());
    let driver = match opened {
        Ok(driver) => driver,
        Err(error) => {
            inner.desk.detach(&port);
            shared.bell.give_up();
            return Err(error);
        }
    };
    let door = GroupDoor::<A> { group, algorithm: config.algorithm.clone(), mailbox: Arc::clone(&mailbox) };
    if let Err(error) = claim.open_door(Arc::new(door)) {
        inner.desk.detach(&port);
        shared.bell.give_up();
        return Err(error);
    }
    inner.join(group, A::NAME);
    inner.census.enter(&shared);
    tracing::info!(node = %shared.node, %group, algorithm = A::NAME, "group started");
    let tenancy = Tenancy { lodging, host: inner, shared: Arc::clone(&shared), port, title, is_all };
    shared.bell.move_in(
        Box::new(driver),
        Box::new(move |reason| {
            tokio::spawn(tenancy.end(reason));
        }),
    );
    Ok(new_handle(&config, mailbox, Some(host)))
}

fn check<A: Runnable>(inner: &Inner, config: &GroupConfig<A>, claim: &Claim) -> Result<(), StartError> {
    let refuse = |problem| Err(StartError::Group { group: config.group, problem });
    if let Some(title) = &claim.on_disk {
        // Where those who were there at its birth listen may be known no longer, and matters no more.
        return if title.algorithm == A::NAME {
            Ok(())
        } else {
            refuse(format!(
                "{} wrote it, and {} cannot read that: start it with {0}, or take another group id",
                title.algorithm,
                A::NAME
            ))
        };
    }
    let me = inner.config.node;
    let links = inner.contacts.links().table();
    match config.members.others(me).find(|peer| !links.contains_key(peer)) {
        None => Ok(()),
        Some(peer) => refuse(format!("the host knows no address of {peer}: add it to the host's peers")),
    }
}

pub(crate) fn new_mailbox<A: Runnable>(
    config: &GroupConfig<A>,
    node: NodeId,
    birth: Members,
    board: &Arc<Board>,
) -> Arc<Mailbox<A::Message>> {
    let shared = Shared::new(node, config.group, birth, board.reserve());
    Mailbox::new(Arc::new(shared))
}

pub(crate) fn new_handle<A: Runnable>(
    config: &GroupConfig<A>,
    mailbox: Arc<Mailbox<A::Message>>,
    host: Option<Host>,
) -> Handle<A> {
    let gauge = Gauge::new(config.limits.requests, config.limits.request_bytes);
    Handle::new(mailbox, gauge, config.request_timeout(), host)
}

/// Restores the node; on a thread for it, since a long log takes its time.
pub(crate) async fn open_driver<A, N, S, M>(
    config: &GroupConfig<A>,
    birth: Members,
    mailbox: &Arc<Mailbox<A::Message>>,
    clock: Clock,
    network: N,
    storage: S,
    machine: M,
) -> Result<Driver<A, N, S, M>, StartError>
where
    A: Runnable,
    N: Network<A::Message> + Outgoing<A::Message> + Send + 'static,
    S: Storage<A::Record> + Send + 'static,
    M: StateMachine + Send + 'static,
{
    let node_config = NodeConfig {
        id: mailbox.shared.node,
        members: birth,
        algorithm: config.algorithm.clone(),
        seed: random()?,
        compact_after_bytes: config.compact_after_bytes,
        compact_after_slots: config.compact_after_slots,
        defers_snapshots: true,
        check_invariants: config.check_invariants,
    };
    let node = blocking(move || Ok(Node::open(node_config, clock.now(), network, storage, machine)?)).await?;
    let client = ClientId::anonymous(random()?);
    Ok(Driver::new(config, node, client, clock, Arc::clone(mailbox)))
}

/// What is to be given back when a group has had its last turn.
struct Tenancy {
    host: Arc<Inner>,
    shared: Arc<Shared>,
    port: Arc<Port>,
    title: Title,
    lodging: Lodging,
    is_all: bool,
}

/// Closes the lane that only this group had.
struct Lodging {
    own: Option<Arc<Board>>,
}

impl Drop for Lodging {
    fn drop(&mut self) {
        if let Some(board) = &self.own {
            board.close();
        }
    }
}

impl Tenancy {
    async fn end(self, mut reason: StopReason) {
        let Self { host, shared, port, title, lodging, is_all } = self;
        let group: GroupId = shared.group;
        host.registry.close_door(group);
        host.census.leave(group);
        host.leave(group);
        drop(lodging);
        if reason == StopReason::Shutdown
            && let Err(error) = host.desk.barrier().await
        {
            reason = StopReason::Failed(error.to_string());
        }
        host.desk.detach(&port);
        host.registry.rest(group, port.is_titled().then_some(title));
        if is_all {
            host.end.ask(reason.clone());
            let of_host = host.end.completed().await;
            if reason == StopReason::Shutdown {
                reason = of_host;
            }
        }
        tracing::info!(node = %shared.node, %group, %reason, "group stopped");
        shared.end.complete(reason);
    }
}
