# SPDX-License-Identifier: Apache-2.0
"""An archive as h5py sees it: every weight computed from its datasets, as docs/formats.md says, is the weight that edgeq writes as
floats. Run by ctest; without h5py (Debian: python3-h5py) it is skipped.

    python tests/models/archive_h5py.py EDGEQ MODEL
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

SKIPPED = 77  # as CMakeLists.txt says

try:
    import h5py
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}; Debian: apt install python3-h5py")
    sys.exit(SKIPPED)

PARTS = {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "o_proj": "self_attn"}


def hf_name(site):
    if site == "embedding":
        return "model.embed_tokens.weight"
    _, layer, _, part = site.split(".")
    return f"model.layers.{layer}.{PARTS.get(part, 'mlp')}.{part}.weight"


def safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    length = struct.unpack("<Q", data[:8])[0]
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__" and not name.startswith("pad."):
            begin, end = entry["data_offsets"]
            kind = {"F32": "<f4", "F16": "<f2"}[entry["dtype"]]
            yield name, np.frombuffer(data[8 + length + begin:8 + length + end], kind).reshape(entry["shape"])


def weight_of(group):
    """w = scale * (code - zero) + offset, in f32; see core/quantized_tensor.h."""
    if "dtype" in group.attrs:
        return group["values"][:].astype("f4")
    cols, scheme = group.attrs["cols"], group.attrs["scheme"]
    scheme = scheme.decode() if isinstance(scheme, bytes) else scheme
    wide = lambda values: values.repeat(cols // values.shape[1], 1)
    if "scale_codes" in group:
        scales = group["outer_scales"][:].astype("f4") * group["scale_codes"][:].astype("f4")
    else:
        scales = group["scales"][:].astype("f4")
    bits = int(scheme[3])
    zeros = wide(group["zeros"][:].astype("f4")) if "zeros" in group else 0 if "offsets" in group else 2.0 ** (bits - 1)
    weight = wide(scales) * (group["codes"][:].astype("f4") - zeros)
    return weight + wide(group["offsets"][:].astype("f4")) if "offsets" in group else weight


def check(edgeq, model, scheme, work):
    recipe, archive, floats = (os.path.join(work, scheme + end) for end in (".yaml", ".h5", "-f32"))
    with open(recipe, "w") as f:
        f.write("rules:\n  - {match: embedding, keep: f16}\n  - {match: \"*\", quantizer: rtn, scheme: %s}\n" % scheme)
    run = lambda *arguments: subprocess.run([edgeq, *arguments], check=True, stdout=subprocess.DEVNULL)
    run("quantize", recipe, "--model", model, "--for", "hdf5", "-o", archive, "--quiet")
    run("convert", archive, "--to", "f32", "-o", floats)
    expected = dict(safetensors(os.path.join(floats, "model.safetensors")))
    with h5py.File(archive, "r") as f:
        assert f.attrs["version"] == 1 and json.loads(f["config"][:].tobytes())["family"] == "llama"
        for site, group in f["weights"].items():
            found = weight_of(group)
            assert found.dtype == np.float32 and np.array_equal(found, expected[hf_name(site)]), (scheme, site)
            # The check can fail.
            assert not np.array_equal(found * np.float32(1.05), expected[hf_name(site)])
        print(f"{scheme}: {len(f['weights'])} weights equal")


def main():
    edgeq, model = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        for scheme in ("int4-g32-sym", "int3-g32-asym", "int4-g64-offset", "int4-g32-s8"):
            check(edgeq, model, scheme, work)


main()
