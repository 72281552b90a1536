//! Reading what a container's program has printed about itself, and changing lists in a config.

use serde_json::{Value, json};

/// One line of /proc/self/mountinfo.
pub(crate) struct MountLine {
    /// The mount point.
    pub(crate) point: String,
    /// Options of the mount.
    pub(crate) options: Vec<String>,
    /// `shared:N`, `master:N`, `unbindable`; none for a private mount.
    pub(crate) propagation: Vec<String>,
    /// The file system.
    pub(crate) fstype: String,
    /// Options of the file system.
    pub(crate) super_options: Vec<String>,
    /// The directory of the file system that is mounted.
    pub(crate) root: String,
}

impl MountLine {
    /// True if the mount has this option.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }

    /// True if the file system has this option.
    pub(crate) fn super_has(&self, option: &str) -> bool {
        self.super_options.iter().any(|o| o == option)
    }
}

/// All mounts of a mountinfo, in order.
pub(crate) fn mountinfo(text: &str) -> Vec<MountLine> {
    let words = |s: &str| s.split(',').map(str::to_owned).collect::<Vec<_>>();
    let parse = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        Some(MountLine {
            point: left[4].to_owned(),
            options: words(left[5]),
            propagation: left[6..]
                .iter()
                .filter(|f| !f.is_empty())
                .map(|f| (*f).to_owned())
                .collect(),
            fstype: right[0].to_owned(),
            super_options: words(right.get(2).unwrap_or(&"")),
            root: left[3].to_owned(),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// The topmost mount at a mount point.
#[track_caller]
pub(crate) fn mount_at(text: &str, point: &str) -> MountLine {
    let found = mountinfo(text).into_iter().rfind(|m| m.point == point);
    found.unwrap_or_else(|| panic!("nothing is mounted at {point}:\n{text}"))
}

/// Adds to a list of the config (`/mounts`, `/linux/devices`), which is made if it is not there.
pub(crate) fn push(config: &mut Value, pointer: &str, item: Value) {
    let (parent, name) = pointer.rsplit_once('/').expect("a JSON pointer");
    let parent = config.pointer_mut(parent).expect("the list's parent");
    if parent.get(name).is_none() {
        parent[name] = json!([]);
    }
    parent[name].as_array_mut().expect("a list").push(item);
}

/// Adds a mount.
pub(crate) fn add_mount(config: &mut Value, destination: &str, fstype: &str, source: &str, options: &[&str]) {
    let mount = json!({ "destination": destination, "type": fstype, "source": source, "options": options });
    push(config, "/mounts", mount);
}

/// Removes a field of the object at `pointer`.
pub(crate) fn remove(config: &mut Value, pointer: &str, field: &str) {
    config
        .pointer_mut(pointer)
        .and_then(Value::as_object_mut)
        .expect("an object")
        .remove(field);
}

/// The values of `Key:` lines such as /proc/self/status prints.
#[track_caller]
pub(crate) fn field<'t>(text: &'t str, key: &str) -> &'t str {
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in:\n{text}")).trim()
}
