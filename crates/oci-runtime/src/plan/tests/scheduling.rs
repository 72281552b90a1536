//! `process.scheduler`, `ioPriority`, `execCPUAffinity`, `linux.personality`, `linux.memoryPolicy`.

use nucleus_sys::sched::{Scheduler, flag};
use serde_json::{Value, json};

use super::{plan, refused};
use crate::plan::{CpuAffinity, MemoryPolicy, Process};

fn process(field: &str, value: Value) -> Process {
    plan(json!({"process": {field: value}})).process.unwrap()
}

fn scheduler(value: Value) -> Scheduler {
    process("scheduler", value).scheduler.unwrap()
}

fn with_scheduler(value: Value) -> Value {
    json!({"process": {"scheduler": value}})
}

#[test]
fn every_policy_has_its_number() {
    for (policy, number, priority) in [
        ("SCHED_OTHER", 0, 0),
        ("SCHED_FIFO", 1, 99),
        ("SCHED_RR", 2, 1),
        ("SCHED_BATCH", 3, 0),
        ("SCHED_IDLE", 5, 0),
    ] {
        let wanted = Scheduler {
            policy: number,
            priority,
            ..Scheduler::default()
        };
        assert_eq!(scheduler(json!({"policy": policy, "priority": priority})), wanted);
    }
    assert_eq!(scheduler(json!({"policy": "SCHED_BATCH", "nice": -20})).nice, -20);
    let deadline = scheduler(json!({
        "policy": "SCHED_DEADLINE", "nice": 19, "runtime": 42_000, "deadline": 1_000_000, "period": 1_000_000
    }));
    assert_eq!(
        (deadline.policy, deadline.runtime, deadline.deadline, deadline.period),
        (6, 42_000, 1_000_000, 1_000_000)
    );
}

#[test]
fn every_flag_of_the_specification_has_its_bit() {
    let flags = [
        ("SCHED_FLAG_RESET_ON_FORK", flag::RESET_ON_FORK),
        ("SCHED_FLAG_RECLAIM", flag::RECLAIM),
        ("SCHED_FLAG_DL_OVERRUN", flag::DL_OVERRUN),
        ("SCHED_FLAG_KEEP_POLICY", flag::KEEP_POLICY),
        ("SCHED_FLAG_KEEP_PARAMS", flag::KEEP_PARAMS),
        ("SCHED_FLAG_UTIL_CLAMP_MIN", flag::UTIL_CLAMP_MIN),
        ("SCHED_FLAG_UTIL_CLAMP_MAX", flag::UTIL_CLAMP_MAX),
    ];
    for (name, bit) in flags {
        assert_eq!(
            scheduler(json!({"policy": "SCHED_OTHER", "flags": [name]})).flags,
            bit,
            "{name}"
        );
    }
    let all: Vec<&str> = flags.iter().map(|(name, _)| *name).collect();
    assert_eq!(scheduler(json!({"policy": "SCHED_OTHER", "flags": all})).flags, 0x7f);
}

