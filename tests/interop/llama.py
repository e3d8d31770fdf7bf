# SPDX-License-Identifier: Apache-2.0
"""GGUF files of edgeq in llama.cpp. Run by ./dev interop; needs `edgeq` and `interop_llama_logits`.

  python3 tests/interop/llama.py [--work DIR] [--only REGEX] [MODEL ...]

What is looked for, each left out with a message where its variable is not set:
  EDGEQ_LLAMA         the folder of a llama.cpp build's programs (llama-perplexity, -quantize, -imatrix, -tokenize)
  EDGEQ_TRANSFORMERS  a Python that has torch, transformers, gguf, safetensors: makes a small random model of each family and reads
                      the files; without it only MODEL (default: configs/models/tiny-llama) is tried

For every GGUF type and every model:
  run       llama.cpp loads the file; on the same text (llama.cpp's token ids are ours) its perplexity is that of edgeq's runtime with
            the same codes within 0.3 %, and KL(llama.cpp || edgeq) at most 0.003. edgeq multiplies in float here, so what is left is
            what llama.cpp loses by rounding activations, to 8 bits for most types. A model in which that alone is more is tried with
            the same codes as an F32 file, and its type listed as not proved
  read      gguf-py reads every key and dequantizes every tensor to the numbers that edgeq does, bit for bit
and besides:
  controls  the same checks on files made wrong: q and k in the other rotary order, blocks in the wrong order. They have to fail
  packed    the runtime as it ships, with INT8 activations, beside llama.cpp
  q4_0      our Q4_0 is nearer to the float model than llama-quantize's own, in no more bytes; llama.cpp measures both
  tokens    llama-tokenize on many odd texts, with each kind of tokenizer, against the `tokenizers` package
The cells are left in DIR/cells-llama.json. Exit code 1 when one failed.
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys

from cells import Cells

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BIN = os.path.join(ROOT, "build", "release", "bin")
EDGEQ = os.path.join(BIN, "edgeq")
TINY = os.path.join(ROOT, "configs", "models", "tiny-llama")
TEXT = os.path.join(TINY, "heldout.txt")
GOLDEN = os.path.join(ROOT, "tests", "golden")
TOOL = "llama.cpp"

FLOATS = ["f32", "f16", "bf16"]
BLOCKS = ["q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"]
SUPER_BLOCKS = ["q4_k", "q5_k", "q6_k"]  # of 256 columns
TYPES = FLOATS + BLOCKS + SUPER_BLOCKS
Q4_0 = "our q4_0 is better than llama-quantize's"
PACKED = ["q8_0", "q4_0"]
WINDOW, WINDOWS = 256, 8
PERPLEXITY_LIMIT, KL_LIMIT = 0.003, 0.003  # relative; nats
ROUNDING_KL = 0.01  # beyond this it is not llama.cpp's rounding of activations: 0.0034 in SmolLM2; the controls begin at 0.06

# Of widths that 256 divides; heads of 64, sliding windows shorter than the text's.
BASE = {"vocab_size": 1536, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
GEMMA = {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 96, "tie_word_embeddings": True}
UNTIED = {"tie_word_embeddings": False}
FAMILIES = {
    "llama": ("LlamaConfig", {"tie_word_embeddings": True}),
    "llama-untied": ("LlamaConfig", UNTIED),
    "qwen2": ("Qwen2Config", UNTIED),
    "qwen3": ("Qwen3Config", {"head_dim": 64, "tie_word_embeddings": True}),
    "gemma2": ("Gemma2Config", {**GEMMA, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}),
    "gemma3": ("Gemma3TextConfig", {**GEMMA, "layer_types": ["sliding_attention", "full_attention"]}),
    "phi3": ("Phi3Config", UNTIED),
    "olmo2": ("Olmo2Config", UNTIED),
    "granite": ("GraniteConfig", {**UNTIED, "embedding_multiplier": 3.0, "attention_multiplier": 0.1, "logits_scaling": 1.7}),
    "stablelm": ("StableLmConfig", {**UNTIED, "use_qkv_bias": True}),
    "gptneox": ("GPTNeoXConfig", {**UNTIED, "hidden_act": "gelu"}),
    "gpt2": ("GPT2Config", {"vocab_size": 1536, "n_embd": 256, "n_layer": 2, "n_head": 4, "n_positions": 512, "bos_token_id": 0,
                            "eos_token_id": 1}),
}


def run(*command):
    """-> what it printed. Raises with the end of that where it fails."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    if done.returncode:
        lines = [line for line in done.stdout.strip().split("\n") if line]
        raise RuntimeError(f"{os.path.basename(str(command[0]))} ended with {done.returncode}: {' | '.join(lines[-3:])}")
    return done.stdout


