//! The process: from a file, from standard input, or the container's own with what the command line changes.

use std::fs;

use serde_json::json;

use crate::common::Test;
use crate::{exec, running, script, section, write_section};

#[test]
fn from_a_file_or_a_pipe() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let mut process = section("id -u; id -g; id -G; pwd; echo $A $NUCLEUS_TEST_MARK; umask; ulimit -n; exit 5");
    process["user"] = json!({ "uid": 8, "gid": 9, "additionalGids": [10, 11], "umask": 0o27 });
    process["cwd"] = json!("/tmp");
    process["env"] = json!(["PATH=/bin", "A=b"]);
    process["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "hard": 200, "soft": 100 }]);
    let wanted = "8\n9\n9 10 11\n/tmp\nb\n0027\n100\n";
    let file = write_section(&c, &process);
    let out = c.verb("exec", &["--process", &file]).run().exits(5);
    assert_eq!(out.stdout, wanted);
    let out = c.verb("exec", &["-p", "-"]).stdin(process.to_string()).run().exits(5);
    assert_eq!(out.stdout, wanted);
    // As `--process <(command)` of a shell.
    let fifo = c.bundle.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).expect("mkfifo");
    let run = c.verb("exec", &["--process", fifo.to_str().expect("path")]).spawn();
    fs::write(&fifo, process.to_string()).expect("writing");
    assert_eq!(run.wait().exits(5).stdout, wanted);
}

#[test]
fn flags_count_on_top_of_a_file() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let file = write_section(&c, &section("id -u; pwd; echo $A"));
    let flags = ["--process", &file, "--user", "3", "--cwd", "/etc", "--env", "A=c"];
    c.verb("exec", &flags).run().ok().prints("3\n/etc\nc");
}

#[test]
fn environment_and_working_directory() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| config["process"]["cwd"] = json!("/tmp"));
    script(&c, &[], "pwd; echo $TERM").ok().prints("/tmp\nxterm");
    let flags = ["--cwd", "/etc", "-e", "TERM=dumb", "--env=NEW=a b=c"];
    script(&c, &flags, "pwd; echo $TERM; echo \"$NEW\"")
        .ok()
        .prints("/etc\ndumb\na b=c");
    // HOME is looked up when nobody names it.
    script(&c, &["--user", "1000"], "echo $HOME").ok().prints("/home");
    script(&c, &["--user", "1000", "-e", "HOME=/x"], "echo $HOME")
        .ok()
        .prints("/x");
}

#[test]
fn users_and_groups() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| {
        config["process"]["user"] = json!({ "uid": 5, "gid": 6, "additionalGids": [7] });
    });
    let ids = "id -u; id -g; grep ^Groups: /proc/self/status | xargs";
    script(&c, &[], ids).ok().prints("5\n6\nGroups: 7");
    script(&c, &["--user", "1"], ids).ok().prints("1\n6\nGroups: 7");
    script(&c, &["-u", "1:2", "-g", "8", "--additional-gids", "9"], ids)
        .ok()
        .prints("1\n2\nGroups: 7 8 9");
    script(&c, &["--user=0:0"], ids).ok().prints("0\n0\nGroups: 7");
}

#[test]
fn the_bundle_may_go_but_the_callers_process_needs_it() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let file = write_section(&c, &section("echo there"));
    c.edit(|config| config["process"]["env"] = json!(["PATH=/bin", "CHANGED=yes"]));
    // runc, too, takes it as it is now; it says nothing.
    let out = script(&c, &[], "echo $CHANGED").ok();
    assert_eq!(out.stdout, "yes\n");
    assert!(out.stderr.contains("config.json has changed"), "{out}");
    fs::remove_file(c.bundle.join("config.json")).expect("remove");
    let out = script(&c, &[], "true").exits(255);
    assert!(
        out.stderr.contains("config.json") && out.stderr.contains("--process"),
        "{out}"
    );
    c.verb("exec", &["--process", &file])
        .run()
        .ok()
        .silent()
        .prints("there");
}

#[test]
fn sections_that_cannot_be() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let refused = |text: &str, said: &str| {
        let out = c.verb("exec", &["--process", "-"]).stdin(text).run().exits(255);
        assert!(out.said().contains(said), "{text}: should have said {said:?}: {out}");
        assert_eq!(out.stderr.trim().lines().count(), 1, "one line: {out}");
    };
    refused("", "process");
    refused("[]", "process");
    refused("null", "process: must be a JSON object");
    refused("{}}", "process");
    refused(r#"{},"root":{}"#, "process");
    let mut process = section("true");
    process["args"] = json!([]);
    refused(&process.to_string(), "process.args: must not be empty");
    process = section("true");
    process["cwd"] = json!("tmp");
    refused(&process.to_string(), "process.cwd");
    process = section("true");
    process["rlimits"] = json!([{ "type": "RLIMIT_NONE", "hard": 1, "soft": 1 }]);
    refused(&process.to_string(), "process.rlimits[0].type");
    process = section("true");
    process["env"] = json!(["=x"]);
    refused(&process.to_string(), "process.env[0]");
    let out = c.verb("exec", &["--process", "/nosuch"]).run().exits(255);
    assert!(out.said().contains("no such file or directory"), "{out}");
    let file = write_section(&c, &section("true"));
    let out = exec(&c, &["--process", &file], &["true"]).run().exits(255);
    assert!(out.said().contains("--process"), "{out}");
}
