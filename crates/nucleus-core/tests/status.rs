//! The status: its words, its derivation and the transition table.

use nucleus_core::{Observed, Operation, Phase, Status, derive};
use proptest::prelude::*;

#[test]
fn words_are_lower_case_and_paused_is_one_of_them() {
    let words = ["creating", "created", "running", "paused", "stopped"];
    for (status, word) in Status::ALL.into_iter().zip(words) {
        assert_eq!(status.to_string(), word);
        assert_eq!(serde_json::to_value(status).unwrap(), word);
        assert_eq!(serde_json::from_value::<Status>(word.into()).unwrap(), status);
    }
    assert_eq!(format!("{:<9}|", Status::Paused), "paused   |");
}

#[test]
fn a_phase_of_a_newer_version_is_kept_and_derived_from() {
    let phase: Phase = serde_json::from_str("\"hibernating\"").unwrap();
    assert_eq!(phase, Phase::Other("hibernating".to_owned()));
    assert_eq!(serde_json::to_string(&phase).unwrap(), "\"hibernating\"");
    let seen = Observed {
        creator_alive: false,
        init_alive: true,
        fifo_present: false,
        frozen: false,
    };
    assert_eq!(derive(&phase, seen), Status::Running);
    assert_eq!(
        derive(
            &phase,
            Observed {
                init_alive: false,
                ..seen
            }
        ),
        Status::Stopped
    );
}

#[test]
fn a_creation_that_was_cut_off_is_stopped_and_can_be_deleted() {
    let seen = Observed {
        creator_alive: false,
        init_alive: false,
        fifo_present: true,
        frozen: false,
    };
    let status = derive(&Phase::Creating, seen);
    assert_eq!(status, Status::Stopped);
    assert_eq!(status.check(Operation::Delete), Ok(()));
    assert_eq!(
        derive(
            &Phase::Creating,
            Observed {
                creator_alive: true,
                ..seen
            }
        ),
        Status::Creating
    );
    assert_eq!(
        derive(
            &Phase::Creating,
            Observed {
                init_alive: true,
                ..seen
            }
        ),
        Status::Creating
    );
}

#[test]
fn a_creation_under_way_is_not_deleted_without_force() {
    assert!(Status::Creating.check(Operation::Delete).is_err());
    assert_eq!(Status::Creating.check(Operation::DeleteForce), Ok(()));
}

/// The table once more, as the rows in which an operation is possible.
fn allowed(operation: Operation) -> &'static [Status] {
    use Status::{Created, Paused, Running, Stopped};
    match operation {
        Operation::Ps | Operation::KillAll | Operation::DeleteForce => &Status::ALL,
        Operation::Start => &[Created],
        Operation::Kill | Operation::Update | Operation::Events | Operation::Mounts => &[Created, Running, Paused],
        Operation::Exec | Operation::Pause => &[Created, Running],
        Operation::ExecIgnorePaused => &[Created, Running, Paused],
        Operation::Resume => &[Paused],
        Operation::Checkpoint => &[Running, Paused],
        Operation::Delete => &[Created, Stopped],
    }
}

#[test]
fn only_a_running_or_paused_container_is_checkpointed() {
    assert!(Status::Created.check(Operation::Checkpoint).is_err());
    assert!(Status::Stopped.check(Operation::Checkpoint).is_err());
    assert!(Status::Running.check(Operation::Checkpoint).is_ok());
}

#[test]
fn refusals_have_the_texts_that_engines_match() {
    let text = |status: Status, operation| status.check(operation).unwrap_err().to_string();
    assert_eq!(text(Status::Stopped, Operation::Kill), "container not running");
    assert_eq!(text(Status::Stopped, Operation::Pause), "container not running");
    assert_eq!(text(Status::Running, Operation::Resume), "container not paused");
    assert_eq!(
        text(Status::Stopped, Operation::Exec),
        "cannot exec in a stopped container"
    );
    assert_eq!(
        text(Status::Stopped, Operation::Start),
        "cannot start a container that has stopped"
    );
    assert_eq!(
        text(Status::Running, Operation::Start),
        "cannot start an already running container"
    );
    assert_eq!(
        text(Status::Paused, Operation::Start),
        "cannot start a container in the paused state"
    );
    assert_eq!(
        text(Status::Running, Operation::Delete),
        "cannot delete container that is not stopped: running"
    );
    assert_eq!(
        text(Status::Paused, Operation::Exec),
        "cannot exec in a paused container (use --ignore-paused to override)"
    );
}

fn statuses() -> impl Strategy<Value = Status> {
    prop::sample::select(Status::ALL.to_vec())
}

fn operations() -> impl Strategy<Value = Operation> {
    prop::sample::select(Operation::ALL.to_vec())
}

fn observations() -> impl Strategy<Value = Observed> {
    any::<[bool; 4]>().prop_map(|[creator_alive, init_alive, fifo_present, frozen]| Observed {
        creator_alive,
        init_alive,
        fifo_present,
        frozen,
    })
}

fn phases() -> impl Strategy<Value = Phase> {
    prop_oneof![
        Just(Phase::Creating),
        Just(Phase::Created),
        "[a-z]{1,12}".prop_map(Phase::from)
    ]
}

proptest! {
    #[test]
    fn the_table_says_what_is_possible(status in statuses(), operation in operations()) {
        prop_assert_eq!(status.check(operation).is_ok(), allowed(operation).contains(&status));
    }

    #[test]
    fn a_refusal_names_what_was_wanted(status in statuses(), operation in operations()) {
        if let Err(refusal) = status.check(operation) {
            prop_assert_eq!((refusal.operation, refusal.status), (operation, status));
            let text = refusal.to_string();
            prop_assert!(!text.is_empty() && text == text.to_lowercase());
        }
    }

    #[test]
    fn without_a_living_init_nothing_is_created_running_or_paused(phase in phases(), seen in observations()) {
        let status = derive(&phase, Observed { init_alive: false, ..seen });
        let expected = if phase == Phase::Creating && seen.creator_alive { Status::Creating } else { Status::Stopped };
        prop_assert_eq!(status, expected);
    }

    #[test]
    fn a_living_init_is_never_stopped(phase in phases(), seen in observations()) {
        let status = derive(&phase, Observed { init_alive: true, ..seen });
        let expected = match (&phase, seen.frozen, seen.fifo_present) {
            (Phase::Creating, ..) => Status::Creating,
            (_, true, _) => Status::Paused,
            (_, _, true) => Status::Created,
            _ => Status::Running,
        };
        prop_assert_eq!(status, expected);
    }

    #[test]
    fn any_phase_survives_being_written(word in "\\PC{0,20}") {
        let phase = Phase::from(word.clone());
        let json = serde_json::to_string(&phase).unwrap();
        prop_assert_eq!(serde_json::from_str::<Phase>(&json).unwrap(), phase);
        prop_assert_eq!(json, serde_json::to_string(&word).unwrap());
    }
}
