//! `linux.intelRdt`: the container's class of service and monitoring group in the resctrl filesystem.
//!
//! Directories that this runtime makes are recorded before they are made and removed with the container; those that
//! were there belong to somebody else and stay. A config without the section does not look for resctrl at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxIntelRdt;
use rustix::process::Pid;

use crate::init::failure::{Explain, Failure};
use crate::plan::{IntelRdt, check_class, intel_rdt};

/// Where resctrl is mounted by convention.
const USUAL: &str = "/sys/fs/resctrl";
/// `RDTGROUP_SUPER_MAGIC` of linux/magic.h.
const MAGIC: u64 = 0x0765_5821;

/// What is to be done for one container. Dropped, it removes the directories that it has made, unless
/// [`Resctrl::keep`] was called.
#[derive(Debug)]
pub struct Resctrl {
    class: PathBuf,
    monitoring: Option<PathBuf>,
    schemas: Vec<String>,
    schemata: Vec<String>,
    made: Vec<PathBuf>,
}

impl Resctrl {
    /// Looks for the resctrl filesystem and decides; `None` without the section.
    ///
    /// # Errors
    /// Named by `linux.intelRdt`.
    pub fn prepare(rdt: Option<&IntelRdt>, id: &str) -> Result<Option<Self>, Failure> {
        let Some(rdt) = rdt else { return Ok(None) };
        let root =
            root().ok_or_else(|| Failure::new("linux.intelRdt: no resctrl filesystem is mounted on this host"))?;
        Self::below(&root, rdt, id).map(Some)
    }

    fn below(root: &Path, rdt: &IntelRdt, id: &str) -> Result<Self, Failure> {
        if rdt.clos_id.is_none() || rdt.monitoring {
            check_class(id).map_err(|why| Failure::new(format!("linux.intelRdt: the container's id {id:?}: {why}")))?;
        }
        let class = match rdt.clos_id.as_deref() {
            Some("/") => root.to_owned(),
            name => root.join(name.unwrap_or(id)),
        };
        if rdt.clos_id.is_some() && rdt.schemas.is_empty() && rdt.schemata.is_empty() && !class.is_dir() {
            return Err(Failure::new(format!(
                "linux.intelRdt.closID: {} must exist when config.json says nothing about its schemata",
                class.display()
            )));
        }
        Ok(Self {
            monitoring: rdt.monitoring.then(|| class.join("mon_groups").join(id)),
            schemas: rdt.schemas.clone(),
            schemata: rdt.schemata.clone(),
            class,
            made: Vec::new(),
        })
    }

    /// The directories that are to be made, for the record: the monitoring group comes before its class.
    pub fn planned(&self) -> Vec<PathBuf> {
        let all = self.monitoring.iter().chain([&self.class]);
        all.filter(|dir| !dir.exists()).cloned().collect()
    }

    /// Makes what is missing and puts `pid`, with all that it will start, into it.
    ///
    /// # Errors
    /// Named by the field of `linux.intelRdt`, with the file.
    pub fn apply(&mut self, pid: Pid) -> Result<(), Failure> {
        let schemata = self.class.join("schemata");
        if !self.make(&self.class.clone())? && !self.schemas.is_empty() {
            let there = fs::read_to_string(&schemata)
                .explain(|| format!("linux.intelRdt: cannot read {}", schemata.display()))?;
            self.compare(&there)?;
        }
        let text = lines_of(self.schemas.iter().chain(&self.schemata));
        if !text.is_empty() {
            write(&schemata, &text)?;
        }
        if let Some(group) = self.monitoring.clone() {
            self.make(&group)?;
        }
        join(&self.groups(), pid)
    }

    /// The groups that the container's processes are in: its class, then its monitoring group.
    pub fn groups(&self) -> Vec<PathBuf> {
        [&self.class].into_iter().chain(&self.monitoring).cloned().collect()
    }

    /// The directories that were made, in the order of their removal.
    pub fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// The container exists: the directories are its own.
    pub fn keep(mut self) {
        self.made.clear();
    }

