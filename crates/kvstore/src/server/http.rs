//! What operators' tools ask over plain HTTP, at the port of the clients and at the paths where etcd answers: `/metrics`, `/health`
//! and `/version`; and at `/evidence` what proves that members lie, one line for each, for `kvstore evidence`.

use super::Api;
use super::maintenance::PROTOCOL_VERSION;
use crate::keys;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use consensus_core::{NodeId, Role};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::time::Duration;
use tonic::service::Routes;

/// A member that cannot complete a read within this is not well.
const PATIENCE: Duration = Duration::from_secs(1);
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";

/// Answers at these paths, and leaves the others to what is there.
pub(super) fn add_to(routes: Routes, api: Api) -> Routes {
    let router = routes.into_axum_router();
    let http = axum::Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/evidence", get(evidence));
    router.merge(http.with_state(api)).into()
}

async fn metrics(State(api): State<Api>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &api.registry()) {
        Ok(()) => answer(StatusCode::OK, METRICS, text),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

/// Whether this member can serve: it knows a leader, and a read comes back.
async fn health(State(api): State<Api>) -> Response {
    let problem = match tokio::time::timeout(PATIENCE, api.barrier()).await {
        Ok(Ok(())) if api.is_over_quota() => "ALARM NOSPACE",
        Ok(Ok(())) => return answer(StatusCode::OK, JSON, r#"{"health":"true","reason":""}"#.into()),
        Ok(Err(_)) => "RAFT NO LEADER",
        Err(_) => "QGET ERROR",
    };
    let body = format!(r#"{{"health":"false","reason":"{problem}"}}"#);
    answer(StatusCode::SERVICE_UNAVAILABLE, JSON, body)
}

async fn evidence(State(api): State<Api>) -> Response {
    match api.0.group.report().await {
        Ok(report) => {
            let line = |(_, proof): &(NodeId, Bytes)| keys::text(proof) + "\n";
            answer(StatusCode::OK, "text/plain", report.inspection.proofs.iter().map(line).collect())
        }
        Err(error) => answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", error.to_string()),
    }
}

async fn version() -> Response {
    let body = format!(r#"{{"etcdserver":"{PROTOCOL_VERSION}","etcdcluster":"{PROTOCOL_VERSION}"}}"#);
    answer(StatusCode::OK, JSON, body)
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response {
    (status, [(CONTENT_TYPE, kind)], body).into_response()
}

impl Api {
    /// What the replica and its host count, and what etcd's dashboards look for first.
    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        self.0.group.register(&mut registry);
        let status = self.0.group.status();
        // Among equals there is none to be known.
        let has_leader = status.leader.is_some() || status.role == Role::Peer;
        let (leads, size) = (status.role == Role::Leader, self.0.store.read().size_bytes());
        let rows = [
            ("etcd_server_has_leader", "Whether a leader is known, or none is needed", u64::from(has_leader)),
            ("etcd_server_is_leader", "Whether this member leads", u64::from(leads)),
            ("etcd_mvcc_db_total_size_in_bytes", "The size of the store, in bytes", size),
            (
                "etcd_server_quota_backend_bytes",
                "The most that the store may hold, in bytes",
                self.0.config.quota_bytes,
            ),
        ];
        for (name, help, value) in rows {
            registry.register(name, help, ConstGauge::new(value));
        }
        registry
    }
}
