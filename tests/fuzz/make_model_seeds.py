# SPDX-License-Identifier: Apache-2.0
"""Writes the named seeds of corpus/config, corpus/packed and corpus/coded: small valid files and hostile ones. Files with other names in those
folders were found by fuzzing. The packed seeds carry no valid checksum: the fuzzer opens them with and without verifying.

    python tests/fuzz/make_model_seeds.py
"""
import json
import struct

from make_container_seeds import F32, STRING, U32, gguf, info, safetensors, tensor, text, write


LLAMA = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "vocab_size": 100, "intermediate_size": 96,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5, "rope_theta": 1e5, "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False,
}
LLAMA3 = {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8192}


def all_configs():
    put = lambda name, content: write("config", name, content if isinstance(content, bytes) else json.dumps(content).encode())
    changed = lambda **more: {**LLAMA, **more}
    put("llama", LLAMA)
    put("llama3", changed(rope_scaling=LLAMA3))
    put("linear", changed(rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 5e3}))
    put("yarn", changed(rope_scaling={"type": "yarn", "factor": 4.0}))
    put("mistral", changed(architectures=["MistralForCausalLM"], sliding_window=32))
    put("qwen2", changed(architectures=["Qwen2ForCausalLM"], use_sliding_window=True, sliding_window=16, max_window_layers=1))
    put("qwen3", changed(architectures=["Qwen3ForCausalLM"], layer_types=["full_attention"] * 2))
    put("quantized", changed(quantization_config={"bits": 4}))
    put("heads-zero", changed(num_attention_heads=0))
    put("layers-huge", changed(num_hidden_layers=2**62))
    put("largest", changed(hidden_size=2**20, vocab_size=2**24, intermediate_size=2**22, num_hidden_layers=4096,
                           num_attention_heads=2**14, num_key_value_heads=2**14, head_dim=2**14))
    put("integer-wraps", changed(vocab_size=2**64 - 1))
    put("number-overflows", json.dumps(LLAMA).replace("1e-05", "1e999").encode())
    put("nulls", {key: None for key in LLAMA})
    put("deep", b'{"architectures": ["LlamaForCausalLM"], "hidden_size": ' + b"[" * 400)
    put("own", OWN)
    put("own-window-negative", {**OWN, "layers": [{**OWN["layers"][0], "window": -1}]})
    put("gguf", gguf_model({}))
    put("gguf-heads-zero", gguf_model({"llama.attention.head_count": 0}))
    put("gguf-layers-huge", gguf_model({"llama.block_count": 2**32 - 1}))


OWN = {"family": "qwen3", "name": "own", "hidden": 32, "vocab": 2, "context": 16,
       "layers": [{"heads": 1, "kv_heads": 1, "head_dim": 2, "ffn": 32, "window": 0}], "rms_epsilon": 1e-6,
       "rope_theta": 10000.0, "rope_divisors": [1.5], "tied_head": True, "qkv_bias": True, "o_bias": False,
       "mlp_bias": False, "qk_norm": True}


def gguf_model(changes):
    values = {"llama.context_length": 16, "llama.embedding_length": 8, "llama.block_count": 1, "llama.feed_forward_length": 8,
              "llama.attention.head_count": 2, "llama.attention.head_count_kv": 1, **changes}
    pairs = [text(b"general.architecture") + struct.pack("<I", STRING) + text(b"llama"),
             text(b"llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", F32, 1e-5)]
    pairs += [text(key.encode()) + struct.pack("<II", U32, value) for key, value in values.items()]
    body = b"".join(pairs) + info(b"token_embd.weight", [8, 3], 0, 0)
    head = gguf(1, len(pairs), body)
    return head + bytes(-len(head) % 32) + bytes(8 * 3 * 4)


