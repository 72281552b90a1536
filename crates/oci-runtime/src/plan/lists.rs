//! Lists of numbers as the kernel's own files write them: `0-3,7`.
//!
//! CPUs of `process.execCPUAffinity` and NUMA nodes of `linux.memoryPolicy`. The result is a bit mask, so that a list
//! of any length costs no more than its highest number; the highest number is bounded by the caller.

use std::fmt::Display;

use super::PlanError;

/// The mask of a list: bit n % 64 of word n / 64 stands for the number n. No word follows the last one with a bit.
///
/// # Errors
/// For anything but numbers and rising ranges of them, and for numbers above `highest`.
pub(crate) fn mask(list: &str, highest: usize, field: impl Display) -> Result<Vec<u64>, PlanError> {
    let mut mask = Vec::new();
    let invalid = |part: &str| {
        PlanError::new(
            &field,
            format_args!("{part:?} is neither a number nor a range such as 0-3"),
        )
    };
    for part in list.split(',') {
        let part = part.trim_matches(' ');
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (
            number(first).ok_or_else(|| invalid(part))?,
            number(last).ok_or_else(|| invalid(part))?,
        );
        if last < first {
            return Err(PlanError::new(&field, format_args!("{part:?} is a range backwards")));
        }
        if last > highest {
            return Err(PlanError::new(
                &field,
                format_args!("{last} must not be greater than {highest}"),
            ));
        }
        if mask.len() <= last / 64 {
            mask.resize(last / 64 + 1, 0);
        }
        for n in first..=last {
            mask[n / 64] |= 1 << (n % 64);
        }
    }
    Ok(mask)
}

/// Digits only: `parse` would take a sign. A number that does not fit is above any bound.
fn number(text: &str) -> Option<usize> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(usize::MAX))
}
