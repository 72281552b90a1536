//! Executing a [`Plan`](crate::Plan), second half: the values and the device rules.
//!
//! Called by create and by update. A new container's limits are written once, and a failure undoes the whole cgroup;
//! a running container's are read first, and what was changed until the failure is put back.

use rustix::io::Errno;

use crate::create::Cgroup;
use crate::dir::{Dir, write_value};
use crate::error::{Error, reason};
use crate::plan::{Devices, MemoryCheck, Write, WriteRule};

impl Cgroup {
    /// Writes every limit and the device rules.
    ///
    /// # Errors
    /// [`Error::Limit`] with the JSON path, the file and the kernel's reason; [`Error::DeviceProgram`].
    pub fn apply_limits(&self) -> Result<(), Error> {
        self.write_all()?;
        self.plan
            .devices
            .as_ref()
            .map_or(Ok(()), |devices| self.apply_devices(devices))
    }

    /// As [`Cgroup::apply_limits`] for a container that runs: on failure every value is put back to what it was.
    ///
    /// # Errors
    /// The failure that made it turn back.
    pub fn update_limits(&self) -> Result<(), Error> {
        let read = |write: &Write| self.member(write).and_then(|dir| dir.read(&write.file).ok());
        let before: Vec<Option<String>> = self.plan.writes.iter().map(read).collect();
        let result = self.apply_limits().and_then(|()| self.tell_systemd());
        if result.is_err() {
            for (write, value) in self.plan.writes.iter().zip(before).rev() {
                if let Some(value) = value {
                    self.put_back(write, &value);
                }
            }
        }
        result
    }

    /// systemd writes what it is told, rounded, so that the exact values are written once more after it.
    fn tell_systemd(&self) -> Result<(), Error> {
        let Some((driver, unit)) = &self.plan.mirrored else {
            return Ok(());
        };
        let now = |file: &str| self.members.iter().flatten().find_map(|dir| dir.read(file).ok());
        crate::systemd::set(driver, unit, &self.plan.writes, now)?;
        self.write_all()
    }

    fn put_back(&self, write: &Write, before: &str) {
        let Some(dir) = self.member(write) else { return };
        if dir.read(&write.file).is_ok_and(|now| now == before) {
            return;
        }
        for value in before.lines() {
            // The one file that reads otherwise than it is written.
            let value = value.strip_prefix("oom_kill_disable ").unwrap_or(value);
            if let Err(errno) = dir.write(&write.file, value) {
                tracing::warn!(
                    "cannot put {value:?} back into {}: {}",
                    dir.file(&write.file).display(),
                    reason(errno)
                );
            }
            if write.file == "memory.oom_control" {
                break;
            }
        }
    }

    fn member(&self, write: &Write) -> Option<&Dir> {
        self.members[write.directory].as_ref()
    }

    fn write_all(&self) -> Result<(), Error> {
        if let Some(check) = &self.plan.memory_check {
            self.check_memory(check)?;
        }
        let errno = |result: &Result<(), Error>| match result {
            Err(Error::Limit { errno, .. }) => Some(*errno),
            _ => None,
        };
        let mut writes = self.plan.writes.iter();
        while let Some(write) = writes.next() {
            let result = self.write(write);
            match (write.rule, errno(&result)) {
                (WriteRule::AfterNext, Some(Errno::INVAL)) => {
                    writes.next().map_or(Ok(()), |next| self.write(next))?;
                    self.write(write)?;
                }
                (WriteRule::OrNext, Some(Errno::NOENT)) => {}
                (WriteRule::OrNext, None) => {
                    result?;
                    writes.next();
                }
                _ => result?,
            }
        }
        Ok(())
    }

