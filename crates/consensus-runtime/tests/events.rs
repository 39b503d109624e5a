//! What a running replica tells: events, with names and fields that stay. The collector hears this thread alone, and on it
//! runs everything that tells.

use crate::support::seen::{leader, quick, start, start_all, until, write};
use crate::support::{Cluster, soon};
use raft::Raft;
use std::io::Write;
use std::sync::{Arc, Mutex};

/// Collects lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// The lines with all of these words.
    fn with(&self, words: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| words.iter().all(|word| line.contains(word)));
        lines.map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn what_happens_is_told_with_fields_that_stay() {
    let lines = Lines::default();
    let sink = lines.clone();
    let collector = tracing_subscriber::fmt().with_ansi(false).with_writer(move || sink.clone()).finish();
    let _listening = tracing::subscriber::set_default(collector);

    let cluster = Cluster::<Raft>::new(3, quick());
    let mut handles = start_all(&cluster).await;
    let leads = leader(&handles).await;
    let id = handles[leads].node();
    let (node, away) = (format!("node={id}"), (leads + 1) % 3);
    let [started, ..] = &lines.with(&["election started", &node])[..] else { panic!("it began") };
    assert!(started.contains("group=g1") && started.contains("epoch=e0"), "{started}");
    assert!(started.contains("why=\"no leader is known to be alive\""), "{started}");
    let won = lines.with(&["election won", &node, "group=g1"]);
    assert!(!won.is_empty());
    let changes = lines.with(&["the leader changed", "group=g1", &format!("leader={id}")]);
    let first = changes.iter().filter(|change| !change.contains("before=")).count();
    assert!(first >= 3, "nobody led before, and everybody tells: {changes:?}");

    let away_id = handles[away].node();
    handles[away].kill().await;
    write(&handles[leads], 150).await;
    assert!(!lines.with(&["snapshot taken", &node, "through=s"]).is_empty());
    handles[away] = start(&cluster, away_id.0).await;
    until(&handles[away], |report| report.metrics.snapshots_installed == 1).await;
    let peer = format!("peer={away_id}");
    until(&handles[leads], |_| !lines.with(&["snapshot sent", &node, &peer]).is_empty()).await;
    assert!(!lines.with(&["sending a snapshot", &node, &peer, "through=s"]).is_empty());
    let installed = lines.with(&["snapshot installed", &format!("node={away_id}"), "through=s"]);
    assert_eq!(installed.len(), 1, "{installed:?}");

    // The leader alone: it hears nobody, and says why it leads no more.
    for (index, handle) in handles.iter().enumerate() {
        if index != leads {
            soon(handle.shutdown()).await;
        }
    }
    until(&handles[leads], |report| report.metrics.step_downs > 0).await;
    let why = "why=\"no quorum has answered for an election timeout\"";
    let stepped = lines.with(&["stepped down", &node, "epoch=e", why]);
    assert!(!stepped.is_empty());
}
