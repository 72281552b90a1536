//! Host devices that move into the container. The host is a fresh network namespace: nothing of the machine's is touched.

use serde_json::{Value, json};

use crate::common::map_ids;
use crate::common::{Container, Out, Test, eventually, namespace_of, shell};

/// Shows a device inside: its addresses, MTU, and state.
const LOOK: &str = "for d in $(ls /sys/class/net | grep -v lo); do \
    echo $d $(cat /sys/class/net/$d/mtu) $(cat /sys/class/net/$d/address) \
    $(ip addr show $d | grep -o '<.*UP' >/dev/null && echo up) \
    $(ip addr show $d | grep -E 'inet6? [^f]|inet6 fd' | awk '{print $2}'); done";

/// A veth on the host with two permanent addresses, one that will expire, an MTU and a hardware address.
const PREPARE: &str = "ip link add veth0 type veth peer name peer0; ip link set lo up; ip link set peer0 up; \
    ip link set veth0 mtu 1400 address 02:00:00:00:00:07 up; ip addr add 10.1.2.3/24 brd + dev veth0; \
    ip addr add fd00::5/64 dev veth0; ip addr add 10.9.9.9/24 dev veth0 valid_lft 1000 preferred_lft 1000";

const MOVED: &str = "1400 02:00:00:00:00:07 up 10.1.2.3/24 fd00::5/64";

/// Runs the container on a host that was prepared, and shows on that host afterwards what there is.
fn on_a_host(c: &Container<'_>, prepare: &str, afterwards: &str) -> Out {
    let script = format!("set -e; {prepare}; code=0; \"$0\" \"$@\" || code=$?; {afterwards}; exit $code");
    c.with_bundle("run", &[])
        .wrapped(["unshare", "-n", "-m", "sh", "-c", &script])
        .run()
}

fn looking<'t>(test: &'t Test, devices: Value, edit: impl FnOnce(&mut Value)) -> Container<'t> {
    test.script_with(LOOK, |config| {
        config["linux"]["netDevices"] = devices;
        edit(config);
    })
}

/// False (after saying SKIP) where the kernel has no veth.
fn possible() -> bool {
    let made = std::process::Command::new("unshare")
        .args(["-n", "ip", "link", "add", "veth0", "type", "veth", "peer", "peer0"])
        .status();
    let possible = made.is_ok_and(|status| status.success());
    if !possible {
        crate::common::skip("needs unshare, ip and veth");
    }
    possible
}

#[test]
fn a_device_moves_with_all_that_it_has() {
    let Some(test) = Test::new().filter(|_| possible()) else {
        return;
    };
    let c = looking(&test, json!({"veth0": {}}), |_| ());
    on_a_host(&c, PREPARE, "ls /sys/class/net >/dev/null")
        .ok()
        .prints(&format!("veth0 {MOVED}"));
    let c = looking(&test, json!({"veth0": {"name": "eth7"}}), |_| ());
    on_a_host(&c, PREPARE, "true").ok().prints(&format!("eth7 {MOVED}"));
    let c = looking(
        &test,
        json!({"veth0": {"name": "net%d"}, "peer0": {"name": "net%d"}}),
        |_| (),
    );
    let out = on_a_host(&c, PREPARE, "true").ok();
    assert!(
        out.stdout.starts_with("net0 1500 "),
        "sorted by the host's names: {out}"
    );
    assert!(out.stdout.contains(&format!("\nnet1 {MOVED}\n")), "{out}");
    test.nothing_left();
}

#[test]
fn into_a_namespace_of_another_user() {
    let Some(test) = Test::new().filter(|_| possible()) else {
        return;
    };
    let c = looking(&test, json!({"veth0": {"name": "eth7"}}), map_ids);
    shell(&format!("chown -Rh 100000:100000 {}", c.rootfs().display()));
    on_a_host(&c, PREPARE, "true").ok().prints(&format!("eth7 {MOVED}"));
    test.nothing_left();
}

#[test]
fn into_a_namespace_that_is_joined() {
    let Some(test) = Test::new().filter(|_| possible()) else {
        return;
    };
    let holder = test.command("unshare").args(["-n", "sleep", "1000"]).spawn();
    let pid = holder.pid();
    let own = namespace_of("self", "net");
    assert!(eventually(|| namespace_of(&pid.to_string(), "net") != own));
    let c = looking(&test, json!({"veth0": {"name": "eth7"}}), |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        let network = namespaces.iter_mut().find(|n| n["type"] == "network").expect("network");
        network["path"] = json!(format!("/proc/{pid}/ns/net"));
    });
    // The namespace outlives the container, and so does the device in it.
    let still_there = format!("nsenter -t {pid} -n ip link show eth7 >/dev/null");
    on_a_host(&c, PREPARE, &still_there)
        .ok()
        .prints(&format!("eth7 {MOVED}"));
    drop(holder);
    test.nothing_left();
}

#[test]
fn a_creation_that_fails_gives_the_devices_back() {
    let Some(test) = Test::new().filter(|_| possible()) else {
        return;
    };
    let back = "ip -o link show veth0 | grep -o 'mtu [0-9]*'; ip -o addr show veth0 | grep -v fe80 | awk '{print $4}'; \
        ip link show veth0 | grep -o ,UP";
    let host = "mtu 1400\n10.1.2.3/24\nfd00::5/64\n,UP";
    for (devices, says) in [
        (
            json!({"veth0": {"name": "eth7"}, "zzz": {}}),
            "linux.netDevices.zzz: cannot find it on the host: no such device",
        ),
        (
            json!({"peer0": {"name": "eth7"}, "veth0": {"name": "lo"}}),
            "linux.netDevices.veth0: cannot move it into the container as \"lo\": file exists",
        ),
    ] {
        let c = looking(&test, devices, |_| ());
        let out = on_a_host(&c, PREPARE, back);
        out.fails(says).prints(host);
    }
    let c = looking(&test, json!({"veth0": {"name": "eth7"}}), |config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    });
    let out = on_a_host(&c, PREPARE, back);
    out.fails("createRuntime").prints(host);
    test.nothing_left();
}
