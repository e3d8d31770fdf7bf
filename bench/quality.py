# SPDX-License-Identifier: Apache-2.0
"""What each stage of quantizing is worth, and where that leaves edgeq beside llama.cpp: one table from one run, every row measured
by `edgeq eval` on the same tokens, the codes as float weights in the LibTorch engine, against the float model.

  python3 bench/quality.py MODEL_DIR --gguf MODEL_F32.gguf --calibration TEXT --test TEXT --work DIR
      [--llama BIN_DIR] [--gptqmodel PYTHON] [--windows 32] [--eval-windows 16] [--rows REGEX] [--threads 2]

MODEL_DIR is a Hugging Face folder, MODEL_F32.gguf the same model for llama.cpp's tools (llama-imatrix, llama-quantize in BIN_DIR);
their importance matrix is of the same calibration text and as many windows. A row whose result lies in --work already is not made
again. Quantized are the blocks; the table is Q8_0 unless a row says otherwise.
"""
import argparse
import json
import os
import re
import resource
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
EDGEQ = os.path.join(HERE, "..", "build", "release", "bin", "edgeq")

GPTQ = "quantizer: gptq, scheme: {scheme}"
TABLE = "quantizer: rtn, scheme: q8_0"  # as llama.cpp stores it
CORRECTED = GPTQ + ", correct: {{strength: 0.5}}"
REFINED = CORRECTED + ", refine: [polish, refit, polish]"
STAGES = [  # each adds one stage to the one before it, or changes one thing
    ("round to nearest", "quantizer: rtn, scheme: {scheme}"),
    ("scale search, weighted by E(x^2)", "quantizer: rtn, scheme: {scheme}, options: {{search: weighted}}"),
    ("GPTQ, stored order, scales weighted by diag(H)", GPTQ + ", options: {{order: none, scale_weights: hessian}}"),
    ("GPTQ, group order, scales weighted by 1/U^2", GPTQ),
    ("+ correction 0.5, without the residual stream", GPTQ + ", correct: {{strength: 0.5, residual: false}}"),
    ("+ residual stream (the default)", CORRECTED),
    ("correction 1 instead of 0.5", GPTQ + ", correct: {{strength: 1}}"),
    ("damping 0.05 instead of 0.01", GPTQ + ", options: {{damp: 0.05}}, correct: {{strength: 0.5, damp: 0.05}}"),
    ("correction 0.3 instead of 0.5", GPTQ + ", correct: {{strength: 0.3}}"),
    ("stored order", GPTQ + ", options: {{order: none}}, correct: {{strength: 0.5}}"),
    ("scales weighted by diag(H)", GPTQ + ", options: {{scale_weights: hessian}}, correct: {{strength: 0.5}}"),
    ("default + polish", CORRECTED + ", refine: [polish]"),
    ("default + polish, refit, polish", REFINED),
]
SIX = "quantizer: gptq, scheme: int6-g32-s8"
GRIDS = {  # other grids: (blocks, rule, table)
    "default on Q4_0, table of 6 bits by GPTQ": ("q4_0", CORRECTED, SIX),
    "default on IQ4_NL": ("iq4_nl", CORRECTED, TABLE),
    "default on IQ4_NL + polish, refit, polish": ("iq4_nl", REFINED, TABLE),
    "default on iq4nl-g32-s8, table of 6 bits by GPTQ": ("iq4nl-g32-s8", CORRECTED, SIX),
    "default on Q4_1": ("q4_1", CORRECTED, TABLE),
    "default on int4-g64-sym": ("int4-g64-sym", CORRECTED, TABLE),
    "default on int3-g32-sym": ("int3-g32-sym", CORRECTED, TABLE),
    "round to nearest on int3-g64-sym": ("int3-g64-sym", "quantizer: rtn, scheme: {scheme}", TABLE),
    "GPTQ on int3-g64-sym": ("int3-g64-sym", GPTQ, TABLE),
    "default on int3-g64-sym": ("int3-g64-sym", CORRECTED, TABLE),
    "default on int3-g64-asym": ("int3-g64-asym", CORRECTED, TABLE),
    "default on int2-g64-sym": ("int2-g64-sym", CORRECTED, TABLE),
    "default on int2-g64-asym": ("int2-g64-asym", CORRECTED, TABLE),
}


