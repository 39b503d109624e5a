//! Recorded runs: as data, and as a page that a browser shows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

use conformance::{Recorded, page, record_seed, run_seed, subjects};
use consensus_core::{NodeId, Time};
use consensus_sim::{DiskTrouble, Event, Happened, Plan, Property, Report, Stream};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const REPLAY: &str = "cargo xtask sim --algorithm raft --seed";

fn recorded(seed: u64) -> (Report, Recorded) {
    record_seed::<raft::Raft>(seed, &subjects::raft, false, &format!("{REPLAY} {seed}")).unwrap()
}

fn short(draw: &mut Stream, plan: &mut Plan) -> conformance::Tuning<raft::Config> {
    plan.faults_for = core::time::Duration::from_millis(400);
    subjects::raft(draw, plan)
}

#[test]
fn a_recording_changes_nothing() {
    for seed in 0..12 {
        let plain = run_seed::<raft::Raft>(seed, &subjects::raft, false).unwrap();
        let (report, run) = recorded(seed);
        assert_eq!(plain, report, "seed {seed} runs differently when it is recorded");
        assert_eq!(run.hash, format!("{:016x}", plain.hash));
    }
}

#[test]
fn json_comes_back_as_it_was() {
    let (_, run) = recorded(3);
    let text = run.to_json().unwrap();
    assert_eq!(Recorded::from_json(&text).unwrap(), run);
    assert!(text.starts_with('{') && !text.contains('\n'));
}

/// The recording tells the same story as the counts of the run.
#[test]
fn what_is_recorded_is_what_happened() {
    let mut seen = [0; 5];
    for seed in 0..12 {
        let (report, run) = recorded(seed);
        let count =
            |is: fn(&Happened) -> bool| run.events.iter().filter(|event| is(&event.what)).count() as u64;
        let counts = report.counts;
        let lost = count(|what| matches!(what, Happened::Message { lost: Some(_), .. }));
        let cuts = count(|what| matches!(what, Happened::Cut { .. }));
        let power = count(|what| matches!(what, Happened::PowerLoss));
        let installs = count(|what| matches!(what, Happened::Install { .. }));
        let in_lines = counts.lost_to_flaps + counts.lost_in_bursts + counts.lost_in_queues;
        assert_eq!(
            [lost, cuts, power, installs],
            [
                counts.lost + in_lines + counts.corrupted,
                counts.partitions,
                counts.power_losses,
                counts.installs
            ]
        );
        let heard: usize = run
            .events
            .iter()
            .map(|event| match &event.what {
                Happened::Message { copies, .. } => copies.iter().filter(|copy| copy.heard).count(),
                _ => 0,
            })
            .sum();
        assert_eq!(heard as u64, counts.delivered, "seed {seed}");
        let slots = run.events.iter().filter_map(|event| match &event.what {
            Happened::Decision { slot, .. } => Some(slot.0),
            _ => None,
        });
        assert!(slots.max().unwrap_or_default() <= counts.decisions);
        assert!(run.events.is_sorted_by_key(|event| event.at), "seed {seed}: time goes back");
        for (seen, count) in seen.iter_mut().zip([lost, cuts, power, installs, counts.decisions]) {
            *seen += count;
        }
    }
    assert!(seen.iter().all(|&count| count > 0), "these seeds show too little: {seen:?}");
}

/// A run that fails, with its seed: on disks whose syncs do nothing.
fn failing() -> (u64, Report, Recorded) {
    let lying = |draw: &mut Stream, plan: &mut Plan| {
        plan.disk.lying_syncs = true;
        subjects::raft(draw, plan)
    };
    (0..50)
        .map(|seed| (seed, record_seed::<raft::Raft>(seed, &lying, false, "replay it").unwrap()))
        .find(|(_, (report, _))| report.failure.is_some())
        .map(|(seed, (report, run))| (seed, report, run))
        .expect("a disk that lies is found")
}

