//! Many groups on one set of hosts: what a group costs that has nothing to do, and what many groups cost beside one.
//!
//! Three hosts in this process, with real sockets on the loopback interface and a real disk; every group has a member on each.

mod busy;
mod cluster;
mod idle;

use crate::Rounds;
use crate::stats::{Spread, number};
use crate::table;
use anyhow::{Result, bail};
use clap::Args;
use cluster::Layout;
use std::time::Duration;

/// How long starts, elections and shutdowns may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What `groups` measures.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of groups")]
pub(crate) struct Options {
    /// Groups, each with three members.
    #[arg(long, global = true, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    groups: u32,
    /// Lanes of each host; as many as groups is a task for each group.
    #[arg(long, global = true, value_delimiter = ',', default_value = "1", value_name = "N,…")]
    lanes: Vec<u32>,
    /// Timers run out at multiples of so many milliseconds.
    #[arg(long, global = true, value_delimiter = ',', default_value = "10", value_name = "MS,…")]
    grains: Vec<u64>,
    /// Clients of the busy groups, each with one write in flight.
    #[arg(long, global = true, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=16_000))]
    group_clients: u32,
    /// The directory of the data.
    #[arg(long, global = true, value_name = "DIR")]
    group_data: Option<std::path::PathBuf>,
    /// Leave the busy groups out.
    #[arg(long, global = true)]
    idle_only: bool,
}

impl Options {
    /// So many groups, on the first of the layouts.
    fn layout(&self, groups: u32) -> Result<Layout> {
        let (Some(&lanes), Some(&grain_ms)) = (self.lanes.first(), self.grains.first()) else {
            bail!("name at least one number of lanes, and one grain")
        };
        Ok(Layout { groups, lanes, grain_ms, data: self.group_data.clone() })
    }
}

/// Runs everything and prints the tables.
pub(crate) fn run(rounds: &Rounds, options: &Options) -> Result<serde_json::Value> {
    let mut idle = Vec::new();
    for &lanes in &options.lanes {
        for &grain_ms in &options.grains {
            let layout = Layout { groups: options.groups, lanes, grain_ms, data: options.group_data.clone() };
            idle.push(idle::measure(&layout, rounds.seconds)?);
        }
    }
    print_idle(&idle, rounds, options);
    if options.idle_only {
        return Ok(serde_json::json!({ "idle": idle }));
    }
    let busy = busy::measure(rounds, options)?;
    print_busy(&busy, rounds, options);
    Ok(serde_json::json!({ "idle": idle, "busy": busy }))
}

fn print_idle(lines: &[idle::Line], rounds: &Rounds, options: &Options) {
    println!(
        "\nIdle groups: {} groups × 3 members in one process, raft with 1,000 ms / 100 ms, sockets on loopback, a real disk; {} s.",
        options.groups, rounds.seconds
    );
    let mut rows = table::Table::new(&[
        "lanes",
        "grain ms",
        "started s",
        "elected s",
        "CPU %",
        "switches / s",
        "rounds / s",
        "messages / s",
        "writes / s",
        "kB / s",
    ]);
    for line in lines {
        rows.row([
            number(line.lanes.into(), 0),
            number(line.grain_ms as f64, 0),
            number(line.started_s, 2),
            number(line.elected_s, 2),
            number(line.cpu_percent, 1),
            number(line.switches_per_s, 0),
            number(line.rounds_per_s, 0),
            number(line.messages_per_s, 0),
            number(line.writes_per_s, 0),
            number(line.bytes_per_s / 1e3, 1),
        ]);
    }
    rows.print();
    let mut rows = table::Table::new(&[
        "lanes",
        "heap B / member",
        "of which core leader",
        "core follower",
        "RSS B / member",
    ]);
    for line in lines {
        rows.row([
            number(line.lanes.into(), 0),
            number(line.heap_per_member, 0),
            number(line.core_leader, 0),
            number(line.core_follower, 0),
            number(line.rss_per_member, 0),
        ]);
    }
    rows.print();
}

fn print_busy(lines: &[busy::Line], rounds: &Rounds, options: &Options) {
    println!(
        "\nBusy groups: {} clients in a closed loop, each write of 64 B to the next group at its leader, synced on a majority; {} rounds of {} s, median (min–max).",
        options.group_clients, rounds.rounds, rounds.seconds
    );
    let mut rows = table::Table::new(&[
        "groups",
        "writes / s",
        "to one group",
        "p99 ms",
        "CPU µs / write",
        "writes / sync",
    ]);
    let first: Option<Spread> = lines.first().map(|line| line.writes_per_s);
    for line in lines {
        let ratio = first.map(|first| line.writes_per_s.median / first.median);
        rows.row([
            number(line.groups.into(), 0),
            line.writes_per_s.show(0),
            table::optional(ratio, |ratio| format!("{ratio:.2}×")),
            line.p99_ms.show(1),
            line.cpu_us_per_write.show(1),
            line.writes_per_sync.show(1),
        ]);
    }
    rows.print();
}
