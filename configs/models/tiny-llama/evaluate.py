"""Measures tiny-llama as it is and rounded to nearest, and lets it write: the tables of this folder's README.

    python3 evaluate.py [--model .] [--text heldout.txt]

Protocol: non-overlapping windows of 512 tokens, no BOS, the second half of each window scored. KL is the mean of
KL(float || rounded) in nats per scored token, top-1 the share of tokens whose most likely successor is unchanged.
Only the linear layers of the blocks are rounded; the embedding, which is also the head, stays float.
"""
import argparse
import math
import os

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

WINDOW = 512
SCHEMES = [  # bits, weights a group (0: a whole row), symmetric
    (8, 0, True), (4, 32, True), (4, 64, True), (4, 32, False), (4, 64, False), (4, 0, True),
    (3, 32, True), (3, 64, True), (3, 64, False), (2, 32, False),
]


def round_to_nearest(weight, bits, group, symmetric):
    """The nearest point of the grid spanned by each group's extremes; symmetric codes use all 2^bits levels."""
    x = weight.view(-1, group or weight.shape[1])
    half = 2 ** (bits - 1)
    if symmetric:
        scale = x.abs().amax(1, keepdim=True) / (half - 0.5)
        rounded = (x / scale).round().clamp(-half, half - 1) * scale
    else:
        low, high = x.amin(1, keepdim=True).clamp(max=0), x.amax(1, keepdim=True).clamp(min=0)
        scale = (high - low) / (2**bits - 1)
        zero = (-low / scale).round()
        rounded = ((x / scale + zero).round().clamp(0, 2**bits - 1) - zero) * scale
    return rounded.view_as(weight)


@torch.no_grad()
def log_probabilities(model, windows):
    return [torch.log_softmax(model(w[None]).logits[0, WINDOW // 2 : -1], -1) for w in windows]


def perplexity(log_probs, windows):
    losses = [-p.gather(1, w[WINDOW // 2 + 1 :, None]) for p, w in zip(log_probs, windows)]
    return math.exp(torch.cat(losses).mean())


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=here)
    parser.add_argument("--text", default=os.path.join(here, "heldout.txt"))
    parser.add_argument("--prompt", default="Elizabeth was")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)

    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    ids = torch.tensor(tokenizer(open(args.text, encoding="utf-8").read(), add_special_tokens=False)["input_ids"])
    windows = ids[: len(ids) // WINDOW * WINDOW].view(-1, WINDOW)
    reference = log_probabilities(model, windows)
    print(f"{len(ids)} tokens, {len(windows)} windows\n")
    print("| weights | perplexity | KL | top-1 % |\n| --- | ---: | ---: | ---: |")
    print(f"| float | {perplexity(reference, windows):.3f} | | |")

    linears = [m.weight for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n != "lm_head"]
    originals = [w.detach().clone() for w in linears]
    for scheme in SCHEMES:
        with torch.no_grad():
            for weight, original in zip(linears, originals):
                weight.copy_(round_to_nearest(original, *scheme))
        rounded = log_probabilities(model, windows)
        kl = torch.cat([(p.exp() * (p - q)).sum(1) for p, q in zip(reference, rounded)]).mean()
        top = torch.cat([(p.argmax(1) == q.argmax(1)).float() for p, q in zip(reference, rounded)]).mean()
        bits, group, symmetric = scheme
        name = f"int{bits} {f'g{group}' if group else 'per row'} {'sym' if symmetric else 'asym'}"
        print(f"| {name} | {perplexity(rounded, windows):.3f} | {kl:.4f} | {100 * top:.1f} |", flush=True)
    with torch.no_grad():
        for weight, original in zip(linears, originals):
            weight.copy_(original)

    prompt = tokenizer(args.prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    for temperature in (0, 0.7):
        how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        written = model.generate(prompt, max_new_tokens=100, pad_token_id=1, **how)
        print(f"\ntemperature {temperature}: {tokenizer.decode(written[0])}")


if __name__ == "__main__":
    main()
