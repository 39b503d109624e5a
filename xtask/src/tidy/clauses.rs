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
        let below = |part: &str, mark| cited_below(sources, &folder.join(part), mark);
        let cited = below("src", "[");
        let tested = &below("tests", "tests [") | &below("src", "tests [");
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

/// Every `[R7]` in a comment that has `mark` in it.
fn cited_below(sources: &[Source], folder: &std::path::Path, mark: &str) -> BTreeSet<String> {
    let code = sources.iter().filter(|source| source.path.starts_with(folder) && source.is("rs"));
    code.flat_map(|source| source.text.lines()).flat_map(|line| cited(line, mark)).collect()
}

fn cited(line: &str, mark: &str) -> Vec<String> {
    let comment = line.split_once("//").map(|(_, comment)| comment).filter(|comment| comment.contains(mark));
    let pieces = comment.into_iter().flat_map(|comment| comment.split('[').skip(1));
    let words = pieces.flat_map(|piece| piece.split(']').next().unwrap_or_default().split(','));
    words.map(str::trim).filter(|word| is_clause(word)).map(str::to_owned).collect()
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
        assert_eq!(cited("x // tests [R1] [R2, R3]", "tests ["), ["R1", "R2", "R3"]);
        assert!(cited("x // see [R1]", "tests [").is_empty() && cited("[R1]", "[").is_empty());
        assert!(is_clause("R7") && is_clause("AC5"));
        assert!(!is_clause("R") && !is_clause("7") && !is_clause("RAFT7") && !is_clause("R7b"));
    }
}