#[test]
fn a_failure_is_in_the_recording_and_on_the_page() {
    let (seed, report, run) = failing();
    let failure = report.failure.unwrap();
    let violation = run.failure.as_ref().unwrap();
    assert_eq!(violation.property, failure.property.name(), "seed {seed}");
    assert_ne!(failure.property, Property::Determinism);
    let last = run.events.last().unwrap();
    assert!(matches!(&last.what, Happened::Failure { property, .. } if *property == violation.property));
    let html = page::render(&run).unwrap();
    assert!(html.contains(violation.property.as_str()) && html.contains("replay it"));
}

#[test]
fn the_page_holds_the_run_and_refers_to_nothing() {
    let (_, run) = record_seed::<raft::Raft>(5, &short, false, REPLAY).unwrap();
    let html = page::render(&run).unwrap();
    for reference in
        ["http:", "https:", "//cdn", " src=", " href=", "url(", "@import", "import(", "fetch(", "{{"]
    {
        assert!(!html.contains(reference), "the page contains {reference:?}");
    }
    assert!(html.contains("default-src 'none'"));
    let data = html.split_once("id=\"run\">").unwrap().1.split_once("</script>").unwrap().0;
    assert_eq!(Recorded::from_json(data).unwrap(), run, "the page must carry the run as it was");
}

/// Each hardship that was counted is in the recording, and none else.
#[test]
fn every_hardship_is_recorded() {
    let mut seen = [0; 6];
    for seed in 0..60 {
        let (Report { counts, .. }, run) = recorded(seed);
        let count =
            |is: fn(&Happened) -> bool| run.events.iter().filter(|event| is(&event.what)).count() as u64;
        let met = [
            count(|what| matches!(what, Happened::Stop { .. })),
            count(|what| matches!(what, Happened::SlowDisk { .. })),
            count(|what| matches!(what, Happened::Rot { refused: true, .. })),
            count(|what| matches!(what, Happened::Pause { .. })),
            count(|what| matches!(what, Happened::Clock { .. })),
            count(|what| matches!(what, Happened::Flap { .. })),
        ];
        let stops = counts.failed_syncs + counts.full_disks;
        assert_eq!(met[..3], [stops, counts.slow_disks, counts.refused_disks], "seed {seed}");
        // What is left out of the calm stands still too, and is no fault of the storm.
        assert!(met[3] >= counts.pauses && met[4] == counts.skewed_boots, "seed {seed}: {met:?}");
        assert!((counts.flaps..=2 * counts.flaps).contains(&met[5]), "a flap has one direction or two");
        for (seen, met) in seen.iter_mut().zip(met) {
            *seen += met;
        }
    }
    assert!(seen.iter().all(|&count| count > 0), "these seeds show too little: {seen:?}");
}

/// A short run, and one event of each kind that a recording can hold in the midst of it.
fn with_every_kind() -> Recorded {
    let (_, mut run) = record_seed::<raft::Raft>(5, &short, false, REPLAY).unwrap();
    let middle = run.events.len() / 2;
    let at = run.events[middle].at;
    let (node, until) = (NodeId(1), at + core::time::Duration::from_millis(30));
    let detail = || "in words".to_owned();
    let kinds = [
        Happened::SlowDisk { node, times: 7, until },
        Happened::Flap { from: node, to: NodeId(2), until },
        Happened::Clock { node, shows: until, rate_ppm: 1_010_000 },
        Happened::Act { node, class: "twin".into(), text: detail() },
        Happened::Pause { node, clock_stops: true },
        Happened::Resume { node, waited: 3 },
        Happened::Transfer { node, to: None },
        Happened::Suspicion { node, peer: NodeId(2), suspected: true },
        Happened::Stop { node, fault: DiskTrouble::Full, detail: detail() },
        Happened::NoStart { node, detail: detail() },
        Happened::Rot { node, detail: detail(), refused: true },
    ];
    run.events.splice(middle..middle, kinds.map(|what| Event { at, what }));
    run
}

