# SPDX-License-Identifier: Apache-2.0
"""Writes the named seeds of corpus/safetensors and corpus/gguf: small valid files and hostile ones. Files with other names in
those folders were found by fuzzing.

    python tests/fuzz/make_container_seeds.py
"""
import json
import struct
from pathlib import Path

HERE = Path(__file__).parent / "corpus"
HUGE = 2**64 - 1


def write(folder, name, content):
    (HERE / folder).mkdir(parents=True, exist_ok=True)
    (HERE / folder / name).write_bytes(content)


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def all_safetensors():
    put = lambda name, content: write("safetensors", name, content)
    dtypes = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I8": 1, "U8": 1, "I16": 2, "I32": 4, "I64": 8}
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for dtype, size in dtypes.items():
        header[dtype] = tensor(dtype, [2, 1], at, at + 2 * size)
        at += 2 * size
    put("valid", safetensors(header, bytes(range(at))))
    put("empty", safetensors({}))
    put("header-too-long", safetensors({}, length=HUGE))
    put("header-truncated", safetensors(b'{"w":{"dtype":"F3'))
    put("deep", safetensors(b'{"a":' * 400))
    put("deep-array", safetensors(b'{"w":{"dtype":"U8","shape":' + b"[" * 400))
    put("shape-wraps-elements", safetensors({"w": tensor("U8", [2**32, 2**32], 0, 0)}))
    put("shape-wraps-bytes", safetensors({"w": tensor("F64", [2**61], 0, 0)}))
    put("shape-negative", safetensors({"w": tensor("U8", [-1, -4], 0, 4)}, b"1234"))
    put("shape-float", safetensors(b'{"w":{"dtype":"U8","shape":[4e0],"data_offsets":[0,4]}}', b"1234"))
    put("shape-zero-and-huge", safetensors({"w": tensor("F32", [0, 2**62], 0, 0)}))
    put("offsets-outside", safetensors({"w": tensor("U8", [4], 0, 4)}, b"12"))
    put("offsets-reversed", safetensors({"w": tensor("U8", [4], 4, 0)}, b"1234"))
    put("offsets-overlap", safetensors({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 2, 6)}, b"123456"))
    put("offsets-wrap", safetensors({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], HUGE - 1, 2)}, b"1234"))
    put("name-twice", safetensors(b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                                  b'"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"12"))
    put("field-twice", safetensors(b'{"w":{"dtype":"U8","dtype":"F64","shape":[1],"data_offsets":[0,1]}}', b"1"))
    put("metadata-not-text", safetensors({"__metadata__": {"n": {"m": 1}}}))
    put("dtype-unknown", safetensors({"w": tensor("F8_E4M3", [4], 0, 4)}, b"1234"))
    put("name-escaped", safetensors(b'{"\\u0000\\ud83d\\ude00":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"))
    put("git-lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    put("index", json.dumps({"metadata": {"total_size": 6}, "weight_map": {
        "a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}).encode())
    put("index-path", json.dumps({"weight_map": {"a": "../../etc/passwd"}}).encode())
    put("index-deep", b'{"weight_map":' * 400)


def text(s):
    return struct.pack("<Q", len(s)) + s


def gguf(tensors, pairs, body, version=3):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + body


def info(name, dims, kind, offset):
    return text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + struct.pack("<IQ", kind, offset)


def aligned(content, data, alignment=32):
    return content + bytes(-len(content) % alignment) + data


U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)


def pair(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def all_gguf():
    put = lambda name, content: write("gguf", name, content)
    plain = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
    pairs = [pair(b"k%d" % kind, kind, struct.pack("<" + code, 1)) for kind, code in plain.items()]
    pairs += [pair(b"a%d" % kind, ARRAY, struct.pack("<IQ", kind, 2) + struct.pack("<2" + code, 0, 1))
              for kind, code in plain.items()]
    pairs += [pair(b"s", STRING, text(b"words")),
              pair(b"as", ARRAY, struct.pack("<IQ", STRING, 2) + text(b"a") + text(b""))]
    put("valid-metadata", gguf(0, len(pairs), b"".join(pairs)))
    sizes = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 12: (256, 144),
             13: (256, 176), 14: (256, 210), 20: (32, 18), 24: (1, 1), 28: (1, 8), 30: (1, 2)}
    body, at = b"", 0
    for kind, (weights, size) in sizes.items():
        body += info(b"t%d" % kind, [weights, 1], kind, at)
        at += -(-size // 32) * 32
    put("valid-tensors", aligned(gguf(len(sizes), 0, body), bytes(i % 251 for i in range(at))))
    one = lambda dims, kind=0, offset=0, data=bytes(64): aligned(gguf(1, 0, info(b"w", dims, kind, offset)), data)
    put("version-1", gguf(0, 0, b"", 1))
    put("big-endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
    put("pairs-huge", gguf(0, HUGE, b""))
    put("tensors-huge", gguf(HUGE, 0, b""))
    put("key-huge", gguf(0, 1, struct.pack("<Q", HUGE)))
    put("string-huge", gguf(0, 1, pair(b"s", STRING, struct.pack("<Q", HUGE - 7))))
    put("array-wraps", gguf(0, 1, pair(b"a", ARRAY, struct.pack("<IQ", F64, 2**61 + 1) + bytes(8))))
    put("array-of-strings-huge", gguf(0, 1, pair(b"a", ARRAY, struct.pack("<IQ", STRING, 2**60) + bytes(64))))
    put("array-of-arrays", gguf(0, 1, pair(b"a", ARRAY, struct.pack("<IQ", ARRAY, 2) + bytes(32))))
    put("type-unknown", gguf(0, 1, pair(b"a", 99, bytes(8))))
    put("key-twice", gguf(0, 2, pair(b"a", U8, b"1") * 2))
    put("alignment-zero", gguf(0, 1, pair(b"general.alignment", U32, struct.pack("<I", 0))))
    put("alignment-huge", gguf(0, 1, pair(b"general.alignment", U64, struct.pack("<Q", 2**63))))
    put("dims-many", one([2] * 200))
    put("dims-negative", one([2**63, 1]))
    put("dims-wrap", one([2**32, 2**32]))
    put("bytes-wrap", one([2**62]))
    put("dims-zero-and-huge", one([0, 2**62]))
    put("columns-not-blocks", one([48], 2))
    put("offset-outside", one([4], 0, 2**40))
    put("data-truncated", one([64]))
    put("overlap", aligned(gguf(2, 0, info(b"a", [8], 0, 0) + info(b"b", [8], 0, 0)), bytes(64)))
    put("tensor-twice", aligned(gguf(2, 0, info(b"a", [8], 0, 0) + info(b"a", [8], 0, 32)), bytes(64)))


if __name__ == "__main__":
    all_safetensors()
    all_gguf()