    /// True when the directory was not there.
    fn make(&mut self, dir: &Path) -> Result<bool, Failure> {
        match fs::create_dir(dir) {
            Ok(()) => {
                self.made.insert(0, dir.to_owned());
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            error => error
                .explain(|| format!("linux.intelRdt: cannot make {}", dir.display()))
                .map(|()| true),
        }
    }

    /// Others may live in a class that was there: it must have what `l3CacheSchema` and `memBwSchema` say already. Only
    /// `schemata` may change it, as config-linux.md wants.
    fn compare(&self, there: &str) -> Result<(), Failure> {
        let there = schema(there.lines());
        for line in &self.schemas {
            for (place, value) in schema([line.as_str()].into_iter()) {
                if there.get(&place) != Some(&value) {
                    let (resource, domain) = &place;
                    return Err(Failure::new(format!(
                        "linux.intelRdt: {} exists, and its schemata differ from config.json's {line:?} ({resource}:{domain})",
                        self.class.display()
                    )));
                }
            }
        }
        Ok(())
    }
}

impl Drop for Resctrl {
    fn drop(&mut self) {
        // Nobody is left to be told; `delete` finds them in the record.
        let _ = remove(&self.made);
    }
}

/// Other schemata for the class that a container has to itself, in place: `update`.
#[derive(Debug)]
pub struct Rewritten {
    schemata: PathBuf,
    before: String,
}

impl Rewritten {
    /// Writes the schemas that are given; `None` when there are none. `made` is what the container's record has.
    ///
    /// # Errors
    /// runc's words for a host that lacks the feature; a container without a class of its own; what resctrl refuses.
    pub fn write(rdt: &LinuxIntelRdt, made: &[PathBuf]) -> Result<Option<Self>, Failure> {
        let given = |schema: &Option<String>| schema.as_ref().is_some_and(|text| !text.is_empty());
        if !given(rdt.l3_cache_schema()) && !given(rdt.mem_bw_schema()) {
            return Ok(None);
        }
        let root = root();
        let has = |feature: &str| {
            root.as_ref()
                .is_some_and(|root| root.join("info").join(feature).is_dir())
        };
        if given(rdt.l3_cache_schema()) && !has("L3") && !has("L3DATA") {
            return Err(Failure::new("Intel RDT/CAT: l3 cache schema is not enabled"));
        }
        if given(rdt.mem_bw_schema()) && !has("MB") {
            return Err(Failure::new("Intel RDT/MBA: memory bandwidth schema is not enabled"));
        }
        Self::in_class(rdt, made).map(Some)
    }

    fn in_class(rdt: &LinuxIntelRdt, made: &[PathBuf]) -> Result<Self, Failure> {
        let is_class = |dir: &&PathBuf| !dir.parent().is_some_and(|parent| parent.ends_with("mon_groups"));
        let class = made.iter().find(is_class).ok_or_else(|| {
            Failure::new("Intel RDT: the container has no class of its own (linux.intelRdt in config.json makes one)")
        })?;
        let plan = intel_rdt::compile(rdt).map_err(|error| Failure::new(error.to_string()))?;
        let schemata = class.join("schemata");
        let before =
            fs::read_to_string(&schemata).explain(|| format!("linux.intelRdt: cannot read {}", schemata.display()))?;
        // One write, of which the kernel takes all lines or none.
        write(&schemata, &lines_of(&plan.schemas))?;
        Ok(Self { schemata, before })
    }

    /// Undoes it.
    ///
    /// # Errors
    /// Named by the file.
    pub fn put_back(&self) -> Result<(), Failure> {
        write(&self.schemata, &self.before)
    }
}

fn lines_of<'a>(lines: impl IntoIterator<Item = &'a String>) -> String {
    lines.into_iter().map(|line| format!("{line}\n")).collect()
}

/// Puts a process, with all that it will start, into these groups.
///
/// # Errors
/// Named by the file.
pub fn join(groups: &[PathBuf], pid: Pid) -> Result<(), Failure> {
    let pid = pid.as_raw_nonzero().to_string();
    groups.iter().try_for_each(|group| write(&group.join("tasks"), &pid))
}

/// Removes directories that were made for a container.
///
/// # Errors
/// Named by the directory; one that is gone is none.
pub fn remove(made: &[PathBuf]) -> Result<(), Failure> {
    for dir in made {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other.explain(|| format!("linux.intelRdt: cannot remove {}", dir.display()))?,
        }
    }
    Ok(())
}

/// `L3:0=f;1=0f` as ((L3, 0), f) and ((L3, 1), f): the kernel pads values and domains.
fn schema<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<(String, String), String> {
    let mut all = BTreeMap::new();
    for line in lines {
        let Some((resource, domains)) = line.split_once(':') else {
            continue;
        };
        for (domain, value) in domains.split(';').filter_map(|part| part.split_once('=')) {
            let bare = |number: &str| number.trim().trim_start_matches('0').to_ascii_lowercase();
            all.insert((resource.trim().to_owned(), bare(domain)), bare(value));
        }
    }
    all
}

/// Where resctrl is mounted.
fn root() -> Option<PathBuf> {
    let genuine = |path: &Path| rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as u64 == MAGIC);
    if genuine(Path::new(USUAL)) {
        return Some(USUAL.into());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts
        .lines()
        .filter_map(|line| line.split_once(" - resctrl ")?.0.split(' ').nth(4).map(PathBuf::from))
        .find(|path| genuine(path))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    // A file that the kernel has not made cannot be made on resctrl.
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).explain(|| {
        format!(
            "linux.intelRdt: cannot write {:?} to {}",
            text.trim_end(),
            path.display()
        )
    })
}

#[cfg(test)]
#[path = "resctrl_tests.rs"]
mod tests;
