# SPDX-License-Identifier: Apache-2.0
"""Speed and peak memory of `edgeq export` and `edgeq convert`, on a model of Llama-2-7B's shape with random codes.

  ./dev bench export WORK_DIR [--scheme int4-g32-sym] [--layers 32] [--only NAME ...]

Needs about three times the model's bytes in WORK_DIR, of which the packed model is kept for the next run. MB/s are bytes of the source
over the seconds of the whole process: checksums, writing, and reading every weight back. Peak memory is the process's ru_maxrss, in
which mapped pages count. Models of this size are not run after they are written.
"""
import argparse
import os
import shutil
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.path.join(HERE, "..", "build", "release", "bin")
TOKENIZER = os.path.join(HERE, "..", "configs", "models", "tiny-llama")
# name, command, source, output; each reads what is there by then.
RUNS = [
    ("packed -> gguf", "export", "model.packed", "gguf", "model.gguf"),
    ("gguf -> packed", "convert", "model.gguf", "packed", "again.packed"),
    ("packed -> gptq", "export", "model.packed", "gptq", "model-gptq"),
    ("gptq -> gguf", "convert", "model-gptq", "gguf", "again.gguf"),
    ("gptq -> packed", "convert", "model-gptq", "packed", "again.packed"),
    ("packed -> awq", "export", "model.packed", "awq", "model-awq"),
    ("packed -> compressed-tensors", "export", "model.packed", "compressed-tensors", "model-ct"),
    ("packed -> hdf5", "export", "model.packed", "hdf5", "model.h5"),
]


def bytes_of(path):
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def measured(command):
    """Seconds, processor seconds and peak bytes of a child."""
    start = time.time()
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {child.returncode}")
    return time.time() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("work")
    p.add_argument("--scheme", default="int4-g32-sym")
    p.add_argument("--layers", type=int, default=32)
    p.add_argument("--only", nargs="+", choices=[run[0] for run in RUNS])
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    packed = os.path.join(a.work, "model.packed")
    if not os.path.exists(packed):
        subprocess.run([os.path.join(BIN, "synthetic_packed"), TOKENIZER, packed, a.scheme, str(a.layers)], check=True)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"{'':28} {'source MB':>10} {'written MB':>11} {'seconds':>8} {'CPU s':>7} {'MB/s':>7} {'peak MB':>8}", flush=True)
    runs = [run for run in RUNS if not a.only or run[0] in a.only]
    written = []
    try:
        for i, (name, command, source, target, output) in enumerate(runs):
            source, output = os.path.join(a.work, source), os.path.join(a.work, output)
            remove(output)
            written.append(output)
            wall, cpu, peak = measured([os.path.join(BIN, "edgeq"), command, source, "--to", target, "-o", output])
            size = bytes_of(source)
            print(f"{name:28} {size / 1e6:10.0f} {bytes_of(output) / 1e6:11.0f} {wall:8.1f} {cpu:7.1f} {size / 1e6 / wall:7.0f} "
                  f"{peak / 1e6:8.0f}", flush=True)
            still_read = {os.path.join(a.work, run[2]) for run in runs[i + 1:]}
            for path in written:
                if path not in still_read:
                    remove(path)
    finally:
        for path in written:
            remove(path)


main()
