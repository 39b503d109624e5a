//! What a scraper of metrics makes of an exposition.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};

/// Every sample, by name and labels as they stand in the text.
pub struct Scrape(pub BTreeMap<String, f64>);

impl Scrape {
    pub fn of(registry: &Registry) -> Self {
        let mut text = String::new();
        encode(&mut text, registry).expect("it can be encoded");
        Self::parse(&text)
    }

    /// Every sample belongs to the family before it, no family comes twice, and the end is marked.
    pub fn parse(text: &str) -> Self {
        let body = text.strip_suffix("# EOF\n").expect("the end is marked");
        let (mut samples, mut families, mut family) = (BTreeMap::new(), BTreeSet::new(), String::new());
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (kind, name) = (words.next().unwrap(), words.next().unwrap());
                assert!(words.next().is_some_and(|rest| !rest.trim().is_empty()), "{line}");
                match kind {
                    "HELP" => {
                        assert!(families.insert(name.to_owned()), "{name} comes twice");
                        family = name.to_owned();
                    }
                    "TYPE" | "UNIT" => assert_eq!(name, family, "{line}"),
                    other => panic!("{other}"),
                }
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(sample.starts_with(&family), "{sample} stands in {family}");
            let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(samples.insert(sample.to_owned(), value).is_none(), "{sample} comes twice");
        }
        Self(samples)
    }

    pub fn get(&self, sample: &str) -> f64 {
        *self.0.get(sample).unwrap_or_else(|| panic!("{sample} is not among {:?}", self.0.keys()))
    }

    /// The counters that are less than before.
    pub fn fallen<'a>(&'a self, before: &'a Self) -> Vec<&'a String> {
        let counters = before.0.iter().filter(|(name, _)| name.ends_with("_total"));
        counters.filter(|(name, value)| self.0.get(*name) < Some(*value)).map(|(name, _)| name).collect()
    }
}
