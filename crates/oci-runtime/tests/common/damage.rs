//! Random damage to JSON: what is removed, doubled, exchanged or replaced depends on nothing but a seed.
//!
//! Used by the tests that create containers from damaged configs, and by the fuzz targets of `fuzz/`.

use serde_json::{Value, json};

/// Numbers that depend on nothing but the seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// JSON pointers of all values below `value`.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    let mut child = |name: &str, child: &Value| {
        let pointer = format!("{at}/{name}");
        pointers(child, &pointer, all);
        all.push(pointer);
    };
    match value {
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| child(&i.to_string(), v)),
        Value::Object(map) => map
            .iter()
            .for_each(|(k, v)| child(&k.replace('~', "~0").replace('/', "~1"), v)),
        _ => {}
    }
}

/// One damage somewhere in `value`.
pub(crate) fn damage(value: &mut Value, random: &mut Random) {
    let mut all = Vec::new();
    pointers(value, "", &mut all);
    if all.is_empty() {
        *value = replacement(random);
        return;
    }
    let pointer = all[random.below(all.len())].clone();
    let other = value.pointer(&all[random.below(all.len())]).cloned();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer begins with a slash");
    let key = key.replace("~1", "/").replace("~0", "~");
    let (Some(parent), choice) = (value.pointer_mut(parent), random.below(5)) else {
        return;
    };
    match (parent, choice) {
        (Value::Array(list), 0) => drop(list.remove(key.parse().expect("an index"))),
        (Value::Object(map), 0) => drop(map.remove(&key)),
        (Value::Array(list), 1) => list.extend(other),
        (Value::Object(map), 1) => drop(map.insert(key, other.unwrap_or_default())),
        (Value::Object(map), 2) => {
            // The value of one field under the name of another.
            let value = map.remove(&key).unwrap_or_default();
            let names: Vec<String> = all
                .iter()
                .filter_map(|p| p.rsplit('/').next().map(str::to_owned))
                .collect();
            map.insert(names[random.below(names.len())].clone(), value);
        }
        _ => {
            if let Some(place) = value.pointer_mut(&pointer) {
                *place = match place {
                    Value::String(text) if random.below(2) == 0 => json!(torn(text, random)),
                    _ => replacement(random),
                };
            }
        }
    }
}

/// A text with something put into it, or without its end.
fn torn(text: &str, random: &mut Random) -> String {
    let cut: String = text.chars().take(random.below(text.chars().count() + 1)).collect();
    let more = [
        "", "\0", "/", "..", ",", "=", "-", "%", "\u{fffd}", "\n", " ", "1", "*", ":",
    ];
    let rest = &text[cut.len()..];
    format!(
        "{cut}{}{}",
        more[random.below(more.len())],
        if random.below(3) == 0 { "" } else { rest }
    )
}

fn replacement(random: &mut Random) -> Value {
    let numbers = [
        0,
        1,
        -1,
        2,
        4095,
        65535,
        65536,
        1 << 31,
        (1 << 31) - 1,
        1 << 32,
        i64::MAX,
        i64::MIN,
        0o4777,
    ];
    let texts = [
        "",
        "/",
        ".",
        "..",
        "/proc",
        "/proc/self/fd/7",
        "/dev",
        "/sys",
        "a\0b",
        "0-4294967295",
        "rw",
        "bind",
        "%d",
    ];
    match random.below(9) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 | 3 => json!(numbers[random.below(numbers.len())]),
        4 => json!(random.next()),
        5 | 6 => json!(texts[random.below(texts.len())]),
        7 => json!([]),
        _ => json!({}),
    }
}
