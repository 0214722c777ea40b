//! A strict reader of the text form of OpenMetrics 1.0: what it takes, every collector takes.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of a series, by name.
type Labels = BTreeMap<String, String>;

#[derive(Debug, Default)]
struct Family {
    kind: String,
    unit: String,
    help: String,
    samples: Vec<(String, Labels, f64)>,
}

/// A page that keeps to the rules.
#[derive(Debug, Default)]
pub struct Page(BTreeMap<String, Family>);

impl Page {
    /// The number of one series.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let samples = self.0.values().flat_map(|family| &family.samples);
        samples.filter(|(known, labels, _)| known == name && *labels == wanted).map(|(_, _, value)| *value).next()
    }

    /// Whether it can come after another page of the same process: what only grows did not shrink or go.
    pub fn follows(&self, before: &Page) -> Result<(), String> {
        for (name, family) in &before.0 {
            if family.kind == "gauge" {
                continue;
            }
            for (sample, labels, value) in &family.samples {
                let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                match self.value(sample, &labels) {
                    None => return Err(format!("{sample}{labels:?} of {name} is gone")),
                    Some(now) if now < *value => return Err(format!("{sample}{labels:?}: {now} after {value}")),
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// Reads a page; the fault names its line.
pub fn parse(text: &str) -> Result<Page, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("the page does not end with `# EOF` and a line feed")?;
    let mut page = Page::default();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for (at, line) in body.lines().enumerate() {
        let fault = |what: &str| format!("line {}: {what}: {line}", at + 1);
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (Some(what), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
                return Err(fault("a line about a family has three parts"));
            };
            if name != current {
                if what != "TYPE" || page.0.contains_key(name) {
                    return Err(fault("a family begins with its type, once, and stays together"));
                }
                current = name.to_owned();
                page.0.insert(current.clone(), Family::default());
            }
            let family = page.0.get_mut(&current).ok_or_else(|| fault("no family"))?;
            let slot = match what {
                "TYPE" if ["counter", "gauge", "histogram", "info"].contains(&value) => &mut family.kind,
                "UNIT" if name.ends_with(&format!("_{value}")) => &mut family.unit,
                "HELP" => &mut family.help,
                _ => return Err(fault("no such line about a family")),
            };
            if !slot.is_empty() || !family.samples.is_empty() {
                return Err(fault("told twice, or after the samples"));
            }
            *slot = value.to_owned();
            continue;
        }
        let (series, value) = line.rsplit_once(' ').ok_or_else(|| fault("a sample is a series and a number"))?;
        let (name, labels) = series_of(series).ok_or_else(|| fault("malformed labels"))?;
        let value: f64 = value.parse().map_err(|_| fault("no number"))?;
        if !seen.insert(series.to_owned()) {
            return Err(fault("the series comes twice"));
        }
        let family = page.0.get_mut(&current).ok_or_else(|| fault("a sample before its family"))?;
        let suffix = name.strip_prefix(current.as_str()).ok_or_else(|| fault("a sample of another family"))?;
        let allowed: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            _ => &["_bucket", "_count", "_sum"],
        };
        if !allowed.contains(&suffix) || labels.contains_key("le") != (suffix == "_bucket") {
            return Err(fault("this sample does not belong to a family of this type"));
        }
        if family.kind != "gauge" && !(value >= 0.0 && value.is_finite()) {
            return Err(fault("only a gauge may be less than nothing"));
        }
        family.samples.push((name.to_owned(), labels, value));
    }
    for (name, family) in &page.0 {
        check(name, family)?;
    }
    Ok(page)
}

/// The name and the labels of a series, each label once.
fn series_of(series: &str) -> Option<(&str, Labels)> {
    let plain = |name: &str| {
        name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let Some((name, rest)) = series.split_once('{') else { return plain(series).then_some((series, Labels::new())) };
    let mut rest = rest.strip_suffix('}')?;
    let mut labels = Labels::new();
    while !rest.is_empty() {
        let (label, after) = rest.split_once("=\"")?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, char) in after.char_indices() {
            match (escaped, char) {
                (true, 'n') => value.push('\n'),
                (true, '"' | '\\') => value.push(char),
                (true, _) => return None,
                (false, '\\') => {}
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (false, char) => value.push(char),
            }
            escaped = !escaped && char == '\\';
        }
        if !plain(label) || labels.insert(label.to_owned(), value).is_some() {
            return None;
        }
        rest = &after[end? + 1..];
        rest = match rest.strip_prefix(',') {
            Some("") => return None,
            Some(more) => more,
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    plain(name).then_some((name, labels))
}

fn check(name: &str, family: &Family) -> Result<(), String> {
    if family.kind.is_empty() || family.help.is_empty() {
        return Err(format!("{name} has no type or no help"));
    }
    let unit_in_name = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")));
    if unit_in_name.is_some_and(|unit| unit != family.unit) {
        return Err(format!("{name} names a unit and has another: {:?}", family.unit));
    }
    if family.kind != "histogram" {
        return Ok(());
    }
    let mut series: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (sample, labels, value) in &family.samples {
        if sample.ends_with("_bucket") {
            let mut labels = labels.clone();
            let end = labels.remove("le").unwrap_or_default();
            let end =
                if end == "+Inf" { f64::INFINITY } else { end.parse().map_err(|_| format!("{name}: le={end}"))? };
            series.entry(labels).or_default().push((end, *value));
        }
    }
    for (labels, buckets) in &series {
        let rising = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        let of = |suffix: &str| {
            let samples = family.samples.iter();
            let found = samples.filter(|(sample, known, _)| *sample == format!("{name}{suffix}") && known == labels);
            found.map(|(_, _, value)| *value).next()
        };
        let last = buckets.last().ok_or_else(|| format!("{name}{labels:?} has no bucket"))?;
        if !rising || last.0 != f64::INFINITY || of("_count") != Some(last.1) || of("_sum").is_none() {
            return Err(format!("{name}{labels:?} is no histogram: {buckets:?}"));
        }
    }
    Ok(())
}

#[test]
fn the_reader_is_strict() {
    let head = "# TYPE a counter\n# HELP a b\n";
    assert!(parse(&format!("{head}a_total{{x=\"1\"}} 1\na_total{{x=\"q\\\"\\\\\"}} 2\n# EOF\n")).is_ok());
    let histogram = "# TYPE h histogram\n# HELP h b\n";
    for bad in [
        format!("{head}a_total 1\n"),
        format!("{head}a_total 1\n# EOF"),
        format!("{head}a 1\n# EOF\n"),
        format!("{head}a_total 1\na_total 1\n# EOF\n"),
        format!("{head}a_total -1\n# EOF\n"),
        format!("{head}a_total x\n# EOF\n"),
        format!("{head}a_total{{x=\"1\",}} 1\n# EOF\n"),
        format!("{head}a_total{{x=\"1\",x=\"2\"}} 1\n# EOF\n"),
        format!("{head}b_total 1\n# EOF\n"),
        format!("{head}{head}# EOF\n"),
        "# TYPE a counter\na_total 1\n# EOF\n".to_owned(),
        "# TYPE a_bytes counter\n# HELP a_bytes b\na_bytes_total 1\n# EOF\n".to_owned(),
        format!("{histogram}h_bucket{{le=\"1.0\"}} 2\nh_bucket{{le=\"+Inf\"}} 1\nh_count 1\nh_sum 1\n# EOF\n"),
        format!("{histogram}h_bucket{{le=\"+Inf\"}} 1\nh_count 2\nh_sum 1\n# EOF\n"),
        format!("{histogram}h_bucket{{le=\"1.0\"}} 1\nh_count 1\nh_sum 1\n# EOF\n"),
    ] {
        assert!(parse(&bad).is_err(), "{bad}");
    }
    let (two, one) = (format!("{head}a_total 2\n# EOF\n"), format!("{head}a_total 1\n# EOF\n"));
    assert!(parse(&two).unwrap().follows(&parse(&one).unwrap()).is_ok());
    assert!(parse(&one).unwrap().follows(&parse(&two).unwrap()).is_err());
}
