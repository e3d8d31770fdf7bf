# SPDX-License-Identifier: Apache-2.0
"""What 8-bit weights and 8-bit activations cost: one table from one run. Weight-only rows are measured by the LibTorch engine on the
dequantized codes, the others by the integer kernels of the runtime, all against the float model in LibTorch on the same tokens.

  ./dev bench int8 MODEL_DIR --calibration TEXT --test TEXT --work DIR [--windows 16] [--eval-windows 8] [--rows REGEX]

MODEL_DIR is a Hugging Face folder. The table stays f16 where activations have one scale per token or a static one (engines that load such files keep it
so), and is Q8_0 elsewhere. A row whose result lies in --work already is not made again. With --four the rows are those of 4-bit
weights instead, which show what transforms are worth on a model with outlier channels (bench/outlier_model.py).
"""
import argparse
import json
import os
import re
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
EDGEQ = os.path.join(HERE, "..", "build", "release", "bin", "edgeq")

RTN, GPTQ = "quantizer: rtn, scheme: int8-channel-sym", "quantizer: gptq, scheme: int8-channel-sym"
CORRECTED = GPTQ + ", correct: {strength: 0.5}"
SMOOTH = "transforms: [smooth]\n"
FLOAT, BLOCK, TOKEN, STATIC = "f32", "int8_block", "int8_token", "int8_static"
ROTATED = "transforms: [rotate, {smooth: {alpha: 0.6}}]\n"
EIGHT = [  # (name, head of the recipe, rule of the blocks, activations when it is measured and, where they differ, calibrated)
    ("W8: round to nearest", "", RTN, FLOAT),
    ("W8: GPTQ", "", GPTQ, FLOAT),
    ("W8: GPTQ, corrected", "", CORRECTED, FLOAT),
    ("W8: round to nearest, smooth", SMOOTH, RTN, FLOAT),
    ("W8: GPTQ, corrected, smooth", SMOOTH, CORRECTED, FLOAT),
    ("W8A8 per 32: round to nearest", "", RTN, BLOCK),
    ("W8A8 per 32: GPTQ, corrected", "", CORRECTED, BLOCK),
    ("W8A8 per 32: round to nearest, smooth", SMOOTH, RTN, BLOCK),
    ("W8A8 per 32: GPTQ, corrected, smooth", SMOOTH, CORRECTED, BLOCK),
    ("W8A8 per 32: the same, calibrated on rounded activations", SMOOTH, CORRECTED, BLOCK, BLOCK),
    ("W8A8 per token: round to nearest", "", RTN, TOKEN),
    ("W8A8 per token: round to nearest, smooth", SMOOTH, RTN, TOKEN),
    ("W8A8 per token: GPTQ, corrected, smooth", SMOOTH, CORRECTED, TOKEN),
    ("W8A8 per token: the same, calibrated on rounded activations", SMOOTH, CORRECTED, TOKEN, TOKEN),
    ("W8A8 per token: w8a8", ROTATED, CORRECTED, TOKEN, TOKEN),
    *((f"W8A8 static, {observer}{': w8a8-static' if observer == 'mse' else ''}", ROTATED, CORRECTED, STATIC,
       f"{STATIC}, observer: {observer}") for observer in ("minmax", "percentile", "entropy", "mse")),
]
RTN4, GPTQ4 = "quantizer: rtn, scheme: int4-g64-asym", "quantizer: gptq, scheme: int4-g64-asym, correct: {strength: 0.5}"
SEARCHED, AWQ = RTN4 + ", options: {search: weighted}", "transforms: [awq]\n"
FOUR = [
    ("W4: round to nearest", "", RTN4, FLOAT),
    ("W4: round to nearest, smooth", SMOOTH, RTN4, FLOAT),
    ("W4: round to nearest, awq, search by E(x^2): int4-awq", AWQ, SEARCHED, FLOAT),
    ("W4: GPTQ, corrected", "", GPTQ4, FLOAT),
    ("W4: GPTQ, corrected, smooth", SMOOTH, GPTQ4, FLOAT),
]


def slug(name):
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def measure(a, name, head, rule, activations, inputs=FLOAT):
    table = "keep: f16" if activations in (TOKEN, STATIC) else "quantizer: rtn, scheme: q8_0"
    recipe = (f"{head}calibration: {{windows: {a.windows}, tokens: 512, inputs: {inputs}}}\nrules:\n"
              f"  - {{match: \"embedding\", {table}}}\n  - {{match: \"*\", {rule}}}\n")
    result = os.path.join(a.work, slug(name) + ".json")
    if os.path.exists(result):
        with open(result, encoding="utf-8") as f:
            return json.load(f)
    stem = os.path.join(a.work, slug(f"{head} {inputs} {table} {rule}"))  # rows that measure one file differently share it
    if not os.path.exists(stem + ".packed"):
        with open(stem + ".yaml", "w", encoding="utf-8") as f:
            f.write(recipe)
        subprocess.run([EDGEQ, "quantize", stem + ".yaml", "--model", a.model, "--calibration", a.calibration, "-o", stem + ".packed",
                        "--quiet"], check=True, stdout=subprocess.DEVNULL)
    engine = ["--engine", "torch"] if activations == FLOAT else ["--against-engine", "torch", "--activations", activations]
    out = subprocess.run([EDGEQ, "eval", stem + ".packed", "--against", a.model, "--text", a.test, "--windows", str(a.eval_windows),
                          "--json", *engine], check=True, stdout=subprocess.PIPE, text=True).stdout
    with open(result, "w", encoding="utf-8") as f:
        f.write(out)
    return json.loads(out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--calibration", required=True)
    p.add_argument("--test", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--windows", type=int, default=16)
    p.add_argument("--eval-windows", type=int, default=8)
    p.add_argument("--rows", default="", help="only rows whose name matches")
    p.add_argument("--four", action="store_true", help="4-bit weights")
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    print(f"| {'blocks':60} | MB | KL mean | +- | KL p99 | top-1 | perplexity |", flush=True)
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name, head, rule, activations, *inputs in FOUR if a.four else EIGHT:
        if not re.search(a.rows, name):
            continue
        r = measure(a, name, head, rule, activations, *inputs)
        print(f"| {name:60} | {r['file_bytes'] / 1e6:.1f} | {r['kl_mean']:.5f} | {r['kl_standard_error']:.5f} | {r['kl_p99']:.3f} | "
              f"{100 * r['top1_agreement']:.1f} % | {r['perplexity']:.3f} |", flush=True)


main()
