//! The programs in the containers: static, a few machine instructions each, so that what is measured is the runtime.

/// Ends at once with exit code 0.
pub fn ends() -> Vec<u8> {
    elf(exit_code())
}

/// Waits until it is killed.
pub fn waits() -> Vec<u8> {
    elf(wait_code())
}

#[cfg(target_arch = "x86_64")]
fn exit_code() -> &'static [u8] {
    // mov eax, 60 (exit); xor edi, edi; syscall
    b"\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05"
}

#[cfg(target_arch = "x86_64")]
fn wait_code() -> &'static [u8] {
    // again: mov eax, 34 (pause); syscall; jmp again
    b"\xb8\x22\x00\x00\x00\x0f\x05\xeb\xf7"
}

#[cfg(target_arch = "aarch64")]
fn exit_code() -> &'static [u8] {
    // mov x8, #93 (exit); mov x0, #0; svc #0
    b"\xa8\x0b\x80\xd2\x00\x00\x80\xd2\x01\x00\x00\xd4"
}

#[cfg(target_arch = "aarch64")]
fn wait_code() -> &'static [u8] {
    // again: mov x8, #73 (ppoll); mov x0..x4, #0; svc #0; b again
    b"\x28\x09\x80\xd2\x00\x00\x80\xd2\x01\x00\x80\xd2\x02\x00\x80\xd2\x03\x00\x80\xd2\x04\x00\x80\xd2\x01\x00\x00\xd4\xf9\xff\xff\x17"
}

/// An executable of one read-only segment (elf(5)): header, program header, code.
fn elf(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u16 = 64 + 56;
    let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    let size = u64::from(HEADERS) + code.len() as u64;
    // Class 64 bits, little endian, version 1, System V.
    let mut file = b"\x7fELF\x02\x01\x01\x00\0\0\0\0\0\0\0\0".to_vec();
    for half in [2, machine] {
        file.extend(half.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes());
    // Entry, program headers, section headers.
    for word in [BASE + u64::from(HEADERS), 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    // Sizes and numbers: this header, program headers, section headers.
    for half in [64u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // Loaded, readable and executable.
    for word in [1u32, 5] {
        file.extend(word.to_le_bytes());
    }
    for word in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend_from_slice(code);
    file
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    fn program(dir: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
        let path = dir.path().join("program");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn one_ends_and_the_other_waits() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Command::new(program(&dir, &ends())).status().unwrap().success());
        let dir = tempfile::tempdir().unwrap();
        let mut waiting = Command::new(program(&dir, &waits())).spawn().unwrap();
        assert_eq!(waiting.try_wait().unwrap(), None);
        waiting.kill().unwrap();
        assert!(!waiting.wait().unwrap().success());
    }
}
