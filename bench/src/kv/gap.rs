//! The write gap: how long nobody can write after the leader was killed.

use super::cluster::{Cluster, Server};
use super::grpc::{self, Connection, Put, PutAnswer};
use super::load;
use anyhow::{Context, Result};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A fresh write leaves to each survivor this often: what hangs in one attempt does not hide that the next would succeed.
const EVERY: Duration = Duration::from_millis(10);
const GIVE_UP: Duration = Duration::from_secs(30);

/// Kills the leader once and returns the seconds until the first acknowledgement of a write that was sent after the kill.
pub(super) async fn trial(server: &Server, root: &Path, value_bytes: usize) -> Result<f64> {
    let mut cluster = Cluster::start(server, root).await?;
    // A leader that has just been elected is not yet a settled one.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let killed = cluster.kill_leader().await?;
    let (acknowledged, mut first) = mpsc::unbounded_channel::<Instant>();
    let mut writers = Vec::new();
    for endpoint in cluster.endpoints() {
        let acknowledged = acknowledged.clone();
        let connection = Connection::open(endpoint).await?;
        writers.push(tokio::task::spawn_local(async move {
            loop {
                let (connection, acknowledged) = (connection.clone(), acknowledged.clone());
                let put = Put { key: "bench/gap".into(), value: load::value(value_bytes) };
                tokio::task::spawn_local(async move {
                    if connection.call::<PutAnswer>(grpc::PUT, &put).await.is_ok() {
                        // Nobody listens any more after the first.
                        let _ = acknowledged.send(Instant::now());
                    }
                });
                tokio::time::sleep(EVERY).await;
            }
        }));
    }
    let first = tokio::time::timeout(GIVE_UP, first.recv()).await;
    for writer in writers {
        writer.abort();
    }
    let first = first
        .with_context(|| format!("no write was acknowledged within {GIVE_UP:?} after the leader was killed"))?
        .context("every writer ended")?;
    Ok(first.duration_since(killed).as_secs_f64())
}
