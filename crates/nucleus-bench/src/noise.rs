//! How quiet the machine was. A result from a noisy one says so.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::stats::Summary;

/// Above this, p90/p10 of the wall time of starting the static program is noise.
const MOST_SPREAD: f64 = 2.5;
/// Others' processes beside ours.
const MOST_LOAD: f64 = 1.0;
/// Part of the CPU time that a hypervisor gave to others.
const MOST_STEAL: f64 = 0.02;

/// What was seen of the machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noise {
    /// Runnable processes, the mean of the last minute before the start.
    pub load_before: f64,
    /// Part of the CPU time during the run that a hypervisor gave to others.
    pub steal: f64,
    /// p90/p10 of the wall time of starting the static program alone, measured in every round of `run`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub spread: Option<f64>,
}

/// CPU time since boot: all, and stolen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ticks(f64, f64);

impl Ticks {
    /// From /proc/stat; zero where it cannot be read.
    pub fn now() -> Self {
        fs::read_to_string("/proc/stat").map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    fn parse(stat: &str) -> Self {
        let first = stat.lines().next().unwrap_or("");
        // user nice system idle iowait irq softirq steal; guests are within user.
        let numbers: Vec<f64> = first.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        Self(numbers.iter().sum(), numbers.get(7).copied().unwrap_or(0.0))
    }

    /// The stolen part between then and now.
    pub fn steal_since(self, then: Self) -> f64 {
        let all = self.0 - then.0;
        if all > 0.0 { (self.1 - then.1) / all } else { 0.0 }
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
        if self.load_before > MOST_LOAD {
            reasons.push(format!("load {:.2} before the start", self.load_before));
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
    }

    #[test]
    fn a_noisy_machine_is_told() {
        let quiet = Noise {
            load_before: 0.2,
            steal: 0.0,
            spread: Some(1.3),
        };
        assert_eq!(quiet.verdict(), None);
        let noisy = Noise {
            spread: Some(4.0),
            steal: 0.1,
            ..quiet
        };
        let text = noisy.verdict().unwrap();
        assert!(
            text.starts_with("NOISY: ") && text.contains("4.0 ×") && text.contains("10.0 %"),
            "{text}"
        );
    }
}
