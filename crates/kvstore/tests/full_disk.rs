//! A disk that is full: the member stops and says why, and nothing that it acknowledged is lost.

use crate::cluster::Cluster;
use kvstore::proto::etcdserverpb::kv_client::KvClient;
use kvstore::proto::etcdserverpb::{PutRequest, RangeRequest};
use std::io::Read;
use std::process::{Command, Stdio};
use tonic::transport::Channel;

/// A member whose files may not grow beyond 3 MiB. The shell ignores the signal that comes with it, so that the member sees the
/// error of the write, as it would see a full disk's.
fn confined(cluster: &Cluster) -> Command {
    let member = cluster.command(0);
    let mut shell = Command::new("bash");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 3072; exec \"$0\" \"$@\""]);
    shell.arg(member.get_program()).args(member.get_args());
    shell.stdout(Stdio::null()).stderr(Stdio::piped());
    shell
}

#[tokio::test]
async fn a_full_disk_stops_the_member_and_loses_nothing() {
    let mut cluster = Cluster::new(1, &["--election-timeout-ms", "200", "--heartbeat-interval-ms", "20"]);
    let mut child = confined(&cluster).spawn().unwrap();
    let connect = |url: &String| KvClient::new(Channel::from_shared(url.clone()).unwrap().connect_lazy());
    let urls = cluster.urls();
    let mut kv = connect(&urls[0]);
    let value = |number: i32| format!("{number} {}", "x".repeat(10_000)).into_bytes();
    let mut acknowledged = Vec::new();
    for number in 0..2_000 {
        let request = PutRequest {
            key: format!("k{number:04}").into(),
            value: value(number).into(),
            ..PutRequest::default()
        };
        match kv.put(request).await {
            Ok(_) => acknowledged.push(number),
            // It is not up yet, or it is down already.
            Err(_) if acknowledged.is_empty() => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await
            }
            Err(_) => break,
        }
    }
    let status = child.wait().unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!((100..600).contains(&acknowledged.len()), "{} were acknowledged\n{log}", acknowledged.len());
    assert!(log.contains("writing failed on") && log.contains("File too large"), "{log}");
    assert!(!log.contains("panicked"), "{log}");

    // With room again, it starts, has everything and takes more.
    cluster.start(0);
    let mut kv = connect(&urls[0]);
    for number in acknowledged {
        let request = RangeRequest { key: format!("k{number:04}").into(), ..RangeRequest::default() };
        let found = kv.range(request).await.unwrap().into_inner().kvs;
        assert_eq!(found.first().map(|kv| kv.value.to_vec()), Some(value(number)), "k{number:04}");
    }
    kv.put(PutRequest { key: "more".into(), value: "room".into(), ..PutRequest::default() }).await.unwrap();
}
