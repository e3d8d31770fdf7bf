# SPDX-License-Identifier: Apache-2.0
"""Checks every #include "..." against the table of allowed folders in docs/architecture.md, and that heavy dependencies stay
in their homes. usage: includes.py SOURCE..."""
import re
import sys

ROW = re.compile(r"^\| ([a-z/]+) \| ([a-z/ -]+) \|")
HOMES = {  # include prefix -> where it may appear
    "torch/": r"^(models/torch|distill|tests/models_torch|bench)/",
    "ATen/": r"^(models/torch|distill|tests/models_torch|bench)/",
    "Eigen/": r"^(quantizers|pruning|calibration|tests/quantizers|tests/calibration)/.*\.cpp$",
    "hdf5.h": r"^(calibration|formats|tests/calibration|tests/formats)/.*\.cpp$",
    "yaml-cpp/": r"^recipe/(parse|parse_distill|parse_prune|parse_training|device|yaml_reader)\.cpp$",
    "CLI/": r"^cli/",
    "nlohmann/": r"^(formats|models|distill|eval|cli|recipe|tests/.*)/.*\.cpp$",
    "omp.h": r"^core/parallel\.cpp$",
}


def allowed_table():
    table = {}
    for line in open("docs/architecture.md", encoding="utf-8"):
        if match := ROW.match(line):
            folders = match[2].split()
            table[match[1]] = None if folders == ["all"] else {f for f in folders if f != "-"}
    return table


def folder_of(path, table):
    return max((f for f in table if path.startswith(f + "/")), key=len, default=None)


def main():
    table = allowed_table()
    if not table:
        sys.exit("check: docs/architecture.md has no table of allowed includes")
    failed = False
    for path in sys.argv[1:]:
        folder = folder_of(path, table)
        for number, line in enumerate(open(path, encoding="utf-8"), 1):
            if not (match := re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)):
                continue
            name = match[2]
            for prefix, home in HOMES.items():
                if name.startswith(prefix) and not re.match(home, path):
                    print(f"check: {path}:{number}: <{name}> may only be included in {home}")
                    failed = True
            target = folder_of(name, table)
            if match[1] == '"' and folder and target and target != folder:
                permitted = table[folder]
                if permitted is not None and target not in permitted:
                    print(f"check: {path}:{number}: {folder} may not include {target}")
                    failed = True
    sys.exit(failed)


main()
