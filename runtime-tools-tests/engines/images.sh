#!/usr/bin/env bash
# Makes the image of the engine tests, localhost/busybox:latest, as a docker-archive that `podman load`, `docker load` and
# `ctr image import` all take: images.sh FILE [NAME COMMAND...] (another name, which runs another command than `sh`). Called
# by the engine scripts and for the virtual machine.
# Rule: no registry and no tool of an engine is needed; tar, sha256sum and jq do it.
set -euo pipefail
out=$(realpath -m "${1:?usage: images.sh FILE [NAME COMMAND...]}")
name=${2:-localhost/busybox}
shift $(($# < 2 ? $# : 2))
[ $# -gt 0 ] || set -- sh
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$(dirname "$0")/../bundle.sh" --rootfs "$dir/rootfs"
mkdir "$dir/image"
cd "$dir/image"
tar -C ../rootfs --numeric-owner --sort=name --mtime=@0 -cf layer.tar .
arch=$(dpkg --print-architecture)
jq -n --arg diff "sha256:$(sha256sum layer.tar | cut -d' ' -f1)" --arg arch "$arch" '{
    architecture: $arch, os: "linux", created: "1970-01-01T00:00:00Z",
    config: { Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "FROM_IMAGE=yes"],
              Cmd: $ARGS.positional, WorkingDir: "/" },
    rootfs: { type: "layers", diff_ids: [$diff] }, history: [{ created: "1970-01-01T00:00:00Z" }] }' --args -- "$@" >config.json
id=$(sha256sum config.json | cut -d' ' -f1)
mv config.json "$id.json"
jq -n --arg c "$id.json" --arg tag "$name:latest" '[{ Config: $c, RepoTags: [$tag], Layers: ["layer.tar"] }]' >manifest.json
tar --numeric-owner -cf "$dir/out.tar" manifest.json "$id.json" layer.tar
mv "$dir/out.tar" "$out"
