//! What a person at the terminal sees during long work; plain lines where nobody is at one.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::Write,
    time::{Duration, Instant},
};

/// How often a line says that work goes on, where no spinner turns.
const STILL_EVERY: Duration = Duration::from_secs(10);

/// Says something to whoever started the command.
pub fn say(text: &str) {
    // Whoever closed the pipe does not want to hear it, and the server goes on.
    let _ = crate::cli::print(&format!("{text}\n"));
}

/// Says how work goes: beside what the command is for, so that a program may read that.
pub fn note(text: &str) {
    // Whoever closed it does not want to hear it, and the work goes on.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// How long it took since then, in words.
pub fn took(since: Instant) -> String {
    let took = since.elapsed();
    if took < Duration::from_secs(1) {
        format!("{} ms", took.as_millis())
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

/// Work that takes its time.
pub struct Work {
    what: String,
    began: Instant,
    said: Instant,
    bar: ProgressBar,
}

impl Work {
    /// Begins to show it.
    pub fn begin(what: impl Into<String>) -> Self {
        let what = what.into();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if bar.is_hidden() {
            note(&format!("{what} …"));
        }
        // The template is a constant that is known to be one; without it the spinner has its own.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}") {
            bar.set_style(style);
        }
        bar.set_prefix(what.clone());
        bar.enable_steady_tick(Duration::from_millis(100));
        let now = Instant::now();
        Self { what, began: now, said: now, bar }
    }

    /// Says what it is at.
    pub fn at(&mut self, what: &str) {
        self.bar.set_message(what.to_owned());
        if self.bar.is_hidden() && self.said.elapsed() >= STILL_EVERY {
            self.said = Instant::now();
            note(&format!("  still at it after {}: {what}", took(self.began)));
        }
    }

    /// Ends it with what came of it.
    pub fn end(self, outcome: &str) {
        self.bar.finish_and_clear();
        note(&format!("{}: {outcome} in {}.", self.what, took(self.began)));
    }
}
