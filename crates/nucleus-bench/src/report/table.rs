//! The tables: plain text for the terminal, Markdown for the page. Both from the same rows.

use crate::cases::CASES;
use crate::cells::{Cell, Metric};
use crate::layout::Layout;
use crate::peers::{FLOOR, OURS};
use crate::report::{Report, targets};

/// Head of a table and its rows.
struct Table {
    title: String,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// For the terminal.
pub fn text(report: &Report) -> String {
    let mut text = format!("\n{}\n", heading(report).join("\n"));
    for table in tables(report) {
        text.push_str(&format!("\n{}\n", table.title));
        text.push_str(&aligned(&table));
    }
    text.push('\n');
    text.push_str(&targets::text(report));
    text
}

/// For the page.
pub fn markdown(report: &Report) -> String {
    let mut text = heading(report)
        .iter()
        .map(|line| format!("- {line}\n"))
        .collect::<String>();
    text.insert_str(0, "### The run\n\n");
    for table in tables(report) {
        text.push_str(&format!("\n### {}\n\n", table.title));
        text.push_str(&piped(&table));
    }
    text
}

fn heading(report: &Report) -> Vec<String> {
    let mut lines = vec![format!(
        "{}, {}, Linux {}, {} rounds, {} s",
        report.date, report.processor, report.kernel, report.rounds, report.seconds
    )];
    let noise = &report.noise;
    let spread = noise
        .spread
        .map_or(String::new(), |spread| format!(", p90/p10 of `true` alone {spread:.2}"));
    let [steal, others] = [noise.steal, noise.others].map(|part| part * 100.0);
    lines.push(format!(
        "stolen {steal:.1} %, others {others:.1} % of the CPU time, load before {:.2}{spread}",
        noise.load_before
    ));

    lines.extend(noise.verdict());
    lines.extend(report.remarks.iter().cloned());
    for peer in &report.peers {
        if let Some(reason) = &peer.absent {
            lines.push(format!("{}: absent: {reason}", peer.name));
        }
    }
    lines
}

fn tables(report: &Report) -> Vec<Table> {
    let mut tables = vec![programs(report)];
    for case in &CASES {
        for layout in [Layout::V2, Layout::V1] {
            // The case among many is two verbs with several numbers of containers each.
            let of_case = |name: &str| name == case.name || case.name == "among" && among(name).is_some();
            let mut found: Vec<_> = report.cells.iter().filter(|cell| cell.key.layout == layout).collect();
            found.retain(|cell| of_case(&cell.key.case));
            let mut found: Vec<_> = found.iter().map(|cell| cell.key.case.as_str()).collect();
            found.sort_by_key(|name| among(name));
            found.dedup();
            for name in found {
                let title = match among(name) {
                    Some((verb, total)) => format!("`{}` with {total} containers", verb.replace("kill", "kill 0")),
                    None => case.title.to_owned(),
                };
                tables.push(measurements(
                    report,
                    layout,
                    name,
                    &format!("{title}, {}", layout.name()),
                ));
            }
        }
    }
    tables
}

/// `state-100` → the verb and the number.
fn among(name: &str) -> Option<(&str, u64)> {
    let (verb, total) = name.split_once('-')?;
    Some((verb, total.parse().ok()?))
}

fn programs(report: &Report) -> Table {
    let row = |peer: &crate::peers::Described| {
        let size = peer.size_kib.map_or(String::new(), |size| size.to_string());
        let version = peer
            .absent
            .as_ref()
            .map(|_| "absent".to_owned())
            .or(peer.version.clone());
        vec![peer.name.clone(), version.unwrap_or_default(), size]
    };
    Table {
        title: "What was measured".to_owned(),
        head: vec!["name", "version", "size KiB"],
        rows: report.peers.iter().map(row).collect(),
    }
}

fn measurements(report: &Report, layout: Layout, case: &str, title: &str) -> Table {
    let mut cells: Vec<&Cell> = report
        .cells
        .iter()
        .filter(|cell| cell.key.layout == layout && cell.key.case == case)
        .collect();
    cells.sort_by_key(|cell| report.peers.iter().position(|peer| peer.name == cell.key.runtime));
    if case == "init" {
        return memory(&cells, title);
    }
    let rate = cells.iter().any(|cell| cell.metrics.contains_key(&Metric::PerSecond));
    let mut head = vec![
        "",
        "CPU ms (p10–p90)",
        "wall ms (p10–p90)",
        "ours ÷ it: CPU",
        "wall",
        "its CPU ÷ floor",
        "peak RSS KiB",
        "faults",
    ];
    if rate {
        head.push("containers/s");
    }
    head.push("rounds, trouble");
    let row = |cell: &Cell| {
        let name = &cell.key.runtime;
        let ratio = |metric, ours: &str, theirs: &str| {
            report
                .ratio(layout, case, metric, ours, theirs)
                .map_or(String::new(), |ratio| format!("{ratio:.2}"))
        };
        let mut row = vec![
            name.clone(),
            range(cell, Metric::CpuMs),
            range(cell, Metric::WallMs),
            ratio(Metric::CpuMs, OURS, name),
            ratio(Metric::WallMs, OURS, name),
            ratio(Metric::CpuMs, name, FLOOR),
            median(cell, Metric::PeakRssKib),
            median(cell, Metric::Faults),
        ];
        if rate {
            row.push(median(cell, Metric::PerSecond));
        }
        row.push(trouble(cell));
        row
    };
    Table {
        title: title.to_owned(),
        head,
        rows: cells.into_iter().map(row).collect(),
    }
}

fn memory(cells: &[&Cell], title: &str) -> Table {
    let row = |cell: &&Cell| {
        let metrics = [Metric::InitRssKib, Metric::InitPrivateKib, Metric::InitFurtherKib];
        let numbers = metrics.map(|metric| median(cell, metric));
        [vec![cell.key.runtime.clone()], numbers.to_vec(), vec![trouble(cell)]].concat()
    };
    Table {
        title: title.to_owned(),
        head: vec![
            "",
            "RSS KiB",
            "private KiB",
            "private, beside another, KiB",
            "rounds, trouble",
        ],
        rows: cells.iter().map(row).collect(),
    }
}

fn trouble(cell: &Cell) -> String {
    let mut text = cell.rounds.to_string();
    for (count, what) in [(cell.failed, "failed"), (cell.hung, "HUNG")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    if let Some(note) = &cell.note {
        text.push_str(&format!(": {note}"));
    }
    text
}

fn median(cell: &Cell, metric: Metric) -> String {
    cell.metrics
        .get(&metric)
        .map_or(String::new(), |summary| format!("{:.0}", summary.median))
}

fn range(cell: &Cell, metric: Metric) -> String {
    let text =
        |summary: &crate::stats::Summary| format!("{:.2} ({:.2}–{:.2})", summary.median, summary.p10, summary.p90);
    cell.metrics.get(&metric).map_or(String::new(), text)
}

fn piped(table: &Table) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<_> = table.head.iter().map(|&word| word.to_owned()).collect();
    let rows = table.rows.iter().map(|row| {
        let cells: Vec<_> = row
            .iter()
            .map(|cell| cell.replace('|', "\\|").replace('<', "&lt;"))
            .collect();
        line(&cells)
    });
    line(&head) + &format!("|{}\n", "---|".repeat(head.len())) + &rows.collect::<String>()
}

fn aligned(table: &Table) -> String {
    let width = |column: usize| {
        let cells = table
            .rows
            .iter()
            .filter_map(|row| row.get(column).map(|cell| cell.chars().count()));
        cells
            .chain(table.head.get(column).map(|word| word.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let last = table.head.len().saturating_sub(1);
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.enumerate().map(|(column, cell)| match column {
            0 => format!("{cell:<0$}", width(0)),
            column if column == last => cell.to_owned(),
            column => format!("{cell:>0$}", width(column)),
        });
        format!("  {}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let rows = table.rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
    line(&mut table.head.iter().copied()) + &rows.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example;

    #[test]
    fn ratios_stand_beside_the_times() {
        let text = markdown(&example());
        let row = "| crun-sid | 8.00 (4.80–11.20) | 8.00 (4.80–11.20) | 0.25 | 0.25 | 8.00 | 1000 | 100 | 3 |";
        assert!(text.contains(row), "{text}");
        assert!(
            text.contains("youki: absent: not <built>") && text.contains("| youki | absent |  |"),
            "{text}"
        );
    }

    #[test]
    fn trouble_and_noise_are_told() {
        let mut report = example();
        report.noise.spread = Some(9.0);
        for cell in report.cells.iter_mut().filter(|cell| cell.key.runtime == "crun-sid") {
            (cell.hung, cell.note) = (2, Some("hung in crun".to_owned()));
        }
        for text in [text(&report), markdown(&report)] {
            assert!(
                text.contains("NOISY: ") && text.contains("3, 2 HUNG: hung in crun"),
                "{text}"
            );
        }
    }

    #[test]
    fn cases_among_others_are_in_order() {
        let mut report = example();
        for name in ["state-1000", "state-1", "kill-100"] {
            let mut cell = report.cells[0].clone();
            cell.key.case = name.to_owned();
            report.cells.push(cell);
        }
        let titles: Vec<_> = tables(&report).into_iter().map(|table| table.title).collect();
        assert_eq!(
            titles[3..6],
            [
                "`kill 0` with 100 containers, cgroup v1",
                "`state` with 1 containers, cgroup v1",
                "`state` with 1000 containers, cgroup v1"
            ]
        );
    }
}