def llama(program, *arguments):
    return run(os.path.join(os.environ["EDGEQ_LLAMA"], "llama-" + program), *arguments)


def perplexity(*arguments):
    return llama("perplexity", "-f", TEXT, "-c", WINDOW, "-b", WINDOW, "--chunks", WINDOWS, "-ctk", "f32", "-ctv", "f32", "-fa", "off",
                 "--no-escape", "-t", 2, *arguments)


# Files ---------------------------------------------------------------------------------------------------------------------------


def make_family(folder, config_class, changes):
    """A random model, attention far from uniform. Logits spread by 0.8: random layers pass on what rounding activations changes as no
    trained ones do."""
    import torch
    import transformers

    sys.path.insert(0, GOLDEN)
    from make_logits import randomize

    known = {} if config_class == "GPT2Config" else BASE
    config = getattr(transformers, config_class)(**{**known, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config)
    randomize(model, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for table in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
            table.mul_(0.05 / table.std()).copy_(table.bfloat16())
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(TINY, name), folder)


def gguf_of(a, model, kind):
    """Floats are carried over, codes are rounded to nearest: what is looked at is the file."""
    path = os.path.join(a.work, f"{name_of(model)}-{kind}.gguf")
    if kind in FLOATS:
        run(EDGEQ, "convert", model, "--to", "gguf:" + kind, "-o", path, "--overwrite", "--no-run")
        return path
    recipe = path + ".yaml"
    with open(recipe, "w", encoding="utf-8") as f:
        f.write(f'rules: [{{match: "*", quantizer: rtn, scheme: {kind}}}]\n')
    run(EDGEQ, "quantize", recipe, "--model", model, "--for", "gguf:" + kind, "-o", path, "--overwrite", "--quiet")
    return path


def name_of(model):
    return os.path.basename(os.path.normpath(model)).removeprefix("llama-cpp-")


def is_small(model):
    """The other checks would say no more of a real model, and take minutes."""
    return model == TINY or name_of(model) in FAMILIES


def has_super_blocks(model):
    with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    return all(config[key] % 256 == 0 for key in ("hidden_size", "intermediate_size", "n_embd") if key in config)


# Cells ---------------------------------------------------------------------------------------------------------------------------


def compare(a, ours, theirs, *options):
    """-> text, whether llama.cpp on the file `theirs` and edgeq on `ours` are the same function, the mean KL."""
    logits = os.path.join(a.work, "logits.bin")
    perplexity("-m", theirs, "--save-all-logits", logits)
    q = json.loads(run(os.path.join(BIN, "interop_llama_logits"), ours, TEXT, logits, *options))
    os.remove(logits)
    ratio = q["perplexity"] / q["llama_perplexity"] - 1
    text = f"perplexity {q['llama_perplexity']:.3f} and {q['perplexity']:.3f} here ({100 * ratio:+.3f} %), KL {q['kl_mean']:.1e}"
    return text, abs(ratio) <= PERPLEXITY_LIMIT and q["kl_mean"] <= KL_LIMIT, q["kl_mean"]


def attempt(cells, what, case, check):
    """check() -> text, whether it holds. What a program refuses is a failure, in its words."""
    try:
        text, holds = check()[:2]
    except RuntimeError as error:
        text, holds = str(error), False
    cells.record(TOOL, what, case, text, holds)


def run_cell(cells, a, name, kind, path):
    text, holds, kl = compare(a, path, path)
    if holds or kind in FLOATS or kl > ROUNDING_KL:
        return cells.record(TOOL, kind, name, text, holds)
    # Is it only llama.cpp's rounding of activations? It does none in an F32 file of the same codes.
    floats = os.path.join(a.work, "floats.gguf")
    run(EDGEQ, "convert", path, "--to", "gguf:f32", "-o", floats, "--overwrite", "--no-run")
    exact, equal, _ = compare(a, path, floats)
    cells.record(TOOL, f"the codes of {kind} as f32", name, exact, equal)
    if equal:
        cells.skip(TOOL, kind, name, f"beyond the limits by its rounding of activations to 8 bits: {text}")
    else:
        cells.record(TOOL, kind, name, text, False)


def packed_cell(cells, a, name, kind, path):
    packed = path.replace(".gguf", ".packed")
    run(EDGEQ, "convert", path, "--to", "packed", "-o", packed, "--overwrite", "--no-run")
    text, holds, kl = compare(a, packed, path, "int8")
    os.remove(packed)
    state = "ok" if holds else "skip" if kl <= ROUNDING_KL else "FAIL"
    cells.add(state, TOOL, kind + " in our runtime with INT8 activations", name,
              text if holds else "both round activations, each in its own way: " + text)


def read_by_gguf_py(a, path, kind):
    import gguf
    import numpy

    reader = gguf.GGUFReader(path)
    for field in reader.fields.values():
        field.contents()
    floats = os.path.join(a.work, "floats.gguf")
    run(EDGEQ, "convert", path, "--to", "gguf:f32", "-o", floats, "--overwrite", "--no-run")
    expected = {t.name: t.data for t in gguf.GGUFReader(floats).tensors}
    types, wrong = set(), []
    for tensor in reader.tensors:
        if tensor.data.ndim > 1 and not tensor.name.startswith("position"):
            types.add(tensor.tensor_type.name.lower())
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if not numpy.array_equal(values.reshape(-1), expected[tensor.name].reshape(-1)):
            wrong.append(tensor.name)
    text = f"{len(reader.fields)} keys, {len(reader.tensors)} tensors of {'/'.join(sorted(types))}, {len(wrong)} differ"
    return text, not wrong and types == {kind} and len(expected) == len(reader.tensors)


def wrong_rotary(path):
    """Rows of q and k of each head in the other order of rotating pairs."""
    import gguf

    reader = gguf.GGUFReader(path, "r+")
    value = lambda key: reader.fields[f"{reader.fields['general.architecture'].contents()}.{key}"].contents()
    heads, kv_heads, layers = value("attention.head_count"), value("attention.head_count_kv"), value("block_count")
    tensors = {t.name: t.data for t in reader.tensors}

    def swap(rows, count):
        pairs = rows.reshape(count, 2, -1, rows.shape[1]).swapaxes(1, 2).copy()
        rows[:] = pairs.reshape(rows.shape)

    for layer in range(layers):
        q, k = (tensors.get(f"blk.{layer}.attn_{part}.weight") for part in "qk")
        if q is None:
            fused = tensors[f"blk.{layer}.attn_qkv.weight"]
            size = fused.shape[0] // (heads + 2 * kv_heads)
            q, k = fused[:heads * size], fused[heads * size:(heads + kv_heads) * size]
        swap(q, heads)
        swap(k, kv_heads)


def wrong_blocks(path):
    """The blocks of each row of a matrix, last first."""
    import gguf

    tensor = next(t for t in gguf.GGUFReader(path, "r+").tensors if t.name == "blk.1.ffn_down.weight")
    data = tensor.data.view("uint8").reshape(tensor.data.shape[0], -1, gguf.GGML_QUANT_SIZES[tensor.tensor_type][1])
    data[:] = data[:, ::-1].copy()


def control(cells, a, what, case, path, spoil):
    """Passes when the check of the spoilt copy in llama.cpp fails, the original being run here."""
    spoilt = os.path.join(a.work, "spoilt.gguf")
    shutil.copy(path, spoilt)
    spoil(spoilt)

    def check():
        text, holds, kl = compare(a, path, spoilt)
        return text, not holds and kl > KL_LIMIT

    attempt(cells, what, case, check)


def model_cells(cells, a, model, have_gguf):
    name = name_of(model)
    for kind in TYPES:
        if kind in SUPER_BLOCKS and not has_super_blocks(model):
            cells.skip(TOOL, kind, name, "256 does not divide its columns")
            continue
        try:
            path = gguf_of(a, model, kind)
            run_cell(cells, a, name, kind, path)
            if model in a.models and kind in PACKED:  # trained
                packed_cell(cells, a, name, kind, path)
        except RuntimeError as error:
            cells.record(TOOL, kind, name, str(error), False)
            continue
        if have_gguf and is_small(model):
            attempt(cells, "gguf-py reads", f"{name} {kind}", lambda: read_by_gguf_py(a, path, kind))
        if kind == "f32" and have_gguf and is_small(model) and name != "gpt2":  # which has no rotary embedding
            control(cells, a, "control: q and k in the other rotary order is seen", name, path, wrong_rotary)
        if name == "llama" and have_gguf:
            control(cells, a, "control: blocks in the wrong order are seen", kind, path, wrong_blocks)
        os.remove(path)


def tensor_bytes(path):
    """Of the tensors alone: metadata differ."""
    import gguf

    return sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(path).tensors)


