"""The libraries that are linked into the program, from Cargo's own account."""
import json
import subprocess


def account(triple):
    """What `cargo metadata` says for a target: packages and nodes by their ids, and the id of the program."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", triple]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    return packages, nodes, metadata["resolve"]["root"]


def below(one, packages, nodes):
    """What a package is linked with: neither tests' nor builds' dependencies, nor what only runs in the compiler."""
    for dependency in nodes[one]["deps"]:
        kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
        is_macro = any("proc-macro" in target["kind"] for target in packages[dependency["pkg"]]["targets"])
        if None in kinds and not is_macro:
            yield dependency["pkg"]


def crates(packages, nodes, root):
    """All that is linked, without the program itself, by name and version."""
    linked, waiting = set(), [root]
    while waiting:
        one = waiting.pop()
        if one not in linked:
            linked.add(one)
            waiting.extend(below(one, packages, nodes))
    linked.discard(root)
    return sorted((packages[one] for one in linked), key=lambda crate: (crate["name"], crate["version"]))
