use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::load::LoadResult;
use super::view::View;
use crate::process;

/// One request in so many may fail.
const REQUESTS_PER_FAILURE_MIN: u64 = 100;

/// What happened when; printed at the end and written by `--json`.
#[derive(Serialize)]
pub(super) struct Summary {
    timing: &'static str,
    pub(super) compute: String,
    steps: Vec<Step>,
    requests_sent: u64,
    responses_by_status: BTreeMap<String, u64>,
    non_2xx: u64,
    peak_capacity: usize,
    failure: Option<String>,
}

#[derive(Serialize)]
struct Step {
    name: String,
    seconds: f64,
    ok: bool,
}

impl Summary {
    pub(super) fn new(aws_timing: bool) -> Summary {
        Summary {
            timing: if aws_timing { "aws" } else { "seconds" },
            compute: String::new(),
            steps: Vec::new(),
            requests_sent: 0,
            responses_by_status: BTreeMap::new(),
            non_2xx: 0,
            peak_capacity: 0,
            failure: None,
        }
    }

    /// Runs one step, shows it and keeps its time.
    pub(super) fn step<T>(
        &mut self,
        view: &View,
        name: &str,
        body: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        view.start(name);
        let started = process::now();
        let result = body();
        let took = started.elapsed();
        view.done(&format!(
            "{} {name} ({:.1} s)",
            if result.is_ok() { "✓" } else { "✗" },
            took.as_secs_f64()
        ));
        self.steps.push(Step { name: name.to_owned(), seconds: rounded(took), ok: result.is_ok() });
        result.map_err(|e| e.context(format!("step {name}")))
    }

    pub(super) fn load(&mut self, result: LoadResult) {
        self.requests_sent = result.sent;
        self.non_2xx = result.by_status.iter().filter(|(s, _)| !s.starts_with('2')).map(|(_, n)| n).sum();
        self.responses_by_status = result.by_status;
    }

    /// The group grew under the load, and hardly a request noticed.
    pub(super) fn check_load(&self) -> anyhow::Result<()> {
        let most = self.requests_sent / REQUESTS_PER_FAILURE_MIN;
        anyhow::ensure!(
            self.non_2xx <= most,
            "{} of {} requests were not answered with 2xx (at most {most}): {:?}",
            self.non_2xx,
            self.requests_sent,
            self.responses_by_status
        );
        Ok(())
    }

    pub(super) fn peak(&mut self, capacity: usize) {
        self.peak_capacity = self.peak_capacity.max(capacity);
    }

    pub(super) fn failed(&mut self, why: &str) {
        self.failure = Some(why.to_owned());
    }

    pub(super) fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    pub(super) fn print(&self) {
        eprintln!("\nLab L0, {} instances, {} timing", self.compute, self.timing);
        for step in &self.steps {
            eprintln!("  {} {:<28} {:>7.1} s", if step.ok { "✓" } else { "✗" }, step.name, step.seconds);
        }
        eprintln!(
            "  requests sent {}, not 2xx {}, peak capacity {}",
            self.requests_sent, self.non_2xx, self.peak_capacity
        );
        match &self.failure {
            Some(why) => eprintln!("FAILED: {why}"),
            None => eprintln!("All steps passed; nothing is left behind."),
        }
    }
}

fn rounded(took: Duration) -> f64 {
    (took.as_secs_f64() * 100.0).round() / 100.0
}
