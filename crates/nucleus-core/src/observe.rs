//! Looking at a container: the status that is true now, and its init as a living process.
//!
//! For every verb that needs the status. Looks at as little as the answer needs, in the order init, freezer, FIFO; the
//! freezer, and the processes of a container that was made in another PID namespace, are the caller's to ask, because this
//! crate knows nothing of control groups.

use crate::dir::ContainerDir;
use crate::error::{Error, Result};
use crate::identity::ProcessIdentity;
use crate::process::Process;
use crate::state::ContainerState;
use crate::status::{Observed, Phase, Status, derive};

/// What was seen.
#[derive(Debug)]
pub struct Observation {
    /// The derived status.
    pub status: Status,
    /// Init, if it lives: hold on to it instead of looking it up again.
    pub init: Option<Process>,
}

impl ContainerDir {
    /// Derives the status of the container that `state` describes. `frozen` is asked only while init lives;
    /// `elsewhere` only for a process that was recorded in another PID namespace and cannot be reached from this one.
    ///
    /// # Errors
    /// When something cannot be told; never guessed.
    pub fn observe<E: From<Error>>(
        &self,
        state: &ContainerState,
        frozen: impl FnOnce() -> Result<bool, E>,
        elsewhere: impl Fn(&ProcessIdentity, Error) -> Result<Option<Process>, E>,
    ) -> Result<Observation, E> {
        let open = |identity: &Option<ProcessIdentity>| match identity {
            Some(identity) => match identity.open() {
                Err(error @ Error::OtherPidNamespace { .. }) => elsewhere(identity, error),
                opened => Ok(opened?),
            },
            None => Ok(None),
        };
        let init = open(&state.init)?;
        let mut seen = Observed {
            creator_alive: false,
            init_alive: init.is_some(),
            fifo_present: false,
            frozen: false,
        };
        if state.phase == Phase::Creating {
            seen.creator_alive = !seen.init_alive && open(&state.creator)?.is_some();
        } else if seen.init_alive {
            seen.frozen = frozen()?;
            seen.fifo_present = !seen.frozen && self.fifo_awaited()?;
        }
        Ok(Observation {
            status: derive(&state.phase, seen),
            init,
        })
    }
}
