//! The other texts that may come from somebody else: process.json of `exec`, the resources of `update`, state.json, and
//! the packets from init. The first byte says which; none may make the runtime panic, and errors name their field.
#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the modules are those of the binary, and more of them is used there"
)]

use nucleus_core::ContainerState;
use oci_spec::runtime::LinuxResources;

#[path = "../../crates/oci-runtime/src/channel.rs"]
mod channel;
#[path = "../src/init.rs"]
mod init;
#[path = "../../crates/oci-runtime/src/plan/tests/judge.rs"]
mod judge;
#[path = "../src/mutate.rs"]
mod mutate;
#[path = "../../crates/oci-runtime/src/plan/mod.rs"]
mod plan;
#[path = "../../crates/oci-runtime/src/security/mod.rs"]
mod security;
#[path = "../../crates/oci-runtime/src/spec/mod.rs"]
mod spec;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((b'p', text)) => process(text),
        Some((b'r', text)) => resources(text),
        Some((b's', text)) => state(text),
        Some((b'c', packet)) => packet_of_init(packet),
        _ => {}
    }
});

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match size {
        0 => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
        // The first byte stays what it is.
        _ => 1 + mutate::json(&mut data[1..], size - 1, max_size - 1, seed),
    }
});

fn process(text: &[u8]) {
    if let Err(spec::LoadError::Invalid { field, message }) = spec::parse_process(text) {
        assert!(field.split(['.', '[']).next() == Some("process"), "{field}: {message}");
    }
}

fn resources(text: &[u8]) {
    let Ok(resources) = serde_json::from_slice::<LinuxResources>(text) else {
        return;
    };
    for layout in judge::layouts() {
        if let Err(error) = nucleus_cgroup::Plan::compile(Some(&resources), None, "id", layout, false) {
            assert!(error.field.starts_with("linux.resources"), "{}: {error}", error.field);
        }
    }
}

/// What can be read can be written, and is then the same.
fn state(text: &[u8]) {
    let Ok(state) = serde_json::from_slice::<ContainerState>(text) else {
        return;
    };
    let written = serde_json::to_vec(&state).expect("a state that was read can be written");
    let again: ContainerState = serde_json::from_slice(&written).expect("a state that was written can be read");
    assert_eq!(again, state);
}

/// Whatever is understood is what would have been sent, but for a text that is no UTF-8.
fn packet_of_init(packet: &[u8]) {
    match channel::ToHost::parse(packet) {
        Ok(Some(channel::ToHost::Failed(text) | channel::ToHost::Step(text))) => {
            assert_eq!(text, String::from_utf8_lossy(&packet[1..]))
        }
        Ok(Some(message)) => assert_eq!(message.packet(), packet),
        Ok(None) => assert!(packet.is_empty()),
        Err(error) => assert_eq!(error, rustix::io::Errno::PROTO),
    }
}
