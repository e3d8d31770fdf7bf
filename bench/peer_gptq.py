# SPDX-License-Identifier: Apache-2.0
"""GPTQ of symmetric groups by another tool, on given windows; writes the dequantized model as an F32 Hugging Face folder, so that
`edgeq eval` measures all tools alike. Run by bench/gptq.py in an environment that has the tool:

  python peer_gptq.py gptqmodel|llmcompressor MODEL_DIR CALIBRATION.txt WINDOWS OUT_DIR [--bits 4] [--group 64] [--threads 2]

Windows: the first WINDOWS x 512 tokens of the text, no special tokens. The last line of stdout is JSON: wall and processor
seconds of the quantization alone and the process's peak memory from its start to its end.
"""
import argparse
import json
import os
import resource
import shutil
import time

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # with two cores the tool does not start without it
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

LENGTH = 512


def windows(a):
    from tokenizers import Tokenizer

    with open(a.text, encoding="utf-8", newline="") as f:
        ids = Tokenizer.from_file(os.path.join(a.model, "tokenizer.json")).encode(f.read(), add_special_tokens=False).ids
    assert len(ids) >= a.windows * LENGTH, "the text is too short"
    return [ids[i * LENGTH : (i + 1) * LENGTH] for i in range(a.windows)]


def tensors_of(folder):
    tensors = {}
    for f in sorted(os.listdir(folder)):
        if f.endswith(".safetensors"):
            tensors.update(load_file(os.path.join(folder, f)))
    return tensors


def unpack(words, bits):
    """[words, n] of int32, each column one stream of bits, the lowest first -> [words * 32 / bits, n]."""
    stream = ((words[:, None, :] >> torch.arange(32, dtype=torch.int32)[:, None]) & 1).reshape(-1, bits, words.shape[1])
    return (stream << torch.arange(bits, dtype=torch.int32)[:, None]).sum(1)


def gptqmodel(a):
    """-> name: dequantized weight, (wall, processor) seconds. The tool's own defaults (group-aware order)."""
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig

    model = GPTQModel.load(a.model, QuantizeConfig(bits=a.bits, group_size=a.group, sym=True, device="cpu"), dtype=torch.float32)
    data = [{"input_ids": w, "attention_mask": [1] * LENGTH} for w in windows(a)]
    start, cpu = time.time(), time.process_time()
    model.quantize(data, batch_size=1, calibration_concat_size=None, calibration_sort=None, backend=BACKEND.TORCH)
    seconds = time.time() - start, time.process_time() - cpu
    saved = a.out + "-gptq"
    shutil.rmtree(saved, ignore_errors=True)
    model.save(saved)
    with open(os.path.join(saved, "quantize_config.json"), encoding="utf-8") as f:
        v1 = json.load(f).get("checkpoint_format") != "gptq_v2"  # v1 stores zeros less one
    t, out = tensors_of(saved), {}
    for name in (k.removesuffix(".qweight") for k in t if k.endswith(".qweight")):
        qweight, qzeros = t[name + ".qweight"], t[name + ".qzeros"]
        codes = unpack(qweight, a.bits)  # [in, out]
        zeros = unpack(qzeros.T, a.bits).T + int(v1)  # [groups, out]
        g = t[name + ".g_idx"].long()
        out[name + ".weight"] = ((codes - zeros[g]).float() * t[name + ".scales"].float()[g]).T
    return out, seconds


def llmcompressor(a):
    """-> name: dequantized weight, (wall, processor) seconds. The tool's own defaults."""
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32)
    ids = windows(a)
    data = Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * LENGTH] * len(ids)})
    weights = {"num_bits": a.bits, "type": "int", "symmetric": True, "strategy": "group", "group_size": a.group}
    recipe = GPTQModifier(config_groups={"group_0": {"targets": ["Linear"], "weights": weights}}, ignore=["lm_head"])
    start, cpu = time.time(), time.process_time()
    oneshot(model=model, tokenizer=PreTrainedTokenizerFast.from_pretrained(a.model), dataset=data, recipe=recipe,
            max_seq_length=LENGTH, num_calibration_samples=len(ids), shuffle_calibration_samples=False, pipeline="sequential")
    seconds, out = (time.time() - start, time.process_time() - cpu), {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and hasattr(layer, "weight_scale"):
            weight, scale = layer.weight.detach().float(), layer.weight_scale.detach().float()
            g_idx = getattr(layer, "weight_g_idx", None)
            scale = scale[:, g_idx.long()] if g_idx is not None and (g_idx >= 0).all() else scale.repeat_interleave(a.group, 1)
            out[name + ".weight"] = (weight / scale).round() * scale
    return out, seconds


def write_folder(a, replaced):
    os.makedirs(a.out, exist_ok=True)
    tensors = {k: v.float() for k, v in tensors_of(a.model).items()}
    for name, weight in replaced.items():
        assert tensors[name].shape == weight.shape, name
        tensors[name] = weight
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, os.path.join(a.out, "model.safetensors"), {"format": "pt"})
    for f in os.listdir(a.model):
        if f.endswith((".json", ".jinja")) and "index" not in f:
            shutil.copy(os.path.join(a.model, f), a.out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("tool", choices=["gptqmodel", "llmcompressor"])
    p.add_argument("model")
    p.add_argument("text")
    p.add_argument("windows", type=int)
    p.add_argument("out")
    p.add_argument("--bits", type=int, default=4)
    p.add_argument("--group", type=int, default=64)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    weights, seconds = {"gptqmodel": gptqmodel, "llmcompressor": llmcompressor}[a.tool](a)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    write_folder(a, weights)
    print(json.dumps({"tool": a.tool, "seconds": seconds[0], "cpu_seconds": seconds[1], "peak_rss_bytes": peak, "matrices": len(weights)}))


main()
