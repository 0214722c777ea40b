//! What a check found.

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Good,
    /// It works, and may not for long.
    Poor,
    /// It does not work.
    Bad,
    /// It could not be looked at.
    Skipped,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    pub(super) verdict: Verdict,
    detail: String,
    /// What to do; `null` where nothing needs to be done.
    remedy: Option<String>,
}

impl Finding {
    pub(super) fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Good, detail: detail.into(), remedy: None }
    }

    pub(super) fn poor(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Poor, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn bad(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Bad, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn skipped(check: &'static str, detail: impl Into<String>) -> Self {
        Finding { check, verdict: Verdict::Skipped, detail: detail.into(), remedy: None }
    }

    /// A line for people, and one more that says what to do.
    pub(super) fn text(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Good => "good",
            Verdict::Poor => "poor",
            Verdict::Bad => "BAD",
            Verdict::Skipped => "-",
        };
        let line = format!("{verdict:<5} {:<14} {}", self.check, self.detail);
        match &self.remedy {
            Some(remedy) => format!("{line}\n{:<20} do: {remedy}", ""),
            None => line,
        }
    }
}
