#!/usr/bin/env python3
"""Writes the bill of materials: what the program is linked with, each library with its licence, checksum and dependencies.

Usage: sbom.py TARGET-TRIPLE FILE, in the folder of Cargo.toml. The form is CycloneDX 1.5, JSON. The same sources make the same
file: its time is SOURCE_DATE_EPOCH, its number is made from its content.
"""
import datetime
import json
import os
import pathlib
import sys
import tomllib
import uuid

import linked

triple, file = sys.argv[1], pathlib.Path(sys.argv[2])
packages, nodes, root = linked.account(triple)
lock = tomllib.loads(pathlib.Path("Cargo.lock").read_text())["package"]
checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock}


def reference(crate):
    return f"pkg:cargo/{crate['name']}@{crate['version']}"


def component(crate, kind):
    out = {"type": kind, "bom-ref": reference(crate), "name": crate["name"], "version": crate["version"]}
    if crate["description"]:
        out["description"] = " ".join(crate["description"].split())
    checksum = checksums[(crate["name"], crate["version"])]
    if checksum:
        out["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if crate["license"]:
        # An older way to write "or".
        out["licenses"] = [{"expression": crate["license"].replace("/", " OR ")}]
    out["purl"] = reference(crate)
    if crate["repository"]:
        out["externalReferences"] = [{"type": "vcs", "url": crate["repository"]}]
    return out


crates = linked.crates(packages, nodes, root)
bom = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.5",
    "version": 1,
    "metadata": {"component": component(packages[root], "application")},
    "components": [component(crate, "library") for crate in crates],
    "dependencies": [
        {
            "ref": reference(crate),
            "dependsOn": sorted({reference(packages[one]) for one in linked.below(crate["id"], packages, nodes)}),
        }
        for crate in [packages[root], *crates]
    ],
}
bom["metadata"]["properties"] = [{"name": "cargo:target", "value": triple}]
bom["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(bom, sort_keys=True)).urn
seconds = os.environ.get("SOURCE_DATE_EPOCH")
if seconds:
    bom["metadata"]["timestamp"] = datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc).isoformat()
file.write_text(json.dumps(bom, indent=1) + "\n")
