# SPDX-License-Identifier: Apache-2.0
"""What pruning costs: every score at one share of heads, the curve from 0 to 60 % of them, channels and blocks; each row plain and
compensated and, with --heal, healed on so many tokens, on the same text, from the reports of `edgeq prune --prove`.

  python3 bench/prune.py MODEL_DIR --calibration TEXT --test TEXT --work DIR
      [--what scores,curve,ffn,blocks] [--windows 16] [--eval-windows 12] [--heal 50000] [--tasks F.jsonl --limit 200] [--threads 2]

A row whose report lies in --work already is not made again, and a healing that was stopped goes on; the pruned folders are removed but for their reports.
"""
import argparse
import json
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
EDGEQ = os.path.join(HERE, "..", "build", "release", "bin", "edgeq")
SCORES = ("obs", "taylor", "gate", "flap", "wanda", "magnitude")


def heads_of(model):
    with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    heads = config["num_attention_heads"]
    return heads, config.get("num_key_value_heads", heads)


def curve(model):
    """Shares up to 60 % that leave as many query heads on every KV head that stays."""
    heads, kv = heads_of(model)
    group = heads // kv
    left = sorted({k * g for k in range(1, kv + 1) for g in range(1, group + 1)} - {heads}, reverse=True)
    return [(heads - n) / heads for n in left if (heads - n) / heads <= 0.601]


def jobs(a):
    """-> [(name, options of `edgeq prune`)]"""
    out = []
    if "scores" in a.what:
        out += [(f"heads 33 %, {score}", ["--heads", "0.33", "--score", score]) for score in SCORES]
    if "curve" in a.what:
        out += [(f"heads {100 * share:.0f} %, obs", ["--heads", f"{share:.4f}"]) for share in curve(a.model)]
        out.append(("heads 33 %, whole KV groups, obs", ["--heads", "0.33", "--groups"]))
    if "ffn" in a.what:
        out += [(f"channels 25 %, {score}", ["--ffn", "0.25", "--score", score]) for score in a.scores]
    if "blocks" in a.what:
        out += [(f"blocks 20 %, {score}", ["--blocks", "0.2", "--block-score", score]) for score in ("influence", "taylor")]
    return out


def measure(a, name, options):
    stem = os.path.join(a.work, "".join(c if c.isalnum() else "-" for c in name))
    if not os.path.exists(stem + ".report.json"):
        command = [EDGEQ, "prune", a.model, *options, "--calibration", a.calibration, "--windows", str(a.windows), "--prove", a.test,
                   "--prove-windows", str(a.eval_windows), "--threads", str(a.threads), "--overwrite", "--quiet", "-o", stem]
        if a.heal:
            command += ["--heal", str(a.heal)]
        for task in a.tasks:
            command += ["--tasks", task, "--limit", str(a.limit)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(stem)
    with open(stem + ".report.json", encoding="utf-8") as f:
        return json.load(f)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--calibration", required=True)
    p.add_argument("--test", required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--what", default="scores,curve,ffn,blocks", type=lambda text: text.split(","))
    p.add_argument("--scores", default="obs,flap", type=lambda text: text.split(","), help="of the rows of channels")
    p.add_argument("--windows", type=int, default=16)
    p.add_argument("--eval-windows", type=int, default=12)
    p.add_argument("--heal", type=int, default=0, help="tokens")
    p.add_argument("--tasks", nargs="*", default=[])
    p.add_argument("--limit", type=int, default=200)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    print("| what | weights | plain: KL | perplexity | compensated: KL | perplexity | ratio of KL | seconds |"
          + (" healed: KL | perplexity | seconds |" if a.heal else ""))
    print("| --- |" + " ---: |" * (10 if a.heal else 7))
    for name, options in jobs(a):
        report = measure(a, name, options)
        rows = {row["name"]: row for row in report["rows"]}
        plain, made, last, weights = rows["plain cut"], rows["cut, compensated"], report["rows"][-1], report["pruning"]["weights"]
        tasks = "".join(f"; {t['task']}: {100 * rows['float']['tasks'][i]['accuracy_norm']:.1f} -> {100 * t['accuracy_norm']:.1f} %"
                        for i, t in enumerate(last.get("tasks", [])))
        print(f"| {name}{tasks} | {100 * (weights['after'] / weights['before'] - 1):+.1f} % | {plain['kl_mean']:.4f} | "
              f"{plain['perplexity']:.2f} | {made['kl_mean']:.4f} | {made['perplexity']:.2f} | "
              f"{made['kl_mean'] / plain['kl_mean']:.2f} | {made['seconds']:.0f} |"
              + (f" {last['kl_mean']:.4f} | {last['perplexity']:.2f} | {last['seconds']:.0f} |" if a.heal else ""), flush=True)


if __name__ == "__main__":
    main()
