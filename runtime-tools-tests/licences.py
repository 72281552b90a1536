#!/usr/bin/env python3
"""Checks every dependency against deny.toml without a network: licence, source, duplicates, banned versions.

Called by all.sh (`make lint`, `make test`), from the top of the repository. Rule: what deny.toml does not allow is an
error that names the crate; an exception that is no longer needed is an error too. It reads the graphs of both lock files
(ours and fuzz/'s) through `cargo metadata --locked`, so it also fails when one does not fit its manifests.
"""
import json
import re
import subprocess
import sys
import tomllib


def licence_ok(expression, allowed):
    """Is the SPDX expression satisfied by allowed licences alone? (`A/B` is the old spelling of `A OR B`.)"""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        ok = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            ok = both() or ok
        return ok

    def both():
        ok = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            ok = one() and ok
        return ok

    def one():
        token = tokens.pop(0)
        if token == "(":
            ok = either()
            tokens.pop(0)
            return ok
        if tokens and tokens[0] == "WITH":
            token += " WITH " + tokens[1]
            del tokens[:2]
        return token in allowed

    return either() and not tokens


def numbers(version):
    return tuple(int(n) for n in re.split(r"[-+]", version)[0].split("."))


def banned(version, requirement):
    """requirement is empty (every version), `<X` or `=X`."""
    if not requirement:
        return True
    bound = numbers(requirement[1:])
    got = numbers(version)[:len(bound)] if requirement[0] == "=" else numbers(version)
    return got < bound if requirement[0] == "<" else got == bound


def check(packages, rules):
    allowed = set(rules["licenses"]["allow"])
    exceptions = {e["crate"]: set(e["allow"]) for e in rules["licenses"]["exceptions"]}
    registries = {"registry+" + r for r in rules["sources"]["allow-registry"]}
    skip = {s["crate"]: False for s in rules["bans"]["skip"]}
    versions = {}
    for package in packages:
        name = f'{package["name"]} {package["version"]}'
        if not licence_ok(package["license"] or "none", allowed | exceptions.get(package["name"], set())):
            yield f'{name}: licence {package["license"] or package["license_file"]}'
        if package["source"] is None:
            continue  # ours
        if package["source"] not in registries:
            yield f'{name}: comes from {package["source"]}'
        versions.setdefault(package["name"], []).append(package["version"])
        for rule in rules["bans"]["deny"]:
            crate, _, requirement = rule["crate"].partition(":")
            if crate == package["name"] and banned(package["version"], requirement):
                yield f'{name}: {rule["reason"]}'
    for name, found in versions.items():
        if len(found) > 1:
            if name not in skip:
                yield f'{name}: {len(found)} versions: {", ".join(found)}'
            skip[name] = True
    for name, used in skip.items():
        if not used:
            yield f"{name}: deny.toml skips it, but it has not two versions"


def self_test():
    for expression, want in [("MIT", True), ("GPL-3.0", False), ("MIT/GPL-3.0", True), ("(MIT OR GPL-3.0) AND ISC", True),
                             ("MIT AND (GPL-3.0 OR AGPL-3.0)", False), ("Apache-2.0 WITH LLVM-exception", False)]:
        assert licence_ok(expression, {"MIT", "ISC"}) is want, expression
    assert banned("0.22.9", "<0.23") and not banned("0.23.0", "<0.23") and banned("1.0.0", "") and banned("1.2.3", "=1.2")


def main():
    self_test()
    with open("deny.toml", "rb") as file:
        rules = tomllib.load(file)
    count, problems = 0, []
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"]:
        locked = ["--locked", "--manifest-path", manifest]
        subprocess.run(["cargo", "fetch", "--quiet", *locked], check=True)
        metadata = subprocess.run(["cargo", "metadata", "--offline", "--format-version=1", *locked],
                                  check=True, capture_output=True, text=True)
        packages = json.loads(metadata.stdout)["packages"]
        count += len(packages)
        problems += [f"{manifest}: {problem}" for problem in check(packages, rules)]
    for problem in problems:
        print(problem)
    print(f"{count} packages, {len(problems)} problems")
    return 1 if problems else 0


sys.exit(main())
