//! The one error of compiling: which field of config.json, and what is wrong with it.
//!
//! Every function of this directory fails with it. The message is written for the person who wrote config.json: lower
//! case, no full stop, the offending value quoted.

use std::fmt::Display;

/// A field of config.json that cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub(crate) struct PlanError {
    /// JSON path, such as `mounts[3].options`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl PlanError {
    /// Names the field and says what is wrong with it.
    pub(crate) fn new(field: impl Display, message: impl Display) -> Self {
        Self {
            field: field.to_string(),
            message: message.to_string(),
        }
    }
}
