//! The closed loop: each client has one request in flight, and sends the next when the answer is there.

use super::cluster::Cluster;
use super::grpc::{self, Connection, Get, GetAnswer, Put, PutAnswer};
use crate::process;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Keys are drawn from so many.
const KEYS: u64 = 10_000;
const WARM_UP: Duration = Duration::from_millis(500);
/// A request that takes longer counts as failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Operation {
    /// A write that is durable on a majority when it is answered.
    Put,
    /// A linearizable read of one key that exists.
    Get,
}

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Sample {
    pub(super) per_s: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) errors: u64,
    /// CPU seconds of the three servers per 1,000 requests.
    pub(super) server_cpu_s_per_1000: f64,
    /// CPU seconds of this generator per 1,000 requests.
    pub(super) generator_cpu_s_per_1000: f64,
}

/// The shape of the load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) clients: usize,
    pub(super) connections_per_endpoint: usize,
    pub(super) value_bytes: usize,
    pub(super) length: Duration,
}

struct Shared {
    counting: bool,
    stop: bool,
    histogram: Histogram<u64>,
    errors: u64,
    last_error: Option<anyhow::Error>,
}

/// Writes every key once, so that reads find what they ask for.
pub(super) async fn preload(cluster: &Cluster, value_bytes: usize) -> Result<()> {
    let connections = connect(cluster, 1).await?;
    let next = Rc::new(RefCell::new(0));
    let value = value(value_bytes);
    let mut tasks = Vec::new();
    for client in 0..128 {
        let connection = pick(&connections, client)?;
        let (next, value) = (Rc::clone(&next), value.clone());
        tasks.push(tokio::task::spawn_local(async move {
            loop {
                let number = next.replace_with(|next| *next + 1);
                if number >= KEYS {
                    return Ok::<(), anyhow::Error>(());
                }
                let put = Put { key: key(number), value: value.clone() };
                let _: PutAnswer = connection.call(grpc::PUT, &put).await?;
            }
        }));
    }
    for task in tasks {
        task.await?.context("could not write the keys")?;
    }
    Ok(())
}

/// Drives the load against all endpoints for its length, after a warm-up that does not count.
pub(super) async fn run(cluster: &Cluster, operation: Operation, load: Load) -> Result<Sample> {
    let connections = connect(cluster, load.connections_per_endpoint).await?;
    let shared = Rc::new(RefCell::new(Shared {
        counting: false,
        stop: false,
        histogram: Histogram::new_with_bounds(1, 60_000_000, 3)?,
        errors: 0,
        last_error: None,
    }));
    let value = value(load.value_bytes);
    let mut tasks = Vec::new();
    for client in 0..load.clients {
        let connection = pick(&connections, client)?;
        tasks.push(tokio::task::spawn_local(client_loop(
            connection,
            operation,
            value.clone(),
            client as u64,
            Rc::clone(&shared),
        )));
    }
    tokio::time::sleep(WARM_UP).await;
    let (servers, own) = (cluster.cpu_seconds()?, process::own_cpu_seconds()?);
    let start = Instant::now();
    shared.borrow_mut().counting = true;
    tokio::time::sleep(load.length).await;
    shared.borrow_mut().counting = false;
    let elapsed = start.elapsed().as_secs_f64();
    let (servers, own) = (cluster.cpu_seconds()? - servers, process::own_cpu_seconds()? - own);
    shared.borrow_mut().stop = true;
    for task in tasks {
        task.await?;
    }
    let shared = shared.borrow();
    let done = shared.histogram.len();
    ensure!(
        done > 0,
        "no request succeeded: {}",
        shared
            .last_error
            .as_ref()
            .map_or_else(|| "nothing was answered in time".to_owned(), |e| format!("{e:#}"))
    );
    let millis = |quantile: f64| shared.histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(Sample {
        per_s: done as f64 / elapsed,
        p50_ms: millis(0.5),
        p99_ms: millis(0.99),
        errors: shared.errors,
        server_cpu_s_per_1000: servers * 1_000.0 / done as f64,
        generator_cpu_s_per_1000: own * 1_000.0 / done as f64,
    })
}

async fn client_loop(
    connection: Connection,
    operation: Operation,
    value: Bytes,
    seed: u64,
    shared: Rc<RefCell<Shared>>,
) {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while !shared.borrow().stop {
        random = xorshift(random);
        let start = Instant::now();
        let answer = tokio::time::timeout(
            REQUEST_TIMEOUT,
            request(&connection, operation, key(random % KEYS), value.clone()),
        );
        let answer = answer.await.unwrap_or_else(|late| Err(late.into()));
        if answer.is_err() {
            // A dead connection fails at once: leave the others some air.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut shared = shared.borrow_mut();
        if !shared.counting {
            // Only what is answered inside the window counts.
        } else if let Err(error) = answer {
            shared.errors += 1;
            shared.last_error = Some(error);
        } else {
            let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            shared.histogram.saturating_record(micros.max(1));
        }
    }
}

async fn request(connection: &Connection, operation: Operation, key: Bytes, value: Bytes) -> Result<()> {
    match operation {
        Operation::Put => {
            let answer: PutAnswer = connection.call(grpc::PUT, &Put { key, value }).await?;
            ensure!(answer.header.is_some_and(|header| header.revision > 1), "a put without a revision");
        }
        Operation::Get => {
            let answer: GetAnswer = connection.call(grpc::GET, &Get { key: key.clone() }).await?;
            let found = answer.kvs.first().context("a key that was written is missing")?;
            ensure!(found.key == key && found.value.len() == value.len(), "a get answered with another pair");
        }
    }
    Ok(())
}

async fn connect(cluster: &Cluster, per_endpoint: usize) -> Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..per_endpoint {
        for endpoint in cluster.endpoints() {
            connections.push(Connection::open(endpoint).await?);
        }
    }
    Ok(connections)
}

/// Round robin: client 0 to the first endpoint, client 1 to the second, and so on.
fn pick(connections: &[Connection], client: usize) -> Result<Connection> {
    connections.get(client % connections.len().max(1)).cloned().context("there is no endpoint")
}

fn key(number: u64) -> Bytes {
    format!("bench/{number:08}").into()
}

pub(super) fn value(bytes: usize) -> Bytes {
    // Not all alike, so that nothing on the way can shrink it to nothing.
    let mut random = 0x2545_f491_4f6c_dd1d;
    (0..bytes)
        .map(|_| {
            random = xorshift(random);
            random.to_le_bytes()[3]
        })
        .collect::<Vec<u8>>()
        .into()
}

const fn xorshift(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}
