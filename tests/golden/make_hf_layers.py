# SPDX-License-Identifier: Apache-2.0
"""Makes hf_layers.safetensors: small linear layers packed by the tools whose layouts edgeq reads and writes, and the weights that
those tools read out of them again, in f32.

    pip install gptqmodel==7.7.0 torch==2.15.0              # for: gptq, awq
    pip download --no-deps --no-binary :all: autoawq==0.2.9  # unpacked; its folder for: awq
    pip install compressed-tensors==0.19.0 torch==2.14.0    # for: compressed
    python tests/golden/make_hf_layers.py gptq
    python tests/golden/make_hf_layers.py awq AUTOAWQ_FOLDER
    python tests/golden/make_hf_layers.py compressed

Each run replaces its part of the file. A case "gptq.v1-4-sym" has its layer as "gptq.v1-4-sym.qweight" and so on, and
"gptq.v1-4-sym.expected" F32 [out, in].
"""
import importlib.util
import os
import sys
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

FILE = Path(__file__).with_name("hf_layers.safetensors")
OUT = 32


def layer(bits, cols, group, symmetric, seed):
    """-> codes [out, in], scales [out, groups] f16, zeros [out, groups], a weight that the tools round back to these codes."""
    random = torch.Generator().manual_seed(seed)
    groups = cols // group
    codes = torch.randint(0, 1 << bits, (OUT, cols), generator=random)
    scales = (torch.rand(OUT, groups, generator=random) * 0.1 + 0.01).half()
    zeros = torch.full((OUT, groups), 1 << (bits - 1))
    if not symmetric:
        zeros = torch.randint(0, 1 << bits, (OUT, groups), generator=random)
        zeros[0, 0], zeros[1, 0] = 0, (1 << bits) - 1
    weight = (codes - zeros.repeat_interleave(group, 1)).float() * scales.float().repeat_interleave(group, 1)
    return codes, scales, zeros, weight


def linear(weight):
    module = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    module.weight.data = weight
    return module


def gptq():
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization.config import QuantizeConfig
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    cases = {"v1-4-sym": (4, 48, 16, True, 1), "v1-4-asym": (4, 48, 16, False, 1), "v2-4-asym": (4, 48, 16, False, 2),
             "v1-2-asym": (2, 48, 16, False, 1), "v1-3-asym": (3, 64, 32, False, 1), "v2-8-sym": (8, 48, 16, True, 2),
             "v1-4-act": (4, 48, 16, True, 1)}
    tensors = {}
    for seed, (name, (bits, cols, group, symmetric, version)) in enumerate(cases.items()):
        _, scales, zeros, weight = layer(bits, cols, group, symmetric, seed)
        g_idx = torch.arange(cols, dtype=torch.int32) // group
        if name.endswith("act"):
            order = torch.randperm(cols, generator=torch.Generator().manual_seed(seed))
            g_idx, weight = g_idx[order], weight[:, order].contiguous()
        module = TorchLinear(bits, group, symmetric, name.endswith("act"), cols, OUT)
        module.pack_original(linear(weight), scales.float(), zeros.float(), g_idx)
        module.post_init()
        module.scales = module.scales.float()  # the tool computes in the type of its scales
        expected = module.dequantize_weight().T.contiguous()
        if version == 1:
            convert_gptq_v2_to_v1_format_module(module, QuantizeConfig(bits=bits, group_size=group))
        tensors |= {f"gptq.{name}.{part}": getattr(module, part).clone().contiguous() for part in ("qweight", "qzeros", "g_idx")}
        tensors |= {f"gptq.{name}.scales": module.scales.half().contiguous(), f"gptq.{name}.expected": expected}
    return tensors


def awq(folder):
    def source(path, name):
        spec = importlib.util.spec_from_file_location(name, Path(folder) / path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    packing = source("awq/utils/packing_utils.py", "packing_utils")
    codes, scales, zeros, weight = layer(4, 48, 16, False, 100)
    gemm = (Path(folder) / "awq/modules/linear/gemm.py").read_text(encoding="utf-8")
    # The class alone: the imports of its module want a GPU.
    names = {"torch": torch, "nn": torch.nn, "get_best_device": lambda: "cpu"}
    exec(gemm[gemm.index("class WQLinear_GEMM"):], names)  # noqa: S102
    module = names["WQLinear_GEMM"].from_linear(linear(weight), 4, 16, scales=scales.T.contiguous(), zeros=zeros.T.contiguous())
    expected = packing.dequantize_gemm(module.qweight, module.qzeros, module.scales.float(), 4, 16).T.contiguous()
    assert torch.equal(expected, weight)
    return {f"awq.asym.{part}": getattr(module, part).contiguous() for part in ("qweight", "qzeros", "scales")} | {
        "awq.asym.expected": expected}


def compressed():
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    cases = {"pack-4-sym": (4, 48, 16, True), "pack-4-asym": (4, 48, 16, False), "pack-8-channel": (8, 48, 48, True),
             "int-8": (8, 48, 48, True)}
    tensors = {}
    for seed, (name, (bits, cols, group, symmetric)) in enumerate(cases.items()):
        _, scales, zeros, weight = layer(bits, cols, group, symmetric, 200 + seed)
        strategy = {"strategy": "channel"} if group == cols else {"strategy": "group", "group_size": group}
        act = QuantizationArgs(num_bits=8, strategy="token", dynamic=True) if name == "int-8" else None
        scheme = QuantizationScheme(targets=["Linear"], input_activations=act,
                                    weights=QuantizationArgs(num_bits=bits, symmetric=symmetric, **strategy))
        compressor = BaseCompressor.get_value_from_registry("int-quantized" if name == "int-8" else "pack-quantized")
        state = {"weight": weight, "weight_scale": scales.float(), "weight_zero_point": (zeros - (1 << (bits - 1))).to(torch.int8)}
        packed = compressor.compress(state, scheme)
        expected = compressor.decompress(packed, scheme)["weight"]
        packed["weight_scale"] = scales
        tensors |= {f"compressed.{name}.{part}": t.contiguous() for part, t in packed.items()}
        tensors[f"compressed.{name}.expected"] = expected.float().contiguous()
    return tensors


def main():
    part = sys.argv[1]
    made = {"gptq": gptq, "awq": awq, "compressed": compressed}[part](*sys.argv[2:])
    kept = {k: v for k, v in (load_file(FILE) if FILE.exists() else {}).items() if not k.startswith(part + ".")}
    save_file(dict(sorted((kept | made).items())), FILE)


main()