def q4_0_cells(cells, a, model):
    """llama-quantize's Q4_0 and ours from the same float file, the table in Q8_0 in both."""
    stem = os.path.join(a.work, name_of(model))
    floats, base, imatrix, ours = stem + "-f32.gguf", stem + ".logits", stem + ".imatrix", stem + "-ours.gguf"
    calibration = os.path.join(TINY, "calibration.txt")
    run(EDGEQ, "convert", model, "--to", "gguf:f32", "-o", floats, "--overwrite", "--no-run")
    perplexity("-m", floats, "--save-all-logits", base)

    def kl(path):
        for _ in range(5):  # as it ends, llama.cpp's last lines get lost now and then
            text = perplexity("-m", path, "--kl-divergence", "--kl-divergence-base", base)
            if found := re.search(r"Mean\s+KLD:\s+([-0-9.]+)", text):
                return float(found[1])
        raise RuntimeError("llama-perplexity prints no divergence")

    with open(stem + ".yaml", "w", encoding="utf-8") as f:
        f.write('calibration: {windows: 16, tokens: 512}\nrules:\n  - {match: "embedding", quantizer: rtn, scheme: q8_0}\n'
                '  - {match: "*", quantizer: gptq, scheme: q4_0, correct: {strength: 0.5}}\n')
    run(EDGEQ, "quantize", stem + ".yaml", "--model", model, "--calibration", calibration, "--for", "gguf:q4_0", "-o", ours,
        "--overwrite", "--quiet")
    llama("imatrix", "-m", floats, "-f", calibration, "-o", imatrix, "--chunks", 16, "-c", 512, "-t", 2, "--no-ppl")
    our_kl, our_bytes = kl(ours), tensor_bytes(ours)
    for case, options in {"without imatrix": [], "with imatrix": ["--imatrix", imatrix]}.items():
        theirs = stem + "-theirs.gguf"
        llama("quantize", *options, "--token-embedding-type", "q8_0", floats, theirs, "Q4_0", 2)
        their_kl, their_bytes = kl(theirs), tensor_bytes(theirs)
        cells.record(TOOL, Q4_0, f"{name_of(model)} {case}",
                     f"KL {our_kl:.4f} and theirs {their_kl:.4f}; tensors of {our_bytes} and {their_bytes} bytes",
                     our_kl < their_kl and our_bytes <= their_bytes)
    for file in (floats, base, theirs):
        os.remove(file)


