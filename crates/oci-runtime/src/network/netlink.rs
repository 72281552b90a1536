//! rtnetlink(7), as much of it as moving a device takes: links, addresses, and what is to become of them.
//!
//! One request at a time, each acknowledged. A [`Route`] talks to the network namespace that it was opened in, wherever
//! its owner is now, and keeps that namespace alive.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `struct nlmsghdr`, `ifinfomsg` and `ifaddrmsg` in bytes.
const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// Message types of linux/netlink.h and linux/rtnetlink.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
/// What an address consists of besides its flags. Its label bears the device's old name, its lifetime is for ever.
const KEPT_OF_ADDRESS: [u16; 4] = [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_RT_PRIORITY];

const IFA_F_PERMANENT: u32 = 0x80;
/// Flags that were given to the address, not found out about it: nodad, home, mngtmpaddr, noprefixroute, autojoin.
const GIVEN_FLAGS: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;
const SCOPE_UNIVERSE: u8 = 0;

const IFF_UP: u32 = 1;

/// More than the kernel puts into one datagram of a dump (`NLMSG_GOODSIZE`, 32 KiB at most).
const LARGEST: usize = 64 << 10;

/// A connection to the network stack of one namespace.
#[derive(Debug)]
pub struct Route {
    socket: OwnedFd,
    sequence: Cell<u32>,
}

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: i32,
    /// Its name there.
    pub name: String,
    /// It is up.
    pub up: bool,
}

