//! The conversations with systemd: org.freedesktop.systemd1(5) over D-Bus, by zbus.
//!
//! Each function is one connection that is closed before it returns, driven by the calling thread: zbus then starts no
//! thread of its own. A job is waited for by its `JobRemoved` signal, which is asked for before the job is. Errors are
//! told with systemd's own words and what to do about them.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use zbus::connection::Builder;
use zbus::{Connection, DBusError, MatchRule, MessageStream, OwnedObjectPath, Variant};
use zruntime::SharedRuntime;

use super::property::{Property, Value};
use super::{Bus, Manager};
use crate::error::Error;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// How long a conversation may take: as long as runc waits for a job.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a conversation failed.
enum Problem {
    /// No bus, no systemd, an error in place of an answer.
    Bus(zbus::Error),
    /// The job ended, but not well.
    Job(String),
    /// No end of it.
    Time,
    /// The bus cannot be found.
    Address,
}

impl From<zbus::Error> for Problem {
    fn from(error: zbus::Error) -> Self {
        Problem::Bus(error)
    }
}

/// Version and place of the systemd that serves the bus.
pub(super) fn probe(bus: Bus) -> Result<Manager, Error> {
    talk(bus, "--systemd-cgroup: cannot ask systemd", async |connection| {
        let version: String = property(connection, "Version").await?;
        let root: String = property(connection, "ControlGroup").await?;
        Ok(Manager {
            bus,
            version: number_in(&version),
            root,
        })
    })
}

