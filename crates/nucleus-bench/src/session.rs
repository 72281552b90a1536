//! One run from beginning to end: the private world, the cases on each layout, the report, the removal of everything.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::bundles::{Bundles, CGROUP_PARENT, USER};
use crate::cases::{CASES, Kind};
use crate::cells::{Cell, Metric};
use crate::client::{Interrupt, Spawner};
use crate::layout::{self, Layout};
use crate::noise::{self, Noise, Ticks};
use crate::options::{self, Options};
use crate::peers::{Described, FLOOR, Kind as PeerKind, PROGRAM, Peer};
use crate::report::{self, Report};
use crate::runner::{Place, Runner};

/// Everything made is in here, on a file system that vanishes with our mount namespace.
const WORK: &str = "/run/nucleus-bench";

/// Measures and reports.
///
/// # Errors
/// What makes a run impossible, or ended it early; a runtime's failure is part of the report.
pub fn run(words: impl Iterator<Item = String>) -> Result<(), String> {
    let options = options::parse(words)?;
    let hierarchies = layout::hierarchies().map_err(|error| format!("cannot read the mounts: {error}"))?;
    let interrupt = Interrupt::new().map_err(|error| error.to_string())?;
    let (began, ticks, load_before) = (Instant::now(), Ticks::now(), noise::load());
    private_world().map_err(|error| format!("cannot make a private mount namespace (are you root?): {error}"))?;
    let mut report = Report::new(options.rounds);
    let (peers, described) = peers(&options).map_err(|error| error.to_string())?;
    report.peers = described;
    let measured = measure(&options, peers, &hierarchies, &interrupt, &mut report);
    report.cells = measured.map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => "interrupted; everything is removed".to_owned(),
        _ => error.to_string(),
    })?;
    let now = Ticks::now();
    report.noise = Noise {
        load_before,
        steal: now.steal_since(ticks),
        others: now.others_since(ticks, own_seconds()),
        spread: spread(&report.cells),
    };

    report.seconds = began.elapsed().as_secs();
    report::publish(&report, options.out.as_deref(), options.page.as_deref())
}

/// A mount namespace from which nothing propagates, and a /run of our own.
fn private_world() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )?;
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=755"),
    )?;
    fs::create_dir(WORK)
}

/// What can be measured, and the description of all, absent ones included.
fn peers(options: &Options) -> io::Result<(Vec<Peer>, Vec<Described>)> {
    let work = Path::new(WORK);
    let mut named: Vec<_> = options
        .peers
        .iter()
        .map(|(name, path)| (name.as_str(), path.clone(), PeerKind::Runtime))
        .collect();
    if let Some(path) = &options.floor {
        named.push((FLOOR, path.clone(), PeerKind::Floor));
    }
    named.push((PROGRAM, work.join("rootfs/bin/true"), PeerKind::Program));
    let (mut peers, mut described) = (Vec::new(), Vec::new());
    for (name, path, kind) in named {
        let peer = Peer::new(name, &path, kind, work)?;
        let description = peer.describe();
        if description.absent.is_none() {
            peers.push(peer);
        }
        described.push(description);
    }
    described.extend(options.absent.iter().map(|(name, reason)| Described {
        name: name.clone(),
        version: None,
        size_kib: None,
        absent: Some(reason.clone()),
    }));
    Ok((peers, described))
}

/// All cases on all layouts. Whatever happens, processes and cgroups are gone afterwards.
fn measure(
    options: &Options,
    peers: Vec<Peer>,
    hierarchies: &[(String, String)],
    interrupt: &Interrupt,
    report: &mut Report,
) -> io::Result<Vec<Cell>> {
    let work = PathBuf::from(WORK);
    // The spawners come first: they are to be as small as they can, and in the same mount namespace.
    let mut runner = Runner {
        spawner: Spawner::start(&work, None, interrupt)?,
        user_spawner: Spawner::start(&work, Some(USER), interrupt)?,
        bundles: Bundles::new(&work, &options.configs)?,
        peers,
        interrupt,
        rounds: options.rounds,
        containers: options.containers,
        limit: Duration::from_secs(options.limit),
        mark: format!("nb-{}", std::process::id()),
        values: BTreeMap::new(),
        used: 0,
        work,
    };
    let mut result = Ok(());
    for layout in &options.layouts {
        match layout::enter(*layout, hierarchies) {
            Ok(groups) => {
                result = cases(options, &mut runner, *layout, &groups).and_then(|()| leave(&runner.mark, groups))
            }
            Err(reason) => report
                .remarks
                .push(format!("{}: not measured: {reason}", layout.name())),
        }
        if result.is_err() {
            break;
        }
    }
    let Runner {
        values,
        spawner,
        user_spawner,
        mark,
        ..
    } = runner;
    // Kills all that is left, before the cgroups are removed.
    drop((spawner, user_spawner));
    for layout in &options.layouts {
        if let Ok(groups) = layout::enter(*layout, hierarchies) {
            leave(&mark, groups)?;
        }
    }
    result?;
    Ok(values.iter().map(|(key, values)| values.cell(key.clone())).collect())
}

fn cases(options: &Options, runner: &mut Runner<'_>, layout: Layout, groups: &[PathBuf]) -> io::Result<()> {
    for group in groups {
        fs::create_dir_all(group.join(CGROUP_PARENT))?;
        fs::set_permissions(
            group.join(CGROUP_PARENT),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?;
    }
    for case in CASES.iter().filter(|case| options.cases.contains(&case.letter)) {
        // The number of containers has nothing to do with the layout, and a thousand are dear: once is enough.
        if case.kind == Kind::Among && options.layouts.last() != Some(&layout) {
            continue;
        }
        let began = Instant::now();
        runner.measure(Place { layout, groups, case })?;
        eprintln!(
            "{}: {} ({:.1} s)",
            layout.name(),
            case.title,
            began.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn leave(mark: &str, groups: Vec<PathBuf>) -> io::Result<()> {
    layout::remove_marked(&groups, mark);
    layout::remove_marked(&groups, CGROUP_PARENT);
    Ok(())
}

/// The CPU time of this process and of all that it has reaped, seconds.
fn own_seconds() -> f64 {
    let of = |who| getrusage(who).map_or(0.0, |usage| seconds(usage.user_time()) + seconds(usage.system_time()));
    of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN)
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

/// How far starting the static program alone varied.
fn spread(cells: &[Cell]) -> Option<f64> {
    let of = |cell: &&Cell| cell.key.runtime == PROGRAM;
    let walls = cells
        .iter()
        .filter(of)
        .filter_map(|cell| cell.metrics.get(&Metric::WallMs));
    walls.map(noise::spread).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::{Key, Values};
    use crate::spawner::Answer;

    #[test]
    fn the_spread_is_that_of_the_program_alone() {
        let cell = |runtime: &str, walls: [f64; 2]| {
            let mut values = Values::default();
            for wall in walls {
                values.add(&Answer {
                    wall,
                    ..Answer::default()
                });
            }
            values.cell(Key {
                layout: Layout::V2,
                case: "run".to_owned(),
                runtime: runtime.to_owned(),
            })
        };
        let spread = spread(&[cell("crun", [1.0, 100.0]), cell(PROGRAM, [1.0, 2.0])]).unwrap();
        assert!((spread - 1.9 / 1.1).abs() < 1e-6, "{spread}");
    }
}
