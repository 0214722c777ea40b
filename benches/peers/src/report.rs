//! What is printed: one table, a line for each contender.

use std::fmt::Write;

use crate::bench::Effort;
use crate::load::Sample;
use crate::rounds::{Ratio, Series};

/// What figures of a row are told in.
#[derive(Clone, Copy)]
pub enum Unit {
    /// Requests a second.
    Requests,
    /// Megabytes a second, of requests with so many bytes each.
    Megabytes(usize),
}

/// One line of the table.
pub struct Line {
    who: String,
    figure: String,
    p50: String,
    p99: String,
    server_cpu: String,
    driver_cpu: String,
    /// What it comes to against the target, and whether that is enough.
    verdict: Option<Verdict>,
    failed: bool,
}

/// Whether a target is met.
pub struct Verdict {
    pub value: String,
    pub target: String,
    pub met: bool,
}

impl Verdict {
    /// Ours against another's: at least so many times as fast.
    pub fn at_least(ratio: Ratio, target: f64) -> Self {
        Verdict {
            value: format!("{:.2} ({:.2}–{:.2})", ratio.medians, ratio.least, ratio.most),
            target: format!("≥ {target}"),
            met: ratio.medians >= target,
        }
    }
}

impl Line {
    /// A figure that is no rate.
    pub fn figure(who: impl Into<String>, figure: impl Into<String>) -> Self {
        let none = String::new;
        let (who, figure) = (who.into(), figure.into());
        Line {
            who,
            figure,
            p50: none(),
            p99: none(),
            server_cpu: none(),
            driver_cpu: none(),
            verdict: None,
            failed: false,
        }
    }

    /// The medians of a contender.
    pub fn series(series: &Series, unit: Unit) -> Self {
        let rate = series.rate();
        let figure = match unit {
            Unit::Requests => format!("{} /s", grouped(rate)),
            Unit::Megabytes(bytes) => format!("{} MB/s", grouped(rate * bytes as f64 / 1e6)),
        };
        Line {
            p50: series.latency(0.5).map(time).unwrap_or_default(),
            p99: series.latency(0.99).map(time).unwrap_or_default(),
            server_cpu: cpu(series.median(Sample::server_cpu_each)),
            driver_cpu: cpu(series.median(Sample::driver_cpu_each)),
            ..Line::figure(series.name, figure)
        }
    }

    /// A row that could not be measured.
    pub fn failed(error: &anyhow::Error) -> Self {
        let said = format!("{error:#}").lines().next().unwrap_or_default().replace('|', "/");
        let verdict = Verdict { value: said, target: "an answer".to_owned(), met: false };
        Line { failed: true, ..Line::figure("failed", "").with(verdict) }
    }

    pub fn with(self, verdict: Verdict) -> Self {
        Line { verdict: Some(verdict), ..self }
    }

    /// For whoever waits for the rest.
    pub fn brief(&self) -> String {
        let verdict = self.verdict.as_ref().map(|verdict| {
            format!("  {} ({}) {}", verdict.value, verdict.target, if verdict.met { "met" } else { "MISSED" })
        });
        let Line { who, figure, p50, server_cpu, .. } = self;
        format!("{who:<42} {figure:>16} {p50:>10} {server_cpu:>10}{}", verdict.unwrap_or_default())
    }
}

/// All that was measured.
#[derive(Default)]
pub struct Report {
    rows: Vec<(&'static str, Vec<Line>)>,
}

impl Report {
    pub fn add(&mut self, work: &'static str, lines: Vec<Line>) {
        self.rows.push((work, lines));
    }

    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.rows.iter().flat_map(|(_, lines)| lines).filter_map(|line| line.verdict.as_ref())
    }

    pub fn all_met(&self) -> bool {
        self.verdicts().all(|verdict| verdict.met)
    }

    /// Whether a row could not be measured.
    pub fn any_failed(&self) -> bool {
        self.rows.iter().flat_map(|(_, lines)| lines).any(|line| line.failed)
    }

    /// The whole, to be pasted.
    pub fn markdown(&self, command: &str, machine: &str, effort: &Effort) -> String {
        let mut out = String::new();
        // Writing to a text does not fail.
        let _ = self.write(&mut out, command, machine, effort);
        out
    }

    fn write(&self, out: &mut String, command: &str, machine: &str, effort: &Effort) -> std::fmt::Result {
        writeln!(out, "`{command}`; {machine}; medians of {} rounds.\n", effort.rounds)?;
        writeln!(
            out,
            "| work | who | rate | p50 | p99 | server CPU each | generator CPU each | MeshStore to it | target | met |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
        for (work, lines) in &self.rows {
            let mut work = *work;
            for Line { who, figure, p50, p99, server_cpu, driver_cpu, verdict, .. } in lines {
                write!(out, "| {work} | {who} | {figure} | {p50} | {p99} | {server_cpu} | {driver_cpu} | ")?;
                match verdict {
                    Some(Verdict { value, target, met }) => {
                        writeln!(out, "{value} | {target} | {} |", if *met { "yes" } else { "**no**" })?;
                    }
                    None => writeln!(out, "| | |")?,
                }
                work = "";
            }
        }
        let (all, met) = (self.verdicts().count(), self.verdicts().filter(|verdict| verdict.met).count());
        writeln!(out, "\n{met} of {all} targets are met.")
    }
}

/// A time with three digits.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{} us", digits(s * 1e6)),
        s if s < 1.0 => format!("{} ms", digits(s * 1e3)),
        s => format!("{} s", digits(s)),
    }
}

/// Processor time of a request; nothing where none was counted.
fn cpu(seconds: f64) -> String {
    match seconds {
        s if s <= 0.0 => String::new(),
        s if s < 1e-6 => format!("{:.0} ns", s * 1e9),
        s => time(s),
    }
}

fn digits(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A number whose thousands are set apart.
fn grouped(value: f64) -> String {
    let text = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes to be read by people.
pub fn megabytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
