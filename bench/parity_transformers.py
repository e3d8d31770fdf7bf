# SPDX-License-Identifier: Apache-2.0
"""Holds an engine's logits to those of transformers in F32.

  python bench/parity_transformers.py                                   # random models of every variant of the family
  python bench/parity_transformers.py --model FOLDER --text FILE        # a real checkpoint, first 512 tokens of a text
  ... --engine torch|runtime  --tool build/release/bin/dump_logits  --tokens 512

Prints, per model, the largest difference of a logit as a part of the largest logit and, for a text, both perplexities;
exits 1 when a difference exceeds the bound. Needs torch, transformers, safetensors.
"""
import argparse
import importlib.util
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

BOUND = 1e-4
ROOT = pathlib.Path(__file__).resolve().parent.parent
# Wider and longer than the golden models: several slices per product, several tiles of queries, tails everywhere.
WIDE = dict(vocab_size=301, hidden_size=288, intermediate_size=424, num_hidden_layers=3, num_attention_heads=9,
            num_key_value_heads=3)


def golden_module():
    spec = importlib.util.spec_from_file_location("make_logits", ROOT / "tests/golden/make_logits.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_model(golden, folder: pathlib.Path, config_class: str, changes: dict, seed: int):
    changes = {k: v for k, v in changes.items() if k not in ("num_attention_heads", "num_key_value_heads")}
    if "head_dim" in changes:
        changes["head_dim"] = 48
    if "sliding_window" in changes:
        changes["sliding_window"] = 100
    config = getattr(transformers, config_class)(**{**golden.BASE, **WIDE, "max_position_embeddings": 1024, **changes})
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.float32).eval()
    golden.randomize(model, torch.Generator().manual_seed(seed))
    text = json.loads(config.to_json_string(use_diff=False))
    text["architectures"] = [type(model).__name__]
    (folder / "config.json").write_text(json.dumps(text))
    save_file({n: p.detach().contiguous() for n, p in model.named_parameters()}, folder / "model.safetensors")
    return model


def engine_logits(args, folder: pathlib.Path, tokens: torch.Tensor, scratch: pathlib.Path) -> np.ndarray:
    tokens.numpy().astype("<i4").tofile(scratch / "tokens.i32")
    subprocess.run([args.tool, args.engine, folder, scratch / "tokens.i32", scratch / "logits.f32"], check=True)
    return np.fromfile(scratch / "logits.f32", dtype="<f4").reshape(len(tokens), -1)


def perplexity(logits: np.ndarray, tokens: torch.Tensor) -> float:
    log_p = torch.log_softmax(torch.from_numpy(logits[:-1]).double(), -1)
    return math.exp(-log_p.gather(1, tokens[1:, None].long()).mean().item())


def compare(name: str, got: np.ndarray, expected: np.ndarray) -> bool:
    relative = np.abs(got - expected).max() / np.abs(expected).max()
    print(f"{name:24} largest |difference| / largest |logit| = {relative:.2e}")
    return relative <= BOUND


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", default=ROOT / "build/release/bin/dump_logits")
    parser.add_argument("--engine", choices=["torch", "runtime"], default="torch")
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=512)
    args = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as temp, torch.no_grad():
        scratch = pathlib.Path(temp)
        if args.model:
            model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
            tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
            ids = tokenizer(args.text.read_text(), add_special_tokens=False)["input_ids"][:args.tokens]
            tokens = torch.tensor(ids)
            expected = model(tokens[None]).logits[0].numpy()
            got = engine_logits(args, args.model, tokens, scratch)
            good = compare(args.model.name, got, expected)
            print(f"perplexity over {len(ids)} tokens: transformers {perplexity(expected, tokens):.6f}, "
                  f"{args.engine} {perplexity(got, tokens):.6f}")
        else:
            golden = golden_module()
            for seed, (name, (config_class, changes)) in enumerate(golden.VARIANTS.items()):
                folder = scratch / name
                folder.mkdir()
                model = random_model(golden, folder, config_class, changes, seed)
                tokens = torch.randint(0, WIDE["vocab_size"], (args.tokens,), generator=torch.Generator().manual_seed(9))
                expected = model(tokens[None]).logits[0].numpy()
                good &= compare(name, engine_logits(args, folder, tokens, scratch), expected)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
