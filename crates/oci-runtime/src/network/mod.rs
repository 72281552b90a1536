//! Network devices of the host that become the container's (`linux.netDevices`).
//!
//! Only the host side calls this: moving a device needs rights over both namespaces. [`netlink`] speaks rtnetlink(7),
//! [`devices`] knows what to say; a config without `netDevices` opens no socket here.

pub mod devices;
mod netlink;
