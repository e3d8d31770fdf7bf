#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the seeds of tests/fuzz/corpus/tokenizer: small tokenizers of every kind and the golden chat templates."""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent
OUT = HERE / "corpus" / "tokenizer"


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, payload):
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    if isinstance(payload, float):
        return varint(number << 3 | 5) + struct.pack("<f", payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def piece(text, score, kind=1):
    return field(1, field(1, text.encode()) + field(2, score) + field(3, kind))


def sentencepiece(byte_fallback, charsmap=b""):
    pieces = [piece("<unk>", 0.0, 2), piece("<s>", 0.0, 3), piece("</s>", 0.0, 3), piece("ab", -1.0), piece("▁a", -2.0, 5),
              piece("<tool>", 0.0, 4)]
    pieces += [piece(c, -3.0) for c in "▁abT"]
    if byte_fallback:
        pieces += [piece(f"<0x{b:02X}>", 0.0, 6) for b in range(256)]
    trainer = field(3, 2) + field(35, int(byte_fallback))
    normalizer = field(2, charsmap) + field(3, 1) + field(4, 1) + field(5, 1)
    return b"".join(pieces) + field(2, trainer) + field(3, normalizer)


def gguf_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(values):
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(values))
    for key, value in values.items():
        out += gguf_string(key)
        if isinstance(value, str):
            out += struct.pack("<I", 8) + gguf_string(value)
        elif isinstance(value, int):
            out += struct.pack("<II", 4, value)
        elif isinstance(value[0], str):
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(gguf_string, value))
        elif isinstance(value[0], float):
            out += struct.pack("<IIQ", 9, 6, len(value)) + struct.pack(f"<{len(value)}f", *value)
        else:
            out += struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)
    return out


def tokenizer_json(**parts):
    root = {"added_tokens": [{"id": 4, "content": "<s>", "special": True, "lstrip": True, "rstrip": True},
                             {"id": 5, "content": "river", "single_word": True, "normalized": True}],
            "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}, "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "vocab": {"a": 0, "e": 1, "ae": 2, "Ġ": 3}, "merges": ["a e"]}}
    root.update(parts)
    return json.dumps(root, separators=(",", ":")).encode()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    seeds = {
        "json-byte-level": tokenizer_json(),
        "json-steps": tokenizer_json(
            normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "a"},
                        {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "}]},
            pre_tokenizer={"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}|[^\\s\\p{L}]+"}, "behavior": "MergedWithNext", "invert": True},
                {"type": "Digits", "individual_digits": True}, {"type": "Punctuation", "behavior": "Contiguous"},
                {"type": "ByteLevel", "use_regex": False}]}),
        "json-llama2": tokenizer_json(
            pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
            decoder={"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                     {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            model={"type": "BPE", "unk_token": "?", "fuse_unk": True, "byte_fallback": True,
                   "vocab": {"?": 0, "a": 1, "<0xFF>": 2, "▁": 3}, "merges": []}),
        "json-exponential": tokenizer_json(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "(?:.|..|.(?=.))+[QZ]"}, "behavior": "Isolated", "invert": False}),
        "model-bytes": sentencepiece(True),
        "model-map": sentencepiece(False, struct.pack("<I", 16) + struct.pack("<4I", 1024, 0, 0, 0) + b"x\0"),
        "gguf-gpt2": gguf({"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.tokens": ["a", "e", "ae", "Ġ", "<s>"],
                           "tokenizer.ggml.token_type": [1, 1, 1, 1, 3], "tokenizer.ggml.merges": ["a e"], "tokenizer.ggml.bos_token_id": 4,
                           "tokenizer.chat_template": "{{ bos_token }}{{ messages[0].content }}"}),
        "gguf-llama": gguf({"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["<unk>", "a", "▁", "<0x0A>"],
                            "tokenizer.ggml.token_type": [2, 1, 1, 6], "tokenizer.ggml.scores": [0.0, -1.0, -2.0, 0.0]}),
    }
    templates = json.loads((HERE.parent / "golden" / "chat_templates.json").read_text(encoding="utf-8"))["templates"]
    for name in ("llama2", "rules", "smollm2"):
        seeds[f"chat-{name}"] = templates[name]["template"].encode()
    for name, data in seeds.items():
        (OUT / name).write_bytes(data)


if __name__ == "__main__":
    main()
