# SPDX-License-Identifier: Apache-2.0
"""Decode and prefill speed against llama.cpp, both run in turn in one run; medians of several pairs and their ratio.

  python3 bench/llama.py --llama BIN_DIR --theirs MODEL-q4_0.gguf --ours model.packed [--pairs 7] [--threads 2] [--depth 0]
                         [--json FILE]

BIN_DIR holds llama-bench of a native Release build. `theirs` is any GGUF it runs, `ours` any model edgeq-run runs. Decode begins
behind `depth` tokens in both (here behind one at least). The best of all runs is printed beside the medians: under other load it
says more of the programs, the ratio of a pair more than either rate.

GCC 12 miscompiles llama.cpp's AMX tiles (_tile_loadconfig names 8 of the 64 bytes it reads): a native build on such a CPU crashes
until `asm volatile("" ::"r"(&tc) : "memory");` stands before that call in ggml/src/ggml-cpu/amx/mmq.cpp.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys

OURS = os.path.join(os.path.dirname(__file__), "..", "build", "release", "bin", "edgeq-run")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def theirs(a):
    def rate(*what):
        return json.loads(run(os.path.join(a.llama, "llama-bench"), "-m", a.theirs, *what, "-r", "1", "-t", str(a.threads), "-o",
                              "json"))[0]["avg_ts"]
    return {"prefill": rate("-p", str(a.prompt_tokens), "-n", "0"),
            "decode": rate("-p", "0", "-n", str(a.tokens), "-d", str(a.depth))}


def ours(a):
    def bench(prompt, tokens):
        return json.loads(run(OURS, "bench", a.ours, "--prompt-tokens", str(prompt), "--tokens", str(tokens), "--repeats", "1",
                              "--threads", str(a.threads), "--json"))
    prefill, decode = bench(a.prompt_tokens, 1), bench(max(a.depth, 1), a.tokens)
    return {"prefill": prefill["prefill_tokens_per_second"], "decode": decode["decode_tokens_per_second"],
            "bandwidth": decode["decode_bytes_per_second"] / decode["read_bandwidth"],
            "int8_peak": prefill["prefill_multiplies_per_second"] / prefill["int8_peak"], "isa": decode["isa"]}


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        return next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), platform.processor())


def spread(values):
    return f"{statistics.median(values):8.1f} ({min(values):.1f}-{max(values):.1f})"


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--llama", required=True)
    p.add_argument("--theirs", required=True)
    p.add_argument("--ours", required=True)
    p.add_argument("--pairs", type=int, default=7)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--prompt-tokens", type=int, default=512)
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--depth", type=int, default=0)
    p.add_argument("--json")
    a = p.parse_args()
    load = os.getloadavg()[0]
    print(f"{processor()}, {os.cpu_count()} cores, {a.threads} threads, load {load:.1f} before the first run")
    if load > 0.5:
        print("warning: other work is running; read the ratios, not the rates", file=sys.stderr)
    pairs = []
    for i in range(a.pairs):
        # The order changes from pair to pair, so that neither always finds the machine warm.
        first, second = (theirs, ours) if i % 2 else (ours, theirs)
        x, y = first(a), second(a)
        pairs.append((y, x) if i % 2 else (x, y))
        print(f"pair {i + 1}/{a.pairs}: ours {pairs[-1][0]['decode']:.1f}, theirs {pairs[-1][1]['decode']:.1f} tokens/s decode",
              file=sys.stderr)
    result = {"machine": processor(), "threads": a.threads, "isa": pairs[0][0]["isa"], "pairs": pairs}
    print(f"{'':8} {'edgeq (' + pairs[0][0]['isa'] + ')':>26} {'llama.cpp':>26} {'ratio, median of pairs':>24}")
    for phase in ("prefill", "decode"):
        mine, other = [o[phase] for o, _ in pairs], [t[phase] for _, t in pairs]
        ratios = [m / t for m, t in zip(mine, other)]
        result[phase + "_ratio"] = statistics.median(ratios)
        print(f"{phase:8} {spread(mine):>26} {spread(other):>26} {statistics.median(ratios):10.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
              f", of the bests {max(mine) / max(other):.2f}")
    print(f"decode reads {100 * statistics.median(o['bandwidth'] for o, _ in pairs):.0f} % of the measured read bandwidth, prefill's "
          f"matrices take {100 * statistics.median(o['int8_peak'] for o, _ in pairs):.0f} % of the int8 peak")
    print(f"files: {os.path.getsize(a.ours) / 1e6:.1f} MB and {os.path.getsize(a.theirs) / 1e6:.1f} MB")
    if a.json:
        with open(a.json, "w", encoding="utf-8") as out:
            json.dump(result, out, indent=2)


main()
