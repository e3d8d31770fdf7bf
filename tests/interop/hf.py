# SPDX-License-Identifier: Apache-2.0
"""Hugging Face folders between edgeq and the tools that they are for. Run by ./dev interop; needs `interop_hf_folder`.

  python3 tests/interop/hf.py [--work DIR] [MODEL ...]

Tools, each left out and listed as not proved where its variable is not set:
  EDGEQ_GPTQMODEL      a Python that has gptqmodel 7.7 (loads GPTQ and AWQ, quantizes)
  EDGEQ_LLMCOMPRESSOR  a Python that has llmcompressor 0.14 and compressed-tensors 0.19 (loads, quantizes)
  EDGEQ_AUTOAWQ        a Python that has torch, and EDGEQ_AUTOAWQ_SOURCE the unpacked source of autoawq 0.2.9

For every MODEL (default: configs/models/tiny-llama; only this one is written in every scheme and quantized by the tools):
  weights  what the tool dequantizes, in f32, equals what edgeq dequantizes from the same codes, bit for bit
  logits   of the tool's model and of the dequantized one, both in float; the difference over the largest logit
  tokens   of the `tokenizers` package with our tokenizer.json and with the model's own
The cells are left in DIR/cells-hf.json. Exit code 1 when one failed.
"""
import argparse
import glob
import json
import os
import shutil
import subprocess
import sys

from cells import Cells

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FOLDER = os.path.join(ROOT, "build", "release", "bin", "interop_hf_folder")
TINY = os.path.join(ROOT, "configs", "models", "tiny-llama")
TEXT = os.path.join(TINY, "heldout.txt")

# Layouts that a tool loads, with the scheme that the layers are rounded to.
OURS = {
    "gptqmodel": [("gptq", "int4-g64-sym"), ("gptq", "int4-g32-asym"), ("gptq-v2", "int4-g64-asym"), ("gptq", "int8-g64-sym"),
                  ("gptq", "int3-g32-asym"), ("gptq", "int2-g16-asym"), ("gptq", "int4-channel-sym-f16"), ("awq", "int4-g64-asym"),
                  ("awq", "int4-g32-sym")],
    "llmcompressor": [("compressed", "int4-g64-sym"), ("compressed", "int4-g32-asym"), ("compressed", "int8-channel-sym"),
                      ("w8a8", "int8-channel-sym")],
    "autoawq": [("awq", "int4-g64-asym"), ("awq", "int4-g32-sym")],
}
# Of float16 arithmetic, which GPTQModel's kernels compute in; of float32 in another order.
LIMITS = {"gptq": 5e-3, "gptq-v2": 5e-3, "awq": 5e-3, "compressed": 1e-4, "w8a8": 1e-4}


def ours(model, out, layout, scheme=None):
    subprocess.run([FOLDER, model, out, layout] + ([scheme] if scheme else []), check=True)


def tensors_of(folder):
    from safetensors import safe_open

    tensors = {}
    for name in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        with safe_open(name, "pt") as f:
            tensors.update({key: f.get_tensor(key) for key in f.keys()})
    return tensors


def compare_weights(theirs, floats):
    """theirs: module -> f32 weight. -> how many of them equal the folder of floats."""
    import torch

    expected = tensors_of(floats)
    wrong = [name for name, weight in theirs.items() if not torch.equal(weight, expected[name + ".weight"])]
    return len(theirs), wrong


def logits(model):
    import torch
    from tokenizers import Tokenizer

    with open(TEXT, encoding="utf-8") as f:
        text = f.read()[:2000]
    ids = Tokenizer.from_file(os.path.join(model.folder, "tokenizer.json")).encode(text, add_special_tokens=False).ids[:96]
    with torch.inference_mode():
        return model.network(input_ids=torch.tensor([ids])).logits.float()


class Loaded:
    def __init__(self, folder, network):
        self.folder, self.network = folder, network


def float_model(folder):
    import torch
    from transformers import AutoModelForCausalLM

    return Loaded(folder, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())


def difference(a, b):
    return float((a - b).abs().max() / b.abs().max())


def dequantized_gptqmodel(network):
    from gptqmodel.nn_modules.qlinear import BaseQuantLinear

    weights = {}
    for name, module in network.named_modules():
        if isinstance(module, BaseQuantLinear):
            scales, module.scales = module.scales, module.scales.float()  # in the type of the scales: not rounded
            weights[name.removeprefix("model.model.") if name.startswith("model.model.") else name] = (
                module.dequantize_weight().T.contiguous().float())
            module.scales = scales
    return {name if name.startswith(("model.", "lm_head")) else "model." + name: w for name, w in weights.items()}


