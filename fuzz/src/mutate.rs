//! Damage to JSON that stays JSON, so that the fuzzer gets past the parser.

#[path = "../../crates/oci-runtime/tests/common/damage.rs"]
mod damage;

use libfuzzer_sys::fuzzer_mutate;
use serde_json::Value;

/// Mutates `data[..size]` in place: as JSON if it is some, else as libFuzzer does. Returns the new size.
pub fn json(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = damage::Random(u64::from(seed));
    if random.below(4) > 0
        && let Ok(mut value) = serde_json::from_slice::<Value>(&data[..size])
    {
        for _ in 0..=random.below(3) {
            damage::damage(&mut value, &mut random);
        }
        let text = value.to_string();
        if text.len() <= max_size {
            data[..text.len()].copy_from_slice(text.as_bytes());
            return text.len();
        }
    }
    fuzzer_mutate(data, size, max_size)
}
