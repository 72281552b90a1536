//! `nucleus update`: the flags of runc, or a file of `linux.resources`, which then counts alone.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use nucleus_core::ContainerId;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxIntelRdt, LinuxMemory, LinuxPids, LinuxResources};

use super::Outcome;
use super::log::Log;
use crate::init::failure::Explain;
use crate::lifecycle::update::{self, Limits};

/// Much more than any engine writes.
const LARGEST: u64 = 1 << 20;

/// Flags of `update`. Zero and the empty word are "leave it", as with runc.
#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    /// File of linux.resources as JSON, `-` for standard input; beside it only the flags of Intel RDT count
    #[arg(long, short, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Weight of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Period of the processor quota in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_period: Option<String>,
    /// Processor time in each period in microseconds; -1 is no limit
    #[arg(long, value_name = "TIME")]
    cpu_quota: Option<String>,
    /// Unused quota that may be saved up, in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_burst: Option<String>,
    /// Share of the processors in comparison with other containers
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<String>,
    /// Period of the realtime quota in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_rt_period: Option<String>,
    /// Realtime processor time in each period in microseconds
    #[arg(long, value_name = "TIME")]
    cpu_rt_runtime: Option<String>,
    /// Processors to use, like 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use, like 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// 1 makes the whole container SCHED_IDLE, 0 undoes it
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<String>,
    /// Memory limit in bytes, or like 512M; -1 is no limit
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Memory that others shall not take
    #[arg(long, value_name = "SIZE")]
    memory_reservation: Option<String>,
    /// Memory and swap together; -1 is no limit
    #[arg(long, value_name = "SIZE")]
    memory_swap: Option<String>,
    /// Obsolete and ignored
    #[arg(long, value_name = "SIZE", hide = true)]
    kernel_memory: Option<String>,
    /// Obsolete and ignored
    #[arg(long, value_name = "SIZE", hide = true)]
    kernel_memory_tcp: Option<String>,
    /// Number of tasks; -1 is no limit
    #[arg(long, value_name = "COUNT")]
    pids_limit: Option<i64>,
    /// Schema of Intel RDT for the L3 cache, like L3:0=ff;1=f0, for the class that the container has to itself
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Schema of Intel RDT for memory bandwidth, like MB:0=50;1=20
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::parse_id)]
    id: ContainerId,
}

/// Changes limits.
pub fn main(args: &Args, root: Option<&Path>, log: &Log) -> Outcome {
    let store = super::open_store(root, false)?;
    let resources = match args.resources.as_deref().filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => read(path)?,
        None => args.resources()?,
    };
    for (flag, value) in [
        ("kernel-memory", &args.kernel_memory),
        ("kernel-memory-tcp", &args.kernel_memory_tcp),
    ] {
        if value.is_some() {
            log.warn(&format!("--{flag} is obsolete and ignored"));
        }
    }
    let mut rdt = LinuxIntelRdt::default();
    rdt.set_l3_cache_schema(args.l3_cache_schema.clone())
        .set_mem_bw_schema(args.mem_bw_schema.clone());
    update::update(&store, &args.id, Limits { resources, rdt }, &|text| log.warn(text))?;
    Ok(0)
}

fn read(path: &Path) -> Result<LinuxResources, Box<dyn std::error::Error>> {
    let mut text = Vec::new();
    let name = path.display();
    if path == Path::new("-") {
        std::io::stdin().lock().take(LARGEST).read_to_end(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut text))
    }
    .explain(|| format!("--resources {name}"))?;
    if !text.trim_ascii_start().starts_with(b"{") {
        // serde would take the elements of an array for the fields in their order.
        return Err(format!("--resources {name}: must be a JSON object").into());
    }
    if let Ok(resources) = serde_json::from_slice(&text) {
        return Ok(resources);
    }
    if let Some(resources) = crate::spec::resources_without_nulls(&text) {
        return Ok(resources);
    }
    let mut json = serde_json::Deserializer::from_slice(&text);
    let resources =
        serde_path_to_error::deserialize(&mut json).map_err(|error| format!("--resources {name}: {error}"))?;
    json.end().map_err(|error| format!("--resources {name}: {error}"))?;
    Ok(resources)
}

