//! Medians and percentiles.

use serde::{Deserialize, Serialize};

/// What many measurements of one thing come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Half are below it.
    pub median: f64,
    /// A tenth are below it.
    pub p10: f64,
    /// Nine tenths are below it.
    pub p90: f64,
}

impl Summary {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&sorted, 0.5)?,
            p10: quantile(&sorted, 0.1)?,
            p90: quantile(&sorted, 0.9)?,
        })
    }
}

/// Between the two nearest values, in proportion.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = part * last as f64;
    let below = sorted.get(place.floor() as usize)?;
    let above = sorted.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many() {
        let summary = Summary::of((0..=100).rev().map(f64::from)).unwrap();
        assert_eq!(
            summary,
            Summary {
                median: 50.0,
                p10: 10.0,
                p90: 90.0
            }
        );
    }

    #[test]
    fn between_two_values() {
        let summary = Summary::of([1.0, 2.0]).unwrap();
        assert!(
            (summary.median - 1.5).abs() < 1e-9 && (summary.p90 - 1.9).abs() < 1e-9,
            "{summary:?}"
        );
    }

    #[test]
    fn of_one_and_of_none() {
        assert_eq!(
            Summary::of([7.0]),
            Some(Summary {
                median: 7.0,
                p10: 7.0,
                p90: 7.0
            })
        );
        assert_eq!(Summary::of([]), None);
    }
}
