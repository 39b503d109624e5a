//! What `spec.md` says of tests and planted bugs is there.

use std::path::Path;

/// The text of every file below a folder.
fn texts(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: std::path::PathBuf| {
        if path.is_dir() { texts(&path) } else { vec![std::fs::read_to_string(path).unwrap()] }
    };
    entries.flat_map(below).collect()
}

#[test]
fn whatever_finds_the_mistakes_of_others_exists() {
    // Of the crate that this is compiled into.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name| std::fs::read_to_string(here.join(name)).unwrap();
    let spec = read("spec.md");
    let (_, table) = spec.split_once("## Mistakes of others").unwrap();
    let mut known = texts(&here.join("tests"));
    known.extend(texts(&here.join("src")));
    for name in table.split('`').skip(1).step_by(2) {
        let is_test = known.iter().any(|text| text.contains(&format!("fn {name}(")));
        let is_planted =
            |text: &&String| text.contains("mutants! {") && text.contains(&format!("    {name},\n"));
        let is_mutant = known.iter().any(|text| is_planted(&text));
        assert!(is_test || is_mutant, "{name} is in no test, and in no list of bugs");
    }
}
