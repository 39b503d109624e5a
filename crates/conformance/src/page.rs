//! A recorded run as one page: a space-time diagram that needs nothing but a browser.
//!
//! The page is a template, a style sheet, a script and the run itself, all in one file. It loads nothing, and its own policy
//! forbids that it ever does, so that it can be mailed, kept with a report, and opened years later.

use crate::recorded::Recorded;
use consensus_sim::{Event, Happened};

/// The most events of one sort that a page carries: what changes a node's state, and everything else. The oldest are left out
/// first, since a failure is at the end; the JSON has them all.
pub const MAX_PAGE_EVENTS: usize = 25_000;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPTS: [&str; 3] =
    [include_str!("page/model.js"), include_str!("page/draw.js"), include_str!("page/main.js")];

/// The page of a run.
///
/// # Errors
/// Never in practice: plain data encodes into memory.
pub fn render(run: &Recorded) -> serde_json::Result<String> {
    let mut shown = run.clone();
    shown.events = newest(&run.events);
    shown.omitted += (run.events.len() - shown.events.len()) as u64;
    // Whatever the run says, it cannot end the element that holds it.
    let data = shown.to_json()?.replace('<', "\\u003c");
    let mut page = String::with_capacity(TEMPLATE.len() + STYLE.len() + data.len() + 64_000);
    for piece in TEMPLATE.split_inclusive("}}") {
        let (text, name) = piece.split_once("{{").unwrap_or((piece, ""));
        page.push_str(text);
        match name {
            "title}}" => page.push_str(&escaped(&format!("{} seed {}", run.algorithm, run.seed))),
            "style}}" => page.push_str(STYLE),
            "data}}" => page.push_str(&data),
            "script}}" => SCRIPTS.iter().for_each(|script| page.push_str(script)),
            _ => page.push_str(name),
        }
    }
    Ok(page)
}

/// At most [`MAX_PAGE_EVENTS`] of each sort, the newest.
fn newest(events: &[Event]) -> Vec<Event> {
    let mut room = [MAX_PAGE_EVENTS; 2];
    let mut kept: Vec<Event> = events
        .iter()
        .rev()
        .filter(|event| {
            let [states, others] = &mut room;
            let room = if is_state(&event.what) { states } else { others };
            let fits = *room > 0;
            *room = room.saturating_sub(1);
            fits
        })
        .cloned()
        .collect();
    kept.reverse();
    kept
}

/// Whether the picture of a node or of the links depends on it for long after.
const fn is_state(what: &Happened) -> bool {
    matches!(
        what,
        Happened::Boot { .. }
            | Happened::Crash { .. }
            | Happened::Lost { .. }
            | Happened::PowerLoss
            | Happened::Cut { .. }
            | Happened::Heal
            | Happened::Calm
            | Happened::Role { .. }
            | Happened::Stop { .. }
            | Happened::NoStart { .. }
            | Happened::SlowDisk { .. }
            | Happened::Rot { .. }
            | Happened::Pause { .. }
            | Happened::Resume { .. }
            | Happened::Clock { .. }
            | Happened::Act { .. }
            | Happened::Failure { .. }
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
