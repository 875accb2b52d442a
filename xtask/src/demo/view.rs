use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::status::GroupStatus;

/// The live view: a spinner for the step, a bar for the group, a line for each instance.
pub(super) struct View {
    bars: MultiProgress,
    step: ProgressBar,
    group: ProgressBar,
    members: ProgressBar,
}

impl View {
    pub(super) fn new() -> View {
        let bars = MultiProgress::new();
        let step = bars.add(ProgressBar::new_spinner());
        step.set_style(style("{spinner} {msg} ({elapsed})"));
        step.enable_steady_tick(Duration::from_millis(120));
        let group = bars.add(ProgressBar::new(1));
        group.set_style(style("  [{bar:20}] {msg}"));
        let members = bars.add(ProgressBar::new_spinner());
        members.set_style(style("{msg}"));
        View { bars, step, group, members }
    }

    pub(super) fn start(&self, step: &str) {
        self.step.reset();
        self.step.set_message(step.to_owned());
    }

    pub(super) fn done(&self, line: &str) {
        self.note(line);
    }

    pub(super) fn note(&self, line: &str) {
        // A terminal gets it above the bars; elsewhere the bars are hidden and so would the line be.
        if self.bars.is_hidden() {
            eprintln!("{line}");
        } else {
            let _ = self.bars.println(line);
        }
    }

    pub(super) fn show(&self, group: &GroupStatus) {
        self.group.set_length(group.max as u64);
        self.group.set_position(group.healthy as u64);
        self.group.set_message(group.line());
        let lines: Vec<_> = group
            .members
            .iter()
            .map(|m| {
                let health = m.target_health.as_deref().unwrap_or("-");
                format!("  {}  {:<12} {:<22} {health}", m.instance_id, m.zone, m.lifecycle)
            })
            .collect();
        self.members.set_message(lines.join("\n"));
    }

    pub(super) fn finish(&self) {
        for bar in [&self.step, &self.group, &self.members] {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
