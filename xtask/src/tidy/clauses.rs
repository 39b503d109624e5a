//! The clauses of a crate's `spec.md` are cited in its code and tested: `- **R7** …` in the specification, `// [R7]` in
//! `src/`, `// tests [R7]` in `tests/`.

use super::Source;
use std::collections::BTreeSet;

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for spec in sources.iter().filter(|source| source.path.ends_with("spec.md")) {
        let Some(folder) = spec.path.parent() else { continue };
        let clauses = defined(&spec.text);
        if clauses.is_empty() {
            broken.push(format!("{}: no clause like `**R1**` in it", spec.path.display()));
        }
        let cited = cited_below(sources, &folder.join("src"), "[");
        let tested = cited_below(sources, &folder.join("tests"), "tests [");
        for clause in &clauses {
            if !cited.contains(clause) {
                broken.push(format!(
                    "{}: {clause} is cited nowhere in src/ as `// [{clause}]`",
                    spec.path.display()
                ));
            }
            if !tested.contains(clause) {
                broken.push(format!(
                    "{}: {clause} has no test marked `// tests [{clause}]`",
                    spec.path.display()
                ));
            }
        }
        for stray in cited.union(&tested).filter(|clause| !clauses.contains(*clause)) {
            broken.push(format!("{}: {stray} is cited but not defined", spec.path.display()));
        }
    }
    broken
}

/// Names between `**` that are a letter or two and a number.
fn defined(text: &str) -> BTreeSet<String> {
    text.split("**")
        .skip(1)
        .step_by(2)
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| is_clause(word))
        .map(str::to_owned)
        .collect()
}

fn cited_below(sources: &[Source], folder: &std::path::Path, opening: &str) -> BTreeSet<String> {
    let mut clauses = BTreeSet::new();
    for source in sources.iter().filter(|source| source.path.starts_with(folder) && source.is("rs")) {
        for comment in
            source.text.lines().filter_map(|line| line.split_once("//").map(|(_, comment)| comment))
        {
            for piece in comment.split(opening).skip(1) {
                let inside = piece.split(']').next().unwrap_or_default();
                clauses.extend(
                    inside.split(',').map(str::trim).filter(|word| is_clause(word)).map(str::to_owned),
                );
            }
        }
    }
    clauses
}

fn is_clause(word: &str) -> bool {
    let digits = word.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let letters = word.len() - digits.len();
    (1..=2).contains(&letters) && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_found_where_they_stand() {
        assert_eq!(
            defined("- **R1** a **word** and **R12.** b"),
            BTreeSet::from(["R1".into(), "R12".into()])
        );
        assert!(is_clause("R7") && is_clause("AC5"));
        assert!(!is_clause("R") && !is_clause("7") && !is_clause("RAFT7") && !is_clause("R7b"));
    }
}