# Tokenizers ----------------------------------------------------------------------------------------------------------------------


def golden_tokenizer(name):
    """-> tokenizer.json of one kind, as published checkpoints have it."""
    with open(os.path.join(GOLDEN, "tokenizers", name + ".json"), encoding="utf-8") as f:
        data = json.load(f)
    if name in ("llama2", "metaspace"):  # a converter of real models keeps the merge of rank 0
        data["model"]["merges"].insert(0, ["h", "e"])
    if name == "metaspace":
        data["pre_tokenizer"]["split"] = False
    return data


def gemma_tokenizer():
    data = golden_tokenizer("llama2")
    data["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    data["pre_tokenizer"] = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    data["decoder"]["decoders"].pop()
    return data


def texts_for(tokenizer):
    """The texts of the golden cases but for those that meet rules which GGUF has no place for; exports have notes on them."""
    import unicodedata

    with open(os.path.join(GOLDEN, "tokenizers", "gpt2.cases.json"), encoding="utf-8") as f:
        texts = [row[0] for row in json.load(f)["cases"] if isinstance(row[0], str) and row[0]]
    missing = ["word", "<mask>"]  # added tokens that take white space or stand alone as words
    if "Prepend" in json.dumps(tokenizer["normalizer"]):
        missing.append("<tool>")  # sought after the space is put in front of the text
    if (tokenizer["pre_tokenizer"] or {}).get("prepend_scheme") == "first":
        # llama.cpp puts a space after these too, and in front of a space.
        missing += [token["content"] for token in tokenizer["added_tokens"]]
        texts = [t for t in texts if t[0] not in " ▁"]
    texts = [t for t in texts if not any(spelling in t for spelling in missing)]
    if (tokenizer.get("normalizer") or {}).get("type") == "NFC":  # which llama.cpp leaves out
        texts = [t for t in texts if unicodedata.is_normalized("NFC", t)]
    return texts


def tokenizer_cells(cells, a, kinds):
    """kinds: name -> folder of a model."""
    from tokenizers import Tokenizer

    for name, folder in kinds.items():
        path, text_file = os.path.join(a.work, "tokens.gguf"), os.path.join(a.work, "tokens.txt")
        with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
            data = json.load(f)

        def check():
            run(EDGEQ, "convert", folder, "--to", "gguf:f16", "-o", path, "--overwrite", "--no-run")
            tokenizer, wrong, texts = Tokenizer.from_file(os.path.join(folder, "tokenizer.json")), [], texts_for(data)
            for text in texts:
                with open(text_file, "w", encoding="utf-8", newline="") as f:
                    f.write(text)
                out = llama("tokenize", "-m", path, "-f", text_file, "--ids", "--no-bos", "--no-escape", "--log-disable")
                ids = json.loads(out[out.rindex("["):])
                if ids != tokenizer.encode(text, add_special_tokens=False).ids:
                    wrong.append(text)
            return f"{len(texts)} texts, {len(wrong)} differ{''.join(f' {t!r}' for t in wrong[:5])}", len(texts) > 90 and not wrong

        attempt(cells, "token ids", name, check)


def tokenizer_models(a):
    """A model of one layer around each kind of tokenizer."""
    import transformers

    kinds = {name: golden_tokenizer(name) for name in ("gpt2", "llama3", "qwen", "llama2", "metaspace")}
    kinds["gemma"] = gemma_tokenizer()
    folders = {}
    for name, data in kinds.items():
        folders[name] = os.path.join(a.work, "tokenizer-" + name)
        shutil.rmtree(folders[name], ignore_errors=True)
        config = transformers.LlamaConfig(vocab_size=1024, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
                                          num_attention_heads=1, num_key_value_heads=1, tie_word_embeddings=True, eos_token_id=None)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folders[name])
        with open(os.path.join(folders[name], "tokenizer.json"), "w", encoding="utf-8") as f:
            json.dump(data, f)
    return folders