impl Args {
    /// The flags as config.json would have them.
    fn resources(&self) -> Result<LinuxResources, String> {
        let mut cpu = LinuxCpu::default();
        cpu.set_period(parse("cpu-period", &self.cpu_period)?)
            .set_quota(parse("cpu-quota", &self.cpu_quota)?)
            .set_burst(parse("cpu-burst", &self.cpu_burst)?)
            .set_shares(parse("cpu-share", &self.cpu_share)?)
            .set_realtime_period(parse("cpu-rt-period", &self.cpu_rt_period)?)
            .set_realtime_runtime(parse("cpu-rt-runtime", &self.cpu_rt_runtime)?)
            .set_idle(parse("cpu-idle", &self.cpu_idle)?)
            .set_cpus(self.cpuset_cpus.clone())
            .set_mems(self.cpuset_mems.clone());
        let mut memory = LinuxMemory::default();
        memory
            .set_limit(parse_size("memory", &self.memory)?)
            .set_reservation(parse_size("memory-reservation", &self.memory_reservation)?)
            .set_swap(parse_size("memory-swap", &self.memory_swap)?);
        let mut block_io = LinuxBlockIo::default();
        block_io.set_weight(self.blkio_weight);
        let mut pids = LinuxPids::default();
        pids.set_limit(self.pids_limit.unwrap_or(0));
        let mut resources = LinuxResources::default();
        resources
            .set_cpu(Some(cpu))
            .set_memory(Some(memory))
            .set_block_io(Some(block_io))
            .set_pids(Some(pids));
        Ok(resources)
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(flag: &str, text: &Option<String>) -> Result<Option<T>, String> {
    let number = |text: &String| {
        text.parse()
            .map_err(|error| format!("invalid value for {flag}: {text:?}: {error}"))
    };
    text.as_ref().filter(|text| !text.is_empty()).map(number).transpose()
}

fn parse_size(flag: &str, text: &Option<String>) -> Result<Option<i64>, String> {
    let size = |text: &String| match text.as_str() {
        "-1" => Ok(-1),
        text => size_in_bytes(text).ok_or_else(|| format!("invalid value for {flag}: {text:?} is no size like 512M")),
    };
    text.as_ref().filter(|text| !text.is_empty()).map(size).transpose()
}

/// A size as Docker's tools write it: a number, perhaps with a fraction, a blank, one of `kmgtp` (powers of 1024) in
/// either case, and `b` or `ib`.
fn size_in_bytes(text: &str) -> Option<i64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let (number, unit) = text.split_at(end);
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit
        .trim_end_matches('b')
        .strip_suffix('i')
        .unwrap_or(unit.trim_end_matches('b'))
    {
        "" if matches!(unit.as_str(), "" | "b") => 0,
        "" => return None,
        letter => {
            let allowed = ["", "b", "ib"];
            let power = ["k", "m", "g", "t", "p"].iter().position(|known| *known == letter)?;
            allowed.contains(&unit.strip_prefix(letter)?).then_some(power + 1)?
        }
    };
    let bytes = number.parse::<f64>().ok()? * 1024_f64.powi(i32::try_from(power).ok()?);
    // A float that does not fit would be cut off to the largest number, which is another limit than was asked for.
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_with_docker() {
        let cases = [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32KB", 32 << 10),
            ("32kib", 32 << 10),
            ("32 MiB", 32 << 20),
            ("1.5g", 3 << 29),
            ("2T", 2 << 40),
            ("3p", 3 << 50),
        ];
        for (text, bytes) in cases {
            assert_eq!(size_in_bytes(text), Some(bytes), "{text}");
        }
        for text in [
            "", "-1", "-32k", "32x", "32ki", "32bb", "32ib", "k", "1.2.3", "32  k", "9999999p", "+3", "3e2",
        ] {
            assert_eq!(size_in_bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn bad_values_are_named_by_their_flag() {
        let error = parse::<u64>("cpu-share", &Some("x".into())).expect_err("no number");
        assert_eq!(
            error,
            "invalid value for cpu-share: \"x\": invalid digit found in string"
        );
        assert_eq!(parse::<u64>("cpu-share", &Some(String::new())), Ok(None));
        let error = parse_size("memory", &Some("much".into())).expect_err("no size");
        assert_eq!(error, "invalid value for memory: \"much\" is no size like 512M");
    }
}
