//! What an update of some values has to know of the others, read from the kernel.
//!
//! Called by `update` before it compiles a plan. Two pairs of values share one meaning on v2: `swap` of config.json
//! counts memory too, and `cpu.max` holds quota and period. Whoever gives one of a pair means the other to stay as it
//! is, so that it is filled in here. runc takes it from its own record instead; the kernel's word also holds after
//! somebody else (a person, systemd) has changed a limit.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use crate::dir::Dir;
use crate::error::Error;
use crate::record::{Record, check};

impl Record {
    /// Fills in the other half of memory.limit and memory.swap, and of cpu.quota and cpu.period, where v2 needs it.
    ///
    /// # Errors
    /// When the container's v2 directory is no cgroup. Values that cannot be read stay absent.
    pub fn complete(&self, resources: &mut LinuxResources) -> Result<(), Error> {
        let Some(path) = self.unified() else { return Ok(()) };
        if check(path)?.is_none() {
            return Ok(());
        }
        let dir = Dir::open(path).map_err(Error::file("open", path))?;
        let read = |file: &str| dir.read(file).ok();
        if let Some(memory) = resources.memory_mut().as_mut()
            && !self.paths.contains_key("memory")
        {
            complete_memory(memory, read);
        }
        if let Some(cpu) = resources.cpu_mut().as_mut()
            && !self.paths.contains_key("cpu")
        {
            complete_cpu(cpu, read);
        }
        Ok(())
    }
}

fn complete_memory(memory: &mut LinuxMemory, read: impl Fn(&str) -> Option<String>) {
    let given = |value: Option<i64>| value.filter(|value| *value != 0);
    // None: no limit.
    let now = |file: &str| read(file).and_then(|text| text.trim().parse::<i64>().ok());
    match (given(memory.limit()), given(memory.swap())) {
        (None, Some(swap)) if swap > 0 => {
            memory.set_limit(now("memory.max").or(Some(-1)));
        }
        (Some(limit), None) if limit > 0 => {
            if let (Some(old), Some(swap)) = (now("memory.max"), now("memory.swap.max")) {
                memory.set_swap(old.checked_add(swap));
            }
        }
        _ => {}
    }
}

fn complete_cpu(cpu: &mut LinuxCpu, read: impl Fn(&str) -> Option<String>) {
    let period = cpu.period().filter(|period| *period != 0);
    if period.is_some() && cpu.quota().unwrap_or(0) == 0 {
        let quota = read("cpu.max").and_then(|text| text.split_whitespace().next()?.parse::<i64>().ok());
        cpu.set_quota(quota);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |file| {
            pairs
                .iter()
                .find(|(name, _)| *name == file)
                .map(|(_, text)| (*text).to_owned())
        }
    }

    fn memory(limit: Option<i64>, swap: Option<i64>, kernel: [&str; 2]) -> (Option<i64>, Option<i64>) {
        let mut memory = LinuxMemory::default();
        memory.set_limit(limit).set_swap(swap);
        complete_memory(
            &mut memory,
            files(&[("memory.max", kernel[0]), ("memory.swap.max", kernel[1])]),
        );
        (memory.limit(), memory.swap())
    }

    #[test]
    fn the_sum_of_memory_and_swap_stays() {
        assert_eq!(memory(Some(60), None, ["100\n", "50\n"]), (Some(60), Some(150)));
        assert_eq!(memory(None, Some(130), ["100\n", "50\n"]), (Some(100), Some(130)));
    }

    #[test]
    fn what_has_no_limit_gets_none() {
        assert_eq!(memory(Some(60), None, ["100\n", "max\n"]), (Some(60), None));
        assert_eq!(memory(Some(60), None, ["max\n", "0\n"]), (Some(60), None));
        assert_eq!(memory(None, Some(130), ["max\n", "max\n"]), (Some(-1), Some(130)));
        assert_eq!(memory(Some(-1), None, ["100\n", "50\n"]), (Some(-1), None));
        assert_eq!(memory(None, Some(-1), ["100\n", "50\n"]), (None, Some(-1)));
        assert_eq!(memory(Some(0), Some(0), ["100\n", "50\n"]), (Some(0), Some(0)));
    }

    #[test]
    fn a_new_period_keeps_the_quota() {
        let quota = |quota, period, kernel: &str| {
            let mut cpu = LinuxCpu::default();
            cpu.set_quota(quota).set_period(period);
            complete_cpu(&mut cpu, files(&[("cpu.max", kernel)]));
            cpu.quota()
        };
        assert_eq!(quota(None, Some(50_000), "20000 100000\n"), Some(20_000));
        assert_eq!(quota(None, Some(50_000), "max 100000\n"), None);
        assert_eq!(quota(Some(7), Some(50_000), "20000 100000\n"), Some(7));
        assert_eq!(quota(None, None, "20000 100000\n"), None);
    }
}
