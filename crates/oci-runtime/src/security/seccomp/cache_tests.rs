//! The cache of compiled profiles: compiled once, and again when an entry is damaged.

use oci_spec::runtime::LinuxSeccomp;

use super::{Cache, compile, compile_cached};

/// A cache in memory that counts what it is given.
#[derive(Default)]
struct Memory {
    entries: std::cell::RefCell<std::collections::HashMap<String, Vec<u8>>>,
    puts: std::cell::Cell<u32>,
}

impl Cache for Memory {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.entries.borrow().get(name).cloned()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.puts.set(self.puts.get() + 1);
        self.entries.borrow_mut().insert(name.to_string(), bytes.to_vec());
    }
}

#[test]
fn a_profile_is_compiled_once_and_a_damaged_entry_again() {
    let profile = |action: &str| -> LinuxSeccomp {
        serde_json::from_value(serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir"], "action": action}],
        }))
        .unwrap()
    };
    let cache = Memory::default();
    let one = compile_cached(&profile("SCMP_ACT_ERRNO"), &cache).unwrap();
    assert_eq!(one, compile(&profile("SCMP_ACT_ERRNO")).unwrap());
    assert_eq!(compile_cached(&profile("SCMP_ACT_ERRNO"), &cache).unwrap(), one);
    assert_eq!(cache.puts.get(), 1);
    assert_ne!(compile_cached(&profile("SCMP_ACT_KILL"), &cache).unwrap(), one);
    assert_eq!(cache.puts.get(), 2);
    for bytes in cache.entries.borrow_mut().values_mut() {
        bytes.truncate(bytes.len() - 8);
    }
    assert_eq!(compile_cached(&profile("SCMP_ACT_ERRNO"), &cache).unwrap(), one);
    assert_eq!(cache.puts.get(), 3, "a cut-off entry is no filter");
}
