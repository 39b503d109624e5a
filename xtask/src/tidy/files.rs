//! Rules about single files.

use super::Source;

const LONGEST_FILE: usize = 800;
const LONGEST_ARCHITECTURE: usize = 250;

/// Where protocols live: what they send or decide early must say why.
const NOT_PROTOCOLS: &[&str] =
    &["consensus-core", "consensus-wal", "consensus-sim", "consensus-runtime", "conformance"];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in sources {
        check_size(source, &mut broken);
        check_words(source, &mut broken);
        if source.is("rs") {
            check_early(source, &mut broken);
        }
    }
    check_readmes(sources, &mut broken);
    check_profile(sources, &mut broken);
    check_suites(sources, &mut broken);
    broken
}

fn check_size(source: &Source, broken: &mut Vec<String>) {
    let lines = source.text.lines().count();
    let path = source.path.display();
    if source.is("rs") && lines > LONGEST_FILE {
        broken.push(format!("{path}: {lines} lines; split it, {LONGEST_FILE} are the limit"));
    }
    if source.path.as_os_str() == "ARCHITECTURE.md" && lines > LONGEST_ARCHITECTURE {
        broken.push(format!("{path}: {lines} lines; a map that nobody reads to the end is none, {LONGEST_ARCHITECTURE} are the limit"));
    }
}

fn check_words(source: &Source, broken: &mut Vec<String>) {
    // Written in pieces, so that this file does not break its own rules.
    let stubs = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[ig", "nore")];
    let homes = [concat!("/ho", "me/"), concat!("/ro", "ot/")];
    for (number, line) in source.text.lines().enumerate() {
        let place = format!("{}:{}", source.path.display(), number + 1);
        if source.is("rs") && stubs.iter().any(|stub| line.contains(stub)) {
            broken.push(format!("{place}: a stub or a test that is not run; finish it or take it out"));
        }
        if homes.iter().any(|home| line.contains(home)) {
            broken.push(format!("{place}: a path of somebody's machine"));
        }
    }
}

/// An early send or decision is the one way around the gate, so each says why it is sound.
fn check_early(source: &Source, broken: &mut Vec<String>) {
    let within_protocol = source.within("crates")
        && source.path.components().any(|part| part.as_os_str() == "src")
        && !NOT_PROTOCOLS.iter().any(|name| source.within(&format!("crates/{name}")));
    if !within_protocol {
        return;
    }
    let lines: Vec<&str> = source.text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let call = line.contains(".send_early(") || line.contains(".decide_early(");
        let reasons = lines.get(number.saturating_sub(6)..=number).unwrap_or_default();
        if call
            && !line.trim_start().starts_with("//")
            && !reasons.iter().any(|line| line.contains("// EARLY:"))
        {
            let place = format!("{}:{}", source.path.display(), number + 1);
            broken.push(format!(
                "{place}: it goes around the gate without an `// EARLY:` comment that says why that is sound"
            ));
        }
    }
}

fn check_readmes(sources: &[Source], broken: &mut Vec<String>) {
    let has = |path: &std::path::Path| sources.iter().any(|source| source.path == path);
    for manifest in
        sources.iter().filter(|source| source.within("crates") && source.path.ends_with("Cargo.toml"))
    {
        if !has(&manifest.path.with_file_name("README.md")) {
            broken.push(format!("{}: its crate has no README.md", manifest.path.display()));
        }
    }
}

/// Where the tests of a crate are one program, a file that neither it nor the manifest names would be compiled by nobody.
fn check_suites(sources: &[Source], broken: &mut Vec<String>) {
    let is_suite = |source: &&Source| source.within("crates") && source.path.ends_with("tests/suite.rs");
    for suite in sources.iter().filter(is_suite) {
        let manifest = suite.path.ancestors().nth(2).map(|folder| folder.join("Cargo.toml"));
        let manifest = sources.iter().find(|source| Some(&source.path) == manifest.as_ref());
        let has = |file: &Source, wanted: String| file.text.lines().any(|line| line == wanted);
        let names = |name: &str| {
            has(suite, format!("mod {name};"))
                || manifest.is_some_and(|manifest| has(manifest, format!("name = \"{name}\"")))
        };
        let beside = sources.iter().filter(|source| {
            source.is("rs") && source.path.parent() == suite.path.parent() && source.path != suite.path
        });
        for file in beside {
            let name = file.path.file_stem().unwrap_or_default().to_string_lossy();
            if !names(&name) {
                broken.push(format!("{}: its tests never run; name it in suite.rs", file.path.display()));
            }
        }
    }
}

/// The store picks among algorithms in one place.
fn check_profile(sources: &[Source], broken: &mut Vec<String>) {
    let algorithms = ["raft::", "multipaxos::", "pbft::", "benor::", "twophase::", "eventual::"];
    for source in sources
        .iter()
        .filter(|source| source.within("crates/kvstore/src") && !source.path.ends_with("profile.rs"))
    {
        for (number, line) in source.text.lines().enumerate() {
            let names =
                |name: &&str| line.contains(&format!("use {name}")) || line.contains(&format!(" {name}"));
            if algorithms.iter().any(names) && !line.trim_start().starts_with("//") {
                let place = format!("{}:{}", source.path.display(), number + 1);
                broken.push(format!("{place}: only profile.rs names an algorithm"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> Vec<String> {
        let readme = Source { path: "crates/raft/README.md".into(), text: String::new() };
        check(&[readme, Source { path: path.into(), text: text.into() }])
    }

    #[test]
    fn an_early_send_needs_a_reason() {
        let bare = "fn f() {\n    out.send_early(to, message);\n}\n";
        let reasoned =
            "fn f() {\n    // EARLY: nothing can contradict it.\n    out.send_early(to, message);\n}\n";
        assert_eq!(broken("crates/raft/src/leader.rs", bare).len(), 1);
        assert!(broken("crates/raft/src/leader.rs", reasoned).is_empty());
        assert!(broken("crates/raft/tests/paper.rs", bare).is_empty());
    }

    #[test]
    fn long_files_stubs_homes_and_missing_pages_are_found() {
        assert_eq!(broken("crates/raft/src/a.rs", &"\n".repeat(801)).len(), 1);
        assert_eq!(broken("crates/raft/src/a.rs", concat!("todo", "!()")).len(), 1);
        assert_eq!(broken("docs/a.md", concat!("see /ho", "me/me")).len(), 1);
        assert_eq!(broken("crates/pbft/Cargo.toml", "").len(), 1);
    }

    #[test]
    fn tests_that_never_run_are_found() {
        let file = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
        let broken = |named: &str| {
            let mut broken = Vec::new();
            let files = [
                file("crates/raft/Cargo.toml", "[[test]]\nname = \"alone\"\n"),
                file("crates/raft/tests/suite.rs", named),
                file("crates/raft/tests/paper.rs", ""),
                file("crates/raft/tests/alone.rs", ""),
            ];
            check_suites(&files, &mut broken);
            broken
        };
        assert!(broken("mod paper;\n").is_empty());
        assert_eq!(broken("mod other;\n").len(), 1);
    }

    #[test]
    fn only_the_profile_names_an_algorithm() {
        let text = "use raft::Raft;\n";
        assert_eq!(broken("crates/kvstore/src/server.rs", text).len(), 1);
        assert!(broken("crates/kvstore/src/profile.rs", text).is_empty());
    }
}
