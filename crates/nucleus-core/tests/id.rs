//! The rule for container ids.

use nucleus_core::{ContainerId, IdError, MAX_ID_LENGTH};
use proptest::prelude::*;

#[test]
fn runcs_characters_are_allowed() {
    for id in ["a", "A9", "_x", "-x", "+", "a.b", "a..", "0+1-2_3.4", "3f8e7d6c5b4a"] {
        assert_eq!(ContainerId::parse(id).unwrap().as_str(), id);
    }
}

#[test]
fn nothing_that_could_leave_the_directory_is_an_id() {
    for id in [
        "", ".", "..", "../x", "a/b", "/", ".hidden", "a b", "a\0b", "a\nb", "é", "%2f", "a:b", "~",
    ] {
        let error = ContainerId::parse(id).unwrap_err().to_string();
        assert!(id.is_empty() || error.contains(&format!("{id:?}")), "{error}");
        assert!(
            error.contains("container i") || error.contains("container I"),
            "{error}"
        );
    }
}

#[test]
fn the_length_has_an_end() {
    assert!(ContainerId::parse(&"x".repeat(MAX_ID_LENGTH)).is_ok());
    let error = ContainerId::parse(&"x".repeat(MAX_ID_LENGTH + 1)).unwrap_err();
    assert!(matches!(&error, IdError::TooLong { length: 241, .. }));
    assert!(error.to_string().contains("at most 240"));
    assert!(ContainerId::parse(&"é".repeat(MAX_ID_LENGTH)).is_err());
}

#[test]
fn the_empty_id_is_an_error_of_its_own() {
    assert_eq!(
        ContainerId::parse("").unwrap_err().to_string(),
        "container id cannot be empty"
    );
}

#[test]
fn an_id_read_from_json_is_checked() {
    assert!(serde_json::from_str::<ContainerId>("\"good\"").is_ok());
    assert!(serde_json::from_str::<ContainerId>("\"../../etc\"").is_err());
}

proptest! {
    #[test]
    fn every_word_of_the_set_is_an_id(id in "[A-Za-z0-9_+-][A-Za-z0-9_+.-]{0,239}") {
        let parsed = ContainerId::parse(&id).unwrap();
        prop_assert_eq!(parsed.to_string(), id.clone());
        prop_assert_eq!(parsed.as_ref(), id.as_str());
        prop_assert_eq!(id.parse::<ContainerId>().unwrap(), parsed);
    }

    #[test]
    fn an_accepted_id_is_a_plain_file_name(id in any::<String>()) {
        if let Ok(id) = ContainerId::parse(&id) {
            let path = std::path::Path::new(id.as_str());
            prop_assert_eq!(path.components().count(), 1);
            prop_assert_eq!(path.file_name().unwrap(), id.as_str());
            prop_assert!(!id.as_str().starts_with('.') && id.as_str().len() <= MAX_ID_LENGTH);
        }
    }

    #[test]
    fn one_bad_character_spoils_an_id(before in "[a-z]{0,9}", bad in "[^A-Za-z0-9_+.-]", after in "[a-z]{0,9}") {
        let refused = matches!(
            ContainerId::parse(&format!("{before}{bad}{after}")),
            Err(IdError::Character { .. })
        );
        prop_assert!(refused);
    }
}
