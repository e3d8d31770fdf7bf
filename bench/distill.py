# SPDX-License-Identifier: Apache-2.0
"""What a teacher is worth to a student, in means over seeds with their standard errors.

  python3 bench/distill.py MODEL_DIR --work DIR [--what plain,traces] [--seeds 3] [--texts TRAIN.txt --held-out TEXT] [--threads 2]

plain   A random student of half of MODEL_DIR's layers and two thirds of its width, trained on the same tokens in the same order with
        the model as its teacher and without: loss on held-out text.
traces  Word problems of two to four steps (made here, MODEL_DIR gives only the tokenizer and the family). A teacher is trained on worked
        solutions; it writes traces for other problems, of which those are kept whose answer is right; a smaller student is trained on
        them, and the same student on the answers of the same problems alone, for as many tokens: exact match on new problems.

What lies in --work already is not made again, and a killed training goes on.
"""
import argparse
import json
import math
import os
import random
import statistics
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
EDGEQ = os.path.join(HERE, "..", "build", "release", "bin", "edgeq")
THINGS = ("apples", "books", "coins", "eggs", "shells", "stones", "cards", "pens")
NAMES = (("Anna", "She"), ("Tom", "He"), ("Mary", "She"), ("John", "He"), ("Ruth", "She"), ("Paul", "He"))


def problem(rng):
    """A story of two to four steps -> prompt, worked solution, answer."""
    name, pronoun = rng.choice(NAMES)
    thing = rng.choice(THINGS)
    have = rng.randint(2, 20)
    story, work = [f"{name} has {have} {thing}."], []
    for _ in range(rng.randint(2, 4)):
        kinds = ["find", "bags"] + (["lose"] if have > 2 else []) + (["double"] if have <= 40 else []) + \
            (["half"] if have % 2 == 0 and have > 2 else [])
        kind = rng.choice(kinds)
        if kind == "find":
            n = rng.randint(2, 20)
            story.append(f"{pronoun} finds {n} more.")
            work.append(f"{have} + {n} = {have + n}.")
            have += n
        elif kind == "lose":
            n = rng.randint(1, min(20, have - 1))
            story.append(f"{pronoun} gives {n} away.")
            work.append(f"{have} - {n} = {have - n}.")
            have -= n
        elif kind == "double":
            story.append(f"{pronoun} gets as many again.")
            work.append(f"{have} + {have} = {2 * have}.")
            have *= 2
        elif kind == "half":
            story.append(f"{pronoun} loses half of them.")
            work.append(f"{have} / 2 = {have // 2}.")
            have //= 2
        else:
            bags, each = rng.randint(2, 5), rng.randint(2, 9)
            story.append(f"{pronoun} buys {bags} bags of {each}.")
            work.append(f"{bags} * {each} = {bags * each}. {have} + {bags * each} = {have + bags * each}.")
            have += bags * each
    return {"prompt": " ".join(story) + f" How many {thing} are there?\n", "trace": " ".join(work), "answer": str(have)}


def write_problems(path, count, seed, seen, fields=("prompt", "trace", "answer")):
    """So many problems that are not in `seen`."""
    rng, lines = random.Random(seed), []
    while len(lines) < count:
        made = problem(rng)
        if made["prompt"] in seen:
            continue
        seen.add(made["prompt"])
        lines.append(json.dumps({f: made[f] for f in fields}))
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def train(a, name, recipe):
    """-> the report of the training of --work/name."""
    output = os.path.join(a.work, name)
    if not os.path.exists(output + ".report.json"):
        with open(output + ".yaml", "w", encoding="utf-8") as f:
            json.dump(recipe, f, indent=1)
        subprocess.run([EDGEQ, "distill", output + ".yaml", "-o", output, "--overwrite", "--threads", str(a.threads)], check=True,
                       stdout=subprocess.DEVNULL)
    with open(output + ".report.json", encoding="utf-8") as f:
        return json.load(f)


def traces(a, model, prompts, options):
    """-> the counts of `edgeq traces`."""
    command = [EDGEQ, "traces", os.path.join(a.work, model), "--prompts", prompts, "--parallel", "32", "--tokens", "160", "--json",
               "--quiet", "--threads", str(a.threads), *options]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def figure(values):
    spread = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.4f} +- {spread:.4f}"


def shape_of(model):
    with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
        return json.load(f)


