//! The targets that the project has set itself, and whether this run meets them.

use crate::cells::Metric;
use crate::layout::Layout;
use crate::peers::{FLOOR, OURS};
use crate::report::Report;

/// What our median is compared with.
enum Than {
    /// Another's median in the same case.
    Of(&'static str),
    /// Our own in another case.
    Case(&'static str),
    /// A number.
    Number,
}

struct Target {
    case: &'static str,
    metric: Metric,
    than: Than,
    /// Ours may be at most so much of it; a rate at least.
    bound: f64,
}

const fn target(case: &'static str, metric: Metric, than: Than, bound: f64) -> Target {
    Target {
        case,
        metric,
        than,
        bound,
    }
}

/// In the order of the cases. `crun-static` is there only if somebody adds it; `crun-sid-copy` is on an equal footing with us.
const TARGETS: [Target; 46] = {
    use Metric::{CpuMs, InitFurtherKib, InitPrivateKib, PeakRssKib, PerSecond, WallMs};
    use Than::{Case, Number, Of};
    [
        target("run", CpuMs, Of(FLOOR), 1.5),
        target("run", CpuMs, Of("crun-sid"), 0.45),
        target("run", CpuMs, Of("crun-sid-copy"), 0.45),
        target("run", WallMs, Of("crun-sid"), 0.7),
        target("run", CpuMs, Of("crun-static"), 0.65),
        target("run", WallMs, Of("crun-static"), 0.85),
        target("run", CpuMs, Of("runc-sid"), 1.0 / 6.0),
        target("run", CpuMs, Of("runc-debian"), 1.0 / 6.0),
        target("run", PeakRssKib, Number, 1800.0),
        target("run", PeakRssKib, Of("crun-sid"), 1.0),
        target("run-docker", CpuMs, Of(FLOOR), 1.35),
        target("run-docker", CpuMs, Of("crun-sid"), 0.45),
        target("run-docker", CpuMs, Of("crun-sid-copy"), 0.45),
        target("run-docker", CpuMs, Of("crun-static"), 0.6),
        target("run-docker", CpuMs, Of("runc-sid"), 1.0 / 6.0),
        target("run-docker", CpuMs, Of("runc-debian"), 1.0 / 6.0),
        target("run-podman", CpuMs, Of(FLOOR), 1.35),
        target("run-podman", CpuMs, Of("crun-sid"), 0.45),
        target("run-podman", CpuMs, Of("crun-sid-copy"), 0.45),
        target("run-podman", CpuMs, Of("crun-static"), 0.6),
        target("run-podman", CpuMs, Of("runc-sid"), 1.0 / 6.0),
        target("run-podman", CpuMs, Of("runc-debian"), 1.0 / 6.0),
        target("lifecycle", CpuMs, Of("crun-sid"), 0.5),
        target("lifecycle", CpuMs, Of("crun-sid-copy"), 0.5),
        target("lifecycle", CpuMs, Of("crun-static"), 0.7),
        target("lifecycle", CpuMs, Of("runc-sid"), 1.0 / 6.0),
        target("lifecycle", CpuMs, Of("runc-debian"), 1.0 / 6.0),
        target("exec", CpuMs, Of("crun-sid"), 0.5),
        target("exec", CpuMs, Of("crun-sid-copy"), 0.5),
        target("exec", CpuMs, Of("crun-static"), 0.7),
        target("exec", CpuMs, Of("runc-sid"), 1.0 / 6.0),
        target("exec", CpuMs, Of("runc-debian"), 1.0 / 6.0),
        target("state-1000", WallMs, Case("state-1"), 1.1),
        target("kill-1000", WallMs, Case("kill-1"), 1.1),
        target("state-1000", CpuMs, Case("state-1"), 1.1),
        target("kill-1000", CpuMs, Case("kill-1"), 1.1),
        target("state-1000", WallMs, Of("crun-sid"), 1.0),
        target("kill-1000", WallMs, Of("crun-sid"), 1.0),
        target("parallel", PerSecond, Of("crun-sid"), 1.8),
        target("parallel", PerSecond, Of("crun-sid-copy"), 1.8),
        target("parallel", PerSecond, Of("crun-static"), 1.3),
        target("parallel", CpuMs, Of("runc-sid"), 1.0 / 6.0),
        target("parallel", CpuMs, Of("runc-debian"), 1.0 / 6.0),
        target("init", InitPrivateKib, Number, 512.0),
        target("init", InitFurtherKib, Number, 512.0),
        target("init", InitFurtherKib, Of("crun-sid"), 1.0),
    ]
};

/// One row: what, the bound, what was measured, and the verdict.
struct Row {
    what: String,
    bound: String,
    measured: String,
    met: Option<bool>,
}

/// For the terminal.
pub fn text(report: &Report) -> String {
    let rows = rows(report);
    let mut text = String::from("Targets\n");
    for row in rows.iter().filter(|row| row.met.is_some()) {
        text.push_str(&format!(
            "  {:<9} {}: {} (wanted {})\n",
            verdict(row),
            row.what,
            row.measured,
            row.bound
        ));
    }
    text
}

/// For the page.
pub fn markdown(report: &Report) -> String {
    let mut text = String::from("### Targets\n\n| our median | wanted | measured | |\n|---|---|---|---|\n");
    for row in rows(report) {
        text.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            row.what,
            row.bound,
            row.measured,
            verdict(&row)
        ));
    }
    text
}