    fn write(&self, write: &Write) -> Result<(), Error> {
        let Some(dir) = self.member(write) else {
            let path = self.plan.directories[write.directory].mount.clone();
            return Err(self.refused(write.directory, path, Errno::ACCESS));
        };
        match dir.write(&write.file, &write.value) {
            Err(Errno::NOENT) if write.rule == WriteRule::MayLack => Ok(()),
            Err(errno) => Err(Error::Limit {
                field: write.field.clone(),
                value: write.value.clone(),
                path: dir.file(&write.file),
                errno,
                hint: hint(dir, write, errno),
            }),
            Ok(()) => Ok(()),
        }
    }

    /// Refuses limits that would have the container killed at once.
    fn check_memory(&self, check: &MemoryCheck) -> Result<(), Error> {
        let Some(dir) = &self.members[check.directory] else {
            return Ok(());
        };
        // Best effort: a usage that cannot be read or parsed refuses nothing.
        let usage = dir
            .read("memory.current")
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(0);
        let limits = [
            (check.limit, "linux.resources.memory.limit", "memory.max"),
            (check.swap, "linux.resources.memory.swap", "memory.swap.max"),
        ];
        for (limit, field, file) in limits {
            let Some(limit) = limit.filter(|limit| *limit <= usage) else {
                continue;
            };
            return Err(Error::Limit {
                field: field.into(),
                value: limit.to_string(),
                path: dir.file(file),
                errno: Errno::BUSY,
                hint: format!(" (current usage: {usage})"),
            });
        }
        Ok(())
    }

    fn apply_devices(&self, devices: &Devices) -> Result<(), Error> {
        match devices {
            Devices::V1(index, list) => {
                let Some(dir) = &self.members[*index] else {
                    return Ok(());
                };
                let open = |file: &str| dir.writer(file).map_err(Error::file("open", dir.file(file)));
                let files = [
                    ("devices.deny", open("devices.deny")?),
                    ("devices.allow", open("devices.allow")?),
                ];
                for (allow, value) in list.writes() {
                    let (file, fd) = &files[usize::from(allow)];
                    write_value(fd, &value).map_err(|errno| Error::Limit {
                        field: "linux.resources.devices".into(),
                        path: dir.file(file),
                        value,
                        errno,
                        hint: String::new(),
                    })?;
                }
                Ok(())
            }
            Devices::V2(index, program) => {
                let Some(dir) = &self.members[*index] else {
                    return Ok(());
                };
                let failed = |action: &'static str| {
                    move |errno| Error::DeviceProgram {
                        action,
                        path: dir.path.clone(),
                        errno,
                    }
                };
                let program = nucleus_sys::bpf::load_device_program(program).map_err(failed("load"))?;
                self.attach(dir, &program).map_err(failed("attach"))
            }
        }
    }

    /// Attaches a device program in the place of those that are there: several would all have to allow an access. A
    /// directory that we made has none, so that nobody is asked.
    fn attach(&self, dir: &Dir, program: &std::os::fd::OwnedFd) -> Result<(), Errno> {
        use nucleus_sys::bpf::{attach_device_program, detach_device_program, device_programs};
        let group = dir.fd()?;
        let old = if self.unified_is_new {
            Vec::new()
        } else {
            device_programs(group)?
        };
        match old.as_slice() {
            // In one step, so that there is no moment without bounds.
            [only] => attach_device_program(group, program, Some(only)),
            _ => {
                attach_device_program(group, program, None)?;
                old.iter().try_for_each(|old| detach_device_program(group, old))
            }
        }
    }
}

/// More to say about a refused value: what is in use.
fn hint(dir: &Dir, write: &Write, errno: Errno) -> String {
    if errno != Errno::BUSY || !write.file.starts_with("memory.") {
        return String::new();
    }
    let read = |file: &str| {
        dir.read(file)
            .map(|text| text.trim().to_owned())
            .unwrap_or("unknown".to_owned())
    };
    let (usage, peak) = (read("memory.usage_in_bytes"), read("memory.max_usage_in_bytes"));
    format!(" (current usage: {usage}, peak usage: {peak})")
}
