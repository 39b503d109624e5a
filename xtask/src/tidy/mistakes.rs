//! What a `spec.md` says of the mistakes of others is true: each test, transcript and planted bug that it names is there.

use super::Source;
use std::path::Path;

const TABLE: &str = "## Mistakes of others";

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for spec in sources.iter().filter(|source| source.path.ends_with("spec.md")) {
        let Some(folder) = spec.path.parent() else { continue };
        let Some((_, table)) = spec.text.split_once(TABLE) else {
            broken.push(format!(
                "{}: no section `{TABLE}`: say which known bugs its tests would find",
                spec.path.display()
            ));
            continue;
        };
        let unknown = table.split('`').skip(1).step_by(2).filter(|name| !is_known(sources, folder, name));
        broken.extend(unknown.map(|name| {
            format!(
                "{}: `{name}` is no test, no transcript, and no bug that can be planted",
                spec.path.display()
            )
        }));
    }
    broken
}

/// Whether a test of the crate in `folder`, or of the conformance suite, is called so, or a bug or a transcript of the crate.
fn is_known(sources: &[Source], folder: &Path, name: &str) -> bool {
    let (test, bug) = (format!("fn {name}("), format!("    {name},\n"));
    let transcript = folder.join("tests/transcripts").join(format!("{name}.txt"));
    let suite = Path::new("crates/conformance/tests");
    sources.iter().any(|source| {
        let is_near = source.path.starts_with(folder) || source.path.starts_with(suite);
        source.path == transcript
            || is_near && source.is("rs") && source.text.contains(&test)
            || is_near && source.path.ends_with("mutant.rs") && source.text.contains(&bug)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_specification_names_must_be_there() {
        let source = |path: &str, text: &str| Source { path: path.into(), text: text.into() };
        let table = format!("{TABLE}\n| it errs | `it_is_found`; mutant `Errs`; `on_paper`; `nowhere` |");
        let sources = [
            source("crates/a/spec.md", &table),
            source("crates/a/tests/paper.rs", "fn it_is_found() {}"),
            source("crates/a/src/mutant.rs", "    /// It errs.\n    Errs,\n"),
            source("crates/a/tests/transcripts/on_paper.txt", ""),
            source("crates/b/tests/paper.rs", "fn nowhere() {}"),
            source("crates/b/spec.md", "nothing"),
        ];
        let broken = check(&sources);
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(broken[0].contains("crates/a") && broken[0].contains("`nowhere`"), "{broken:?}");
        assert!(broken[1].contains("crates/b") && broken[1].contains(TABLE), "{broken:?}");
    }
}
