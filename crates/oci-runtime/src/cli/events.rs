//! `nucleus events`: one JSON object on a line for each event, as runc prints them.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use nucleus_core::ContainerId;

use super::Outcome;
use crate::init::failure::{Explain, Failure};
use crate::lifecycle::events::{self, Event};

/// Flags of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often to print statistics: 5s, 500ms, 1m30s
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = parse_interval)]
    interval: Duration,
    /// Print the statistics once and exit
    #[arg(long)]
    stats: bool,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::parse_id)]
    id: ContainerId,
}

/// Prints events until the container ends, or nobody reads them.
pub fn main(args: &Args, root: Option<&Path>) -> Outcome {
    let store = super::open_store(root, false)?;
    let mut print = |event: &Event<'_>| -> crate::lifecycle::Result<bool> {
        let mut line = serde_json::to_string(event).map_err(|error| Failure::new(error.to_string()))?;
        line.push('\n');
        match super::write_out(&line) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            result => Ok(result.explain(|| "cannot write to standard output").map(|()| true)?),
        }
    };
    if args.stats {
        events::once(&store, &args.id, &mut print)?;
    } else {
        events::stream(&store, &args.id, args.interval, &mut print)?;
    }
    Ok(0)
}

/// A time as Go writes it: numbers with units from `ns` to `h`, each perhaps with a fraction.
fn parse_interval(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 7] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let invalid = || format!("{text:?} is not a time like 5s, 500ms or 1m30s");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        seconds += number.parse::<f64>().map_err(|_| invalid())? * factor;
        rest = tail;
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(interval) if !interval.is_zero() => Ok(interval),
        Ok(_) => Err("duration interval must be greater than 0".to_owned()),
        Err(_) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_written_as_in_go() {
        let parsed = |text: &str| parse_interval(text).ok().map(|interval| interval.as_millis());
        assert_eq!(parsed("5s"), Some(5000));
        assert_eq!(parsed("500ms"), Some(500));
        assert_eq!(parsed("1m30s"), Some(90_000));
        assert_eq!(parsed("1.5h"), Some(5_400_000));
        for text in ["", "0", "0s", "5", "s", "-1s", "5 s", "5x", "1.2.3s", "1e400s"] {
            assert!(parse_interval(text).is_err(), "{text:?}");
        }
    }
}
