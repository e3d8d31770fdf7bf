#!/bin/sh
# Checks the bundle that this script lies in, and runs it: checksums, processor, the tokens of a fixed prompt against
# manifest.json, speed and memory.
#   sh check.sh                  on the device
#   sh check.sh --adb [SERIAL]   from a computer: copies the bundle to an Android phone and checks it there
#   EDGEQ_EMULATOR=qemu-aarch64 sh check.sh   runs the program through an emulator; the processor is not checked
set -eu
cd "$(dirname "$0")"

fail() { echo "check.sh: $*" >&2; exit 1; }
value() { sed -n "s/^  \"$1\": //p" manifest.json | sed 's/,$//; s/^"//; s/"$//'; }

case "${1:-}" in
  "") ;;
  --adb)
    command -v adb >/dev/null || fail "adb is not installed (on Debian: apt install adb)"
    [ $# -lt 2 ] || export ANDROID_SERIAL="$2"
    folder=/data/local/tmp/edgeq
    adb shell "rm -rf $folder && mkdir -p $folder"
    adb push manifest.json model.packed edgeq-run check.sh "$folder/"
    exec adb shell "cd $folder && sh check.sh"
    ;;
  *) echo "usage: sh check.sh [--adb [SERIAL]]" >&2; exit 2 ;;
esac

sums=$(sed -n 's/^ *"\([^"]*\)": "\([0-9a-f]\{64\}\)",\{0,1\}$/\2  \1/p' manifest.json)
[ -n "$sums" ] || fail "manifest.json holds no checksums"
echo "$sums" | sha256sum -c - >/dev/null 2>&1 || fail "a file differs from manifest.json: $(echo "$sums" | sha256sum -c - 2>&1 | grep -v ': OK$' | head -n 1)"
echo "checksums   hold"

architecture=$(value architecture)
if [ -n "${EDGEQ_EMULATOR:-}" ]; then
  echo "processor   emulated by $EDGEQ_EMULATOR"
else
  machine=$(uname -m)
  [ "$machine" = "$architecture" ] || fail "this machine is $machine; the program is for $architecture"
  for feature in $(value features); do
    grep -qw "$feature" /proc/cpuinfo || fail "this processor lacks $feature, which $(value device) has"
  done
  echo "processor   $architecture with $(value features)"
fi

EDGEQ_ISA=$(value kernels)
export EDGEQ_ISA
threads=$(value threads)
edgeq_run() { ${EDGEQ_EMULATOR:-} ./edgeq-run "$@"; }

expected=$(value tokens)
count=$(echo "$expected" | wc -w)
if [ "$count" -gt 0 ]; then
  found=$(edgeq_run run model.packed --prompt "$(value prompt)" --tokens "$count" --greedy --ids --threads "$threads") ||
    fail "edgeq-run failed"
  [ "$found" = "$expected" ] || fail "tokens differ from manifest.json: found $found, expected $expected"
  echo "tokens      the $count of the manifest"
else
  echo "tokens      not compared: the model decides none clearly"
fi

edgeq_run bench model.packed --prompt-tokens 32 --tokens 32 --repeats 1 --threads "$threads" || fail "edgeq-run failed"
echo "expected    $(value decode_tokens_per_second_expected) tokens/s, at most $(value decode_tokens_per_second_bound), at half of $(value context) tokens of context; $(value peak_memory_bytes) bytes at the end of it"