def packed(spoil=lambda weights, parts, metadata: None):
    """The model of OWN: the table in F16, the linear layers under several schemes."""
    linear = {"attn.q_proj": (2, 32), "attn.k_proj": (2, 32), "attn.v_proj": (2, 32), "attn.o_proj": (32, 2),
              "mlp.gate_proj": (32, 32), "mlp.up_proj": (32, 32), "mlp.down_proj": (32, 32)}
    schemes = {"int4-channel-sym": 256 + 64, "int8-g32-sym": 512 + 64, "int3-g32-asym": 192 + 64 + 64,
               "int2-g32-offset": 128 + 64 + 64}
    weights = {"embedding": {"dtype": "F16", "rows": 2, "cols": 32}}
    parts = {"embedding": ("U8", [1, 1024]), "final_norm": ("F32", [32]), "tokenizer": ("U8", [64])}
    for i, (part, (rows, cols)) in enumerate(linear.items()):
        scheme = "int4-channel-sym" if cols % 32 else list(schemes)[i % len(schemes)]
        weights["layers.0." + part] = {"scheme": scheme, "rows": rows, "cols": cols}
        parts["layers.0." + part] = ("U8", [-(-rows // 16), schemes[scheme]])
    for part, size in {"attn_norm": 32, "mlp_norm": 32, "attn.q_norm": 2, "attn.k_norm": 2, "attn.q_proj.bias": 2,
                       "attn.k_proj.bias": 2, "attn.v_proj.bias": 2}.items():
        parts["layers.0." + part] = ("F32", [size])
    metadata = {"edgeq": "1", "layout": "r16k4", "provenance": "{}", "checksum": ""}
    spoil(weights, parts, metadata)
    metadata = {**metadata, "config": json.dumps(OWN), "weights": json.dumps(weights),
                "hashes": json.dumps(dict.fromkeys(parts, ""))}
    header, data = {}, b""
    for name, (dtype, shape) in parts.items():
        size = {"U8": 1, "F32": 4}[dtype]
        for n in shape:
            size *= n
        header[name] = tensor(dtype, shape, len(data), len(data) + size)
        data += bytes(i % 60 for i in range(size))
        if pad := -len(data) % 64:
            header[f"pad.{len(header)}"] = tensor("U8", [pad], len(data), len(data) + pad)
            data += bytes(pad)
    content = json.dumps({**header, "__metadata__": metadata}).encode()
    return safetensors(content + b" " * (-(len(content) + 8) % 64), data)


def scale_codes(weights, parts, metadata):
    """Tables of levels and scale codes: 32 columns of 16 rows have codes, 16 scale codes padded to 64, 16 outer scales."""
    for part, scheme, size in [("gate_proj", "iq4nl-g32", 256 + 64), ("up_proj", "iq4nl-g32-s8", 256 + 64 + 64),
                               ("down_proj", "int3-g32-asym-s8", 192 + 64 + 64 + 64)]:
        weights["layers.0.mlp." + part].update(scheme=scheme)
        parts["layers.0.mlp." + part] = ("U8", [2, size])


def all_packed():
    put = lambda name, content: write("packed", name, content)
    put("valid", packed())
    put("version-2", packed(lambda w, p, m: m.update(edgeq="2")))
    put("layout-unknown", packed(lambda w, p, m: m.update(layout="r8")))
    put("rows-wrong", packed(lambda w, p, m: w["layers.0.mlp.up_proj"].update(rows=31)))
    put("cols-huge", packed(lambda w, p, m: w["layers.0.mlp.up_proj"].update(cols=2**62)))
    put("scheme-other", packed(lambda w, p, m: w["layers.0.mlp.up_proj"].update(scheme="int4-g32-sym")))
    put("group-odd", packed(lambda w, p, m: w["layers.0.mlp.up_proj"].update(scheme="int4-g3-sym")))
    put("scale-codes", packed(scale_codes))
    put("scale-store-unknown", packed(lambda w, p, m: w["layers.0.mlp.up_proj"].update(scheme="int4-g32-s9")))
    put("scale-codes-of-rows", packed(lambda w, p, m: w["layers.0.mlp.up_proj"].update(scheme="int4-channel-s8")))
    put("super-block-odd", packed(lambda w, p, m: w["layers.0.mlp.up_proj"].update(scheme="q4_k")))
    put("weight-missing", packed(lambda w, p, m: p.pop("layers.0.mlp.up_proj")))
    put("vector-missing", packed(lambda w, p, m: p.pop("layers.0.mlp_norm")))
    put("vector-is-matrix", packed(lambda w, p, m: p.update(final_norm=("F32", [4, 8]))))
    put("not-packed", safetensors({"w": tensor("U8", [4], 0, 4)}, b"1234"))


def coded(config, parts):
    """A quantization_config and a file that holds one layer."""
    header, data = {}, b""
    for name, (dtype, shape, content) in parts.items():
        header["model.layers.0.mlp.up_proj." + name] = tensor(dtype, shape, len(data), len(data) + len(content))
        data += content
    return json.dumps(config).encode() + b"\0" + safetensors(header, data)


def all_coded():
    put = lambda name, content: write("coded", name, content)
    # 8 rows, 16 columns in groups of 8.
    codes, halves, shape = bytes(range(64)), struct.pack("<16e", *range(16)), struct.pack("<2q", 8, 16)
    g_idx = struct.pack("<16i", *(i // 8 for i in range(16)))
    gptq = {"qweight": ("I32", [2, 8], codes), "qzeros": ("I32", [2, 1], b"\x77" * 8), "scales": ("F16", [2, 8], halves),
            "g_idx": ("I32", [16], g_idx)}
    config = {"quant_method": "gptq", "bits": 4, "group_size": 8, "sym": True, "dynamic": {"-:.*q_proj": {}, "+:.*up": {"bits": 4}}}
    put("gptq", coded(config, gptq))
    put("gptq-v2-asym", coded({**config, "sym": False, "checkpoint_format": "gptq_v2"}, gptq))
    put("gptq-3-bit", coded({**config, "bits": 3}, {**gptq, "qweight": ("I32", [2, 8], codes)}))
    put("gptq-act", coded(config, {**gptq, "g_idx": ("I32", [16], g_idx[::-1].replace(b"\0\0\0\0\0\0\0\1", b"\1" + bytes(7)))}))
    put("gptq-g-idx-negative", coded(config, {**gptq, "g_idx": ("I32", [16], b"\xff" * 64)}))
    put("gptq-bits-none", coded({"bits": 0}, gptq))
    put("gptq-empty-and-huge", coded(config, {"qweight": ("I32", [0, 2**61], b""), "scales": ("F16", [0, 2**61], b"")}))
    put("gptq-expression", coded({**config, "dynamic": {"-:(a*)*b": {}}}, gptq))
    awq = {"qweight": ("I32", [16, 1], codes), "qzeros": ("I32", [2, 1], bytes(8)), "scales": ("F16", [2, 8], halves)}
    put("awq", coded({"quant_method": "awq", "bits": 4, "group_size": 8, "version": "gemm"}, awq))
    packed_parts = {"weight_packed": ("I32", [8, 2], codes), "weight_scale": ("F16", [8, 2], halves),
                    "weight_shape": ("I64", [2], shape), "weight_zero_point": ("I32", [1, 2], bytes(8))}
    group = lambda **weights: {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head", "re:.*q_proj"],
                               "config_groups": {"group_0": {"targets": ["Linear", "re:.*up_proj$"], "weights": weights}}}
    put("packed", coded(group(num_bits=4, group_size=8, symmetric=False), packed_parts))
    put("packed-shape-huge", coded(group(num_bits=4, group_size=1), {**packed_parts,
        "weight_shape": ("I64", [2], struct.pack("<2q", 1, 2**31 - 1))}))
    int8 = group(num_bits=8, strategy="channel")
    int8["format"] = "int-quantized"
    put("int", coded(int8, {"weight": ("I8", [8, 8], codes), "weight_scale": ("F32", [8, 1], codes[:32])}))


if __name__ == "__main__":
    all_configs()
    all_packed()
    all_coded()
