"""Trains tiny-llama, the model this repository carries, from nothing but a Debian package and a seed.

    pip install torch transformers tokenizers safetensors
    apt-get download r-cran-janeaustenr && dpkg-deb -x r-cran-janeaustenr_*.deb austen
    python3 train.py --text austen/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb --out .

Writes config.json, model.safetensors (BF16), tokenizer.json, tokenizer_config.json, calibration.txt and heldout.txt.
One thread and a fixed seed: the same versions on the same kind of CPU give the same bytes.
"""
import argparse
import json
import math
import os
import re
import struct
import time
import zlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM

SEED = 20
CONTEXT = 512  # positions; also the length of every training sequence
BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"

# Widths are multiples of 64 and not of 128, so that no group of 128 fits: the awkward case is the one carried.
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 1536,
    "hidden_size": 192,
    "intermediate_size": 320,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": CONTEXT,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "initializer_range": 0.02,
    "torch_dtype": "bfloat16",
}


def read_novels(path):
    """The character vectors of an R lazy-load data base, one novel each, as lists of lines."""
    raw = open(path, "rb").read()
    novels = []
    while raw:
        inflate = zlib.decompressobj()  # a chunk: uncompressed length (4 bytes, big-endian), zlib stream
        data = inflate.decompress(raw[4:])
        raw = inflate.unused_data
        at = 14 + struct.unpack_from(">I", data, 14)[0] + 4  # "X\n", three versions, name of the encoding
        flags, count = struct.unpack_from(">II", data, at)
        assert flags & 0xFF == 16, "not a character vector"
        at += 8
        lines = []
        for _ in range(count):
            length = struct.unpack_from(">I", data, at + 4)[0]
            lines.append(data[at + 8 : at + 8 + length].decode())
            at += 8 + length
        novels.append(lines)
    return novels


def chapters_of(lines):
    """A novel's chapters: wrapped lines joined, one paragraph a line; headings, notes and italics marks dropped."""
    text = "\n".join(line.strip() for line in lines)
    parts = re.split(r"\n(?:CHAPTER|Chapter) [^\n]*\n", text)[1:]
    for part in parts:
        part = re.sub(r"\n(VOLUME|THE END|End of|FINIS)[^\n]*", "\n", part).replace("_", "")
        paragraphs = (" ".join(p.split()) for p in re.split(r"\n\s*\n", part))
        yield "\n".join(p for p in paragraphs if p and p[0] not in "[*") + "\n"


def split(novels):
    """(training, calibration, held-out): three disjoint lists of chapters, spread over all the novels."""
    parts = ([], [], [])
    for i, chapter in enumerate(c for lines in novels for c in chapters_of(lines)):
        parts[1 if i % 20 == 7 else 2 if i % 30 == 18 else 0].append(chapter)
    return parts


def train_tokenizer(chapters):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # GPT-2's regular expression
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.train_from_iterator(
        chapters,
        trainers.BpeTrainer(
            vocab_size=CONFIG["vocab_size"],
            special_tokens=[BOS, EOS],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return tokenizer


def batches(ids, size, steps, generator):
    """Random windows of the token stream, with their starts drawn anew at each step."""
    for _ in range(steps):
        starts = torch.randint(len(ids) - CONTEXT, (size,), generator=generator)
        yield torch.stack([ids[s : s + CONTEXT] for s in starts])


@torch.no_grad()
def heldout_perplexity(model, ids, limit=None):
    """Non-overlapping windows, no BOS, the second half of each window scored."""
    model.eval()
    windows = ids[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT)[:limit]
    losses = []
    for window in windows:
        logits = model(window[None]).logits[0]
        losses.append(F.cross_entropy(logits[CONTEXT // 2 : -1], window[CONTEXT // 2 + 1 :], reduction="none"))
    model.train()
    return math.exp(torch.cat(losses).mean())


def train(model, ids, heldout, args):
    decay = [p for p in model.parameters() if p.ndim == 2]
    plain = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": args.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.95), fused=True,
    )
    warmup = 200

    def schedule(step):
        progress = max(0.0, (step - warmup) / max(1, args.steps - warmup))
        return min(1.0, (step + 1) / warmup) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    generator = torch.Generator().manual_seed(SEED)
    started = time.time()
    model.train()
    for step, window in enumerate(batches(ids, args.batch, args.steps, generator), 1):
        logits = model(window).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % args.every == 0 or step == args.steps:
            perplexity = heldout_perplexity(model, heldout, limit=16)
            seconds = time.time() - started
            print(f"step {step} loss {loss.item():.4f} held-out perplexity {perplexity:.2f} seconds {seconds:.0f}",
                  flush=True)
            save_model(model, args.out)


def save_model(model, folder):
    weights = {name: p.detach().to(torch.bfloat16).contiguous() for name, p in model.named_parameters()}
    save_file(weights, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True, help="Rdata.rdb of the package janeaustenr")
    parser.add_argument("--out", default=".")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--every", type=int, default=500, help="steps between two reports and checkpoints")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    os.makedirs(args.out, exist_ok=True)

    training, calibration, heldout = split(read_novels(args.text))
    for name, chapters in (("calibration.txt", calibration), ("heldout.txt", heldout)):
        with open(os.path.join(args.out, name), "w", encoding="utf-8", newline="\n") as file:
            file.write("\n".join(chapters))  # chapters are a blank line apart

    tokenizer = train_tokenizer(training)
    tokenizer.save(os.path.join(args.out, "tokenizer.json"))
    write_json(args.out, "config.json", CONFIG)
    write_json(args.out, "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
    })
    bos, eos = CONFIG["bos_token_id"], CONFIG["eos_token_id"]
    ids = torch.tensor([i for c in training for i in (bos, *tokenizer.encode(c).ids, eos)])
    held = torch.tensor(tokenizer.encode("\n".join(heldout)).ids)

    model = LlamaForCausalLM(LlamaConfig(**CONFIG)).float()
    print(f"{sum(p.numel() for p in model.parameters())} parameters; "
          f"{len(training)} + {len(calibration)} + {len(heldout)} chapters; "
          f"{len(ids)} training and {len(held)} held-out tokens", flush=True)
    train(model, ids, held, args)


if __name__ == "__main__":
    main()