def rows(a):
    """-> [(name, how to make the file from its path without ending, to its path)], in the order of the table."""
    out = [("Q4_0: " + name, lambda stem, rule=rule: ours(a, stem, "q4_0", rule)) for name, rule in STAGES]
    for name, (scheme, rule, table) in GRIDS.items():
        out.append((name, lambda stem, made=(scheme, rule, table): ours(a, stem, *made)))
    if a.llama:
        for kind in ("Q4_0", "IQ4_NL", "Q4_1", "Q3_K_M", "Q2_K"):
            out.append((f"llama.cpp {kind}, imatrix", lambda stem, kind=kind: llama(a, stem, kind)))
    if a.gptqmodel:
        for bits in (4, 3, 2):
            out.append((f"GPTQModel, int{bits}-g64-sym, table float", lambda stem, bits=bits: gptqmodel(a, stem, bits)))
    return [(name, make) for name, make in out if re.search(a.rows, name)]


def ours(a, stem, scheme, rule, table=TABLE):
    with open(stem + ".yaml", "w", encoding="utf-8") as f:
        f.write(f"calibration: {{windows: {a.windows}, tokens: 512}}\nrules:\n"
                f"  - {{match: \"embedding\", {table}}}\n"
                f"  - {{match: \"*\", {rule.format(scheme=scheme)}}}\n")
    gguf = scheme in ("q4_0", "iq4_nl", "q4_1") and table == TABLE  # then the very file that llama.cpp runs is measured
    path, target = (stem + ".gguf", "gguf:" + scheme) if gguf else (stem + ".packed", "packed")
    subprocess.run([EDGEQ, "quantize", stem + ".yaml", "--model", a.model, "--calibration", a.calibration, "--for", target, "-o", path,
                    "--overwrite", "--quiet", "--threads", str(a.threads)], check=True, stdout=subprocess.DEVNULL)
    return path


def llama(a, stem, kind):
    tool = lambda name, *rest: subprocess.run([os.path.join(a.llama, name), *map(str, rest)], check=True,
                                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    imatrix = os.path.join(a.work, "imatrix.gguf")
    if not os.path.exists(imatrix):
        tool("llama-imatrix", "-m", a.gguf, "-f", a.calibration, "-o", imatrix, "--chunks", a.windows, "-c", 512, "-t", a.threads,
             "--no-ppl")
    tool("llama-quantize", "--imatrix", imatrix, "--token-embedding-type", "q8_0", a.gguf, stem + ".gguf", kind, a.threads)
    return stem + ".gguf"


def gptqmodel(a, stem, bits):
    subprocess.run([a.gptqmodel, os.path.join(HERE, "peer_gptq.py"), "gptqmodel", a.model, a.calibration, str(a.windows), stem, "--bits",
                    str(bits), "--threads", str(a.threads)], check=True, stdout=subprocess.DEVNULL)
    return stem


def measure(a, name, make):
    stem = os.path.join(a.work, re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-"))
    result = stem + ".json"
    if os.path.exists(result):
        with open(result, encoding="utf-8") as f:
            return json.load(f)
    start, used = time.time(), resource.getrusage(resource.RUSAGE_CHILDREN)
    path = make(stem)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    row = {"name": name, "seconds": time.time() - start,
           "cpu_seconds": now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime}
    # The same function in another file: a GGUF file's own tokenizer, so that the two agree on their vocabulary.
    reference = a.gguf if name.startswith("llama") else a.model
    row |= json.loads(subprocess.run([EDGEQ, "eval", path, "--against", reference, "--text", a.test, "--windows", str(a.eval_windows),
                                      "--engine", "torch", "--json", "--threads", str(a.threads)],
                                     check=True, stdout=subprocess.PIPE, text=True).stdout)
    with open(result, "w", encoding="utf-8") as f:
        json.dump(row, f)
    return row


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--gguf")
    p.add_argument("--calibration", required=True)
    p.add_argument("--test", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--llama", help="folder of its programs")
    p.add_argument("--gptqmodel", help="a Python that has it")
    p.add_argument("--windows", type=int, default=32)
    p.add_argument("--eval-windows", type=int, default=16)
    p.add_argument("--rows", default="", help="only rows whose name matches")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    print(f"| {'weights of the blocks':56} | MB | KL mean | +- | KL p99 | top-1 | perplexity | CPU s |", flush=True)
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name, make in rows(a):
        r = measure(a, name, make)
        print(f"| {name:56} | {r['file_bytes'] / 1e6:.1f} | {r['kl_mean']:.4f} | {r['kl_standard_error']:.4f} | {r['kl_p99']:.3f} | "
              f"{100 * r['top1_agreement']:.1f} % | {r['perplexity']:.3f} | {r['cpu_seconds']:.0f} |", flush=True)


main()
