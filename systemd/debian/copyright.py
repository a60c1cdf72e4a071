#!/usr/bin/env python3
"""Writes the package's copyright file, and the licences of all libraries that are linked in.

Usage: copyright.py TARGET-TRIPLE FOLDER, in the folder of Cargo.toml.
"""
import pathlib
import sys

import linked

triple, folder = sys.argv[1], pathlib.Path(sys.argv[2])
crates = linked.crates(*linked.account(triple))

missing = [crate["name"] for crate in crates if not crate["license"] and not crate["license_file"]]
if missing:
    sys.exit(f"copyright.py: these name no licence: {', '.join(missing)}")

folder.mkdir(parents=True, exist_ok=True)
lines = [
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
    "Upstream-Name: fieldgate",
    "Comment: The program is linked with the Rust libraries below. The texts of their licences are in",
    " third-party-licenses.gz beside this file.",
]
lines += [f" {crate['name']} {crate['version']}: {crate['license'] or 'see its text'}" for crate in crates]
lines += [
    "",
    "Files: *",
    "Copyright: 2026 the fieldgate authors",
    "License: Apache-2.0",
    "",
    "License: Apache-2.0",
    " On Debian systems the full text of the Apache License, Version 2.0 is in",
    " /usr/share/common-licenses/Apache-2.0.",
    "",
]
(folder / "copyright").write_text("\n".join(lines))

# Each text once, under the names of all that have it.
texts = {}
for crate in crates:
    place = pathlib.Path(crate["manifest_path"]).parent
    for file in sorted(place.iterdir()):
        name = file.name.lower()
        if file.is_file() and name.startswith(("license", "licence", "copying", "copyright", "notice", "unlicense")):
            text = file.read_text(errors="replace").strip()
            texts.setdefault(text, []).append(f"{crate['name']} {crate['version']} ({file.name})")
parts = ["\n".join(names) + "\n" + "-" * 80 + "\n" + text + "\n" for text, names in texts.items()]
(folder / "third-party-licenses").write_text(("\n" + "=" * 80 + "\n").join(parts))
