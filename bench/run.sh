#!/usr/bin/env bash
# Benchmarks by name; the rest of the line goes to the one that is named.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-}
shift || true
case "$name" in
  kernels) exec build/release/bin/kernels_bench "$@" ;;
  float-engine) exec build/release/bin/float_engine_bench "$@" ;;
  llama) exec python3 bench/llama.py "$@" ;;
  parity) exec python3 bench/parity_transformers.py "$@" ;;
  quality) exec python3 bench/quality.py "$@" ;;
  prune) exec python3 bench/prune.py "$@" ;;
  distill) exec python3 bench/distill.py "$@" ;;
  train) exec python3 bench/train.py "$@" ;;
  int8) exec python3 bench/int8.py "$@" ;;
  export) exec python3 bench/export.py "$@" ;;
  gptq) exec python3 bench/gptq.py "$@" ;;
  *)
    cat <<'TEXT'
./dev bench kernels             every kernel on SmolLM2's shapes: ns, GB/s, GOP/s
./dev bench float-engine MODEL  the LibTorch engine: seconds and memory of a window
./dev bench llama ...           decode and prefill against llama.cpp, in turn (--help)
./dev bench parity              both engines against transformers in F32 (needs it installed)
./dev bench quality ...         what each stage of quantizing is worth, beside llama.cpp (--help)
./dev bench int8 ...            8-bit weights and activations; --four: outlier channels (--help)
./dev bench export WORK_DIR     speed and memory of exports of a model of Llama-2-7B's shape (--help)
./dev bench gptq ...            quality, time and memory of GPTQ against GPTQModel and llm-compressor (--help)
./dev bench distill ...         what a teacher is worth to a student, over seeds (--help)
./dev bench train ...           tokens/s of distillation against PyTorch, in turn (--help)
./dev bench prune ...           what pruning heads, channels and blocks costs, by score and share (--help)
TEXT
    ;;
esac
