# SPDX-License-Identifier: Apache-2.0
"""Speed of training: tokens/s of `edgeq distill` against PyTorch with transformers, the same student after the same teacher with the
same loss, sequences and optimizer on the same cores and in the same arithmetic, in turn; medians.

  python3 bench/train.py MODEL_DIR --text TEXT [--length 512] [--batch 4] [--steps 3] [--rounds 5] [--arithmetic bf16] [--threads 2]
      [--edgeq build/release/bin/edgeq ...]    # several builds, such as one on another LibTorch

Needs torch, transformers. PyTorch runs in a process of its own each time, as edgeq does; its sequences go through the model together or
one by one, whichever was faster in a first comparison (--peer says which without it); its optimizer is the fused AdamW. Loading is not
counted; all steps are, on both sides the first one as well, which is slower on both.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def edgeq_speed(a, binary, work):
    recipe = os.path.join(work, "speed.yaml")
    with open(recipe, "w", encoding="utf-8") as f:
        json.dump({"teacher": os.path.abspath(a.model), "student": {"model": os.path.abspath(a.model)},
                   "data": {"texts": os.path.abspath(a.text), "length": a.length, "held_out": 0},
                   "train": {"tokens": a.steps * a.batch * a.length, "batch": a.batch, "rate": 1e-5, "arithmetic": a.arithmetic,
                             "save_minutes": 1e6}}, f)
    output = os.path.join(work, "student")
    done = subprocess.run([binary, "distill", recipe, "-o", output, "--overwrite", "--json", "--quiet", "--threads", str(a.threads)],
                          check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["tokens_per_second"]


def torch_speed(a, together):
    command = [sys.executable, os.path.abspath(__file__), a.model, "--text", a.text, "--length", str(a.length), "--batch", str(a.batch),
               "--steps", str(a.steps), "--arithmetic", a.arithmetic, "--threads", str(a.threads), "--torch-child",
               "together" if together else "single"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)["tokens_per_second"]


def torch_child(a):
    import torch
    import torch.nn.functional as F
    import transformers
    torch.set_num_threads(a.threads)
    tokenizer = transformers.AutoTokenizer.from_pretrained(a.model)
    with open(a.text, encoding="utf-8") as f:
        ids = torch.tensor(tokenizer(f.read(1 << 20))["input_ids"])

    def model():
        return transformers.AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
    teacher, student = model().eval(), model().train()
    if a.arithmetic == "bf16":
        teacher = teacher.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5, weight_decay=0.01, fused=True)
    seconds, at = [], 0
    for _ in range(a.steps):
        batch = ids[at:at + a.batch * a.length].view(a.batch, a.length)
        at += a.batch * a.length
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        for part in [batch] if a.torch_child == "together" else batch.split(1):
            with torch.no_grad():
                p = F.log_softmax(teacher(part).logits[:, :-1].float(), -1)
            with torch.autocast("cpu", torch.bfloat16, enabled=a.arithmetic == "bf16"):
                logits = student(part).logits[:, :-1]
            q = F.log_softmax(logits.float(), -1)
            loss = F.kl_div(q, p, reduction="sum", log_target=True) / (a.batch * (a.length - 1))
            loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"tokens_per_second": a.steps * a.batch * a.length / sum(seconds), "version": torch.__version__}))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--text", required=True)
    p.add_argument("--length", type=int, default=512)
    p.add_argument("--batch", type=int, default=4)
    p.add_argument("--steps", type=int, default=3)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--arithmetic", choices=("f32", "bf16"), default="bf16")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--edgeq", nargs="+", default=[os.path.join(HERE, "..", "build", "release", "bin", "edgeq")])
    p.add_argument("--peer", choices=("together", "single"))
    p.add_argument("--torch-child", choices=("together", "single"), help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.torch_child:
        torch_child(a)
        return
    together = a.peer == "together" if a.peer else torch_speed(a, True) > torch_speed(a, False)
    ratios = {binary: [] for binary in a.edgeq}
    print(f"| {' | '.join(a.edgeq)} | PyTorch ({'together' if together else 'one by one'}) | ratio |")
    for _ in range(a.rounds):
        with tempfile.TemporaryDirectory() as work:
            ours = {binary: edgeq_speed(a, binary, work) for binary in a.edgeq}
        peer = torch_speed(a, together)
        for binary, speed in ours.items():
            ratios[binary].append(speed / peer)
        print(f"| {' | '.join(f'{s:.0f}' for s in ours.values())} | {peer:.0f} | {', '.join(f'{s / peer:.2f}' for s in ours.values())} |",
              flush=True)
    for binary, found in ratios.items():
        print(f"{binary}: median {statistics.median(found):.2f} x PyTorch, {min(found):.2f} to {max(found):.2f}, {len(found)} rounds, "
              f"{a.arithmetic}")


if __name__ == "__main__":
    main()