/// Makes a transient unit. A failed one of the same name is forgotten first, as runc does it.
pub(super) fn start(bus: Bus, unit: &str, properties: &[&Property]) -> Result<(), Error> {
    let body: Vec<(&str, Variant<'_>)> = properties
        .iter()
        .map(|one| (one.name.as_str(), variant(&one.value)))
        .collect();
    talk(bus, &format!("cannot start unit {unit}"), async |connection| {
        let mut ended = jobs(connection).await?;
        // The last argument is for units that go with it: none.
        let none: &[(&str, Vec<(&str, Variant<'_>)>)] = &[];
        let call = async || call(connection, "StartTransientUnit", &(unit, "replace", &body, none)).await;
        let made = match call().await {
            Err(error) if is(&error, "org.freedesktop.systemd1.UnitExists") => {
                call_for_nothing(connection, "ResetFailedUnit", unit).await?;
                call().await
            }
            made => made,
        };
        let job: OwnedObjectPath = made?.body().deserialize()?;
        wait(&mut ended, &job).await
    })
}

/// Changes properties of a unit that runs, until the next boot.
pub(super) fn set(bus: Bus, unit: &str, properties: &[&Property]) -> Result<(), Error> {
    let body: Vec<(&str, Variant<'_>)> = properties
        .iter()
        .map(|one| (one.name.as_str(), variant(&one.value)))
        .collect();
    talk(bus, &format!("cannot change unit {unit}"), async |connection| {
        call(connection, "SetUnitProperties", &(unit, true, &body)).await?;
        Ok(())
    })
}

/// Stops a unit and has systemd forget that it failed, if it did. One that is not there is fine.
pub(super) fn stop(bus: Bus, unit: &str) -> Result<(), Error> {
    talk(bus, &format!("cannot stop unit {unit}"), async |connection| {
        let mut ended = jobs(connection).await?;
        match call(connection, "StopUnit", &(unit, "replace")).await {
            Err(error) if is(&error, "org.freedesktop.systemd1.NoSuchUnit") => return Ok(()),
            answer => wait(&mut ended, &answer?.body().deserialize()?).await?,
        }
        call_for_nothing(connection, "ResetFailedUnit", unit).await
    })
}

/// Moves a process into a unit, or a cgroup below it.
pub(super) fn attach(bus: Bus, unit: &str, below: &str, pid: u32) -> Result<(), Error> {
    talk(
        bus,
        &format!("cannot add a process to unit {unit}"),
        async |connection| {
            call(connection, "AttachProcessesToUnit", &(unit, below, &[pid][..])).await?;
            Ok(())
        },
    )
}

/// Where a user's bus is: as sd_bus_open_user(3) looks for it.
pub(super) fn user_address() -> Option<String> {
    let told = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    told("DBUS_SESSION_BUS_ADDRESS").or_else(|| {
        let path = format!("{}/bus", told("XDG_RUNTIME_DIR")?);
        // Root of a user namespace may have inherited a directory that is not its own.
        Path::new(&path).exists().then(|| format!("unix:path={path}"))
    })
}

/// Opens a connection, has the conversation, and closes it, all within [`PATIENCE`].
// Never inlined: the futures take 8 KiB of the stack, and callers without systemd need none of it.
#[inline(never)]
fn talk<T>(
    bus: Bus,
    what: &str,
    conversation: impl AsyncFnOnce(&Connection) -> Result<T, Problem>,
) -> Result<T, Error> {
    let all = async {
        let connection = connect(bus).await?;
        let said = conversation(&connection).await;
        // The reading task goes with the last reference: nothing is left to run when the caller forks.
        connection.graceful_shutdown().await;
        said
    };
    let bounded = async {
        let runtime = SharedRuntime::current().map_err(|error| Problem::Bus(error.into()))?;
        runtime.timeout(PATIENCE, all).await.unwrap_or(Err(Problem::Time))
    };
    zbus::block_on(bounded).map_err(|problem| Error::Systemd {
        action: what.to_owned(),
        problem: explain(&problem, bus),
    })
}

async fn connect(bus: Bus) -> Result<Connection, Problem> {
    let builder = match bus {
        Bus::System => Builder::system(),
        Bus::User => Builder::address(user_address().ok_or(Problem::Address)?.as_str()),
    };
    // To the bus we are who we are outside of a user namespace: it sees that uid, and takes no other.
    let uid = outer_uid(rustix::process::geteuid().as_raw());
    Ok(builder.user_id(uid).build().await?)
}

/// The uid of the parent user namespace that `uid` stands for (user_namespaces(7), "uid_map").
fn outer_uid(uid: u32) -> u32 {
    std::fs::read_to_string("/proc/self/uid_map").map_or(uid, |map| outer(&map, uid))
}

fn outer(map: &str, uid: u32) -> u32 {
    let lines = map.lines().filter_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|text| text.parse::<u32>());
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
    });
    lines
        .filter_map(|(inside, outside, count)| {
            let offset = uid.checked_sub(inside).filter(|offset| *offset < count)?;
            outside.checked_add(offset)
        })
        .next()
        .unwrap_or(uid)
}

async fn call<B>(connection: &Connection, method: &str, body: &B) -> zbus::Result<zbus::Message>
where
    B: serde::Serialize + zbus::DynamicType,
{
    connection
        .call_method(Some(SYSTEMD), OBJECT, Some(MANAGER), method, body)
        .await
}

/// A call about a unit that may be gone by now.
async fn call_for_nothing(connection: &Connection, method: &str, unit: &str) -> Result<(), Problem> {
    match call(connection, method, &unit).await {
        Err(error) if !is(&error, "org.freedesktop.systemd1.NoSuchUnit") => Err(error.into()),
        _ => Ok(()),
    }
}

async fn property(connection: &Connection, name: &str) -> Result<String, Problem> {
    let interface = "org.freedesktop.DBus.Properties";
    let answer = connection
        .call_method(Some(SYSTEMD), OBJECT, Some(interface), "Get", &(MANAGER, name))
        .await?;
    match answer.body().deserialize()? {
        Variant::Str(text) => Ok(text.to_string()),
        _ => Err(zbus::Error::IncorrectType.into()),
    }
}

/// The ends of all jobs from now on.
async fn jobs(connection: &Connection) -> Result<MessageStream, Problem> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender(SYSTEMD)
        .interface(MANAGER)
        .member("JobRemoved")
        .path(OBJECT)
        .build()?
        .into_owned();
    Ok(MessageStream::for_match_rule(rule, connection, None).await?)
}

async fn wait(ended: &mut MessageStream, wanted: &OwnedObjectPath) -> Result<(), Problem> {
    loop {
        let message = poll_fn(|context| Pin::new(&mut *ended).poll_next(context)).await;
        let message = message.ok_or(zbus::Error::InvalidReply)??;
        let body = message.body();
        let (_, job, _, result): (u32, OwnedObjectPath, String, String) = body.deserialize()?;
        if job == *wanted {
            return if result == "done" {
                Ok(())
            } else {
                Err(Problem::Job(result))
            };
        }
    }
}

fn variant(value: &Value) -> Variant<'_> {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::U8(value) => (*value).into(),
        Value::I16(value) => (*value).into(),
        Value::U16(value) => (*value).into(),
        Value::I32(value) => (*value).into(),
        Value::U32(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Texts(texts) => Variant::new(texts.clone()),
        Value::Bits(bytes) => Variant::new(bytes.clone()),
        Value::Pairs(pairs) => Variant::new(pairs.clone()),
        Value::Pids(pids) => Variant::new(pids.clone()),
    }
}

