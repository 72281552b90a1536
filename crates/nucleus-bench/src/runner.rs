//! Performs the cases: all programs in turn within each round, so that what disturbs the machine disturbs all alike.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Pid;
use serde_json::Value;

use crate::bundles::Bundles;
use crate::cases::{Case, Kind, PARALLEL};
use crate::cells::{Key, Metric, Trouble, Values};
use crate::client::{Interrupt, Outcome, Spawner};
use crate::floor::Steps;
use crate::layout::Layout;
use crate::memory::{init_pid, smaps};
use crate::peers::{self, OURS, Peer};
use crate::spawner::Answer;

/// Many containers at once may take so many times as long as one command.
const BATCH: u32 = 6;

/// After so many the case goes on without that runtime.
const MOST_HANGS: u64 = 3;

/// A round's result, if it has one.
type Sample = Result<Answer, Trouble>;

/// Everything that the cases need.
pub struct Runner<'a> {
    /// The programs, ours first.
    pub peers: Vec<Peer>,
    /// Starts them as root.
    pub spawner: Spawner<'a>,
    /// Starts them as a user without rights.
    pub user_spawner: Spawner<'a>,
    /// Ends all waits.
    pub interrupt: &'a Interrupt,
    /// The bundles.
    pub bundles: Bundles,
    /// How often.
    pub rounds: usize,
    /// The directory of all that is made.
    pub work: PathBuf,
    /// What every container's id begins with.
    pub mark: String,
    /// The measurements.
    pub values: BTreeMap<Key, Values>,
    /// How many containers there are where there are many.
    pub containers: usize,
    /// A command that takes longer hangs.
    pub limit: Duration,
    /// For ids that are used once.
    pub used: u64,
}

/// One case on one layout.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Which cgroups.
    pub layout: Layout,
    /// Where each container gets a cgroup.
    pub groups: &'a [PathBuf],
    /// The case.
    pub case: &'a Case,
}

