//! Compiled profiles that are kept, found by the text that `linux.seccomp` has in config.json.
//!
//! A stock engine profile costs libseccomp 10 ms and more. [`crate::spec`] asks before it parses a profile, and knows
//! which may be kept; `create` keeps them.

use sha2::{Digest, Sha256};

use crate::plan::Seccomp;

/// Raised whenever the same profile gives another program than before, so that no program of an older build is used.
const COMPILER: &str = "2/";

/// Where compiled profiles are kept.
pub(crate) trait Cache {
    /// What was kept under this name.
    fn get(&self, name: &str) -> Option<Vec<u8>>;
    /// Keeps it; may fail in silence.
    fn put(&self, name: &str, bytes: &[u8]);
}

/// What the program of a profile is kept under: the digest of the profile's text and of what compiles it.
pub(crate) fn name(text: &[u8]) -> String {
    let mut digest = Sha256::new();
    digest.update(concat!(env!("CARGO_PKG_VERSION"), "/", env!("CARGO_PKG_NAME"), "/"));
    digest.update(COMPILER);
    digest.update(libseccomp::ScmpVersion::current().map_or_else(|_| String::new(), |v| v.to_string()));
    digest.update(text);
    hex(&digest.finalize())
}

/// The program of this name, if it was kept and is intact.
pub(crate) fn get(cache: &dyn Cache, name: &str) -> Option<Seccomp> {
    decode(&cache.get(name)?)
}

/// Keeps a program; a listener would be forgotten.
pub(crate) fn put(cache: &dyn Cache, name: &str, seccomp: &Seccomp) {
    cache.put(name, &encode(seccomp));
}

/// Digest of the rest, flags, program: a file may have been cut short by a crash of the machine.
fn encode(seccomp: &Seccomp) -> Vec<u8> {
    let body = [&seccomp.flags.to_ne_bytes()[..], &seccomp.program].concat();
    [&Sha256::digest(&body)[..], &body].concat()
}

fn decode(bytes: &[u8]) -> Option<Seccomp> {
    let (digest, body) = bytes.split_at_checked(Sha256::output_size())?;
    let (flags, program) = body.split_first_chunk::<8>()?;
    let intact = digest == &Sha256::digest(body)[..];
    intact.then(|| Seccomp {
        program: program.to_vec(),
        flags: u64::from_ne_bytes(*flags),
        listener: None,
    })
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}
