#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/tokenizers: small tokenizers of each kind, trained on the text below, and the token ids that
the Python packages give for a set of inputs. Run with: tokenizers 0.23.3, sentencepiece 0.2.3, transformers 5.23.0.

    python make_tokenizers.py            writes the fixtures
    python make_tokenizers.py FOLDER     prints the cases of another tokenizer (tokenizer.json or tokenizer.model)
"""
import base64
import io
import json
import os
import pathlib
import sys

import sentencepiece as spm
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent / "tokenizers"

# Written for this file: plain sentences in several scripts, code, numbers.
TEXT = """
The river was low that summer, and the children walked across it on the stones. They didn't know where it came from.
"Where does it go?" asked the youngest. "To the sea," said her brother, "like all the others; you'll see it one day."
We measured 12 samples in 2019, 345 in 2020 and 6789 in 2021; the mean was 3.14159 with an error of 0.001 or less.
She's sure that we've been here before, I'm not; he'd say they're right, but it won't matter to us any more.
It was the same house, the same garden, the same old walls; the windows were open and the rooms were full of light.
Летом река обмелела, и дети переходили её по камням. Они не знали, откуда она течёт и куда она уходит.
Он говорил медленно и тихо, а она слушала его и смотрела в окно на снег, который шёл весь день и всю ночь.
Die Straße führte über die Brücke; Mädchen und Jungen grüßten höflich. Où êtes-vous allés cet été, mes élèves?
El niño comió una manzana y después salió a jugar. Você não está aqui; a ação começou às três horas da manhã.
كان النهر منخفضا في ذلك الصيف وكان الأطفال يعبرونه على الحجارة. لا يعرفون من أين يأتي ولا إلى أين يذهب.
那年夏天河水很浅，孩子们踩着石头走过去。他们不知道河水从哪里来，也不知道它到哪里去。我们明天再去看看吧。
夏の川は浅く、子供たちは石の上を歩いて渡った。どこから来て、どこへ行くのか、だれも知らなかった。カタカナもある。
उस गर्मी में नदी का पानी कम था और बच्चे पत्थरों पर चलकर उसे पार करते थे। वे नहीं जानते थे कि नदी कहाँ से आती है।
for (int i = 0; i < count; ++i) { sum += values[i] * 2; }  // the sum of all values
def mean(values):\n    total = 0.0\n    for value in values:\n        total += value\n    return total / len(values)
if (x == 0 && y != 1) return "https://example.org/path?id=42&name=value"; else { print("a\\tb\\n"); }
😀 😃 👍🏽 👩‍👩‍👧 🇫🇷 ❤️ and more 😀😀 text 👍 with 👩‍💻 emoji 🎉🎉
"""

CHAT = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

LLAMA3_EXPRESSION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2_EXPRESSION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# Bytes, not text: some are not valid UTF-8.
CASES = [s if isinstance(s, bytes) else s.encode() for s in [
    "", " ", "  ", "   ", "\n", "\n\n", "\n \n", " \n", "\t", "\t\t a", "\r\n", "a\r\n\r\nb", "\u00a0", "a\u00a0b", "\u3000x",
    "a\u2003b", "\u1680", "\u180e", "a\u180eb", "\u200b", "x\u2028y\u2029z", "\u0085", "\ufeffa", "     five", "five     ",
    "a  b   c    d", " leading", "trailing ", "\x00", "a\x00b", "\x1b[0m", "\x7f",
    "Hello", "Hello world", " Hello world", "hello, world! It's 2024; isn't it?", "I'M, YOU'LL, WE'VE, HE'D, THEY'RE",
    "don\u2019t", "'S 'T '\u017f", "\u212a 'L\u017f", "naïve café", "nai\u0308ve cafe\u0301", "A\u030angstrom \u212b", "ﬁ ﬂ ½ ² ³ Ⅷ ①",
    "0", "12", "123", "1234", "12345678901234567890", "3.14159", "1,234,567.89", "٠١٢٣٤", "०१२३", "１２３", "1a2b3c", "x²+y³",
    "Летом река обмелела.", "ПРИВЕТ, как дела? Ёжик", "كان النهر منخفضا", "السَّلامُ عَلَيْكُم", "那年夏天河水很浅", "夏の川は浅く、カタカナ", "한국어 텍스트",
    "उस गर्मी में नदी", "क्षत्रिय ज़रूर", "ภาษาไทย", "עברית", "Ελληνικά", "Việt Nam", "mixed Кириллица と 中文 text",
    "😀", "😀😃", "👍🏽", "👩‍👩‍👧‍👦", "🇫🇷🇩🇪", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "a😀b", "𝕳𝖊𝖑𝖑𝖔", "\U0010ffff", "\ue000", "\ufffd",
    "for (int i = 0; i < n; ++i) {\n\tsum += v[i];\n}\n", "def f(x):\n    return x ** 2\n\n\n", "https://example.org/a?b=c&d=%20#e",
    "!@#$%^&*()_+-=[]{}|;':\",./<>?`~", "----------", "=====", "...", "a_b_c __init__", "CamelCaseWords", "\\n\\t\\\\", "<b>x</b>",
    "<s>", "</s>", "<s> a </s>", "<unk>", "<|im_start|>user\nHi<|im_end|>\n", " <|im_end|> ", "<|im_end", "<|im_end|><|im_end|>", "a<|im_end|>b",
    "<tool>", "  <tool>  x", "a <tool>b", "wordy word words", "sword word", "x<mask>  y", "  <mask>  ", "<0x41>", "▁", "▁a ▁ b", "a▁b", "Ġ", "Ċ", "é", "Ã©",
    "a" * 70, "ab" * 40, " " * 40, "\n" * 20, "the " * 12, "。" * 10, "😀" * 6, "the same old walls and the same old windows",
    b"\xff", b"a\xffb", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2(\xa1", b"\xf0\x9f\x98", b"\xf0\x9f\x98\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
    b"\xc0\xaf", b"\xe0\x80\xaf", b"ok \xfe\xfe bad", b"\x80\x80\x80", "é".encode() + b"\xc3",
]]

ADDED = [AddedToken("<tool>", normalized=False), AddedToken("word", single_word=True, normalized=True),
         AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False, special=True)]


def as_text(case):
    return case.decode("utf-8", errors="replace")


def encoded(case):
    """Bytes for JSON: as text when they are valid UTF-8, else base64."""
    try:
        return case.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(case).decode()}


def cases_of(tokenizer, skip=()):
    rows = []
    for case in CASES:
        if as_text(case) in skip:
            continue
        tokenizer.encode_special_tokens = False
        parsed = tokenizer.encode(as_text(case), add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(as_text(case), add_special_tokens=False).ids
        decoded = tokenizer.decode(parsed, skip_special_tokens=True)
        rows.append([encoded(case), parsed] + ([decoded] if plain == parsed else [decoded, plain]))
    return rows


def write_cases(name, rows, package):
    lines = ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    (HERE / f"{name}.cases.json").write_text(f'{{"package": "{package}",\n"cases": [\n{lines}\n]}}\n', encoding="utf-8")


def byte_level(name, *, pre, normalizer=None, size=700, ignore_merges=False, special=("<|endoftext|>",), bos=None):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(TEXT.splitlines(keepends=True), trainer)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens(ADDED)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if bos:
        template = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    write_tokenizer(name, tokenizer)


def write_tokenizer(name, tokenizer):
    data = json.loads(tokenizer.to_str())
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    write_cases(name, cases_of(Tokenizer.from_str(text)), f"tokenizers {tokenizers.__version__}")


def split(expression):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(expression), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train_sentencepiece(name, **options):
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.strip().splitlines()), model_writer=model, model_type="bpe", character_coverage=0.995,
        unk_surface=" ⁇ ", minloglevel=2, **options)
    (HERE / f"{name}.model").write_bytes(model.getvalue())
    processor = spm.SentencePieceProcessor(model_proto=model.getvalue())
    rows = []
    for case in CASES:
        ids = processor.encode(as_text(case))
        # The spelling of a control token is plain text to this package; special tokens are left out here.
        decoded = processor.decode([i for i in ids if not processor.is_unknown(i)])
        rows.append([encoded(case), ids, decoded])
    write_cases(name, rows, f"sentencepiece {spm.__version__}")
    return processor


def llama2_from(processor, name):
    """tokenizer.json as converted from a Llama-2 tokenizer.model: merges in the order of the scores."""
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    ids = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for left in pieces:
        for right in pieces:
            made = ids.get(left + right)
            if made is not None and processor.get_score(made) < 0:
                merges.append((-processor.get_score(made), ids[left], ids[right], left, right))
    merges = [(left, right) for *_, left, right in sorted(merges)]
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.add_tokens([AddedToken("<tool>", normalized=True), AddedToken("word", single_word=True, normalized=True),
                          AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    write_tokenizer(name, tokenizer)


def main():
    HERE.mkdir(exist_ok=True)
    byte_level("gpt2", pre=pre_tokenizers.ByteLevel(add_prefix_space=False))
    byte_level("llama3", pre=split(LLAMA3_EXPRESSION), ignore_merges=True, bos="<|begin_of_text|>",
               special=("<|begin_of_text|>", "<|eot_id|>"))
    byte_level("qwen", pre=split(QWEN2_EXPRESSION), normalizer=normalizers.NFC(), size=600)
    byte_level("digits", size=500, pre=pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Split("the", "merged_with_previous"), pre_tokenizers.Split(Regex("[aeiou]+"), "merged_with_next"),
        pre_tokenizers.ByteLevel(add_prefix_space=True)]))
    processor = train_sentencepiece("spm_bytes", vocab_size=900, byte_fallback=True, split_digits=True,
                                    normalization_rule_name="identity", remove_extra_whitespaces=False,
                                    allow_whitespace_only_pieces=True)
    # A map of its own: the usual one (nmt_nfkc) is 240 kB. The model records the path, so it is a relative one.
    os.chdir(HERE)
    rules = pathlib.Path("rules.tsv")
    rules.write_text("".join(f"{' '.join(f'{ord(c):X}' for c in a)}\t{' '.join(f'{ord(c):X}' for c in b)}\n" for a, b in [
        ("ﬁ", "fi"), ("ﬂ", "fl"), ("½", "1/2"), ("\u00a0", " "), ("\u3000", " "), ("\t", " "), ("\n", " "), ("e\u0301", "\u00e9"),
        ("cafe", "coffee"), ("ca", "CA"), ("①", "1"), ("\u200b", " ")]), encoding="utf-8")
    train_sentencepiece("spm_map", vocab_size=420, normalization_rule_tsv=str(rules),
                        user_defined_symbols=["<tool>", "word", "▁▁", "CA"], control_symbols=["<|im_end|>"], hard_vocab_limit=False)
    rules.unlink()
    llama2_from(processor, "llama2")
    metaspace(processor, "metaspace")


def metaspace(processor, name):
    """The newer form of the same: a Metaspace pre-tokenizer instead of the normalizer."""
    data = json.loads((HERE / "llama2.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first")
    write_tokenizer(name, tokenizer)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        folder = pathlib.Path(sys.argv[1])
        rows = cases_of(Tokenizer.from_file(str(folder / "tokenizer.json")))
        print(json.dumps({"cases": rows}, ensure_ascii=False))
    else:
        main()
