//! Relative links in our pages lead somewhere.

use super::Source;
use std::path::Path;

pub(super) fn check(root: &Path, sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for page in sources.iter().filter(|source| source.is("md")) {
        let folder = page.path.parent().unwrap_or(Path::new(""));
        for target in links(&page.text) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = file.contains("://") || file.starts_with("mailto:") || file.is_empty();
            // Rustdoc pages are also README pages: `crate::x` and bare item names are rustdoc's to check.
            let item = file.contains("::") || !(file.contains('.') || file.contains('/'));
            if !elsewhere && !item && !root.join(folder).join(file).exists() {
                broken.push(format!("{}: the link to {target} leads nowhere", page.path.display()));
            }
        }
    }
    broken
}

/// The targets of `[text](target)`, outside of code blocks.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for prose in text.split("```").step_by(2) {
        for piece in prose.split("](").skip(1) {
            if let Some((target, _)) = piece.split_once(')') {
                found.push(target.trim());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_prose_are_found_and_those_in_code_are_not() {
        assert_eq!(links("a [b](c.md) d\n```\n[x](y)\n```\n[e](f/g.md#h)"), ["c.md", "f/g.md#h"]);
    }
}
