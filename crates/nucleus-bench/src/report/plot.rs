//! The plot: a bar of CPU time for each case and program, as SVG that reads well on light and on dark pages.

use crate::cells::Metric;
use crate::layout::Layout;
use crate::peers::{FLOOR, OURS, PROGRAM};
use crate::report::Report;

/// The cases with a time of one container, and what is written above their bars.
const SHOWN: [(&str, &str); 8] = [
    ("run", "run, the config of runc spec"),
    ("run-docker", "run, Docker's config"),
    ("run-podman", "run, podman's config"),
    ("lifecycle", "create + start + delete"),
    ("exec", "exec"),
    ("run-userns", "run in a user namespace"),
    ("run-rootless", "run, rootless"),
    ("state-1", "state"),
];

const WIDTH: f64 = 860.0;
/// Where the bars begin and how long the longest is.
const LEFT: f64 = 130.0;
const LONGEST: f64 = 620.0;
const BAR: f64 = 14.0;
const GAP: f64 = 3.0;
const HEAD: f64 = 26.0;

const STYLE: &str = "text{font:12px sans-serif;fill:#24292f}.head{font-weight:bold}.note{fill:#57606a}.back{fill:#fff}\
    .other{fill:#8c959f}.floor{fill:#bf8700}.ours{fill:#0969da}@media(prefers-color-scheme:dark){text{fill:#e6edf3}\
    .note{fill:#9198a1}.back{fill:#0d1117}.other{fill:#6e7681}.floor{fill:#d29922}.ours{fill:#4493f8}}";

/// Bars of the CPU time on the newest layout that was measured.
pub fn svg(report: &Report) -> String {
    let on = |layout: &Layout| report.cells.iter().any(|cell| cell.key.layout == *layout);
    let layout = [Layout::V2, Layout::V1].into_iter().find(on).unwrap_or(Layout::V2);
    let longest = SHOWN
        .iter()
        .flat_map(|(case, _)| times(report, layout, case))
        .map(|(_, ms)| ms)
        .fold(0.0, f64::max);
    let mut body = String::new();
    let mut y = 24.0;
    let title = format!(
        "CPU time (user + system of all processes), median, milliseconds; {}; {}",
        layout.name(),
        report.date
    );
    body.push_str(&text(10.0, y, "head", &title));
    if let Some(noisy) = report.noise.verdict() {
        y += 18.0;
        body.push_str(&text(10.0, y, "note", &noisy));
    }
    for (case, head) in SHOWN {
        let times = times(report, layout, case);
        if times.is_empty() {
            continue;
        }
        y += HEAD;
        body.push_str(&text(10.0, y, "head", head));
        y += GAP * 2.0;
        for (name, ms) in times {
            body.push_str(&bar(y, name, ms, ms / longest * LONGEST));
            y += BAR + GAP;
        }
    }
    let height = y + 14.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>{STYLE}</style>\n<rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

/// Each program's median, in the order of the tables.
fn times<'a>(report: &'a Report, layout: Layout, case: &str) -> Vec<(&'a str, f64)> {
    let time = |name: &'a str| Some((name, report.summary(layout, case, name, Metric::CpuMs)?.median));
    let names = report.peers.iter().map(|peer| peer.name.as_str());
    names.filter(|name| *name != PROGRAM).filter_map(time).collect()
}

fn bar(y: f64, name: &str, ms: f64, width: f64) -> String {
    let class = match name {
        OURS => "ours",
        FLOOR => "floor",
        _ => "other",
    };
    let base = y + BAR - 3.0;
    format!("<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\"/>\n")
        + &format!(
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 6.0,
            escaped(name)
        )
        + &text(LEFT + width + 6.0, base, "note", &format!("{ms:.2}"))
}

fn text(x: f64, y: f64, class: &str, words: &str) -> String {
    format!(
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y}\">{}</text>\n",
        escaped(words)
    )
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn a_bar_is_as_long_as_its_time() {
        let svg = svg(&example());
        for part in [
            "<rect class=\"other\" x=\"130\" y=\"90\" width=\"620.0\"",
            ">20.00</text>",
            "<rect class=\"ours\" x=\"130\" y=\"56\" width=\"62.0\"",
            ">2.00</text>",
            "class=\"floor\"",
            "prefers-color-scheme:dark",
            "cgroup v2; 2026-01-02",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        assert!(!svg.contains(">true</text>") && !svg.contains("NOISY"), "{svg}");
    }

    #[test]
    fn noise_is_told_and_marks_are_escaped() {
        let mut report = example();
        report.noise.spread = Some(9.0);
        report.cells[0].key.runtime = "a<b".to_owned();
        report.peers[0].name = "a<b".to_owned();
        for cell in &mut report.cells {
            cell.key.layout = Layout::V1;
        }
        let svg = svg(&report);
        assert!(
            svg.contains("NOISY: ") && svg.contains("a&lt;b") && !svg.contains("a<b"),
            "{svg}"
        );
    }

    #[test]
    fn nothing_measured_is_no_bar() {
        assert!(!svg(&Report::new(1)).contains("class=\"other\""));
    }
}
