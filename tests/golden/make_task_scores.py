# SPDX-License-Identifier: Apache-2.0
"""Log-probabilities of the choices in tasks/items.jsonl by transformers, the way of lm-evaluation-harness.

Writes tasks/expected.json: of each item the sums over the tokens of each choice, and by them and by their share of a
character (len of the Python string) the choice that wins. One forward pass in F32 for each choice, nothing shared.

  python tests/golden/make_task_scores.py      # torch 2.15, transformers 5.23; about 5 s
"""
import json
import pathlib

import torch
import transformers

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parent.parent / "configs/models/tiny-llama"

tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()


def encode(text):
    return tokenizer.encode(text, add_special_tokens=False)


def encode_pair(context, continuation):
    stripped = context.rstrip()
    continuation, context = context[len(stripped):] + continuation, stripped
    if not context:
        return [tokenizer.bos_token_id], encode(continuation)
    whole, begin = encode(context + continuation), encode(context)
    return begin, whole[len(begin):]


def log_probability(context, choice):
    apart = not context or context[-1].isspace() or choice[0].isspace()
    before, after = encode_pair(context, choice if apart else " " + choice)
    with torch.no_grad():
        logits = model(torch.tensor([before + after])).logits[0].double()
    rows = torch.log_softmax(logits[len(before) - 1:-1], dim=-1)
    return float(rows[torch.arange(len(after)), torch.tensor(after)].sum())


def best(values):
    return max(range(len(values)), key=lambda i: values[i])


expected = []
for line in (HERE / "tasks/items.jsonl").read_text().splitlines():
    if not line.strip():
        continue
    item = json.loads(line)
    pairs = ([(c, item["continuation"]) for c in item["context_options"]] if "context_options" in item
             else [(item["query"], c) for c in item["choices"]])
    sums = [log_probability(*pair) for pair in pairs]
    expected.append({"log_probabilities": sums, "best": best(sums),
                     "best_norm": best([s / len(choice) for s, (_, choice) in zip(sums, pairs)])})
(HERE / "tasks/expected.json").write_text("[\n" + ",\n".join(json.dumps(e) for e in expected) + "\n]\n")
