//! Which process a record means: dead ones, zombies, other boots, and pids that are used again.

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nucleus_core::{BootId, Error, ProcessIdentity};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

/// A child that lives until it is told otherwise, and never longer than the test.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Self {
        Self(Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn identity(&self) -> ProcessIdentity {
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        ProcessIdentity::of(self.pid(), &pidfd).unwrap()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The identity with one field changed, or taken away by null.
fn forged(identity: &ProcessIdentity, field: &str, value: Value) -> ProcessIdentity {
    let mut json = serde_json::to_value(identity).unwrap();
    json[field] = value;
    serde_json::from_value(json).unwrap()
}

/// Field 22 of the file of a process that has not been reaped.
fn start_ticks(identity: &ProcessIdentity) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", identity.pid().as_raw_nonzero())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(22 - 3).unwrap().parse().unwrap()
}

/// As older versions have recorded it: a handle where there is one, and always the start time.
fn with_start_time(identity: &ProcessIdentity) -> ProcessIdentity {
    forged(identity, "start_ticks", json!(start_ticks(identity)))
}

/// As it is recorded on a kernel without handles.
fn by_start_time(identity: &ProcessIdentity) -> ProcessIdentity {
    forged(&with_start_time(identity), "handle", Value::Null)
}

fn handles_are_supported(identity: &ProcessIdentity) -> bool {
    serde_json::to_value(identity).unwrap().get("handle").is_some()
}

#[test]
fn a_living_process_is_found_by_handle_and_by_start_time() {
    let sleeper = Sleeper::new();
    let identity = sleeper.identity();
    for identity in [by_start_time(&identity), with_start_time(&identity), identity] {
        let process = identity.open().unwrap().unwrap();
        assert_eq!(process.pid(), sleeper.pid());
        process.send_signal(0).unwrap();
    }
}

#[test]
fn the_start_time_is_recorded_only_where_there_is_no_handle() {
    let identity = Sleeper::new().identity();
    let json = serde_json::to_value(&identity).unwrap();
    assert_ne!(json.get("start_ticks").is_some(), handles_are_supported(&identity));
}

#[test]
fn a_zombie_is_dead() {
    let mut sleeper = Sleeper::new();
    let identity = sleeper.identity();
    let by_start_time = by_start_time(&identity);
    let process = identity.open().unwrap().unwrap();
    process.send_signal(9).unwrap();
    assert!(process.wait_exit(None).unwrap());
    // Not reaped yet: its entry in /proc is still there.
    assert!(std::fs::exists(format!("/proc/{}/stat", sleeper.0.id())).unwrap());
    assert!(identity.open().unwrap().is_none());
    assert!(by_start_time.open().unwrap().is_none());
    assert_eq!(sleeper.0.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_reaped_process_is_dead_and_cannot_be_signalled() {
    let mut sleeper = Sleeper::new();
    let identity = sleeper.identity();
    let by_start_time = by_start_time(&identity);
    let process = identity.open().unwrap().unwrap();
    sleeper.0.kill().unwrap();
    sleeper.0.wait().unwrap();
    assert!(identity.open().unwrap().is_none());
    assert!(by_start_time.open().unwrap().is_none());
    let error = process.send_signal(15).unwrap_err().to_string();
    assert!(error.ends_with(": no such process"), "{error}");
}

#[test]
fn a_pid_with_another_start_time_is_another_process() {
    let mut sleeper = Sleeper::new();
    let identity = by_start_time(&sleeper.identity());
    let ticks = start_ticks(&identity);
    assert!(
        forged(&identity, "start_ticks", json!(ticks - 1))
            .open()
            .unwrap()
            .is_none()
    );
    assert!(forged(&identity, "start_ticks", json!(0)).open().unwrap().is_none());
    assert!(sleeper.lives());
}

#[test]
fn a_process_of_another_boot_is_dead() {
    let sleeper = Sleeper::new();
    let identity = sleeper.identity();
    let elsewhere = forged(&identity, "boot_id", json!("00000000-1111-4222-8333-444444444444"));
    assert!(elsewhere.open().unwrap().is_none());
    assert!(by_start_time(&elsewhere).open().unwrap().is_none());
}

#[test]
fn the_handle_of_a_dead_process_never_leads_to_the_one_that_has_its_pid() {
    let mut dead = Sleeper::new();
    let identity = dead.identity();
    dead.0.kill().unwrap();
    dead.0.wait().unwrap();
    if handles_are_supported(&identity) {
        let mut living = Sleeper::new();
        // All but the handle says that it is the living one.
        let forged = with_start_time(&forged(&identity, "pid", json!(living.0.id())));
        assert!(forged.open().unwrap().is_none());
        assert!(living.lives());
    }
}

#[test]
fn what_cannot_be_told_is_an_error_and_not_a_death() {
    let sleeper = Sleeper::new();
    let identity = sleeper.identity();
    let blind = forged(&by_start_time(&identity), "start_ticks", Value::Null);
    assert!(matches!(blind.open(), Err(Error::Liveness { .. })));

    let elsewhere = forged(&by_start_time(&identity), "pid_namespace", json!(1));
    let error = elsewhere.open().unwrap_err().to_string();
    assert!(error.contains("another pid namespace"), "{error}");
}

#[test]
fn a_handle_that_leads_nowhere_in_another_pid_namespace_is_an_error() {
    let identity = {
        let sleeper = Sleeper::new();
        sleeper.identity()
    };
    if handles_are_supported(&identity) {
        assert!(forged(&identity, "pid_namespace", json!(1)).open().is_err());
    }
}

#[test]
fn pids_that_mean_groups_or_the_hosts_init_are_refused() {
    let identity = serde_json::to_value(Sleeper::new().identity()).unwrap();
    for pid in [
        json!(0),
        json!(-1),
        json!(4294967295u64),
        json!(i64::MIN),
        json!("7"),
        Value::Null,
    ] {
        let mut forged = identity.clone();
        forged["pid"] = pid.clone();
        assert!(serde_json::from_value::<ProcessIdentity>(forged).is_err(), "{pid}");
    }
    let init = pidfd_open(Pid::INIT, PidfdFlags::empty()).unwrap();
    assert!(matches!(
        ProcessIdentity::of(Pid::INIT, &init),
        Err(Error::ReservedPid { pid: 1 })
    ));
}

#[test]
fn an_identity_can_be_taken_of_a_child_that_has_exited_already() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let held = nucleus_core::Process::new(pid, pidfd.try_clone().unwrap());
    assert!(held.wait_exit(Some(Duration::from_secs(10))).unwrap());
    let identity = ProcessIdentity::of(pid, &pidfd).unwrap();
    assert!(identity.open().unwrap().is_none());
    child.wait().unwrap();
}

#[test]
fn an_identity_of_nothing_is_an_error() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = Pid::from_child(&child);
    child.wait().unwrap();
    let not_a_process = std::fs::File::open("/dev/null").unwrap();
    assert!(matches!(
        ProcessIdentity::of(pid, &not_a_process),
        Err(Error::Identify { .. })
    ));
}

#[test]
fn the_calling_process_knows_itself() {
    let me = ProcessIdentity::current().unwrap();
    assert_eq!(me.pid().as_raw_nonzero().get() as u32, std::process::id());
    assert!(me.open().unwrap().is_some());
    assert!(by_start_time(&me).open().unwrap().is_some());
}

#[test]
fn any_signal_number_can_be_sent() {
    for signal in [15, 34, 40, 64] {
        let mut sleeper = Sleeper::new();
        let process = sleeper.identity().open().unwrap().unwrap();
        process.send_signal(signal).unwrap();
        assert!(process.wait_exit(Some(Duration::from_secs(10))).unwrap());
        assert_eq!(sleeper.0.wait().unwrap().signal(), Some(signal));
    }
    let mut sleeper = Sleeper::new();
    let process = sleeper.identity().open().unwrap().unwrap();
    for signal in [65, -1, i32::MAX] {
        let error = process.send_signal(signal).unwrap_err().to_string();
        assert!(error.ends_with(": invalid argument"), "{error}");
    }
    assert!(sleeper.lives());
}

#[test]
fn waiting_ends_with_the_time() {
    let sleeper = Sleeper::new();
    let process = sleeper.identity().open().unwrap().unwrap();
    assert!(!process.wait_exit(Some(Duration::ZERO)).unwrap());
    let start = Instant::now();
    assert!(!process.wait_exit(Some(Duration::from_millis(60))).unwrap());
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[test]
fn identities_survive_being_written() {
    let identity = Sleeper::new().identity();
    let json = serde_json::to_string(&identity).unwrap();
    assert_eq!(serde_json::from_str::<ProcessIdentity>(&json).unwrap(), identity);
    for bad in ["", "xyz", "00000000000000000", "+000000000000001"] {
        let mut json = serde_json::to_value(&identity).unwrap();
        json["handle"] = json!(bad);
        assert!(serde_json::from_value::<ProcessIdentity>(json).is_err(), "{bad}");
    }
}

#[test]
fn the_boot_id_is_the_kernels() {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(BootId::current().unwrap().to_string(), text.trim());
    for bad in [
        "",
        "12",
        "zz000000-1111-4222-8333-444444444444",
        "00000000-1111-4222-8333-4444444444445",
    ] {
        assert!(BootId::try_from(bad.to_owned()).is_err(), "{bad}");
    }
}

/// What the next test runs in a PID namespace of its own, where it is pid 1 and may choose pids.
#[test]
fn inside_a_pid_namespace() {
    let Ok(outside) = std::env::var("NUCLEUS_TEST_OUTSIDE") else {
        return;
    };
    assert_eq!(std::process::id(), 1);
    // A process of the host cannot be seen from here. That does not make it dead.
    let outside: ProcessIdentity = serde_json::from_str(&outside).unwrap();
    assert!(outside.open().is_err());
    assert!(forged(&outside, "handle", Value::Null).open().is_err());

    // A creator may be pid 1, but is never signalled.
    let me = ProcessIdentity::current().unwrap().open().unwrap().unwrap();
    assert!(matches!(me.send_signal(0), Err(Error::ReservedPid { pid: 1 })));

    for _ in 0..20 {
        let mut dead = Sleeper::new();
        let identity = dead.identity();
        let by_start_time = by_start_time(&identity);
        dead.0.kill().unwrap();
        dead.0.wait().unwrap();
        // Start times are counted in hundredths of a second.
        std::thread::sleep(Duration::from_millis(30));
        std::fs::write("/proc/sys/kernel/ns_last_pid", (dead.0.id() - 1).to_string()).unwrap();
        let mut living = Sleeper::new();
        if living.0.id() == dead.0.id() {
            assert!(identity.open().unwrap().is_none());
            assert!(by_start_time.open().unwrap().is_none());
            assert!(living.lives());
            println!("a pid was used again");
            return;
        }
    }
    panic!("no pid was used again");
}

#[test]
fn a_pid_that_is_really_used_again_is_never_opened() {
    let outside = Sleeper::new();
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "inside_a_pid_namespace", "--nocapture", "--test-threads=1"])
        .env(
            "NUCLEUS_TEST_OUTSIDE",
            serde_json::to_string(&outside.identity()).unwrap(),
        )
        .output();
    let Ok(output) = output else {
        return common::skip("there is no unshare(1)");
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if text.contains("Operation not permitted") {
        return common::skip("no PID namespace may be made here");
    }
    assert!(
        output.status.success() && text.contains("a pid was used again"),
        "{text}"
    );
}