#[test]
fn refused_schedulers() {
    let deadline = |runtime: u64, deadline: u64, period: u64| {
        with_scheduler(json!({"policy": "SCHED_DEADLINE", "runtime": runtime, "deadline": deadline, "period": period}))
    };
    plan(deadline(1024, 1024, 0));
    refused([
        (
            with_scheduler(json!({"policy": "SCHED_OTHER", "nice": 20})),
            "process.scheduler.nice: 20 must be between -20 and 19",
        ),
        (
            with_scheduler(json!({"policy": "SCHED_IDLE", "priority": 1})),
            "process.scheduler.priority: can only be specified for SCHED_FIFO and SCHED_RR, not for SCHED_IDLE",
        ),
        (
            with_scheduler(json!({"policy": "SCHED_FIFO"})),
            "process.scheduler.priority: 0 must be between 1 and 99 for SCHED_FIFO",
        ),
        (
            with_scheduler(json!({"policy": "SCHED_RR", "priority": -1})),
            "process.scheduler.priority: -1 must be between 1 and 99 for SCHED_RR",
        ),
        (
            with_scheduler(json!({"policy": "SCHED_RR", "priority": 1, "period": 5})),
            "process.scheduler.period: can only be specified for SCHED_DEADLINE, not for SCHED_RR",
        ),
        (
            with_scheduler(json!({"policy": "SCHED_ISO"})),
            "process.scheduler.policy: SCHED_ISO is reserved by Linux and not implemented in any kernel",
        ),
        (
            deadline(1023, 2000, 2000),
            "process.scheduler.runtime: 1023 must be at least 1024 nanoseconds",
        ),
        (
            deadline(3000, 2000, 2000),
            "process.scheduler.deadline: 2000 must not be shorter than the runtime, 3000",
        ),
        (
            deadline(2000, 3000, 2999),
            "process.scheduler.period: 2999 must not be shorter than the deadline, 3000",
        ),
        (
            deadline(2000, u64::MAX, 0),
            "process.scheduler.deadline: 18446744073709551615 must be below 2^63",
        ),
    ]);
}

#[test]
fn io_priorities() {
    for (name, class) in [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)] {
        let compiled = process("ioPriority", json!({"class": name, "priority": 7})).io_priority;
        assert_eq!(compiled, Some((class, 7)));
    }
    for wrong in [-1, 8, 65536] {
        refused([(
            json!({"process": {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": wrong}}}),
            &format!("process.ioPriority.priority: {wrong} must be between 0 and 7"),
        )]);
    }
}

#[test]
fn cpu_lists_become_masks() {
    let affinity = |value: Value| process("execCPUAffinity", value).exec_cpu_affinity.unwrap();
    let compiled = affinity(json!({"initial": "0-1,3", "final": "64"}));
    assert_eq!(compiled.initial, Some(vec![0b1011]));
    assert_eq!(compiled.final_, Some(vec![0, 1]));
    assert_eq!(affinity(json!({"initial": "", "final": ""})), CpuAffinity::default());
    let with = |list: &str| json!({"process": {"execCPUAffinity": {"final": list}}});
    refused([
        (
            with("3-1"),
            "process.execCPUAffinity.final: \"3-1\" is a range backwards",
        ),
        (
            with("16384"),
            "process.execCPUAffinity.final: 16384 must not be greater than 16383",
        ),
    ]);
}

#[test]
fn the_cpus_of_each_stage() {
    use crate::plan::StageCpus;
    use crate::plan::scheduling::stage_cpus;
    let compile = |draft: Value, value: Value| {
        let draft = serde_json::from_value(draft).unwrap();
        let mut compiled = process("execCPUAffinity", value);
        stage_cpus(Some(&draft), &mut compiled).map_err(|error| error.to_string())?;
        Ok::<_, String>((compiled.stage_cpus, compiled.exec_cpu_affinity))
    };
    let (stages, exec) = compile(
        json!({"createRuntime": "0", "createContainer": "1", "startContainer": "", "execRuntime": "8191-8192"}),
        Value::Null,
    )
    .unwrap();
    assert_eq!(
        stages,
        StageCpus {
            create_runtime: Some(vec![1]),
            create_container: Some(vec![2]),
            start_container: None,
        }
    );
    let initial = exec.unwrap().initial.unwrap();
    assert_eq!((initial[127], initial[128]), (1 << 63, 1));
    let (_, exec) = compile(json!({"execContainer": "all"}), Value::Null).unwrap();
    assert!(exec.unwrap().final_.unwrap().iter().all(|word| *word == u64::MAX));
    assert_eq!(compile(json!({}), Value::Null).unwrap(), (StageCpus::default(), None));
    assert_eq!(
        compile(json!({"startContainer": "0-"}), Value::Null).unwrap_err(),
        "process.cpuAffinity.startContainer: \"0-\" is neither a number nor a range such as 0-3"
    );
    assert_eq!(
        compile(json!({}), json!({"initial": "0"})).unwrap_err(),
        "process.cpuAffinity: cannot be set together with execCPUAffinity"
    );
}

#[test]
fn personalities() {
    assert_eq!(plan(json!({})).personality, None);
    for (domain, number) in [("LINUX", 0), ("LINUX32", 8)] {
        let plan = plan(json!({"linux": {"personality": {"domain": domain, "flags": []}}}));
        assert_eq!(plan.personality, Some(number));
    }
    refused([(
        json!({"linux": {"personality": {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}}}),
        "linux.personality.flags[0]: \"ADDR_NO_RANDOMIZE\" is not a flag that the specification knows",
    )]);
}

#[test]
fn memory_policies() {
    let policy = |value: Value| plan(json!({"linux": {"memoryPolicy": value}})).memory_policy.unwrap();
    for (mode, number, nodes) in [
        ("MPOL_DEFAULT", 0, ""),
        ("MPOL_PREFERRED", 1, ""),
        ("MPOL_PREFERRED", 1, "1"),
        ("MPOL_BIND", 2, "0-1"),
        ("MPOL_INTERLEAVE", 3, "0, 2"),
        ("MPOL_LOCAL", 4, ""),
        ("MPOL_PREFERRED_MANY", 5, "0"),
        ("MPOL_WEIGHTED_INTERLEAVE", 6, "0"),
    ] {
        let compiled = policy(json!({"mode": mode, "nodes": nodes}));
        let mask: Vec<u64> = match nodes {
            "" => vec![],
            "0-1" => vec![3],
            "0, 2" => vec![5],
            "1" => vec![2],
            _ => vec![1],
        };
        assert_eq!(
            compiled,
            MemoryPolicy {
                mode: number,
                nodes: mask
            },
            "{mode}"
        );
    }
    for (flag, bit) in [
        ("MPOL_F_NUMA_BALANCING", 13),
        ("MPOL_F_RELATIVE_NODES", 14),
        ("MPOL_F_STATIC_NODES", 15),
    ] {
        let compiled = policy(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}));
        assert_eq!(compiled.mode, 2 | 1 << bit, "{flag}");
    }
}