def dequantized_awq(folder, unpack=None):
    """With the functions of AutoAWQ, or the same of GPTQModel."""
    t, weights = tensors_of(folder), {}
    config = json.load(open(os.path.join(folder, "config.json"), encoding="utf-8"))["quantization_config"]
    for name in (key.removesuffix(".qweight") for key in t if key.endswith(".qweight")):
        q = t[name + ".qweight"]
        group = config["group_size"] if config["group_size"] != -1 else q.shape[0]
        weights[name] = unpack(q, t[name + ".qzeros"], t[name + ".scales"].float(), 4, group).T.contiguous()
    return weights


def name_gptqmodel(folder):
    """GPTQModel loads asymmetric weights of version 1 only from files that name it, since another tool once wrote wrong zero
    points; here the layout is to be tried."""
    for file in ("config.json", "quantize_config.json"):
        path = os.path.join(folder, file)
        with open(path, encoding="utf-8") as f:
            content = json.load(f)
        content.get("quantization_config", content)["meta"]["quantizer"].append("gptqmodel:7.7.0")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(content, f)


def load_gptqmodel(folder, layout):
    import torch
    from gptqmodel import BACKEND, GPTQModel

    backend = BACKEND.AWQ_TORCH if layout == "awq" else BACKEND.GPTQ_TORCH
    return Loaded(folder, GPTQModel.load(folder, backend=backend, device="cpu", dtype=torch.float16).model.eval())


def load_compressed(folder):
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.quantization_config import CompressedTensorsConfig

    config = CompressedTensorsConfig(run_compressed=False)
    return Loaded(folder, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, quantization_config=config).eval())


def check_ours(tool, folder, floats, layout):
    """-> a line of the result, whether it holds."""
    if tool == "autoawq":
        sys.path.insert(0, os.path.join(os.environ["EDGEQ_AUTOAWQ_SOURCE"], "awq", "utils"))
        from packing_utils import dequantize_gemm

        count, wrong = compare_weights(dequantized_awq(folder, dequantize_gemm), floats)
        return f"{count} weights, {len(wrong)} differ", not wrong and count > 0
    loaded = load_gptqmodel(folder, layout) if tool == "gptqmodel" else load_compressed(folder)
    if tool == "gptqmodel" and layout == "awq":
        from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

        weights = dequantized_awq(folder, dequantize_gemm)
    elif tool == "gptqmodel":
        weights = dequantized_gptqmodel(loaded.network)
    if layout == "w8a8":  # the weights are held against each other: the tool would round activations too
        for module in loaded.network.modules():
            module.quantization_enabled = False
    error = difference(logits(loaded), logits(float_model(floats)))
    if tool == "llmcompressor":  # decompressed by the first run
        linear = {k.removesuffix(".weight") for k in tensors_of(floats) if "_proj" in k and not k.endswith("bias")}
        weights = {n: m.weight.detach().float() for n, m in loaded.network.named_modules() if n in linear}
    count, wrong = compare_weights(weights, floats)
    text = f"{count} weights, {len(wrong)} differ; logits within {error:.1e} of the largest (limit {LIMITS[layout]:.0e})"
    return text, count > 0 and not wrong and error <= LIMITS[layout]


def windows(count, length):
    from tokenizers import Tokenizer

    with open(os.path.join(TINY, "calibration.txt"), encoding="utf-8") as f:
        ids = Tokenizer.from_file(os.path.join(TINY, "tokenizer.json")).encode(f.read(), add_special_tokens=False).ids
    return [ids[i * length:(i + 1) * length] for i in range(count)]


def quantize_gptqmodel(out):
    """The tool's own files -> name, folder, its dequantized weights."""
    import torch
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig

    cases = {"4-sym": {"bits": 4, "sym": True}, "4-asym": {"bits": 4, "sym": False}, "8-sym": {"bits": 8, "sym": True},
             "3-asym": {"bits": 3, "sym": False}, "2-asym": {"bits": 2, "sym": False},
             "4-act-order": {"bits": 4, "sym": True, "desc_act": True},
             "4-asym-v2": {"bits": 4, "sym": False, "format": "gptq_v2"}}
    data = [{"input_ids": w, "attention_mask": [1] * len(w)} for w in windows(8, 256)]
    for name, settings in cases.items():
        folder = os.path.join(out, "gptqmodel-" + name)
        if not os.path.exists(os.path.join(folder, "config.json")):
            model = GPTQModel.load(TINY, QuantizeConfig(group_size=64, device="cpu", **settings), dtype=torch.float32)
            model.quantize(data, batch_size=1, calibration_concat_size=None, calibration_sort=None, backend=BACKEND.TORCH)
            model.save(folder)
        yield name, folder, dequantized_gptqmodel(load_gptqmodel(folder, "gptq").network)


