//! The counters and the state of a host for Prometheus: read when somebody asks, and at no other time.
//!
//! There is no global registry: whoever serves metrics has a registry of its own and lets hosts enter themselves there
//! ([`crate::Host::register`]). Several hosts of one process go into sub-registries with a label each.

use crate::census::Census;
use crate::host::Inner;
use crate::metrics::MetricsReading;
use crate::shared::Shared;
use consensus_core::Role;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;

/// The most groups that have rows of their own, those with the lowest ids: a server of metrics must not be flooded.
const MOST_ROWS: usize = 64;

const ROLES: [(&str, Role); 6] = [
    ("leader", Role::Leader),
    ("candidate", Role::Candidate),
    ("follower", Role::Follower),
    ("learner", Role::Learner),
    ("witness", Role::Witness),
    ("peer", Role::Peer),
];

/// Enters a host, or, in memory, a replica alone.
pub(crate) fn register(registry: &mut Registry, census: Arc<Census>, host: Option<Arc<Inner>>) {
    registry.register_collector(Box::new(Exposition { census, host }));
}

struct Exposition {
    census: Arc<Census>,
    host: Option<Arc<Inner>>,
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposition").finish_non_exhaustive()
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (groups, sum) = self.census.take();
        encode_groups(&mut encoder, &groups, &sum)?;
        self.host.as_ref().map_or(Ok(()), |host| encode_host(&mut encoder, host))
    }
}

fn encode_groups(
    encoder: &mut DescriptorEncoder<'_>,
    groups: &[Arc<Shared>],
    sum: &MetricsReading,
) -> fmt::Result {
    for (name, help, value) in sum.described() {
        counter(encoder, &format!("consensus_group_{name}"), help, value)?;
    }
    let mut gauges = Gauges { encoder };
    let count = |role| groups.iter().filter(|shared| shared.view.borrow().status.role == role).count();
    let roles = ROLES.map(|(name, role)| (name, count(role)));
    let help = "Groups that run here, by the part that this node plays";
    gauges.family("consensus_groups", help, None, "role", roles)?;
    let leaderless = groups.iter().filter(|shared| shared.view.borrow().status.leader.is_none()).count();
    let help = "Groups that run here and know no leader";
    gauges.single("consensus_groups_without_leader", help, None, leaderless)?;
    let rows = [
        Row {
            name: "epoch",
            help: "The term, ballot round or view",
            of: |shared| shared.view.borrow().status.epoch.0,
        },
        Row {
            name: "leader",
            help: "The leader; 0 if none is known",
            of: |shared| shared.view.borrow().status.leader.map_or(0, |leader| leader.0),
        },
        Row {
            name: "decided",
            help: "The last slot that is known to be decided",
            of: |shared| shared.view.borrow().status.decided.0,
        },
        Row {
            name: "applied",
            help: "The last slot that the state machine has seen",
            of: |shared| shared.view.borrow().applied.0,
        },
    ];
    for Row { name, help, of } in rows {
        let values = groups.iter().take(MOST_ROWS).map(|shared| (shared.group.0, of(shared)));
        gauges.family(&format!("consensus_group_{name}"), help, None, "group", values)?;
    }
    Ok(())
}

/// A gauge of each group.
struct Row {
    name: &'static str,
    help: &'static str,
    of: fn(&Shared) -> u64,
}

fn encode_host(encoder: &mut DescriptorEncoder<'_>, host: &Inner) -> fmt::Result {
    for (name, help, value) in host.metrics.read().described() {
        counter(encoder, &format!("consensus_host_{name}"), help, value)?;
    }
    let (histogram, help) =
        (host.desk.syncs.histogram(), "How long writes to the journal took, each with its sync");
    histogram.encode(encoder.encode_descriptor(
        "consensus_host_journal_write",
        help,
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?)?;
    let mut gauges = Gauges { encoder };
    let help = "Bytes that wait to be written to the journal";
    gauges.single("consensus_host_journal_queued", help, Some(&Unit::Bytes), host.desk.queued_bytes())?;
    let links = host.contacts.links().table();
    let peers = || links.iter().map(|(peer, link)| (peer.0, link));
    let connected = peers().map(|(peer, link)| (peer, usize::from(link.is_up())));
    gauges.family(
        "consensus_peer_connected",
        "Whether our connection to the peer stands",
        None,
        "peer",
        connected,
    )?;
    let there = peers().map(|(peer, link)| (peer, usize::from(link.presence.lock().is_there())));
    gauges.family(
        "consensus_peer_there",
        "Whether the peer hears us, and we hear it",
        None,
        "peer",
        there,
    )?;
    let queued = peers().map(|(peer, link)| (peer, link.queued_bytes()));
    let help = "Bytes that wait to be sent to the peer";
    gauges.family("consensus_peer_queued", help, Some(&Unit::Bytes), "peer", queued)?;
    let trips =
        peers().filter_map(|(peer, link)| Some((peer, link.presence.lock().round_trip()?.as_secs_f64())));
    let help = "How long a pulse took to the peer and back, when it was measured last";
    gauges.family("consensus_peer_round_trip", help, Some(&Unit::Seconds), "peer", trips)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let help = help.trim().trim_end_matches('.');
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)
}

struct Gauges<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
}

impl Gauges<'_, '_> {
    fn single(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: usize) -> fmt::Result {
        self.encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn family<L: EncodeLabelValue, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        label: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (of, value) in values {
            family.encode_family(&[(label, of)])?.encode_gauge(&value)?;
        }
        Ok(())
    }
}
