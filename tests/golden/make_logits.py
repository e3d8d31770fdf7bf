# SPDX-License-Identifier: Apache-2.0
"""Tiny random models, one per variant of the family, with the logits that transformers computes for them in F32.

Writes next to itself, per variant, a folder with config.json, model.safetensors (BF16, so the weights are exact) and
expected.safetensors: `tokens` I32 [n] and `logits` F32 [n, vocab]. Both engines are held to these without Python.

  python tests/golden/make_logits.py            # torch, transformers, safetensors
"""
import json
import pathlib

import torch
import transformers
from safetensors.torch import save_file

VOCAB, TOKENS = 48, 24
# Head size 8 (the default hidden/heads) unless said otherwise; a feed-forward width that no vector width divides.
BASE = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=14, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=True,
            bos_token_id=1, eos_token_id=2)
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 128}
VARIANTS = {
    "llama": ("LlamaConfig", {}),
    "llama-rope-llama3": ("LlamaConfig", dict(rope_parameters=LLAMA3_ROPE, max_position_embeddings=1024)),
    "llama-untied-linear": ("LlamaConfig", dict(
        tie_word_embeddings=False, attention_bias=True, mlp_bias=True, num_key_value_heads=4,
        rope_parameters={"rope_type": "linear", "rope_theta": 500.0, "factor": 2.5})),
    "mistral-window": ("MistralConfig", dict(
        sliding_window=9, head_dim=16, num_attention_heads=2, num_key_value_heads=1)),
    "qwen2": ("Qwen2Config", dict(rms_norm_eps=1e-6)),
    "qwen3": ("Qwen3Config", dict(head_dim=12, rms_norm_eps=1e-6)),
}
# Written the way transformers 4 wrote it, as most published checkpoints have it: rope_theta and rope_scaling.
OLD_STYLE = {"llama-rope-llama3", "mistral-window", "qwen2"}


def randomize(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights large enough that attention is far from uniform, rounded to BF16."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name:
                value = 1 + 0.3 * noise
            elif name.endswith("bias"):
                value = 0.3 * noise
            elif "embed" in name or "lm_head" in name:
                value = noise
            else:
                value = noise * (1.5 / p.shape[1] ** 0.5)
            p.copy_(value.to(torch.bfloat16).to(torch.float32))


def make(folder: pathlib.Path, config_class: str, changes: dict, seed: int) -> None:
    config = getattr(transformers, config_class)(**{**BASE, **changes})
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    randomize(model, generator)
    tokens = torch.randint(0, VOCAB, (TOKENS,), generator=generator)
    with torch.no_grad():
        logits = model(tokens[None]).logits[0]

    folder.mkdir(exist_ok=True)
    text = json.loads(config.to_json_string(use_diff=False))
    keep = {"architectures", "model_type", "hidden_act", "head_dim", "sliding_window", "attention_bias", "mlp_bias",
            "rope_parameters", "rope_theta", "use_sliding_window", "layer_types", *BASE}
    text = {k: v for k, v in text.items() if k in keep and v is not None}
    text["architectures"] = [type(model).__name__]
    text["dtype"] = "bfloat16"
    if folder.name in OLD_STYLE:
        rope = text.pop("rope_parameters")
        text["torch_dtype"] = text.pop("dtype")
        text["rope_theta"] = rope.pop("rope_theta")
        text["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    (folder / "config.json").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")
    weights = {n: p.to(torch.bfloat16).contiguous() for n, p in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({"tokens": tokens.to(torch.int32), "logits": logits.contiguous()}, folder / "expected.safetensors")
    print(f"{folder.name}: largest logit {logits.abs().max():.3f}")


if __name__ == "__main__":
    here = pathlib.Path(__file__).resolve().parent
    (here / "logits").mkdir(exist_ok=True)
    for seed, (name, (config_class, changes)) in enumerate(VARIANTS.items()):
        make(here / "logits" / name, config_class, changes, seed)
