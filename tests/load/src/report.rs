//! What a run prints: figures, and goals met or not.
//!
//! It owns the two forms, a table for people and JSON for programs. A goal that is missed is told, never an error:
//! figures move from machine to machine, and what is wrong on every machine is the checker's to find.
//! Start with [`Report::figure`] and [`Report::goal`].

use comfy_table::{Table, presets};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// The figures of a run, in the order in which they were measured.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    scenario: &'static str,
    name: String,
    measured: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
}

impl Report {
    /// Something that was measured.
    pub fn figure(&mut self, scenario: &'static str, name: impl Into<String>, measured: impl Into<String>) {
        self.row(scenario, name.into(), measured.into(), None, None);
    }

    /// Something that was measured against a goal.
    pub fn goal(
        &mut self,
        scenario: &'static str,
        name: impl Into<String>,
        measured: impl Into<String>,
        goal: impl Into<String>,
        ok: bool,
    ) {
        self.row(scenario, name.into(), measured.into(), Some(goal.into()), Some(ok));
    }

    fn row(
        &mut self,
        scenario: &'static str,
        name: String,
        measured: String,
        goal: Option<String>,
        ok: Option<bool>,
    ) {
        eprintln!("  {scenario}: {name}: {measured}");
        self.rows.push(Row { scenario, name, measured, goal, ok });
    }

    /// The three percentiles that tell most about latencies in microseconds.
    pub fn percentiles(&mut self, scenario: &'static str, name: &str, histogram: &Histogram<u64>) {
        let at = |quantile| milliseconds(Duration::from_micros(histogram.value_at_quantile(quantile)));
        let text = format!("p50 {}, p99 {}, p99.9 {}", at(0.5), at(0.99), at(0.999));
        self.figure(scenario, name, text);
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_BORDERS_ONLY)
            .set_header(["scenario", "figure", "measured", "goal", "ok"]);
        for row in &self.rows {
            let ok = match row.ok {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            };
            let goal = row.goal.as_deref().unwrap_or_default();
            table.add_row([row.scenario, &row.name, &row.measured, goal, ok]);
        }
        table.to_string()
    }
}

/// Milliseconds with as many digits as mean something.
pub fn milliseconds(span: Duration) -> String {
    format!("{:.2} ms", span.as_secs_f64() * 1e3)
}

/// Microseconds with as many digits as mean something.
pub fn microseconds(us: f64) -> String {
    format!("{us:.1} µs")
}

/// The middle one of some figures, 0 of none.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// An empty histogram of microseconds, up to a minute, with three significant digits.
pub fn histogram() -> Histogram<u64> {
    const MINUTE_US: u64 = 60_000_000;
    // These bounds are within what the library takes.
    Histogram::new_with_bounds(1, MINUTE_US, 3)
        .unwrap_or_else(|error| unreachable!("a fixed histogram: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_kept_as_they_are_up_to_a_minute() {
        let mut histogram = histogram();
        for us in [5, 250_000, 70_000_000] {
            histogram.saturating_record(us);
        }
        assert_eq!(histogram.value_at_quantile(0.0), 5);
        assert!((249_000..=251_000).contains(&histogram.value_at_quantile(0.5)));
        assert!(histogram.max() >= 60_000_000);
    }

    #[test]
    fn the_median_is_the_middle_figure() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn the_table_tells_goals_met_and_missed() {
        let mut report = Report::default();
        report.goal("direct", "fast", "1 ms", "≤ 2 ms", true);
        report.goal("direct", "small", "9 KiB", "≤ 8 KiB", false);
        let table = report.table();
        assert!(table.contains("yes") && table.contains("NO"), "{table}");
    }
}