def safetensors_cell(cells, a):
    """A packed file is a safetensors file."""
    from safetensors import safe_open

    path = os.path.join(a.work, "tiny.packed")
    run(EDGEQ, "quantize", "int4-rtn", "--model", TINY, "-o", path, "--overwrite", "--quiet")
    with safe_open(path, "np") as f:
        shapes = [f.get_tensor(name).shape for name in f.keys()]
        keys = set(f.metadata())
    missing = {"edgeq", "layout", "config", "weights", "hashes", "checksum", "provenance"} - keys
    cells.record("safetensors", "reads a packed file", "tiny-llama", f"{len(shapes)} tensors, {len(keys)} keys of metadata",
                 not missing and len(shapes) > 30)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[TINY])
    parser.add_argument("--work", default=os.path.join(ROOT, "build", "interop"))
    parser.add_argument("--only", default="", help="models whose name matches; \"tokens\" for tokenizers")
    a = parser.parse_args()
    if python := os.environ.pop("EDGEQ_TRANSFORMERS", None):
        sys.exit(subprocess.run([python, *sys.argv]).returncode)
    os.makedirs(a.work, exist_ok=True)
    cells = Cells()
    models = {name_of(m): m for m in a.models}
    try:
        import gguf, safetensors, transformers  # noqa: E401,F401 the rest needs all of them

        have_python = True
    except ImportError:
        have_python = False
    if not os.environ.get("EDGEQ_LLAMA"):
        for name in [*models, *FAMILIES]:
            cells.skip(TOOL, "all types", name, "EDGEQ_LLAMA is not set")
        sys.exit(cells.finish(os.path.join(a.work, "cells-llama.json")))
    for name, family in FAMILIES.items():
        if have_python and re.search(a.only, name):
            models[name] = os.path.join(a.work, "llama-cpp-" + name)
            make_family(models[name], *family)
        elif not have_python:
            cells.skip(TOOL, "all types", name, "EDGEQ_TRANSFORMERS is not set")
    for name, model in models.items():
        if re.search(a.only, name):
            model_cells(cells, a, model, have_python)
    for model in a.models if have_python else ():
        if re.search(a.only, name_of(model)):
            try:
                q4_0_cells(cells, a, model)
            except RuntimeError as error:
                cells.record(TOOL, Q4_0, name_of(model), str(error), False)
    if have_python and re.search(a.only, "tokens"):
        trained = {name_of(m): m for m in a.models if os.path.exists(os.path.join(m, "tokenizer.json"))}
        tokenizer_cells(cells, a, {**tokenizer_models(a), **trained})
        safetensors_cell(cells, a)
    sys.exit(cells.finish(os.path.join(a.work, "cells-llama.json")))


if __name__ == "__main__":
    main()
