//! `linux.seccomp` as a piece of the config's text, for a profile whose program is kept need not be parsed.
//!
//! Engines write the same profile of some 400 names into every config, which is most of its text and of the time that
//! parsing it takes. What is found here is a guess, and two rules keep a wrong one without effect. A program is kept
//! under the name of a text only if that text, parsed by itself, is the profile that was compiled: so it is one whole
//! JSON object, and where that begins, no other can. And the text is passed over only if what stood in its place was then
//! found in `linux.seccomp`. Whatever else happens, the config is parsed as if nothing had been looked for.

use oci_spec::runtime::{LinuxSeccomp, Spec};

use crate::security::seccomp::cache;

const KEY: &str = "\"seccomp\"";

/// What is probably the text of `linux.seccomp`.
pub(super) struct Profile<'a> {
    /// The config up to it, it, and the rest.
    parts: [&'a str; 3],
    /// What its program is kept under.
    pub(super) name: String,
}

impl<'a> Profile<'a> {
    /// Looks for the first key of that name whose value is an object.
    pub(super) fn find(config: &'a [u8]) -> Option<Self> {
        let config = std::str::from_utf8(config).ok()?;
        let (_, rest) = config.split_once(KEY)?;
        let rest = rest.trim_ascii_start().strip_prefix(':')?.trim_ascii_start();
        let (before, _) = config.split_at(config.len() - rest.len());
        let (text, after) = rest.split_at(length(rest)?);
        Some(Self {
            parts: [before, text, after],
            name: cache::name(text.as_bytes()),
        })
    }

    /// The config with a profile of no use in this one's place.
    pub(super) fn cut_out(&self) -> String {
        let [before, _, after] = self.parts;
        let stub = r#"{"defaultAction":"SCMP_ACT_KILL","listenerMetadata":""#;
        [before, stub, &self.name, "\"}", after].concat()
    }

    /// Removes what [`Self::cut_out`] has put there from the parsed config; `None` if that was not `linux.seccomp`. It is
    /// known by its metadata: the digest of a text is in no config beside that text.
    pub(super) fn remove_from(&self, mut spec: Box<Spec>) -> Option<Box<Spec>> {
        let seccomp = spec.linux_mut().as_mut()?.seccomp_mut();
        let stub = seccomp.take_if(|profile| profile.listener_metadata().as_ref() == Some(&self.name));
        stub.map(|_| spec)
    }

    /// Whether this is the config's profile, so that its program may be kept. That of one with a listener may not: it
    /// is rare, and more than a program.
    pub(super) fn is(&self, profile: Option<&LinuxSeccomp>) -> bool {
        let own = || serde_json::from_str::<LinuxSeccomp>(self.parts[1]).ok();
        profile.is_some_and(|profile| profile.listener_path().is_none() && own().as_ref() == Some(profile))
    }
}

/// Of the object that the text begins with, unless there are braces in its strings.
fn length(text: &str) -> Option<usize> {
    if !text.starts_with('{') {
        return None;
    }
    let (mut open, mut from) = (0, 0);
    for (close, _) in text.match_indices('}') {
        open += text[from..close].matches('{').count();
        open -= 1;
        from = close + 1;
        if open == 0 {
            return Some(from);
        }
    }
    None
}

#[cfg(test)]
mod tests;