def quantize_llmcompressor(out):
    import torch
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    def weights(bits, symmetric, group=None):
        strategy = {"strategy": "group", "group_size": group} if group else {"strategy": "channel"}
        return {"num_bits": bits, "type": "int", "symmetric": symmetric, **strategy}

    token = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
    linear = {"targets": ["Linear"]}
    recipes = {
        "w4a16": GPTQModifier(config_groups={"g": {**linear, "weights": weights(4, True, 64)}}, ignore=["lm_head"]),
        "w4a16-asym": GPTQModifier(config_groups={"g": {**linear, "weights": weights(4, False, 64)}}, ignore=["lm_head"]),
        "w8a8": GPTQModifier(config_groups={"g": {**linear, "weights": weights(8, True), "input_activations": token}},
                             ignore=["lm_head"]),
        "mixed": QuantizationModifier(config_groups={"a": {"targets": ["re:.*down_proj$"], "weights": weights(8, True)},
                                                     "b": {"targets": ["re:.*self_attn.*"], "weights": weights(4, True, 32)}},
                                      ignore=["lm_head", "re:.*layers.0.*"]),
    }
    ids = windows(8, 256)
    data = Dataset.from_dict({"input_ids": ids, "attention_mask": [[1] * len(w) for w in ids]})
    for name, recipe in recipes.items():
        folder = os.path.join(out, "llmcompressor-" + name)
        if not os.path.exists(os.path.join(folder, "config.json")):
            model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
            oneshot(model=model, tokenizer=PreTrainedTokenizerFast.from_pretrained(TINY), dataset=data, recipe=recipe,
                    max_seq_length=256, num_calibration_samples=len(ids), shuffle_calibration_samples=False, pipeline="sequential")
            model.save_pretrained(folder, save_compressed=True)
        # The library leaves these to the user.
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(os.path.join(TINY, file), folder)
        loaded = load_compressed(folder)
        logits(loaded)
        stored = tensors_of(folder)
        coded = {k.rsplit(".", 1)[0] for k in stored if k.endswith(".weight_scale")}
        yield name, folder, {n: m.weight.detach().float() for n, m in loaded.network.named_modules() if n in coded}


def check_tokens(folder, model):
    from tokenizers import Tokenizer

    a = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    b = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    with open(TEXT, encoding="utf-8") as f:
        texts = f.read().split("\n") + ["  two  spaces\t\n", "naïve — 北京 🙂 <|begin_of_text|>", "x = {'a': 1}"]
    wrong = sum(a.encode(t).ids != b.encode(t).ids for t in texts)
    return f"{len(texts)} texts, {wrong} differ", wrong == 0


def golden_tokenizers(work):
    """-> name, result: our tokenizer.json of each golden tokenizer against what its own package made of many texts."""
    from tokenizers import Tokenizer

    folder = os.path.join(ROOT, "tests", "golden", "tokenizers")
    for cases in sorted(glob.glob(os.path.join(folder, "*.cases.json"))):
        name = os.path.basename(cases).removesuffix(".cases.json")
        if name == "spm_map":  # has a normalization that tokenizer.json has no place for: refused by name
            continue
        source = next(p for p in (os.path.join(folder, name + e) for e in (".json", ".model")) if os.path.exists(p))
        written = os.path.join(work, name + ".tokenizer.json")
        subprocess.run([FOLDER, source, written], check=True)
        tokenizer, count, wrong = Tokenizer.from_file(written), 0, 0
        special = {t.content for t in tokenizer.get_added_tokens_decoder().values()}
        with open(cases, encoding="utf-8") as f:
            rows = json.load(f)["cases"]
        for text, ids, *_ in rows:
            # Bytes that are no UTF-8 do not reach the package; the sentencepiece package parses no special spelling.
            if isinstance(text, str) and not (source.endswith(".model") and any(s in text for s in special)):
                count += 1
                wrong += tokenizer.encode(text, add_special_tokens=False).ids != ids
        yield name, f"{count} texts, {wrong} differ", count > 100 and wrong == 0