impl Runner<'_> {
    /// Measures one case.
    ///
    /// # Errors
    /// An interrupt, or what makes it senseless to go on; a runtime's failure is a result.
    pub fn measure(&mut self, place: Place<'_>) -> io::Result<()> {
        match place.case.kind {
            Kind::Run(config) => self.runs(place, config),
            Kind::Lifecycle => self.lifecycles(place),
            Kind::Exec => self.execs(place),
            Kind::Memory => self.memory(place),
            Kind::Parallel => self.parallel(place),
            Kind::Among => self.among(place),
        }
    }

    fn runs(&mut self, place: Place<'_>, config: &str) -> io::Result<()> {
        let (bundle, json) = self.bundles.write(config, "true", place.layout)?;
        let steps = self.work.join(format!("steps-{config}-{:?}", place.layout));
        let floor = self.write_steps(place, &bundle, &json, &steps)?;
        self.each_round(place, |runner, peer, id| {
            let command = match peer.kind {
                peers::Kind::Runtime if config == "rootless" => {
                    let peer = Peer {
                        root: peer.user_root.clone(),
                        ..peer.clone()
                    };
                    runner.words_of(&peer, &["run", "--bundle", &text(&bundle), id])
                }
                peers::Kind::Runtime => runner.words_of(peer, &["run", "--bundle", &text(&bundle), id]),
                peers::Kind::Floor if floor => vec![text(&peer.path), text(&steps), id.to_owned()],
                peers::Kind::Program if config == "spec" => vec![text(&peer.path)],
                _ => return Ok(None),
            };
            let limit = runner.limit;
            let spawner = if config == "rootless" {
                &mut runner.user_spawner
            } else {
                &mut runner.spawner
            };
            let request: Vec<_> = std::iter::once("run")
                .chain(command.iter().map(String::as_str))
                .collect();
            Ok(Some(sample(spawner.ask(&request, limit)?)))
        })
    }

    /// The floor's list for this config; false when there is no floor, or it has no steps for such a config.
    fn write_steps(&mut self, place: Place<'_>, bundle: &Path, config: &Value, steps: &Path) -> io::Result<bool> {
        let Some(floor) = self.peers.iter().find(|peer| peer.kind == peers::Kind::Floor).cloned() else {
            return Ok(false);
        };
        if !["run", "run-docker", "run-podman"].contains(&place.case.name) {
            return Ok(false);
        }
        let program = self.work.join("program");
        let list = Steps::of(config, place.layout, place.groups, &program);
        let list = match list {
            Ok(_) if config["linux"]["seccomp"].is_object() => match self.loaded_program(bundle) {
                Ok(bytes) => fs::write(&program, bytes).map(|()| list)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => Err(format!("no seccomp program for the floor: {error}")),
            },
            list => list,
        };
        match list {
            Ok(list) => fs::write(steps, list).map(|()| true),
            Err(reason) => {
                self.note(place, &floor, &Trouble::Failed(reason));
                Ok(false)
            }
        }
    }

    /// The seccomp program that our runtime loads for this config, as the kernel has it.
    fn loaded_program(&mut self, bundle: &Path) -> io::Result<Vec<u8>> {
        let ours = self.peers.iter().find(|peer| peer.name == OURS).cloned();
        let ours = ours.ok_or_else(|| io::Error::other("our runtime is absent"))?;
        let id = self.new_id();
        self.create(&ours, bundle, &id)?
            .map_err(|trouble| io::Error::other(format!("{trouble:?}")))?;
        let pid = init_pid(&ours, &id).and_then(|pid| Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound.into()));
        let program = pid.and_then(|pid| Ok(nucleus_sys::seccomp::filter_of(pid)?));
        self.delete(&ours, &id)?;
        program
    }

    fn lifecycles(&mut self, place: Place<'_>) -> io::Result<()> {
        let (bundle, _) = self.bundles.write("spec", "true", place.layout)?;
        self.each_round(place, |runner, peer, id| {
            if peer.kind != peers::Kind::Runtime {
                return Ok(None);
            }
            runner.lifecycle(peer, &bundle, id).map(Some)
        })
    }

    fn lifecycle(&mut self, peer: &Peer, bundle: &Path, id: &str) -> io::Result<Sample> {
        let mut sum = Answer::default();
        for verb in ["create", "start", "reap", "delete"] {
            let answer = match verb {
                "create" => self.create(peer, bundle, id)?,
                "reap" => sample(self.spawner.ask(&["reap"], self.limit)?),
                verb => self.verb(peer, &[verb, id])?,
            };
            let answer = match answer {
                Ok(answer) => answer,
                trouble => return Ok(trouble),
            };
            // How long the program takes to end is not the runtime's time; what it has used counts.
            sum.wall += if verb == "reap" { 0.0 } else { answer.wall };
            sum.cpu += answer.cpu;
            sum.faults += answer.faults;
            sum.peak_rss = sum.peak_rss.max(answer.peak_rss);
        }
        Ok(Ok(sum))
    }

    fn execs(&mut self, place: Place<'_>) -> io::Result<()> {
        let (bundle, _) = self.bundles.write("spec", "wait", place.layout)?;
        let running = self.start_one_each(place, &bundle)?;
        self.each_round(place, |runner, peer, _| {
            let Some(id) = running.get(&peer.name) else {
                return Ok(None);
            };
            runner.verb(peer, &["exec", id, "/bin/true"]).map(Some)
        })?;
        self.delete_all(&running)
    }

    fn memory(&mut self, place: Place<'_>) -> io::Result<()> {
        let (bundle, _) = self.bundles.write("spec", "true", place.layout)?;
        let peers = self.peers.clone();
        for peer in peers.iter().filter(|peer| peer.kind == peers::Kind::Runtime) {
            for _ in 0..self.rounds.min(5) {
                let [one, other] = [self.new_id(), self.new_id()];
                let alone = self.created_memory(peer, &bundle, &one, &one)?;
                let beside = self.created_memory(peer, &bundle, &other, &one)?;
                let values = self.values.entry(key(place, peer)).or_default();
                match (alone, beside) {
                    (Ok((rss, private)), Ok((_, further))) => {
                        values.push(Metric::InitRssKib, rss);
                        values.push(Metric::InitPrivateKib, private);
                        values.push(Metric::InitFurtherKib, further);
                    }
                    (Err(trouble), _) | (_, Err(trouble)) => values.trouble(&trouble),
                }
                self.delete(peer, &one)?;
                self.delete(peer, &other)?;
            }
        }
        Ok(())
    }

    /// Creates one container and measures a created one.
    fn created_memory(
        &mut self,
        peer: &Peer,
        bundle: &Path,
        id: &str,
        of: &str,
    ) -> io::Result<Result<(f64, f64), Trouble>> {
        Ok(match self.create(peer, bundle, id)? {
            Ok(_) => init_pid(peer, of)
                .and_then(smaps)
                .map_err(|error| Trouble::Failed(error.to_string())),
            Err(trouble) => Err(trouble),
        })
    }

    fn parallel(&mut self, place: Place<'_>) -> io::Result<()> {
        let (bundle, _) = self.bundles.write("spec", "true", place.layout)?;
        let (count, at_once) = PARALLEL;
        let rounds = self.rounds;
        // One round here is 64 containers of each runtime.
        self.rounds = rounds.div_ceil(5);
        let measured = self.each_round(place, |runner, peer, id| {
            if peer.kind != peers::Kind::Runtime {
                return Ok(None);
            }
            let words = runner.words_of(peer, &["run", "--bundle", &text(&bundle), &format!("{id}-{{}}")]);
            Ok(Some(runner.many(count, at_once, &words)?))
        });
        self.rounds = rounds;
        for values in self
            .values
            .iter_mut()
            .filter(|(key, _)| key.case == place.case.name && key.layout == place.layout)
        {
            values.1.per_second(count as f64);
        }
        measured
    }

    /// One container in one root, many in others: what a verb costs must not depend on how many there are.
    fn among(&mut self, place: Place<'_>) -> io::Result<()> {
        let (bundle, _) = self.bundles.write("spec", "true", place.layout)?;
        let peers = self.peers.clone();
        for peer in peers.iter().filter(|peer| peer.kind == peers::Kind::Runtime) {
            let most = if peer.name.starts_with("runc") {
                self.containers.min(100)
            } else {
                self.containers
            };
            let mut totals = vec![1, 100.min(most), most];
            totals.dedup();
            let id = self.new_id();
            let crowds: Vec<_> = totals.iter().map(|total| (*total, crowd(peer, *total))).collect();
            let mut made = true;
            for (total, crowd) in &crowds {
                let words = self.words_of(
                    crowd,
                    &["create", "--bundle", &text(&bundle), &format!("{id}-{total}-{{}}")],
                );
                let created = self.many(*total, 4, &words)?;
                if let Err(trouble) = &created {
                    self.note(place, peer, trouble);
                }
                made &= created.is_ok();
            }
            for _ in 0..if made { self.rounds } else { 0 } {
                for (total, crowd) in &crowds {
                    let one = format!("{id}-{total}-0");
                    for verb in [vec!["state", &one], vec!["kill", &one, "0"]] {
                        let answer = self.verb(crowd, &verb)?;
                        let case = format!("{}-{total}", verb.first().unwrap_or(&""));
                        self.record(
                            Key {
                                layout: place.layout,
                                case,
                                runtime: peer.name.clone(),
                            },
                            &answer,
                        );
                    }
                }
            }
            for (total, crowd) in &crowds {
                let words = self.words_of(crowd, &["delete", "--force", &format!("{id}-{total}-{{}}")]);
                let _ = self.many(*total, 4, &words)?;
            }
            self.spawner.ask(&["reap"], self.limit)?;
            // The kernel takes network namespaces apart in the background.
            self.interrupt.sleep(Duration::from_millis(most as u64 * 3))?;
        }
        Ok(())
    }

    fn many(&mut self, count: usize, at_once: usize, command: &[String]) -> io::Result<Sample> {
        let (count, at_once) = (count.to_string(), at_once.to_string());
        let mut request = vec!["batch", &count, &at_once];
        request.extend(command.iter().map(String::as_str));
        Ok(sample(self.spawner.ask(&request, self.limit * BATCH)?))
    }

    /// All programs in turn, so many rounds; before that once without counting, to warm the caches and to see whether it
    /// works at all. The step gets a new id and may say that it does not concern this program.
    fn each_round(
        &mut self,
        place: Place<'_>,
        mut step: impl FnMut(&mut Self, &Peer, &str) -> io::Result<Option<Sample>>,
    ) -> io::Result<()> {
        let mut peers = Vec::new();
        for peer in self.peers.clone() {
            let id = self.new_id();
            match step(self, &peer, &id)? {
                Some(Ok(_)) => peers.push(peer),
                Some(Err(trouble)) => {
                    self.note(place, &peer, &trouble);
                    self.clear(&peer, &id)?;
                }
                None => {}
            }
        }
        for _ in 0..self.rounds {
            // Whoever came first comes last in the next round.
            if !peers.is_empty() {
                peers.rotate_left(1);
            }
            for peer in &peers {
                let hung = self
                    .values
                    .get(&key(place, peer))
                    .is_some_and(|values| values.hung() >= MOST_HANGS);
                if hung {
                    continue;
                }
                let id = self.new_id();
                let Some(sample) = step(self, peer, &id)? else { continue };
                if sample.is_err() {
                    self.clear(peer, &id)?;
                }
                self.record(key(place, peer), &sample);
            }
        }
        Ok(())
    }

    /// One running container of each runtime: name of the runtime → id.
    fn start_one_each(&mut self, place: Place<'_>, bundle: &Path) -> io::Result<BTreeMap<String, String>> {
        let mut running = BTreeMap::new();
        for peer in self
            .peers
            .clone()
            .into_iter()
            .filter(|peer| peer.kind == peers::Kind::Runtime)
        {
            let id = self.new_id();
            let mut made = self.create(&peer, bundle, &id)?;
            if made.is_ok() {
                made = self.verb(&peer, &["start", &id])?;
            }
            match made {
                Ok(_) => drop(running.insert(peer.name.clone(), id)),
                Err(trouble) => {
                    self.note(place, &peer, &trouble);
                    self.clear(&peer, &id)?;
                }
            }
        }
        Ok(running)
    }

    fn delete_all(&mut self, running: &BTreeMap<String, String>) -> io::Result<()> {
        for peer in self.peers.clone() {
            if let Some(id) = running.get(&peer.name) {
                self.delete(&peer, id)?;
            }
        }
        Ok(())
    }

    fn create(&mut self, peer: &Peer, bundle: &Path, id: &str) -> io::Result<Sample> {
        self.verb(peer, &["create", "--bundle", &text(bundle), id])
    }

    fn delete(&mut self, peer: &Peer, id: &str) -> io::Result<()> {
        self.verb(peer, &["delete", "--force", id]).map(drop)
    }

    /// After a failure: whatever is left of this container goes, whether or not there is anything.
    fn clear(&mut self, peer: &Peer, id: &str) -> io::Result<()> {
        if peer.kind == peers::Kind::Runtime {
            self.delete(peer, id)?;
        }
        Ok(())
    }

    fn verb(&mut self, peer: &Peer, verb: &[&str]) -> io::Result<Sample> {
        let mut request = vec!["run".to_owned()];
        request.extend(self.words_of(peer, verb));
        let request: Vec<_> = request.iter().map(String::as_str).collect();
        Ok(sample(self.spawner.ask(&request, self.limit)?))
    }

    fn words_of(&self, peer: &Peer, verb: &[&str]) -> Vec<String> {
        let mut words = vec![text(&peer.path), "--root".to_owned(), text(&peer.root)];
        words.extend(verb.iter().map(|word| (*word).to_owned()));
        words
    }

    fn new_id(&mut self) -> String {
        self.used += 1;
        format!("{}{}", self.mark, self.used)
    }

    fn record(&mut self, key: Key, sample: &Sample) {
        let values = self.values.entry(key).or_default();
        match sample {
            Ok(answer) => values.add(answer),
            Err(trouble) => values.trouble(trouble),
        }
    }

    /// A failure outside of the rounds.
    fn note(&mut self, place: Place<'_>, peer: &Peer, trouble: &Trouble) {
        self.values.entry(key(place, peer)).or_default().trouble(trouble);
    }
}

fn key(place: Place<'_>, peer: &Peer) -> Key {
    Key {
        layout: place.layout,
        case: place.case.name.to_owned(),
        runtime: peer.name.clone(),
    }
}

fn sample(outcome: Outcome) -> Sample {
    match outcome {
        Outcome::Done(answer) => Ok(answer),
        Outcome::Failed(said) => Err(Trouble::Failed(said)),
        Outcome::Hung(processes) => Err(Trouble::Hung(processes)),
    }
}

/// The same runtime with a root of its own for so many containers.
fn crowd(peer: &Peer, total: usize) -> Peer {
    let mut root = peer.root.clone().into_os_string();
    root.push(format!("-{total}"));
    Peer {
        root: root.into(),
        ..peer.clone()
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