/// An address of a device, as it is given to it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Route {
    /// Connects to the network namespace of the calling process.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> Result<Self, Errno> {
        // NETLINK_ROUTE is number 0, which no protocol stands for.
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self {
            socket,
            sequence: Cell::new(0),
        })
    }

    /// Connects to the namespace behind `there`; the caller, one thread, stands in the namespace `here` and does so
    /// afterwards.
    ///
    /// # Errors
    /// As setns(2) and socket(2).
    pub fn open_in(there: &OwnedFd, here: &OwnedFd) -> Result<Self, Errno> {
        let enter = |namespace: &OwnedFd| {
            nix::sched::setns(namespace, CloneFlags::CLONE_NEWNET)
                .map_err(|error| Errno::from_raw_os_error(error as i32))
        };
        enter(there)?;
        let route = Self::open();
        enter(here)?;
        route
    }

    /// The device of this name.
    ///
    /// # Errors
    /// `ENODEV` when there is none.
    pub fn link(&self, name: &str) -> Result<Link, Errno> {
        let mut request = link_request(RTM_GETLINK, 0, 0);
        request.attribute(IFLA_IFNAME, &with_nul(name));
        let answers = self.ask(request, NLM_F_ACK)?;
        answers.iter().find_map(|answer| link(answer)).ok_or(Errno::NODEV)
    }

    /// All devices.
    ///
    /// # Errors
    /// As netlink(7).
    pub fn links(&self) -> Result<Vec<Link>, Errno> {
        let answers = self.ask(link_request(RTM_GETLINK, 0, 0), NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(|answer| link(answer)).collect())
    }

    /// The permanent global addresses of a device.
    ///
    /// # Errors
    /// As netlink(7).
    pub fn addresses(&self, index: i32) -> Result<Vec<Address>, Errno> {
        let answers = self.ask(Request::new(RTM_GETADDR, &[0; ADDRESS_HEADER]), NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(|answer| address(answer, index)).collect())
    }

    /// Gives an address to a device.
    ///
    /// # Errors
    /// `EEXIST` when it has it.
    pub fn add_address(&self, index: i32, address: &Address) -> Result<(), Errno> {
        let mut header = vec![address.family, address.prefix, 0, SCOPE_UNIVERSE];
        header.extend(index.to_ne_bytes());
        let mut request = Request::new(RTM_NEWADDR, &header);
        for (kind, value) in &address.attributes {
            request.attribute(*kind, value);
        }
        request.attribute(IFA_FLAGS, &address.flags.to_ne_bytes());
        self.ask(request, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Moves a device into the network namespace behind `namespace`, under the name `name`, which may be a pattern
    /// such as `eth%d`. The device is down then and without addresses.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken there, `EINVAL` for a device that is bound to its namespace.
    pub fn move_to(&self, index: i32, namespace: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
        let mut request = link_request(RTM_NEWLINK, index, 0);
        request.attribute(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        request.attribute(IFLA_IFNAME, &with_nul(name));
        self.ask(request, NLM_F_ACK).map(drop)
    }

    /// Brings a device up.
    ///
    /// # Errors
    /// As netlink(7).
    pub fn set_up(&self, index: i32) -> Result<(), Errno> {
        self.ask(link_request(RTM_NEWLINK, index, IFF_UP), NLM_F_ACK).map(drop)
    }

    /// Sends a request and gathers the answers, each from its own header on, until the kernel has no more.
    fn ask(&self, request: Request, flags: u16) -> Result<Vec<Vec<u8>>, Errno> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        rustix::net::send(&self.socket, &request.finish(flags, sequence), SendFlags::empty())?;
        let mut answers = Vec::new();
        let mut buffer = vec![0u8; LARGEST];
        loop {
            let length = match rustix::net::recv(self.socket.as_fd(), &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                other => other?.0,
            };
            let mut rest = &buffer[..length];
            while let Some((kind, message_sequence, message)) = take_message(&mut rest) {
                match kind {
                    // What was left of an earlier request.
                    _ if message_sequence != sequence => {}
                    NLMSG_ERROR | NLMSG_DONE => return code(message).map(|()| answers),
                    _ => answers.push(message.to_vec()),
                }
            }
        }
    }
}

/// A request that is being written.
struct Request {
    kind: u16,
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes.extend(header);
        Self { kind, bytes }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = (4 + value.len()) as u16;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, flags: u16, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[4..6].copy_from_slice(&self.kind.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A request about a link; `flags` are those to set.
fn link_request(kind: u16, index: i32, flags: u32) -> Request {
    let mut header = [0; LINK_HEADER];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    Request::new(kind, &header)
}

fn with_nul(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// Splits the first message off: type, sequence number, and what follows the header.
fn take_message<'a>(rest: &mut &'a [u8]) -> Option<(u16, u32, &'a [u8])> {
    let length = u32_at(rest, 0)? as usize;
    let message = rest.get(HEADER..length)?;
    let (kind, sequence) = (u16_at(rest, 4)?, u32_at(rest, 8)?);
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, sequence, message))
}

/// The error number of an acknowledgement, 0 for success, or of the end of a dump.
fn code(message: &[u8]) -> Result<(), Errno> {
    match u32_at(message, 0).unwrap_or(0).cast_signed() {
        0 => Ok(()),
        number => Err(Errno::from_raw_os_error(-number)),
    }
}

/// The attributes of a message, after its own header.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        // The two highest bits say how the value is to be read.
        let kind = u16_at(rest, 2)? & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn link(message: &[u8]) -> Option<Link> {
    let (_, name) = attributes(message.get(LINK_HEADER..)?).find(|(kind, _)| *kind == IFLA_IFNAME)?;
    let name = name.strip_suffix(b"\0").unwrap_or(name);
    Some(Link {
        index: u32_at(message, 4)?.cast_signed(),
        name: String::from_utf8_lossy(name).into_owned(),
        up: u32_at(message, 8)? & IFF_UP != 0,
    })
}

fn address(message: &[u8], index: i32) -> Option<Address> {
    let [family, prefix, old_flags, scope] = *message.first_chunk()?;
    if u32_at(message, 4)?.cast_signed() != index || scope != SCOPE_UNIVERSE {
        return None;
    }
    let all = || attributes(message.get(ADDRESS_HEADER..).unwrap_or_default());
    let flags = all()
        .find(|(kind, _)| *kind == IFA_FLAGS)
        .and_then(|(_, value)| u32_at(value, 0))
        .unwrap_or_else(|| u32::from(old_flags));
    (flags & IFA_F_PERMANENT != 0).then(|| Address {
        family,
        prefix,
        flags: flags & GIVEN_FLAGS,
        attributes: all()
            .filter(|(kind, _)| KEPT_OF_ADDRESS.contains(kind))
            .map(|(kind, value)| (kind, value.to_vec()))
            .collect(),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_answers() {
        let route = Route::open().unwrap();
        let lo = route.link("lo").unwrap();
        assert_eq!((lo.index, lo.name.as_str()), (1, "lo"));
        assert!(route.links().unwrap().contains(&lo));
        // Its addresses have the scope of the host.
        assert_eq!(route.addresses(1).unwrap(), []);
        assert_eq!(route.link("no-such-device").unwrap_err(), Errno::NODEV);
    }

    #[test]
    fn cut_messages_are_no_messages() {
        let whole = link_request(RTM_GETLINK, 1, 0).finish(0, 7);
        for end in 0..whole.len() {
            assert_eq!(take_message(&mut &whole[..end]), None);
        }
        let mut rest = whole.as_slice();
        assert_eq!(
            take_message(&mut rest).map(|(kind, sequence, _)| (kind, sequence)),
            Some((18, 7))
        );
        assert!(rest.is_empty());
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[200, 0, 1, 0, 5]).count(), 0);
    }
}