/// The first number of a version like `257.9-1~deb13u1` or `v252`.
fn number_in(version: &str) -> u32 {
    let digits = version.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let end = digits
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

/// Name and text of an error that the other side has sent.
fn told(error: &zbus::Error) -> Option<(String, String)> {
    match error {
        zbus::Error::MethodError(name, text, _) => Some((name.to_string(), text.clone().unwrap_or_default())),
        zbus::Error::FDO(error) => Some((
            error.name().to_string(),
            error.description().unwrap_or_default().to_owned(),
        )),
        _ => None,
    }
}

fn is(error: &zbus::Error, name: &str) -> bool {
    told(error).is_some_and(|(got, _)| got == name)
}

/// One line for the person at the terminal: what the other side says, and what to do.
fn explain(problem: &Problem, bus: Bus) -> String {
    const WITHOUT: &str = "leave --systemd-cgroup out on a host without systemd";
    let whose = match bus {
        Bus::System => "the system bus",
        Bus::User => "the user's bus",
    };
    let error = match problem {
        Problem::Address => {
            return "the user's bus cannot be found: set DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR as a login does"
                .to_owned();
        }
        Problem::Time => return format!("no answer within {} s", PATIENCE.as_secs()),
        Problem::Job(result) => return format!("its job ended as {result:?}: see journalctl"),
        Problem::Bus(error) => error,
    };
    let unreachable = |reason: &std::io::Error, at: &str| {
        // The words of runc. Not those of ENOENT, which engines take for a program that is missing (exit code 127).
        let reason = match reason.kind() {
            std::io::ErrorKind::NotFound => "there is no such socket".to_owned(),
            _ => crate::error::lower(&reason.to_string()),
        };
        format!(
            "systemd not running on this host, cannot use systemd cgroups manager: cannot reach {whose}{at}: {reason}; \
             {WITHOUT}"
        )
    };
    match error {
        zbus::Error::Connection(reason, address) => unreachable(reason, &format!(" at {address}")),
        zbus::Error::InputOutput(reason) => unreachable(reason, ""),
        error => match told(error) {
            Some((name, text)) => match name.rsplit('.').next().unwrap_or_default() {
                "ServiceUnknown" | "NameHasNoOwner" | "Spawn.ChildExited" => {
                    format!("systemd is not on {whose}: {text}; {WITHOUT}")
                }
                "AccessDenied" | "InteractiveAuthorizationRequired" => format!(
                    "{text} ({name}): only root may use {whose} for this; others use their own, with --rootless=true"
                ),
                "UnitExists" => format!(
                    "{text}: another container or service has this name; stop it, or choose another linux.cgroupsPath"
                ),
                _ => format!("{text} ({name})"),
            },
            None => format!("{whose}: {error}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_begin_with_their_number() {
        let of = ["257.9-1~deb13u1", "v252", "systemd 239", "252-rc1", ""].map(number_in);
        assert_eq!(of, [257, 252, 239, 252, 0]);
    }

    #[test]
    fn the_bus_knows_us_by_the_outer_uid() {
        assert_eq!(outer("         0          0 4294967295\n", 1000), 1000);
        assert_eq!(outer("0 1000 1\n1 100000 65536\n", 0), 1000);
        assert_eq!(outer("0 1000 1\n1 100000 65536\n", 5), 100_004);
        assert_eq!(outer("0 1000 1\n", 7), 7);
        assert_eq!(outer("", 7), 7);
    }

    #[test]
    fn values_have_their_types_on_the_bus() {
        let of = |value| variant(&value).value_signature().to_string();
        assert_eq!(of(Value::Pairs(vec![])), "a(ss)");
        assert_eq!(of(Value::Bits(vec![1])), "ay");
        assert_eq!(of(Value::Texts(vec![])), "as");
        assert_eq!(of(Value::Pids(vec![1])), "au");
        assert_eq!(of(Value::U64(1)), "t");
        assert_eq!(of(Value::Text(String::new())), "s");
    }

    #[test]
    fn a_bus_that_is_not_there_is_one_clear_line() {
        let reason = std::io::Error::from_raw_os_error(2);
        let address = Box::new("unix:path=/x".try_into().unwrap());
        let problem = Problem::Bus(zbus::Error::Connection(reason.into(), address));
        assert_eq!(
            explain(&problem, Bus::System),
            "systemd not running on this host, cannot use systemd cgroups manager: cannot reach the system bus at \
             unix:path=/x: there is no such socket; leave --systemd-cgroup out on a host without systemd"
        );
    }
}
