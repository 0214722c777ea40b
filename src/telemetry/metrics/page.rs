//! The page of all metrics in the text form of OpenMetrics 1.0.

use std::fmt::{Display, Write};

use super::cells::Histogram;
use super::declare::{Family, Kind};

/// The media type of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A page that is being written.
#[derive(Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// A whole family of plain numbers: for each series the values of its labels and its number.
    pub fn read<'a, const N: usize>(&mut self, family: &Family, series: impl IntoIterator<Item = ([&'a str; N], u64)>) {
        debug_assert!(N == family.labels.len() && family.kind != Kind::Histogram, "{}", family.name);
        self.family(family);
        series.into_iter().for_each(|(labels, value)| self.sample(family, family.kind.suffix(), &labels, None, value));
    }

    /// A family of one number without labels, with a fraction.
    pub fn read_fraction(&mut self, family: &Family, value: f64) {
        self.family(family);
        self.sample(family, family.kind.suffix(), &[], None, value);
    }

    /// A family of histograms that their owners keep: one for each value of its label.
    pub fn read_histograms<'a>(
        &mut self,
        family: &Family,
        series: impl IntoIterator<Item = ([&'a str; 1], &'a Histogram<()>)>,
    ) {
        self.family(family);
        series.into_iter().for_each(|(label, histogram)| histogram.write_series(0, &label, family, self));
    }

    /// The lines that explain a family; its samples follow.
    pub(super) fn family(&mut self, family: &Family) {
        let Family { name, kind, unit, .. } = family;
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# TYPE {name} {}", kind.name());
        if !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.text, "# HELP {name} {}", escaped(&family.text()));
    }

    /// One line; `end` is the upper end of a histogram's bucket.
    pub(super) fn sample(
        &mut self,
        family: &Family,
        suffix: &str,
        labels: &[&str],
        end: Option<&str>,
        value: impl Display,
    ) {
        let _ = write!(self.text, "{}{suffix}", family.name);
        let named = family.labels.iter().copied().zip(labels.iter().copied()).chain(end.map(|end| ("le", end)));
        let mut opened = false;
        for (name, value) in named {
            let _ = write!(self.text, "{}{name}=\"{}\"", if opened { ',' } else { '{' }, escaped(value));
            opened = true;
        }
        let _ = writeln!(self.text, "{} {value}", if opened { "}" } else { "" });
    }

    /// The page, complete.
    pub fn finish(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAUGE: Family =
        Family { name: "x_bytes", kind: Kind::Gauge, unit: "bytes", labels: &["a", "b"], help: &[" of", " \"y\\z\""] };

    #[test]
    fn lines_are_those_of_the_standard() {
        let mut page = Page::default();
        page.read(&GAUGE, [(["1", "q\"u\\o\nte"], 7), (["2", ""], 0)]);
        page.read_fraction(&Family { labels: &[], unit: "", ..GAUGE }, 0.5);
        let want = "# TYPE x_bytes gauge\n# UNIT x_bytes bytes\n# HELP x_bytes of \\\"y\\\\z\\\"\n\
            x_bytes{a=\"1\",b=\"q\\\"u\\\\o\\nte\"} 7\nx_bytes{a=\"2\",b=\"\"} 0\n\
            # TYPE x_bytes gauge\n# HELP x_bytes of \\\"y\\\\z\\\"\nx_bytes 0.5\n# EOF\n";
        assert_eq!(page.finish(), want);
    }
}