def families(cells, tool, work):
    """transformers on what edgeq writes of the small model of each family, as floats and with codes."""
    import torch

    for golden in sorted(glob.glob(os.path.join(ROOT, "tests", "golden", "logits", "*"))):
        if not os.path.exists(os.path.join(golden, "model.safetensors")):
            continue
        name = os.path.basename(golden)
        source, floats, codes, dequantized = (os.path.join(work, f"family-{name}-{kind}")
                                              for kind in ("source", "floats", "codes", "dequantized"))
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(golden, source)
        shutil.copy(os.path.join(TINY, "tokenizer.json"), source)  # any: these models have none
        with open(os.path.join(source, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        with open(os.path.join(source, "config.json"), "w", encoding="utf-8") as f:
            json.dump({"pad_token_id": None, **config}, f)  # Phi-3's default lies outside of so small a vocabulary
        ours(source, floats, "floats")
        ids = torch.arange(1, 17)[None]

        def run(folder, compressed=False):
            loaded = load_compressed(folder) if compressed else float_model(folder)
            with torch.inference_mode():
                return loaded.network(input_ids=ids).logits.float()

        error = difference(run(floats), run(source))
        cells.record(tool, "floats", name, f"logits within {error:.1e} of the largest (limit 1e-06)", error <= 1e-6)
        if name.startswith("gpt"):
            why = ("its layers are no Linear" if name == "gpt2" else
                   "transformers 5 renames its head, which keeps its own type in a quantized model")
            cells.skip(tool, "compressed int8-channel-sym", name, why)
            continue
        ours(source, codes, "compressed", "int8-channel-sym")
        ours(source, dequantized, "floats", "int8-channel-sym")
        error, changed = difference(run(codes, True), run(dequantized)), difference(run(dequantized), run(source))
        cells.record(tool, "compressed int8-channel-sym", name,
                     f"logits within {error:.1e} of the largest (limit 1e-04; quantizing changed them by {changed:.1e})",
                     error <= 1e-4 < changed)


def cases_of(tool, model):
    """All schemes on the small model, one of each layout on others."""
    return OURS[tool] if model == TINY else list(dict(reversed(OURS[tool])).items())


def name_of(model):
    return os.path.basename(os.path.normpath(model))


def inside(tool, work, models):
    """Runs in the tool's own Python."""
    cells = Cells()
    for model in models:
        name = name_of(model)
        for layout, scheme in cases_of(tool, model):
            folder, floats = (os.path.join(work, f"{name}-{scheme}-{kind}") for kind in (layout, "floats"))
            ours(model, folder, layout, scheme)
            ours(model, floats, "floats", scheme)
            if layout == "gptq" and scheme.endswith("asym"):
                cells.skip(tool, f"gptq {scheme} as we write it", name, "it refuses files that do not name it")
                name_gptqmodel(folder)
            cells.record(tool, f"{layout} {scheme}", name, *check_ours(tool, folder, floats, layout))
        if os.path.exists(os.path.join(model, "tokenizer.json")) and tool != "autoawq":
            cells.record("tokenizers", "our tokenizer.json", name, *check_tokens(floats, model))
    if tool == "llmcompressor":
        families(cells, "transformers", work)
    for name, result, holds in golden_tokenizers(work) if tool == "gptqmodel" else ():
        cells.record("tokenizers", "our tokenizer.json", "golden " + name, result, holds)
    quantize = {"gptqmodel": quantize_gptqmodel, "llmcompressor": quantize_llmcompressor}.get(tool)
    for name, folder, weights in quantize(work) if quantize else ():
        floats = folder + "-floats"
        ours(folder, floats, "floats")
        count, wrong = compare_weights(weights, floats)
        cells.record(tool, "its own files read by edgeq", name, f"{count} weights, {len(wrong)} differ", count > 0 and not wrong)
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[TINY])
    parser.add_argument("--work", default=os.path.join(ROOT, "build", "interop"))
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    a = parser.parse_args()
    a.work, a.models = os.path.abspath(a.work), [os.path.abspath(model) for model in a.models]
    os.makedirs(a.work, exist_ok=True)
    if a.inside:
        sys.exit(int(inside(a.inside, a.work, a.models).failed()))
    cells = Cells()
    for tool in OURS:
        variables = [f"EDGEQ_{tool.upper()}"] + ["EDGEQ_AUTOAWQ_SOURCE"] * (tool == "autoawq")
        if missing := [variable for variable in variables if not os.environ.get(variable)]:
            for model in a.models:
                for layout, scheme in cases_of(tool, model):
                    cells.skip(tool, f"{layout} {scheme}", name_of(model), f"{missing[0]} is not set")
            continue
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "GPTQMODEL_CPU_WORKERS": "2"}
        cells.collect(tool, [os.environ[variables[0]], os.path.abspath(__file__), "--inside", tool, "--work", a.work, *a.models], environment,
                      a.work)
    cells.skip("vllm", "gptq, awq, compressed", "any model", "needs a GPU")
    sys.exit(cells.finish(os.path.join(a.work, "cells-hf.json")))


main()
