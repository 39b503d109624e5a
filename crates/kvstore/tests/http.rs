//! `/metrics`, `/health` and `/version` of real members, as a scraper and a load balancer ask for them.

use crate::cluster::{Cluster, KVSTORE, finished};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// One request in plain HTTP/1.1: the status line, the headers and the body.
pub(crate) fn get(endpoint: &str, path: &str) -> (String, String, String) {
    let mut stream = TcpStream::connect(endpoint).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {endpoint}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let (status, headers) = head.split_once("\r\n").unwrap();
    (status.to_owned(), headers.to_ascii_lowercase(), body.to_owned())
}

/// The samples of a scrape; every line is a comment or a sample.
fn scrape(endpoint: &str) -> BTreeMap<String, f64> {
    let (status, headers, body) = get(endpoint, "/metrics");
    assert!(status.contains(" 200 "), "{status}");
    assert!(headers.contains("content-type: application/openmetrics-text"), "{headers}");
    let body = body.strip_suffix("# EOF\n").expect("the end is marked");
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
    };
    body.lines().filter(|line| !line.starts_with("# ")).map(sample).collect()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn members_tell_how_they_are_over_http() {
    let mut members = Cluster::new(3, &[]);
    members.start_all();
    let endpoints: Vec<String> = (0..3).map(|index| members.endpoint(index)).collect();
    let is_well = |endpoint: &str| get(endpoint, "/health");
    until("all are well", || {
        endpoints.iter().all(|endpoint| is_well(endpoint).2 == r#"{"health":"true","reason":""}"#)
    });
    let (status, headers, body) = get(&endpoints[0], "/version");
    assert!(status.contains(" 200 ") && headers.contains("content-type: application/json"), "{status}");
    assert!(body.starts_with(r#"{"etcdserver":"3.4."#) && body.contains("etcdcluster"), "{body}");

    let before: Vec<_> = endpoints.iter().map(|endpoint| scrape(endpoint)).collect();
    let sum = |scrapes: &[BTreeMap<String, f64>], name: &str| -> f64 {
        scrapes.iter().map(|scrape| scrape.get(name).unwrap_or_else(|| panic!("{name} is missing"))).sum()
    };
    assert_eq!(sum(&before, "etcd_server_has_leader"), 3.0);
    assert_eq!(sum(&before, "etcd_server_is_leader"), 1.0);
    assert_eq!(sum(&before, "consensus_groups{role=\"leader\"}"), 1.0);
    for number in 0..20 {
        let mut put = Command::new(KVSTORE);
        let put = put.args(["put", &format!("key {number}"), "value", "--endpoints", &endpoints.join(",")]);
        assert!(finished(put).status.success());
    }
    until("every member has applied what was written", || {
        let after: Vec<_> = endpoints.iter().map(|endpoint| scrape(endpoint)).collect();
        let grew = |name: &str| {
            let pairs = before.iter().zip(&after);
            pairs.filter(|(before, after)| after[name] > before[name]).count()
        };
        let applied = "consensus_group_applied{group=\"1\"}";
        let all = ["etcd_mvcc_db_total_size_in_bytes", "consensus_host_journal_write_seconds_count", applied];
        let moved =
            sum(&after, "consensus_group_proposals_total") - sum(&before, "consensus_group_proposals_total");
        moved >= 20.0 && all.into_iter().all(|name| grew(name) == 3)
    });

    // Without a majority a member lives, and is not well.
    members.kill(1);
    members.kill(2);
    until("the last member is unwell", || is_well(&endpoints[0]).2.starts_with(r#"{"health":"false""#));
    let (status, _, body) = is_well(&endpoints[0]);
    assert!(status.contains(" 503 "), "{status} {body}");
    let alone = scrape(&endpoints[0]);
    assert_eq!(alone["consensus_peer_connected{peer=\"2\"}"], 0.0);
}
