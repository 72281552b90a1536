//! `linux.netDevices`: which host devices go into the container, and what they are called there.
//!
//! Names are checked as the kernel would (`dev_valid_name`), so that none of them is moved when one of them cannot be.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxNamespaceType as Kind, LinuxNetDevice};

use super::{Namespaces, NetDevice, PlanError};

/// `IFNAMSIZ` without the NUL.
const LONGEST: usize = 15;

/// Compiles the map, sorted by the name on the host.
pub(crate) fn compile(
    map: Option<&HashMap<String, LinuxNetDevice>>,
    namespaces: &Namespaces,
) -> Result<Vec<NetDevice>, PlanError> {
    let Some(map) = map.filter(|map| !map.is_empty()) else {
        return Ok(Vec::new());
    };
    if !namespaces.has(Kind::Network as u64) {
        return Err(PlanError::new(
            "linux.netDevices",
            "unable to move network devices without a private NET namespace",
        ));
    }
    let mut devices = Vec::with_capacity(map.len());
    for (host, device) in map {
        let refuse = |field: &str, name: &str, why: &str| {
            Err(PlanError::new(
                format_args!("linux.netDevices.{host}{field}"),
                format_args!("{name:?} is not a valid name of a network device: {why}"),
            ))
        };
        if let Some(why) = invalid(host).or_else(|| host.contains('%').then_some("it contains '%'")) {
            return refuse("", host, why);
        }
        let inside = device.name().as_deref().filter(|name| !name.is_empty()).unwrap_or(host);
        if let Some(why) = invalid(inside).or_else(|| bad_pattern(inside)) {
            return refuse(".name", inside, why);
        }
        devices.push(NetDevice {
            host: host.clone(),
            inside: inside.to_owned(),
        });
    }
    devices.sort_unstable();
    for (i, device) in devices.iter().enumerate() {
        let twin = devices[..i].iter().find(|other| other.inside == device.inside);
        if let Some(twin) = twin.filter(|_| !device.inside.contains('%')) {
            return Err(PlanError::new(
                format_args!("linux.netDevices.{}.name", device.host),
                format_args!("{:?} is the name of {:?} already", device.inside, twin.host),
            ));
        }
    }
    Ok(devices)
}

fn invalid(name: &str) -> Option<&'static str> {
    let forbidden = |byte: u8| matches!(byte, b'/' | b':' | 0 | b'\x0b') || byte.is_ascii_whitespace();
    match name {
        "" => Some("it is empty"),
        "." | ".." => Some("it is reserved"),
        name if name.len() > LONGEST => Some("it is longer than 15 bytes"),
        name if name.bytes().any(forbidden) => Some("it contains '/', ':', white space or NUL"),
        _ => None,
    }
}

/// The kernel replaces one `%d` by the lowest free number.
fn bad_pattern(name: &str) -> Option<&'static str> {
    let (_, rest) = name.split_once('%')?;
    (!rest.starts_with('d') || rest.contains('%')).then_some("only one %d may be in it, and no other '%'")
}
