//! What was measured, before and after it is summed up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::layout::Layout;
use crate::spawner::Answer;
use crate::stats::Summary;

/// One number of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// User and system time of the whole tree, milliseconds.
    CpuMs,
    /// From before the start to the end, milliseconds.
    WallMs,
    /// Greatest resident set of one process, KiB.
    PeakRssKib,
    /// Page faults of the whole tree.
    Faults,
    /// Containers per second.
    PerSecond,
    /// Resident set of a created container's init, KiB.
    InitRssKib,
    /// What of it belongs to that process alone, KiB.
    InitPrivateKib,
    /// The same while the same runtime has another created container, with which it shares the binary's pages.
    InitFurtherKib,
}

/// Which measurement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// On which cgroups.
    pub layout: Layout,
    /// Which case.
    pub case: String,
    /// By which runtime.
    pub runtime: String,
}

/// The values of one measurement, in the order they came.
#[derive(Debug, Default)]
pub struct Values {
    numbers: BTreeMap<Metric, Vec<f64>>,
    failed: u64,
    hung: u64,
    note: Option<String>,
}

impl Values {
    /// Adds what the spawner has told.
    pub fn add(&mut self, answer: &Answer) {
        self.push(Metric::WallMs, answer.wall * 1e3);
        self.push(Metric::CpuMs, answer.cpu * 1e3);
        self.push(Metric::PeakRssKib, answer.peak_rss as f64);
        self.push(Metric::Faults, answer.faults as f64);
    }

    /// What so many containers in the measured time are per second.
    pub fn per_second(&mut self, containers: f64) {
        let times = self.numbers.get(&Metric::WallMs).into_iter().flatten();
        let rates = times.map(|ms| containers / ms * 1e3).collect();
        self.numbers.insert(Metric::PerSecond, rates);
    }

    /// Adds one number.
    pub fn push(&mut self, metric: Metric, value: f64) {
        self.numbers.entry(metric).or_default().push(value);
    }

    /// A round without a result; the first one's reason is kept.
    pub fn trouble(&mut self, trouble: &Trouble) {
        let text = match trouble {
            Trouble::Failed(text) => {
                self.failed += 1;
                text.clone()
            }
            Trouble::Hung(processes) => {
                self.hung += 1;
                format!("hung in {processes}")
            }
        };
        self.note.get_or_insert(text);
    }

    /// How many rounds did not end.
    pub fn hung(&self) -> u64 {
        self.hung
    }

    /// Summed up.
    pub fn cell(&self, key: Key) -> Cell {
        let sums = self.numbers.iter();
        Cell {
            key,
            rounds: self.numbers.values().map(Vec::len).max().unwrap_or(0),
            failed: self.failed,
            hung: self.hung,
            note: self.note.clone(),
            metrics: sums
                .filter_map(|(metric, values)| Some((*metric, Summary::of(values.iter().copied())?)))
                .collect(),
        }
    }
}

/// Why a round has no result.
#[derive(Debug)]
pub enum Trouble {
    /// A command ended with an exit code other than 0; what it said.
    Failed(String),
    /// A command did not end; what was running.
    Hung(String),
}

/// One measurement, summed up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    /// Which.
    #[serde(flatten)]
    pub key: Key,
    /// How many rounds have a result.
    pub rounds: usize,
    /// How many ended with an error.
    pub failed: u64,
    /// How many did not end and were killed.
    pub hung: u64,
    /// The first error, or why there is nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// The numbers.
    pub metrics: BTreeMap<Metric, Summary>,
}
