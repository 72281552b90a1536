//! The frame in which a pid means anything: this boot of the kernel, and this process' PID namespace.
//!
//! Read by `identity` only, when an identity is taken or compared; verbs that do neither never pay for it. Both values
//! cannot change while this process lives, so each is read once.

use std::fmt;
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where the kernel shows the boot id (`random(4)`).
pub(crate) const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";
/// The PID namespace of this process (`namespaces(7)`).
pub(crate) const PID_NAMESPACE_FILE: &str = "/proc/self/ns/pid";

/// The random UUID that the kernel draws at each boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BootId(u128);

impl BootId {
    /// The id of the running kernel's boot.
    ///
    /// # Errors
    /// [`Error::BootId`] when it cannot be read.
    pub fn current() -> Result<Self> {
        static CURRENT: OnceLock<BootId> = OnceLock::new();
        if let Some(id) = CURRENT.get() {
            return Ok(*id);
        }
        let mut buffer = [0; 64];
        let text = read_small(BOOT_ID_FILE, &mut buffer).map_err(|errno| Error::BootId { source: errno.into() })?;
        let id = Self::parse(text.trim_ascii()).ok_or(Error::BootId {
            source: Errno::ILSEQ.into(),
        })?;
        Ok(*CURRENT.get_or_init(|| id))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut value: u128 = 0;
        let mut digits = 0;
        for &byte in text.iter().filter(|byte| **byte != b'-') {
            value = value << 4 | u128::from((byte as char).to_digit(16)?);
            digits += 1;
        }
        (digits == 32).then_some(Self(value))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = [96, 80, 64, 48].map(|shift| self.0 >> shift);
        let e = self.0 & 0xffff_ffff_ffff;
        write!(
            f,
            "{a:08x}-{:04x}-{:04x}-{:04x}-{e:012x}",
            b & 0xffff,
            c & 0xffff,
            d & 0xffff
        )
    }
}

impl From<BootId> for String {
    fn from(id: BootId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for BootId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(text.as_bytes()).ok_or("a boot id is a UUID")
    }
}

/// The inode number of this process' PID namespace.
pub(crate) fn pid_namespace() -> Result<u64> {
    static CURRENT: OnceLock<u64> = OnceLock::new();
    if let Some(inode) = CURRENT.get() {
        return Ok(*inode);
    }
    let stat = rustix::fs::stat(PID_NAMESPACE_FILE).map_err(|errno| Error::PidNamespace { source: errno.into() })?;
    Ok(*CURRENT.get_or_init(|| stat.st_ino))
}

/// Reads a small file of procfs, which the kernel gives in one piece, into a buffer of the caller.
pub(crate) fn read_small(path: impl rustix::path::Arg, buffer: &mut [u8]) -> Result<&[u8], Errno> {
    let file = rustix::fs::openat(
        CWD,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY,
        Mode::empty(),
    )?;
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer))?;
    buffer.get(..length).ok_or(Errno::IO)
}
