# SPDX-License-Identifier: Apache-2.0
"""Makes gguf_blocks.safetensors: random blocks of each GGUF encoding and their values by the gguf package.

    pip install gguf==0.19.0 numpy==2.4.6 safetensors==0.8.0
    python tests/golden/make_gguf_blocks.py

For each encoding E: "E.blocks" U8 [blocks, bytes of a block] and "E.values" F32 [blocks, weights of a block].
"""
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize
from safetensors.numpy import save_file

# Where a block keeps its half-precision numbers; every other byte may be anything.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "IQ4_NL": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}

random = np.random.default_rng(20240511)
tensors = {}
for name, halves in HALVES.items():
    weights, size = GGML_QUANT_SIZES[Type[name]]
    count = 6 if weights == 32 else 2
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for at in halves:
        numbers = random.normal(0, 0.05, count).astype(np.float16)
        if at == 0:
            numbers[0] = np.float16(3e-6)  # a subnormal half
        blocks[:, at:at + 2] = numbers.view(np.uint8).reshape(count, 2)
    values = dequantize(blocks, Type[name]).astype(np.float32)
    tensors[f"{name}.blocks"] = blocks
    tensors[f"{name}.values"] = values.reshape(count, weights)
save_file(tensors, Path(__file__).with_name("gguf_blocks.safetensors"))
