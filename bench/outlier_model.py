# SPDX-License-Identifier: Apache-2.0
"""Writes a copy of a Llama-like model whose weights carry strong outlier channels, and which computes the same: in every layer some
channels are made 1/FACTOR as large and read FACTOR times as strongly. Rounding to a grid that a group of columns shares breaks on it.

  python3 bench/outlier_model.py MODEL_DIR OUT_DIR [--channels 8] [--factor 64] [--seed 1]

MODEL_DIR is a Hugging Face folder with one model.safetensors (norm gains, v and up rows are the makers; q, k, v, o, gate, up and down
columns the readers). Needs numpy and safetensors; writes f32.
"""
import argparse
import json
import os
import shutil

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("out")
    p.add_argument("--channels", type=int, default=8, help="outliers of every input")
    p.add_argument("--factor", type=float, default=64)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    with open(os.path.join(a.model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    with safe_open(os.path.join(a.model, "model.safetensors"), framework="np") as f:
        tensors = {name: f.get_tensor(name).astype(np.float64) for name in f.keys()}
    draw = np.random.default_rng(a.seed)

    def scale(makers, readers, channels, columns_of):
        for channel in draw.choice(channels, a.channels, replace=False):
            for name in makers:
                tensors[name][channel] /= a.factor
            for name in readers:
                tensors[name][:, columns_of(channel)] *= a.factor

    def heads_of(channel):  # the columns of o that read a row of v
        group, dim = heads // kv_heads, channel % head_dim
        return [(channel // head_dim * group + i) * head_dim + dim for i in range(group)]

    for layer in range(config["num_hidden_layers"]):
        name = lambda part: f"model.layers.{layer}.{part}.weight"
        attention, mlp = [name(f"self_attn.{x}_proj") for x in "qkv"], [name(f"mlp.{x}_proj") for x in ("gate", "up")]
        scale([name("input_layernorm")], attention, config["hidden_size"], lambda c: [c])
        scale([attention[2]], [name("self_attn.o_proj")], kv_heads * head_dim, heads_of)
        scale([name("post_attention_layernorm")], mlp, config["hidden_size"], lambda c: [c])
        scale([mlp[1]], [name("mlp.down_proj")], config["intermediate_size"], lambda c: [c])
    os.makedirs(a.out, exist_ok=True)
    for file in os.listdir(a.model):
        if not file.endswith(".safetensors"):
            shutil.copy(os.path.join(a.model, file), a.out)
    save_file({k: v.astype(np.float32) for k, v in tensors.items()}, os.path.join(a.out, "model.safetensors"), {"format": "pt"})


main()
