//! The numbers a container tells of itself: declared in `list.rs`, counted in `cells.rs`, written by
//! `page.rs`, explained by `reference.rs`.
//!
//! What has an owner elsewhere (tiers, actors, the store) is not counted twice: the composition root
//! reads it whenever the page is asked for.

mod cells;
mod declare;
pub mod labels;
pub mod list;
mod page;
mod reference;

pub use cells::{Counter, Gauge, Histogram, SECONDS};
pub use declare::{Family, Kind};
pub use list::{Metrics, families};
pub use page::{CONTENT_TYPE, Page};
pub use reference::{reference, reference_markdown};

impl Metrics {
    /// The page: what is counted here, then what `read` adds.
    pub fn page(&self, read: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::default();
        self.write(&mut page);
        read(&mut page);
        page.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_the_conventions() {
        let mut names = std::collections::BTreeSet::new();
        for family in families() {
            let Family { name, unit, kind, labels, .. } = family;
            assert!(names.insert(name), "{name} is declared twice");
            assert!(name.starts_with("meshstore_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
            assert!(unit.is_empty() || name.ends_with(&format!("_{unit}")), "{name} does not end with {unit}");
            for suffix in ["_total", "_info", "_bucket", "_count", "_sum", "_created"] {
                assert!(!name.ends_with(suffix), "{name}: {suffix} is for samples");
            }
            assert!(!labels.contains(&"le") && (kind != Kind::Info || !labels.is_empty()), "{name}");
            assert!(family.text().ends_with('.') && family.text().len() > 15, "{name}: {}", family.text());
        }
    }

    #[test]
    fn the_page_of_the_documentation_is_the_one_made_from_the_declarations() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"));
        assert!(
            page.unwrap_or_default() == reference_markdown(),
            "docs/metrics.md is out of date; write it with `meshstore metrics reference --markdown`"
        );
    }
}
