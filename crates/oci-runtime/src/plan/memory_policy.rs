//! `linux.memoryPolicy`: mode, flags and nodes for set_mempolicy(2).
//!
//! The kernel answers every wrong combination with EINVAL; they are told apart here, by field. Which nodes exist is
//! the host's business and left to the kernel.

use oci_spec::runtime::{LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};

use super::{MemoryPolicy, PlanError, lists};

/// The longest mask that set_mempolicy(2) reads is a page. Which nodes exist is left to the kernel: most are built for up
/// to 1024.
const HIGHEST_NODE: usize = 32_767;

const NUMA_BALANCING: u32 = 1 << 13;
const RELATIVE_NODES: u32 = 1 << 14;
const STATIC_NODES: u32 = 1 << 15;

/// Compiles the section.
pub(crate) fn compile(policy: &LinuxMemoryPolicy) -> Result<MemoryPolicy, PlanError> {
    let mode = policy.mode();
    let refuse = |field: &str, why: std::fmt::Arguments<'_>| {
        Err(PlanError::new(
            format_args!("linux.memoryPolicy.{field}"),
            format_args!("invalid memory policy {}: {why}", name(mode)),
        ))
    };
    let nodes = match policy.nodes().as_deref() {
        None | Some("") => Vec::new(),
        Some(list) => lists::mask(list, HIGHEST_NODE, "linux.memoryPolicy.nodes")?,
    };
    let may_be_without = matches!(mode, Mode::MpolDefault | Mode::MpolLocal | Mode::MpolPreferred);
    if nodes.is_empty() && !may_be_without {
        return refuse("nodes", format_args!("the mode requires at least one node"));
    }
    if !nodes.is_empty() && matches!(mode, Mode::MpolDefault | Mode::MpolLocal) {
        return refuse("nodes", format_args!("the mode takes no nodes"));
    }
    let flags = policy.flags().iter().flatten().fold(0, |word, flag| word | bit(*flag));
    if flags & STATIC_NODES != 0 && flags & RELATIVE_NODES != 0 {
        return refuse(
            "flags",
            format_args!("MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other"),
        );
    }
    if flags & NUMA_BALANCING != 0 && !matches!(mode, Mode::MpolBind | Mode::MpolPreferredMany) {
        return refuse(
            "flags",
            format_args!("MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY"),
        );
    }
    if flags & (STATIC_NODES | RELATIVE_NODES) != 0 && nodes.is_empty() {
        return refuse("flags", format_args!("the flags speak of nodes, but there are none"));
    }
    Ok(MemoryPolicy {
        mode: number(mode) | flags,
        nodes,
    })
}

/// The numbers of `linux/mempolicy.h`.
fn number(mode: Mode) -> u32 {
    match mode {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    }
}

fn bit(flag: Flag) -> u32 {
    match flag {
        Flag::MpolFNumaBalancing => NUMA_BALANCING,
        Flag::MpolFRelativeNodes => RELATIVE_NODES,
        Flag::MpolFStaticNodes => STATIC_NODES,
    }
}

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::MpolDefault => "MPOL_DEFAULT",
        Mode::MpolPreferred => "MPOL_PREFERRED",
        Mode::MpolBind => "MPOL_BIND",
        Mode::MpolInterleave => "MPOL_INTERLEAVE",
        Mode::MpolLocal => "MPOL_LOCAL",
        Mode::MpolPreferredMany => "MPOL_PREFERRED_MANY",
        Mode::MpolWeightedInterleave => "MPOL_WEIGHTED_INTERLEAVE",
    }
}
