//! What every integration test uses: a place to work in, bundles, the runtime under test, and a look for leftovers.
//!
//! The tests see the runtime as a black box. It is the `nucleus` that cargo has built, or the program that the
//! environment variable `NUCLEUS_TEST_RUNTIME` names (runc, for one, which shows that the tests themselves are right).
//! Tests run as root in the host's namespaces: each has a directory of its own for bundles and the runtime's
//! `--root`, and a cgroup of its own below every controller. At its end nothing of either may be left.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test program uses its own part of this module"
)]

mod bundle;
mod cmd;
mod container;
mod harness;
mod host;

pub(crate) use bundle::{MAPPED_ROOT, base_config, busybox_rootfs, map_ids, write_config};
pub(crate) use cmd::{Cmd, Out, Running};
pub(crate) use container::Container;
pub(crate) use harness::{Kind, Test, kind, runtime, skip};
pub(crate) use host::{
    alive, cgroup_dirs, compile_c, eventually, namespace_of, process_state, shell, uid_of_proc, wait_for,
};
