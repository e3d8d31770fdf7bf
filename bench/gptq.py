# SPDX-License-Identifier: Apache-2.0
"""GPTQ INT4 symmetric, one tool after another on the same calibration windows, all measured by `edgeq eval` with float
activations: KL divergence from the float model, wall and processor time and peak memory of quantizing. Processor time does not
depend on what else the machine does.

  python3 bench/gptq.py MODEL_DIR --calibration TEXT --test TEXT --work DIR
      [--gptqmodel PYTHON] [--llmcompressor PYTHON] [--windows 32] [--eval-windows 24] [--group 64]

PYTHON: an interpreter of an environment that has the tool; a tool without one is left out. MODEL_DIR: a Hugging Face folder. Every
tool quantizes the linear layers and leaves the table float.
"""
import argparse
import json
import os
import resource
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
EDGEQ = os.path.join(HERE, "..", "build", "release", "bin", "edgeq")

RECIPE = """title: edgeq GPTQ
calibration: {{windows: {windows}, tokens: 512}}
rules:
  - {{match: "embedding", keep: f32}}
  - {{match: "*", quantizer: gptq, scheme: int4-g{group}-sym}}
"""


def cpu_seconds(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def ours(a):
    recipe, out = os.path.join(a.work, "recipe.yaml"), os.path.join(a.work, "edgeq.packed")
    with open(recipe, "w", encoding="utf-8") as f:
        f.write(RECIPE.format(windows=a.windows, group=a.group))
    start, before = time.time(), cpu_seconds(resource.RUSAGE_CHILDREN)
    subprocess.run([EDGEQ, "quantize", recipe, "--model", a.model, "--calibration", a.calibration, "-o", out, "--overwrite",
                    "--quiet"], check=True)
    # The whole process, from start to file: the peers' seconds leave loading and saving out.
    return out, {"tool": "edgeq", "seconds": time.time() - start, "cpu_seconds": cpu_seconds(resource.RUSAGE_CHILDREN) - before,
                 "peak_rss_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}


def peer(a, tool, python):
    out = os.path.join(a.work, tool)
    text = subprocess.run([python, os.path.join(HERE, "peer_gptq.py"), tool, a.model, a.calibration, str(a.windows), out, "--group",
                           str(a.group)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return out, json.loads(text.strip().splitlines()[-1])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--calibration", required=True)
    p.add_argument("--test", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--gptqmodel")
    p.add_argument("--llmcompressor")
    p.add_argument("--windows", type=int, default=32)
    p.add_argument("--eval-windows", type=int, default=24)
    p.add_argument("--group", type=int, default=64)
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    runs = [ours(a)]
    for tool in ("gptqmodel", "llmcompressor"):
        if getattr(a, tool):
            runs.append(peer(a, tool, getattr(a, tool)))
    print(f"{'tool':14} {'KL mean':>9} {'KL p99':>8} {'top-1':>8} {'perplexity':>11} {'seconds':>8} {'CPU s':>7} {'peak MiB':>9}")
    for path, run in runs:
        q = json.loads(subprocess.run([EDGEQ, "eval", path, "--against", a.model, "--text", a.test, "--windows", str(a.eval_windows),
                                       "--activations", "f32", "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(f"{run['tool']:14} {q['kl_mean']:9.5f} {q['kl_p99']:8.4f} {100 * q['top1_agreement']:7.2f}% {q['perplexity']:11.4f} "
              f"{run['seconds']:8.1f} {run['cpu_seconds']:7.0f} {run['peak_rss_bytes'] / 2**20:9.0f}")


main()