#[test]
fn refused_memory_policies() {
    let with = |value: Value| json!({"linux": {"memoryPolicy": value}});
    refused([
        (
            with(json!({"mode": "MPOL_BIND"})),
            "linux.memoryPolicy.nodes: invalid memory policy MPOL_BIND: the mode requires at least one node",
        ),
        (
            with(json!({"mode": "MPOL_LOCAL", "nodes": "0"})),
            "linux.memoryPolicy.nodes: invalid memory policy MPOL_LOCAL: the mode takes no nodes",
        ),
        (
            with(json!({"mode": "MPOL_BIND", "nodes": "0-x"})),
            "linux.memoryPolicy.nodes: \"0-x\" is neither a number nor a range such as 0-3",
        ),
        (
            with(json!({"mode": "MPOL_BIND", "nodes": "0,,1"})),
            "linux.memoryPolicy.nodes: \"\" is neither a number nor a range such as 0-3",
        ),
        (
            with(json!({"mode": "MPOL_BIND", "nodes": "0-99999999999999999999"})),
            "linux.memoryPolicy.nodes: 18446744073709551615 must not be greater than 32767",
        ),
        (
            with(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]})),
            "linux.memoryPolicy.flags: invalid memory policy MPOL_BIND: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other",
        ),
        (
            with(json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]})),
            "linux.memoryPolicy.flags: invalid memory policy MPOL_INTERLEAVE: MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY",
        ),
        (
            with(json!({"mode": "MPOL_PREFERRED", "flags": ["MPOL_F_STATIC_NODES"]})),
            "linux.memoryPolicy.flags: invalid memory policy MPOL_PREFERRED: the flags speak of nodes, but there are none",
        ),
    ]);
}
