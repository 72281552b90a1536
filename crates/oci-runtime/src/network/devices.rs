//! `linux.netDevices`: host devices are moved into the container's network namespace, and moved back when the
//! container does not come to be.
//!
//! The kernel shuts a device down and drops its addresses on the way; permanent addresses of global scope are given to
//! it again and it is brought up (config-linux.md). Hardware address, MTU and the rest stay with the device. Once the
//! container is made, its end is the kernel's business: it hands physical devices back to the host.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::netlink::{Address, Link, Route};
use crate::init::failure::{Explain, Failure};
use crate::plan::NetDevice;

/// Devices that were moved. Dropped, it moves them back, unless [`Moved::keep`] was called.
#[derive(Debug)]
pub struct Moved {
    outside: Route,
    outside_namespace: OwnedFd,
    inside: Route,
    devices: Vec<Device>,
}

#[derive(Debug)]
struct Device {
    /// What it was on the host.
    was: Link,
    addresses: Vec<Address>,
    /// Its number in the container.
    index: i32,
}

/// Moves the devices from the caller's network namespace into the one behind `namespace`. The caller has one thread.
///
/// # Errors
/// Named by `linux.netDevices.NAME`; all devices are where they were then.
pub fn move_all(devices: &[NetDevice], namespace: &OwnedFd) -> Result<Moved, Failure> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let outside_namespace = rustix::fs::open("/proc/self/ns/net", flags, Mode::empty())
        .explain(|| "linux.netDevices: cannot open /proc/self/ns/net")?;
    let outside = Route::open().explain(|| "linux.netDevices: cannot talk to the host's network")?;
    let inside = Route::open_in(namespace, &outside_namespace)
        .explain(|| "linux.netDevices: cannot talk to the container's network")?;
    let mut moved = Moved {
        outside,
        outside_namespace,
        inside,
        devices: Vec::with_capacity(devices.len()),
    };
    for device in devices {
        moved.take(device, namespace)?;
    }
    Ok(moved)
}

impl Moved {
    /// The container exists: the devices are its own.
    pub fn keep(mut self) {
        self.devices.clear();
    }

    fn take(&mut self, device: &NetDevice, namespace: &OwnedFd) -> Result<(), Failure> {
        let (host, name) = (&device.host, &device.inside);
        let was = self
            .outside
            .link(host)
            .explain(|| format!("linux.netDevices.{host}: cannot find it on the host"))?;
        let addresses = self
            .outside
            .addresses(was.index)
            .explain(|| format!("linux.netDevices.{host}: cannot read its addresses"))?;
        let known = self
            .inside
            .links()
            .explain(|| "linux.netDevices: cannot list devices")?;
        let sent = self.outside.move_to(was.index, namespace.as_fd(), name);
        // The kernel moves first and renames then: when the name is taken, the device is there under its old one.
        let arrived = self.arrival(if sent.is_ok() { name } else { host }, &known);
        if let Ok(index) = arrived {
            self.devices.push(Device { was, addresses, index });
        }
        sent.explain(|| format!("linux.netDevices.{host}: cannot move it into the container as {name:?}"))?;
        let index = arrived.explain(|| format!("linux.netDevices.{host}: it is lost on the way"))?;
        let addresses = self.devices.last().map_or(&[][..], |device| &device.addresses);
        equip(&self.inside, index, addresses)
            .and_then(|()| self.inside.set_up(index))
            .explain(|| format!("linux.netDevices.{host}: cannot set it up in the container"))
    }

    /// The number of the device that has just come, under this name; the name of a pattern is chosen by the kernel.
    fn arrival(&self, name: &str, known: &[Link]) -> Result<i32, Errno> {
        let is_new = |link: &&Link| !known.iter().any(|other| other.index == link.index);
        let now = self.inside.links()?;
        now.iter()
            .find(|link| is_new(link) && (name.contains('%') || link.name == name))
            .map(|link| link.index)
            .ok_or(Errno::NODEV)
    }

    fn give_back(&self, device: &Device) -> Result<(), Errno> {
        let host = self.outside_namespace.as_fd();
        self.inside.move_to(device.index, host, &device.was.name)?;
        let index = self.outside.link(&device.was.name)?.index;
        equip(&self.outside, index, &device.addresses)?;
        match device.was.up {
            true => self.outside.set_up(index),
            false => Ok(()),
        }
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        while let Some(device) = self.devices.pop() {
            if let Err(error) = self.give_back(&device) {
                tracing::warn!("linux.netDevices.{}: cannot give it back: {error}", device.was.name);
            }
        }
    }
}

fn equip(route: &Route, index: i32, addresses: &[Address]) -> Result<(), Errno> {
    addresses
        .iter()
        .try_for_each(|address| match route.add_address(index, address) {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        })
}
