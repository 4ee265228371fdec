//! What the backend counts.
//!
//! It owns the metrics and their names; it refuses to know how they are served.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram, histogram::exponential_buckets},
    registry::{Registry, Unit},
};

/// The backend's metrics; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Batches in each durable commit that held any: how well writes are grouped.
    pub commit_batches: Histogram,
    /// Rows written or removed in each durable commit.
    pub commit_rows: Histogram,
    /// How long each group took, from its first check to the end of its fsync.
    pub commit_seconds: Histogram,
    /// Durable commits.
    pub commits: Counter,
    /// How long each checkpoint took, in which what the journal holds becomes durable in the file.
    pub checkpoint_seconds: Histogram,
    /// Bytes of the journal since the last checkpoint.
    pub journal_bytes: Gauge,
    /// Groups whose write failed; after one the store is read-only until the file is opened anew.
    pub commit_errors: Counter,
    /// 1 while nothing can be written, else 0.
    pub read_only: Gauge,
    /// How often the file was opened anew after a failure.
    pub reopened: Counter,
    /// Calls that wait for the write thread.
    pub queue_depth: Gauge,
    /// Rows removed after their end.
    pub swept_rows: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            commit_batches: Histogram::new(exponential_buckets(1.0, 2.0, 15)),
            commit_rows: Histogram::new(exponential_buckets(1.0, 2.0, 18)),
            commit_seconds: Histogram::new(exponential_buckets(1.0 / 16_384.0, 2.0, 18)),
            commits: Counter::default(),
            checkpoint_seconds: Histogram::new(exponential_buckets(1.0 / 1_024.0, 2.0, 14)),
            journal_bytes: Gauge::default(),
            commit_errors: Counter::default(),
            read_only: Gauge::default(),
            reopened: Counter::default(),
            queue_depth: Gauge::default(),
            swept_rows: Counter::default(),
        }
    }
}

impl Metrics {
    /// Makes the metrics known under their names, all of which begin with `godwit_storage_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("godwit_storage");
        registry.register("commit_batches", "Batches in a durable commit", self.commit_batches.clone());
        registry.register(
            "commit_rows",
            "Rows written or removed in a durable commit",
            self.commit_rows.clone(),
        );
        let help = "Time of a group from its first check to the end of its fsync";
        registry.register_with_unit("commit", help, Unit::Seconds, self.commit_seconds.clone());
        registry.register("commits", "Durable commits", self.commits.clone());
        let help = "Time of a commit that makes durable in the file what the journal holds";
        registry.register_with_unit("checkpoint", help, Unit::Seconds, self.checkpoint_seconds.clone());
        let help = "Size of the journal since the last checkpoint";
        registry.register_with_unit("journal", help, Unit::Bytes, self.journal_bytes.clone());
        registry.register("commit_errors", "Groups whose write failed", self.commit_errors.clone());
        registry.register("read_only", "1 while nothing can be written, else 0", self.read_only.clone());
        registry.register(
            "reopened",
            "Times the file was opened anew after a failure",
            self.reopened.clone(),
        );
        registry.register("queue_depth", "Calls that wait for the write thread", self.queue_depth.clone());
        registry.register("swept_rows", "Rows removed after their end", self.swept_rows.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_shown_under_the_prefix() {
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        metrics.commit_batches.observe(3.0);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for name in [
            "commit_batches",
            "commit_rows",
            "commit_seconds",
            "commits",
            "checkpoint_seconds",
            "journal_bytes",
            "commit_errors",
            "read_only",
            "reopened",
            "queue_depth",
            "swept_rows",
        ] {
            assert!(text.contains(&format!("# TYPE godwit_storage_{name} ")), "{name} is missing in {text}");
        }
        assert!(text.contains("godwit_storage_commit_batches_bucket{le=\"4.0\"} 1"), "{text}");
    }
}