fn verdict(row: &Row) -> &'static str {
    match row.met {
        Some(true) => "met",
        Some(false) => "NOT MET",
        None => "not measured",
    }
}

fn rows(report: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    for target in &TARGETS {
        let mut measured = false;
        for layout in [Layout::V2, Layout::V1] {
            if let Some(value) = value(report, layout, target) {
                measured = true;
                rows.push(row(target, Some((layout, value))));
            }
        }
        if !measured {
            rows.push(row(target, None));
        }
    }
    rows
}

fn value(report: &Report, layout: Layout, target: &Target) -> Option<f64> {
    let ours = report.summary(layout, target.case, OURS, target.metric)?.median;
    match target.than {
        Than::Of(theirs) => report.ratio(layout, target.case, target.metric, OURS, theirs),
        Than::Case(case) => Some(ours / report.summary(layout, case, OURS, target.metric)?.median),
        Than::Number => Some(ours),
    }
}

fn row(target: &Target, measured: Option<(Layout, f64)>) -> Row {
    let what = match target.metric {
        Metric::CpuMs => "CPU",
        Metric::WallMs => "wall",
        Metric::PeakRssKib => "peak RSS",
        Metric::Faults => "faults",
        Metric::PerSecond => "containers/s",
        Metric::InitRssKib => "RSS of init",
        Metric::InitPrivateKib => "private memory of init",
        Metric::InitFurtherKib => "private memory of init beside another",
    };
    let rate = target.metric == Metric::PerSecond;
    let sign = if rate { '≥' } else { '≤' };
    let factor = format!("{:.3}", target.bound);
    let factor = factor.trim_end_matches('0').trim_end_matches('.');
    let (bound, unit) = match target.than {
        Than::Of(theirs) => (format!("{sign} {factor} × {theirs}"), " ×"),
        Than::Case(case) => (format!("{sign} {factor} × {case}"), " ×"),
        Than::Number => (format!("{sign} {:.0} KiB", target.bound), " KiB"),
    };
    let place = measured.map_or(String::new(), |(layout, _)| format!(", {}", layout.name()));
    Row {
        what: format!("{} {what}{place}", target.case),
        bound,
        measured: measured.map_or(String::new(), |(_, value)| match target.than {
            Than::Number => format!("{value:.0}{unit}"),
            _ => format!("{value:.3}{unit}"),
        }),
        met: measured.map(|(_, value)| {
            if rate {
                value >= target.bound
            } else {
                value <= target.bound
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn a_target_is_met_or_not_or_not_measured() {
        let text = markdown(&example());
        for row in [
            "| run CPU, cgroup v2 | ≤ 1.5 × floor | 2.000 × | NOT MET |",
            "| run CPU, cgroup v1 | ≤ 0.45 × crun-sid | 0.250 × | met |",
            "| run peak RSS, cgroup v1 | ≤ 1800 KiB | 1000 KiB | met |",
            "| exec CPU | ≤ 0.5 × crun-sid |  | not measured |",
        ] {
            assert!(text.contains(row), "{row} is not in\n{text}");
        }
    }

    #[test]
    fn a_rate_must_be_higher() {
        let row = |value| {
            row(
                &target("parallel", Metric::PerSecond, Than::Of("x"), 1.8),
                Some((Layout::V1, value)),
            )
        };
        assert_eq!((row(1.9).met, row(1.7).met), (Some(true), Some(false)));
    }
}
