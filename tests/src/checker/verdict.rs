//! What the checker answers.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// How many offending transactions a condition names; the rest it counts.
pub const MAX_FINDINGS: usize = 10;

/// The conditions, in the order in which they are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "the table in the module's documentation says what each is")]
pub enum Condition {
    C1,
    C2,
    C3,
    C4,
    C5,
    C6,
    C7,
    C8,
    C9,
}

impl Condition {
    /// In words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::C1 => "every transaction once, byte-equal and read right, or in one gap",
            Self::C2 => "order per controller",
            Self::C3 => "nothing stored that never was",
            Self::C4 => "both servers equal",
            Self::C5 => "nothing promised was lost in a kill",
            Self::C6 => "one active per role term, terms never fall",
            Self::C7 => "stored + gaps = generated",
            Self::C8 => "times within bounds",
            Self::C9 => "no panic, expected exit codes, bounded memory",
        }
    }
}

/// What offended against a condition: the first [`MAX_FINDINGS`], and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// How many in all.
    pub count: u64,
    /// The first of them, in words. Never with a card number.
    pub first: Vec<String>,
}

impl Findings {
    pub(super) fn push(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < MAX_FINDINGS {
            self.first.push(what());
        }
    }
}

/// How a condition came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds; a word on what it was checked against.
    Ok(String),
    /// It does not.
    Failed(Findings),
    /// There was nothing to check; why.
    NotApplicable(&'static str),
}

/// The figures of the verdict line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// What the controllers recorded.
    pub generated: u64,
    /// Of these, what the active server holds.
    pub stored: u64,
    /// Of these, what it neither holds nor has a gap for.
    pub lost: u64,
    /// Rows too many.
    pub doubled: u64,
    /// Rows out of their controller's order.
    pub reordered: u64,
    /// What is missing and covered by a gap.
    pub gaps: u64,
}

/// The judgement on a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The figures.
    pub counts: Counts,
    /// Every condition.
    pub conditions: BTreeMap<Condition, Outcome>,
}

impl Verdict {
    /// Whether no condition failed.
    pub fn is_ok(&self) -> bool {
        !self.conditions.values().any(|outcome| matches!(outcome, Outcome::Failed(_)))
    }

    /// The conditions that failed.
    pub fn failed(&self) -> Vec<Condition> {
        let failed = |(condition, outcome): (&Condition, &Outcome)| {
            matches!(outcome, Outcome::Failed(_)).then_some(*condition)
        };
        self.conditions.iter().filter_map(failed).collect()
    }

    /// The one line that says all: what scripts read.
    pub fn line(&self) -> String {
        let Counts { generated, stored, lost, doubled, reordered, gaps } = self.counts;
        let word = if self.is_ok() { "ok" } else { "failed" };
        let replicas = match self.conditions.get(&Condition::C4) {
            Some(Outcome::Ok(_)) => "equal",
            Some(Outcome::Failed(_)) => "differ",
            Some(Outcome::NotApplicable(_)) | None => "none",
        };
        format!(
            "verdict: {word} generated={generated} stored={stored} lost={lost} \
             doubled={doubled} reordered={reordered} gaps={gaps} replicas={replicas}"
        )
    }

    /// The first [`MAX_FINDINGS`] offenders over all conditions.
    pub fn first_findings(&self) -> Vec<(Condition, &str)> {
        let mut findings = Vec::new();
        for (condition, outcome) in &self.conditions {
            if let Outcome::Failed(failed) = outcome {
                findings.extend(failed.first.iter().map(|what| (*condition, what.as_str())));
            }
        }
        findings.truncate(MAX_FINDINGS);
        findings
    }

    /// Every condition with how it came out, and the first offenders of those that failed.
    pub fn conditions(&self) -> impl fmt::Display {
        struct Report<'a>(&'a Verdict);
        impl fmt::Display for Report<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (condition, outcome) in &self.0.conditions {
                    let title = condition.title();
                    match outcome {
                        Outcome::Ok(what) => writeln!(f, "{condition:?} ok      {title}: {what}")?,
                        Outcome::NotApplicable(why) => {
                            writeln!(f, "{condition:?} n/a     {title}: {why}")?;
                        }
                        Outcome::Failed(findings) => {
                            writeln!(f, "{condition:?} FAILED  {title}: {}", findings.count)?;
                            for finding in &findings.first {
                                writeln!(f, "             {finding}")?;
                            }
                        }
                    }
                }
                Ok(())
            }
        }
        Report(self).to_string()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.conditions(), self.line())
    }
}
