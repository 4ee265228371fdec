//! The host's own metrics, as far as a run needs them.
//!
//! It owns the reading of the text format and the names of the storage's histogram; it refuses to know where the text
//! comes from. Start with [`Commits::read`].

use anyhow::{Context, Result};

/// How many batches (one per conversation) were in each durable commit, over some span.
#[derive(Debug, Clone, PartialEq)]
pub struct Commits {
    /// The largest count of a bucket, and how many commits fell into it.
    pub buckets: Vec<(f64, u64)>,
    /// Batches in all.
    pub batches: f64,
    /// Commits in all.
    pub count: u64,
}

/// What that counter, with its labels, says; 0 where nothing was counted.
///
/// # Errors
/// It is no number.
pub fn counter(metrics: &str, name: &str) -> Result<u64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(Ok(0), |value| value.trim().parse().with_context(|| format!("{name} is {value}")))
}

const NAME: &str = "godwit_storage_commit_batches";

impl Commits {
    /// What the metrics say so far.
    ///
    /// # Errors
    /// The histogram is not among them.
    pub fn read(metrics: &str) -> Result<Self> {
        let mut commits = Self { buckets: Vec::new(), batches: 0.0, count: 0 };
        let mut below = 0;
        let mut found = false;
        for rest in metrics.lines().filter_map(|line| line.strip_prefix(NAME)) {
            let (name, value) = rest.rsplit_once(' ').context("a metric ends with its value")?;
            if let Some(labels) = name.strip_prefix("_bucket{") {
                let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
                let bound = bound.context("a bucket has a bound")?;
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse()? };
                let cumulative: u64 = value.parse()?;
                commits.buckets.push((bound, cumulative - below));
                below = cumulative;
                found = true;
            } else if name == "_sum" {
                commits.batches = value.parse()?;
            } else if name == "_count" {
                commits.count = value.parse()?;
            }
        }
        anyhow::ensure!(found, "the host has no metric `{NAME}`");
        Ok(commits)
    }

    /// What came since then.
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&earlier.buckets);
        Self {
            buckets: buckets.map(|(&(bound, now), &(_, then))| (bound, now - then)).collect(),
            batches: self.batches - earlier.batches,
            count: self.count - earlier.count,
        }
    }

    /// The histogram in one line: `≤1: 3, ≤2: 9, …`, without empty buckets.
    pub fn line(&self) -> String {
        let filled = self.buckets.iter().filter(|(_, count)| *count > 0);
        filled.map(|(bound, count)| format!("≤{bound}: {count}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP godwit_storage_commit_batches x\n\
                        godwit_storage_commit_batches_sum 9.0\n\
                        godwit_storage_commit_batches_count 4\n\
                        godwit_storage_commit_batches_bucket{le=\"1.0\"} 1\n\
                        godwit_storage_commit_batches_bucket{le=\"2.0\"} 3\n\
                        godwit_storage_commit_batches_bucket{le=\"+Inf\"} 4\n";

    #[test]
    fn the_histogram_is_read_and_one_span_told_from_another() {
        let commits = Commits::read(TEXT).unwrap();
        assert_eq!(commits.buckets, [(1.0, 1), (2.0, 2), (f64::INFINITY, 1)]);
        assert_eq!((commits.batches, commits.count), (9.0, 4));
        let none = commits.since(&commits);
        assert_eq!((none.line(), none.count), (String::new(), 0));
        assert_eq!(commits.line(), "≤1: 1, ≤2: 2, ≤inf: 1");
        assert!(Commits::read("something else 1\n").is_err());
    }
}