def plain(a):
    config = shape_of(a.model)
    heads = max(1, config["num_attention_heads"] * 2 // 3)
    kv = math.gcd(heads, config.get("num_key_value_heads", heads))
    width = config["hidden_size"] * 2 // 3 // 32 * 32
    student = {"layers": max(1, config["num_hidden_layers"] // 2), "hidden": width, "heads": heads, "kv_heads": kv, "init": "random"}
    kinds = {"without a teacher": ["cross_entropy"], "forward KL": ["forward_kl"],
             "both, half and half": [{"forward_kl": {"weight": 0.5}}, {"cross_entropy": {"weight": 0.5}}]}
    print("| student | held-out loss | seeds | tokens |\n| --- | ---: | --- | ---: |")
    for kind, losses in kinds.items():
        found = []
        for seed in range(1, a.seeds + 1):
            data = {"texts": os.path.abspath(a.texts), "held_out_texts": os.path.abspath(a.held_out), "length": 256}
            report = train(a, f"plain-{kind.replace(' ', '-').replace(',', '')}-{seed}",
                           {"teacher": os.path.abspath(a.model), "student": student, "data": data, "losses": losses,
                            "train": {"tokens": a.tokens, "batch": 8, "rate": 1e-3, "looks": 10, "seed": seed}})
            found.append(report["heldout"][report["kept"]]["log_loss"])
        print(f"| {kind} | {figure(found)} | {', '.join(f'{v:.4f}' for v in found)} | {report['tokens']} |", flush=True)


def arithmetic(a):
    path = {name: os.path.join(a.work, name + ".jsonl") for name in ("learned", "prompts", "answers", "test", "traces")}
    seen = set()
    write_problems(path["learned"], a.problems, 1, seen)
    write_problems(path["prompts"], a.prompts, 2, seen, ("prompt", "answer"))
    write_problems(path["test"], 500, 3, seen, ("prompt", "answer"))
    shape = {"layers": 4, "hidden": 256, "heads": 8, "kv_heads": 8, "head_dim": 32, "ffn": 704, "init": "random"}
    small = {"layers": 3, "hidden": 128, "heads": 4, "kv_heads": 4, "head_dim": 32, "ffn": 352, "init": "random"}

    def recipe(student, source, tokens, seed):
        return {"teacher": os.path.abspath(a.model), "student": student, "losses": ["cross_entropy"],
                "data": {"traces": source, "length": 256, "held_out": 0.02},
                "train": {"tokens": tokens, "batch": 16, "rate": 2e-3, "looks": 10, "seed": seed}}

    def exact(model):
        score = traces(a, model, path["test"], ["--temperature", "0"])
        return score["exact_match"]

    train(a, "teacher", recipe(shape, path["learned"], a.teacher_tokens, 1))
    print(f"teacher: exact match {exact('teacher'):.3f}", flush=True)
    if not os.path.exists(path["traces"]):
        print(json.dumps(traces(a, "teacher", path["prompts"], ["--samples", "1", "--temperature", "0.7", "-o", path["traces"]])))
    # The answers of the problems whose traces were kept.
    with open(path["traces"], encoding="utf-8") as kept, open(path["answers"], "w", encoding="utf-8") as f:
        for line in kept:
            one = json.loads(line)
            f.write(json.dumps({"prompt": one["prompt"], "answer": one["answer"]}) + "\n")
    print("| student | exact match | seeds |\n| --- | ---: | --- |")
    for kind in ("traces", "answers"):
        found = []
        for seed in range(1, a.seeds + 1):
            name = f"student-{kind}-{seed}"
            train(a, name, recipe(small, path[kind], a.tokens, seed))
            found.append(exact(name))
        print(f"| on {kind} | {figure(found)} | {', '.join(f'{v:.3f}' for v in found)} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--work", required=True)
    p.add_argument("--what", default="plain,traces", type=lambda text: text.split(","))
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--texts")
    p.add_argument("--held-out")
    p.add_argument("--tokens", type=int, default=400000, help="that each student is trained on")
    p.add_argument("--teacher-tokens", type=int, default=3000000, help="that the teacher of word problems is trained on")
    p.add_argument("--problems", type=int, default=20000, help="with solutions, for the teacher")
    p.add_argument("--prompts", type=int, default=8000, help="that the teacher solves for students")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    a.work = os.path.abspath(a.work)
    if "plain" in a.what:
        if not a.texts or not a.held_out:
            p.error("plain needs --texts and --held-out")
        plain(a)
    if "traces" in a.what:
        arithmetic(a)


if __name__ == "__main__":
    main()
