//! `idmap`, `ridmap` and the mappings of one mount.

use serde_json::{Value, json};

use super::{plan, refused};
use crate::plan::{IdMap, IdMapping, MappedBy};

fn bind(options: &[&str], fields: Value) -> Value {
    let mut mount = json!({"destination": "/data", "type": "bind", "source": "/srv", "options": options});
    super::merge(&mut mount, fields);
    json!({"mounts": [mount]})
}

fn maps() -> Value {
    json!({
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 2}],
        "gidMappings": [{"containerID": 5, "hostID": 6, "size": 7}]
    })
}

fn compiled(options: &[&str], fields: Value) -> Option<IdMap> {
    plan(bind(options, fields)).mounts.remove(0).id_map.map(|map| *map)
}

fn by_maps() -> MappedBy {
    let line = |container_id, host_id, size| IdMapping {
        container_id,
        host_id,
        size,
    };
    MappedBy::Maps {
        uid: vec![line(0, 1000, 2)],
        gid: vec![line(5, 6, 7)],
    }
}

#[test]
fn a_mapping_of_its_own() {
    for (options, recursive) in [
        (&["bind"][..], false),
        (&["rbind", "idmap"], false),
        (&["rbind", "ridmap"], true),
        (&["ridmap", "idmap"], true),
    ] {
        let wanted = IdMap {
            by: by_maps(),
            recursive,
        };
        assert_eq!(compiled(options, maps()), Some(wanted), "{options:?}");
    }
    assert_eq!(compiled(&["bind"], json!({"uidMappings": [], "gidMappings": []})), None);
}

#[test]
fn the_mapping_of_the_container() {
    let mut config = bind(&["idmap"], json!({}));
    let of_container = maps();
    config["linux"] = json!({
        "namespaces": [{"type": "mount"}, {"type": "user"}],
        "uidMappings": of_container["uidMappings"],
        "gidMappings": [{"containerID": 0, "hostID": 6, "size": 7}]
    });
    let id_map = plan(config.clone()).mounts.remove(0).id_map.unwrap();
    let MappedBy::Maps { uid, gid } = id_map.by else {
        panic!("maps")
    };
    assert_eq!((uid[0].host_id, gid[0].host_id), (1000, 6));
    config["linux"]["namespaces"][1]["path"] = json!("/proc/7/ns/user");
    let id_map = plan(config).mounts.remove(0).id_map.unwrap();
    assert_eq!(id_map.by, MappedBy::Namespace("/proc/7/ns/user".into()));
}

#[test]
fn refused_mappings() {
    let without = |field: &str| {
        let mut maps = maps();
        maps.as_object_mut().unwrap().remove(field);
        bind(&["bind"], maps)
    };
    let tmpfs = |fields: Value| {
        let mut mount = json!({"destination": "/t", "type": "tmpfs"});
        super::merge(&mut mount, fields);
        json!({"mounts": [mount]})
    };
    let empty = json!([{"containerID": 0, "hostID": 0, "size": 0}]);
    refused([
        (
            bind(&["idmap"], json!({})),
            "mounts[0].options: an id mapping needs uidMappings and gidMappings, or a user namespace to take them from",
        ),
        (
            without("uidMappings"),
            "mounts[0].uidMappings: must be given together with gidMappings",
        ),
        (
            without("gidMappings"),
            "mounts[0].gidMappings: must be given together with uidMappings",
        ),
        (
            tmpfs(json!({"options": ["ridmap"]})),
            "mounts[0].options: only bind mounts can have an id mapping",
        ),
        (
            tmpfs(maps()),
            "mounts[0].uidMappings: only bind mounts can have an id mapping",
        ),
        (
            bind(&["remount"], maps()),
            "mounts[0].uidMappings: only bind mounts can have an id mapping",
        ),
        (
            bind(&["bind"], json!({"uidMappings": empty, "gidMappings": empty})),
            "mounts[0].uidMappings[0]: size must be greater than zero",
        ),
    ]);
}
