//! The id of a container: the name of its directory, so it is checked before any path is made of it.
//!
//! Used by everybody; a [`ContainerId`] that exists is valid. The rule: runc's characters `[A-Za-z0-9_+.-]`, no leading
//! dot (dot names are the store's own), 1 to 240 bytes so that names derived from it still fit into NAME_MAX.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The greatest length of an id in bytes.
pub const MAX_ID_LENGTH: usize = 240;

/// A valid container id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// The rule that an id breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The empty string.
    #[error("container id cannot be empty")]
    Empty,
    /// More than [`MAX_ID_LENGTH`] bytes.
    #[error("invalid container ID {start:?}...: {length} bytes are too long, at most {MAX_ID_LENGTH} are allowed")]
    TooLong {
        /// The first characters.
        start: String,
        /// The length in bytes.
        length: usize,
    },
    /// A leading dot.
    #[error("invalid container ID {id:?}: it must not start with a dot")]
    LeadingDot {
        /// The id.
        id: String,
    },
    /// A character outside of the set.
    #[error("invalid container ID {id:?}: {character:?} is not allowed, only A-Z a-z 0-9 _ + . - are")]
    Character {
        /// The id.
        id: String,
        /// The first such character.
        character: char,
    },
}

impl ContainerId {
    /// Checks a name against the rule.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(id: &str) -> Result<Self, IdError> {
        check(id).map(|()| Self(id.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(id: &str) -> Result<(), IdError> {
    const SHOWN: usize = 32;
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    if id.len() > MAX_ID_LENGTH {
        return Err(IdError::TooLong {
            start: id.chars().take(SHOWN).collect(),
            length: id.len(),
        });
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '.' | '-');
    if let Some(character) = id.chars().find(|c| !allowed(c)) {
        return Err(IdError::Character {
            id: id.to_owned(),
            character,
        });
    }
    if id.starts_with('.') {
        return Err(IdError::LeadingDot { id: id.to_owned() });
    }
    Ok(())
}

impl FromStr for ContainerId {
    type Err = IdError;

    fn from_str(id: &str) -> Result<Self, IdError> {
        Self::parse(id)
    }
}

impl TryFrom<String> for ContainerId {
    type Error = IdError;

    fn try_from(id: String) -> Result<Self, IdError> {
        check(&id).map(|()| Self(id))
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl AsRef<str> for ContainerId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
