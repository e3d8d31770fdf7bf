# SPDX-License-Identifier: Apache-2.0
"""Tiny random models, one per variant of the family, with the logits that transformers computes for them in F32.

Writes next to itself, per variant, a folder with config.json, model.safetensors (BF16, so the weights are exact) and
expected.safetensors: `tokens` I32 [n] and `logits` F32 [n, vocab]. Both engines are held to these without Python.

  python tests/golden/make_logits.py [VARIANT ...]      # torch 2.15, transformers 5.23, safetensors
"""
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

VOCAB, TOKENS = 48, 24
# Head size 8 (the default hidden/heads) unless said otherwise; a feed-forward width that no vector width divides.
BASE = dict(vocab_size=VOCAB, hidden_size=32, intermediate_size=14, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=True,
            bos_token_id=1, eos_token_id=2, pad_token_id=None)
LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 128}
PHI3 = dict(head_dim=8, rope_parameters={
    "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
    "short_factor": [1.0, 1.25, 1.5], "long_factor": [1.5, 3.0, 9.0]})
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
    "gemma2": ("Gemma2Config", dict(
        head_dim=12, query_pre_attn_scalar=12, sliding_window=7, attn_logit_softcapping=5.0,
        final_logit_softcapping=8.0)),
    "gemma3": ("Gemma3TextConfig", dict(
        head_dim=12, query_pre_attn_scalar=12, sliding_window=7,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 3.0, "rope_theta": 5000.0},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}})),
    # 24 tokens in a context of 20: the long factors; in one of 64: the short ones.
    "phi3-long": ("Phi3Config", dict(tie_word_embeddings=False, original_max_position_embeddings=20, **PHI3)),
    "phi4-mini-short": ("Phi3Config", dict(original_max_position_embeddings=64, sliding_window=11, **PHI3)),
    "phi4": ("Phi3Config", dict(tie_word_embeddings=False)),
    "olmo2": ("Olmo2Config", dict(tie_word_embeddings=False)),
    "granite": ("GraniteConfig", dict(
        embedding_multiplier=3.0, attention_multiplier=0.2, residual_multiplier=0.4, logits_scaling=1.7)),
    "stablelm": ("StableLmConfig", dict(
        tie_word_embeddings=False, head_dim=None, use_qkv_bias=True, layer_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5})),
    "stablelm-parallel": ("StableLmConfig", dict(
        tie_word_embeddings=False, use_parallel_residual=True, layer_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.25})),
    "gpt-neox": ("GPTNeoXConfig", dict(
        tie_word_embeddings=False, hidden_act="gelu", layer_norm_eps=1e-5, attention_bias=True,
        use_parallel_residual=True,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.25})),
    "gpt-neox-sequential": ("GPTNeoXConfig", dict(
        tie_word_embeddings=False, hidden_act="gelu_fast", layer_norm_eps=1e-5, attention_bias=False,
        use_parallel_residual=False,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 1.0})),
    "gpt2": ("GPT2Config", dict(
        n_embd=32, n_layer=2, n_head=4, n_inner=14, n_positions=32, layer_norm_epsilon=1e-5,
        activation_function="gelu_new")),
    "gemma3-scaled": ("Gemma3TextConfig", dict(head_dim=12, query_pre_attn_scalar=20, sliding_window=64)),
}
# Keys of the architectures' own, with which a config.json is written; BASE's apply where the class knows them.
GPT2_KEYS = {"n_embd", "n_layer", "n_head", "n_inner", "n_positions", "layer_norm_epsilon", "activation_function"}
OWN_KEYS = {"hidden_activation", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping",
            "original_max_position_embeddings", "embedding_multiplier", "attention_multiplier",
            "residual_multiplier", "logits_scaling", "use_qkv_bias", "use_parallel_residual", "layer_norm_eps",
            "partial_rotary_factor", "rotary_pct", "rotary_emb_base"} | GPT2_KEYS
# Written the way transformers 4 wrote it, as most published checkpoints have it: rope_theta and rope_scaling.
OLD_STYLE = {"llama-rope-llama3", "mistral-window", "qwen2", "phi4-mini-short", "stablelm", "gpt-neox"}


# Gemma multiplies its table by sqrt(hidden), Granite by embedding_multiplier.
TABLE_SCALE = {"Gemma2ForCausalLM": 0.18, "Gemma3ForCausalLM": 0.18, "GraniteForCausalLM": 0.33}


def randomize(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Weights large enough that attention is far from uniform, rounded to BF16."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("bias"):
                value = 0.3 * noise
            elif "norm" in name or ".ln_" in name:
                value = (0 if "Gemma" in type(model).__name__ else 1) + 0.3 * noise
            elif "embed" in name or "lm_head" in name or ".wte" in name:
                value = noise * TABLE_SCALE.get(type(model).__name__, 1)
            elif ".wpe" in name:
                value = 0.5 * noise
            else:  # GPT-2 keeps its matrices as [in, out]
                value = noise * (1.5 / p.shape[0 if "GPT2" in type(model).__name__ else 1] ** 0.5)
            p.copy_(value.to(torch.bfloat16).to(torch.float32))


def make(folder: pathlib.Path, config_class: str, changes: dict, seed: int) -> None:
    base = BASE
    if config_class == "GPT2Config":
        base = {k: v for k, v in BASE.items() if k in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
    config = getattr(transformers, config_class)(**{**base, **changes})
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
            "rope_parameters", "rope_theta", "use_sliding_window", "layer_types", *BASE, *OWN_KEYS}
    text = {k: v for k, v in text.items() if k in keep and v is not None}
    text["architectures"] = [type(model).__name__]
    text["dtype"] = "bfloat16"
    if folder.name in OLD_STYLE:
        rope = text.pop("rope_parameters")
        neox = text["model_type"] == "gpt_neox"
        text["torch_dtype"] = text.pop("dtype")
        text["rotary_emb_base" if neox else "rope_theta"] = rope.pop("rope_theta")
        if "partial_rotary_factor" in rope:
            text["rotary_pct" if neox else "partial_rotary_factor"] = rope.pop("partial_rotary_factor")
        if text["model_type"] == "phi3":  # beside rope_scaling
            rope.pop("original_max_position_embeddings", None)
        text["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    (folder / "config.json").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")
    # By the names that published checkpoints have.
    names = {"gpt_neox": ("lm_head", "embed_out"), "gpt2": ("transformer.", "")}.get(text["model_type"], ("", ""))
    weights = {n.replace(*names): p.to(torch.bfloat16).contiguous() for n, p in model.named_parameters()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({"tokens": tokens.to(torch.int32), "logits": logits.contiguous()}, folder / "expected.safetensors")
    print(f"{folder.name}: largest logit {logits.abs().max():.3f}")


if __name__ == "__main__":
    here = pathlib.Path(__file__).resolve().parent
    (here / "logits").mkdir(exist_ok=True)
    for seed, (name, (config_class, changes)) in enumerate(VARIANTS.items()):
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make(here / "logits" / name, config_class, changes, seed)
