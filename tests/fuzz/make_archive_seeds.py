# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of corpus/archive with h5py: a small archive in each storage of scales, and damaged ones. No edgeq is involved, so
that the layout is what docs/formats.md says of it.

    python tests/fuzz/make_archive_seeds.py          (h5py 3.16, HDF5 2.0)
"""
import json
from pathlib import Path

import h5py
import numpy as np

HERE = Path(__file__).parent / "corpus" / "archive"
CONFIG = json.loads((Path(__file__).parent / "corpus" / "config" / "own").read_text())
HIDDEN, VOCAB, FFN = 32, 2, 32
SITES = {"embedding": (VOCAB, HIDDEN), "layers.0.attn.q_proj": (2, HIDDEN), "layers.0.attn.k_proj": (2, HIDDEN),
         "layers.0.attn.v_proj": (2, HIDDEN), "layers.0.attn.o_proj": (HIDDEN, 2), "layers.0.mlp.gate_proj": (FFN, HIDDEN),
         "layers.0.mlp.up_proj": (FFN, HIDDEN), "layers.0.mlp.down_proj": (HIDDEN, FFN)}
VECTORS = {"layers.0.attn_norm": HIDDEN, "layers.0.mlp_norm": HIDDEN, "final_norm": HIDDEN}
PACKING = dict(compression="gzip", compression_opts=1, fletcher32=True)


def put(group, name, values):
    group.create_dataset(name, data=values, chunks=values.shape, **PACKING)


def text(group, name, value):
    group.attrs.create(name, value, dtype=h5py.string_dtype("utf-8", len(value) + 1))


def archive(name, scheme, arrays, spoil=None):
    """`arrays`: of a coded weight of [rows, cols], beside its codes."""
    random = np.random.default_rng(1)
    config = {**CONFIG, "qkv_bias": False, "qk_norm": False, "family": "llama"}
    with h5py.File(HERE / name, "w", libver=("v110", "v110")) as f:
        text(f, "format", "edgeq-archive")
        f.attrs["version"] = np.int64(1)
        put(f, "config", np.frombuffer(json.dumps(config).encode(), "u1"))
        put(f, "provenance", np.frombuffer(b"{}", "u1"))
        put(f, "tokenizer", np.frombuffer(b"none", "u1"))
        for site, (rows, cols) in SITES.items():
            group = f.create_group("weights/" + site)
            group.attrs["rows"], group.attrs["cols"] = np.int64(rows), np.int64(cols)
            if cols % 32:
                text(group, "dtype", "F16")
                put(group, "values", random.normal(size=(rows, cols)).astype("f2"))
                continue
            text(group, "scheme", scheme)
            put(group, "codes", random.integers(0, 16, (rows, cols)).astype("u1"))
            for array, values in arrays(random, rows, cols).items():
                put(group, array, values)
        for vector, size in VECTORS.items():
            put(f.require_group("vectors"), vector, np.ones(size, "f4"))
        if spoil:
            spoil(f)


def main():
    HERE.mkdir(parents=True, exist_ok=True)
    flat = lambda random, rows, cols: {"scales": random.normal(size=(rows, cols // 32)).astype("f2")}
    archive("sym", "int4-g32-sym", flat)
    archive("asym", "int4-g32-asym", lambda random, rows, cols: {
        **flat(random, rows, cols), "zeros": random.integers(0, 16, (rows, cols // 32)).astype("u1")})
    archive("two-level", "int4-g32-s8", lambda random, rows, cols: {
        "scale_codes": random.integers(-127, 128, (rows, cols // 32)).astype("i1"), "outer_scales": np.ones((rows, 1), "f4")})
    up = "weights/layers.0.mlp.up_proj/"

    def replace(f, name, values):
        del f[name]
        put(f, name, values)

    archive("code-too-large", "int4-g32-sym", flat, lambda f: replace(f, up + "codes", np.full((FFN, HIDDEN), 16, "u1")))
    archive("scale-nan", "int4-g32-sym", flat, lambda f: replace(f, up + "scales", np.full((FFN, 1), np.nan, "f2")))
    archive("shape-wrong", "int4-g32-sym", flat, lambda f: replace(f, up + "codes", np.zeros((FFN, HIDDEN + 1), "u1")))
    archive("rows-huge", "int4-g32-sym", flat, lambda f: f[up].attrs.modify("rows", np.int64(2**62)))

    def link(f):
        del f[up + "codes"]
        f[up + "codes"] = h5py.ExternalLink("/etc/passwd", "/codes")

    archive("link-outside", "int4-g32-sym", flat, link)
    archive("cycle", "int4-g32-sym", flat, lambda f: f["weights"].__setitem__("again", f["/"]))


main()