/// A message may say anything, even the end of the element that holds the data.
#[test]
fn a_hostile_text_stays_a_text() {
    let (_, mut run) = record_seed::<raft::Raft>(5, &short, false, REPLAY).unwrap();
    let text = "</script><script>alert(1)</script><!-- {{data}}";
    run.algorithm = text.into();
    run.events.push(Event { at: run.simulated, what: Happened::Invoke { client: 0, text: text.into() } });
    let html = page::render(&run).unwrap();
    assert!(!html.contains("</script><script>alert"));
    let data = html.split_once("id=\"run\">").unwrap().1.split_once("</script>").unwrap().0;
    assert_eq!(Recorded::from_json(data).unwrap(), run);
}

#[test]
fn the_page_is_bounded() {
    let (_, mut run) = record_seed::<raft::Raft>(5, &short, false, REPLAY).unwrap();
    let message = |at: u64| Event {
        at: Time::from_micros(at),
        what: Happened::Message {
            from: NodeId(1),
            to: NodeId(2),
            kind: "Append".into(),
            text: "x".repeat(160),
            lost: None,
            copies: Vec::new(),
        },
    };
    run.events.extend((0..200_000).map(message));
    let html = page::render(&run).unwrap();
    assert!(html.len() < 12 << 20, "{} bytes", html.len());
    let data = html.split_once("id=\"run\">").unwrap().1.split_once("</script>").unwrap().0;
    let shown = Recorded::from_json(data).unwrap();
    assert_eq!(shown.omitted as usize + shown.events.len(), run.events.len());
    assert!(shown.events.len() <= 2 * page::MAX_PAGE_EVENTS);
}

#[test]
fn the_newest_of_each_sort_are_shown() {
    let (_, run) = record_seed::<raft::Raft>(5, &short, false, REPLAY).unwrap();
    let ask = |at| Event { at: Time::from_nanos(at), what: Happened::Ask { client: 0, node: NodeId(1) } };
    let boot = Event { at: Time::ZERO, what: Happened::Boot { node: NodeId(1) } };
    let many = page::MAX_PAGE_EVENTS as u64 + 10;
    let events: Vec<Event> = std::iter::once(boot.clone()).chain((1..=many).map(ask)).collect();
    let html = page::render(&Recorded { events, ..run.clone() }).unwrap();
    let data = html.split_once("id=\"run\">").unwrap().1.split_once("</script>").unwrap().0;
    let shown = Recorded::from_json(data).unwrap();
    assert_eq!((shown.events.len(), shown.omitted), (page::MAX_PAGE_EVENTS + 1, run.omitted + 10));
    assert_eq!((shown.events.first(), shown.events.get(1)), (Some(&boot), Some(&ask(11))));
}

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome", "headless_shell"];
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.is_file())
}

/// The document as it is after its script has run.
fn dump(browser: &Path, page: &Path, profile: &Path) -> Result<String, String> {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args(["--no-first-run", "--window-size=1400,900", "--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .map_err(|error| format!("it does not start: {error}"))?;
    if output.status.success() && !output.stdout.is_empty() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

#[test]
fn a_browser_shows_the_page() {
    let Some(browser) = chromium() else {
        eprintln!(
            "SKIPPED: no chromium in PATH, so no browser has looked at the page; `apt-get install chromium` brings one"
        );
        return;
    };
    for run in [recorded(11).1, failing().2, with_every_kind()] {
        looked_at(&browser, &run);
    }
}

fn looked_at(browser: &Path, run: &Recorded) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.html");
    fs::write(&file, page::render(run).unwrap()).unwrap();
    let dom = match dump(browser, &file, folder.path()) {
        Ok(dom) => dom,
        Err(why) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: {} cannot run here: {why}", browser.display());
            return;
        }
        Err(why) => panic!("{} cannot run: {why}", browser.display()),
    };
    let opening = dom.split_once("<html").unwrap().1.split_once('>').unwrap().0;
    assert!(opening.contains("data-rendered=\"ok\""), "the script did not come to its end: <html{opening}>");
    assert!(opening.contains(&format!("data-events=\"{}\"", run.events.len())), "<html{opening}>");
    assert!(!opening.contains("data-drawn=\"0\""), "nothing was drawn: <html{opening}>");
}
