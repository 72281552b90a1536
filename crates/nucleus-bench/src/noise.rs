//! How quiet the machine was. A result from a noisy one says so.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::stats::Summary;

/// Above this, p90/p10 of the wall time of starting the static program is noise.
const MOST_SPREAD: f64 = 2.5;
/// Part of the machine's CPU time that others' processes and the kernel in the background took meanwhile.
const MOST_OTHERS: f64 = 0.15;
/// Part of the CPU time that a hypervisor gave to others.
const MOST_STEAL: f64 = 0.02;

/// What was seen of the machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noise {
    /// Runnable processes, the mean of the last minute before the start (a build of ours, often).
    pub load_before: f64,
    /// Part of the CPU time during the run that went neither to us nor to idling.
    pub others: f64,
    /// Part of the CPU time during the run that a hypervisor gave to others.
    pub steal: f64,
    /// p90/p10 of the wall time of starting the static program alone, measured in every round of `run`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spread: Option<f64>,
}

/// CPU time since boot in ticks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ticks {
    all: f64,
    stolen: f64,
    idle: f64,
}

impl Ticks {
    /// From /proc/stat; zero where it cannot be read.
    pub fn now() -> Self {
        fs::read_to_string("/proc/stat").map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    fn parse(stat: &str) -> Self {
        let first = stat.lines().next().unwrap_or("");
        // user nice system idle iowait irq softirq steal; guests are within user.
        let numbers: Vec<f64> = first.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        let number = |place: usize| numbers.get(place).copied().unwrap_or(0.0);
        Self {
            all: numbers.iter().sum(),
            stolen: number(7),
            idle: number(3) + number(4),
        }
    }

    /// The stolen part between then and now.
    pub fn steal_since(self, then: Self) -> f64 {
        self.part_since(then, self.stolen - then.stolen)
    }

    /// The part between then and now that was neither idle nor stolen nor ours, which is so many seconds.
    pub fn others_since(self, then: Self, ours: f64) -> f64 {
        /// The kernel shows ticks of this length to everybody (`USER_HZ`).
        const TICKS_PER_SECOND: f64 = 100.0;
        let used = (self.all - then.all) - (self.idle - then.idle) - (self.stolen - then.stolen);
        self.part_since(then, used - ours * TICKS_PER_SECOND)
    }

    fn part_since(self, then: Self, ticks: f64) -> f64 {
        let all = self.all - then.all;
        if all > 0.0 { (ticks / all).max(0.0) } else { 0.0 }
    }
}

/// Load of the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// p90/p10.
pub fn spread(summary: &Summary) -> f64 {
    summary.p90 / summary.p10
}

impl Noise {
    /// What is wrong, as text; `None` for a quiet machine.
    pub fn verdict(&self) -> Option<String> {
        let mut reasons = Vec::new();
        if let Some(spread) = self.spread.filter(|spread| *spread > MOST_SPREAD) {
            reasons.push(format!(
                "starting a static program took {spread:.1} × as long at p90 as at p10"
            ));
        }
        if self.others > MOST_OTHERS {
            reasons.push(format!("others took {:.0} % of the CPU time", self.others * 100.0));
        }
        if self.steal > MOST_STEAL {
            reasons.push(format!("{:.1} % of the CPU time stolen", self.steal * 100.0));
        }
        (!reasons.is_empty()).then(|| format!("NOISY: {}", reasons.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_a_part_of_all() {
        let then = Ticks::parse("cpu 10 0 10 80 0 0 0 0 0 0\ncpu0 1 2 3");
        let now = Ticks::parse("cpu 20 0 20 150 0 0 0 10 0 0");
        assert!((now.steal_since(then) - 0.1).abs() < 1e-9);
        assert_eq!(then.steal_since(then), 0.0);
        // 20 ticks were used, 5 of them by us.
        assert!((now.others_since(then, 0.05) - 0.15).abs() < 1e-9);
    }

    #[test]
    fn a_noisy_machine_is_told() {
        let quiet = Noise {
            load_before: 0.2,
            steal: 0.0,
            others: 0.05,
            spread: Some(1.3),
        };
        assert_eq!(quiet.verdict(), None);
        let noisy = Noise {
            spread: Some(4.0),
            steal: 0.1,
            others: 0.5,
            ..quiet
        };
        let text = noisy.verdict().unwrap();
        assert!(
            text.starts_with("NOISY: ")
                && text.contains("4.0 ×")
                && text.contains("10.0 %")
                && text.contains("others took 50 %"),
            "{text}"
        );
    }
}
