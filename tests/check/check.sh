#!/usr/bin/env bash
# Rules that a compiler does not check. Prints each offence; exits 1 when there is one.
set -uo pipefail
cd "$(dirname "$0")/../.."
failed=0
fail() { echo "check: $*"; failed=1; }

mapfile -t sources < <(git ls-files '*.cpp' '*.h')

# Formatting.
clang-format-14 --dry-run --Werror "${sources[@]}" >/dev/null 2>&1 ||
  fail "not formatted: $(clang-format-14 --dry-run "${sources[@]}" 2>&1 | grep -oE '^[^:]+' | sort -u | head -5 | tr '\n' ' '); run clang-format-14 -i"

# The folder DAG, read from the table in docs/architecture.md.
python3 tests/check/includes.py "${sources[@]}" || failed=1

# One SPDX line at the top of every source.
for f in "${sources[@]}"; do
  head -1 "$f" | grep -q 'SPDX-License-Identifier: Apache-2.0' || fail "$f: first line is not the SPDX licence line"
done

# ISA objects must not define weak symbols: the linker could keep a copy compiled for a newer CPU for everyone.
for object in $(find build/release/runtime -name '*.o' 2>/dev/null | grep -E 'kernels/(avx2|avx512vnni|amx|neondot)\.cpp\.o'); do
  nm --defined-only "$object" | awk '$2 ~ /^[WVuw]$/' | grep -q . && fail "$object defines weak symbols"
done

# What is always a mistake (.clang-tidy), in the sources of the last commit and of the working tree. Not where LibTorch
# is included: clang 14 cannot read its headers in C++20.
commands=build/release/compile_commands.json
if [[ -f $commands ]]; then
  for f in $({ git diff --name-only --diff-filter=d HEAD; git diff --name-only --diff-filter=d HEAD~1 HEAD; } 2>/dev/null |
    grep '\.cpp$' | sort -u); do
    command=$(grep -F -- "-c $PWD/$f\"" $commands) || continue
    [[ $command != *torch/csrc/api/include* ]] || continue
    objections=$(clang-tidy-14 --quiet -p build/release "$f" 2>/dev/null | grep -E ': error:')
    [[ -z $objections ]] || fail "$f: clang-tidy objects: $objections"
  done
fi

# Nothing that belongs to one machine.
git grep -nE '(/home/|/work/|/root/)[a-z]' -- . ':!tests/check/check.sh' && fail "a path of a machine is committed"

# Nothing that a program left behind.
mapfile -t ignored < <(git ls-files --cached --ignored --exclude-standard)
((${#ignored[@]})) && fail "committed, though .gitignore leaves it out: ${ignored[*]}"

((failed)) || echo "check: ${#sources[@]} sources, all rules hold"
exit $failed
