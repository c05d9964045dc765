import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForMaskedLM, AutoTokenizer, DataCollatorWithPadding

from dnachunk import DNATokenizer, FixedTokenizer
from dnachunk.baselines import Tokenization, baseline_config
from dnachunk.evaluation.boundary_survival import kmer_boundaries, text_boundaries

NAMES = ["base", "3mer", "3mer-overlapping", "bpe-40"]


def random_texts(count, length, seed=0, letters="ACGT"):
    generator = random.Random(seed)
    return ["".join(generator.choice(letters) for _ in range(length)) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizers():
    return {name: FixedTokenizer.from_name(name, random_texts(50, 200)) for name in NAMES}


def tokens_and_places(tokenizer, text):
    encoded = tokenizer(text, return_offsets_mapping=True)
    return tokenizer.convert_ids_to_tokens(encoded["input_ids"]), encoded["offset_mapping"]


def test_vocabularies(tokenizers):
    base = DNATokenizer().get_vocab()
    assert tokenizers["base"].get_vocab() == base
    for tokenizer in tokenizers.values():
        vocabulary = tokenizer.get_vocab()
        assert {token: vocabulary[token] for token in base} == base
        assert sorted(vocabulary.values()) == list(range(len(tokenizer)))
        assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token_id) == (0, 1, 4)
        assert (tokenizer.cls_token_id, tokenizer.sep_token_id) == (2, 3)
        assert tokenizer.num_special_tokens_to_add() == 0
    for name in ("3mer", "3mer-overlapping"):
        vocabulary = tokenizers[name].get_vocab()
        assert len(vocabulary) == 10 + 4**3
        assert (vocabulary["AAA"], vocabulary["AAC"], vocabulary["CAT"], vocabulary["TTT"]) == (
            10,
            11,
            29,
            73,
        )
    assert len(FixedTokenizer.from_name("8mer")) == 10 + 4**8


def test_single_bases(tokenizers):
    text = "acRu[MASK]NgT"
    tokens, places = tokens_and_places(tokenizers["base"], text)
    assert tokens == ["A", "C", "N", "T", "[MASK]", "N", "G", "T"]
    assert places == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 10), (10, 11), (11, 12), (12, 13)]
    assert tokenizers["base"](text)["input_ids"] == DNATokenizer()(text)["input_ids"]


def test_words(tokenizers):
    tokens, places = tokens_and_places(tokenizers["3mer"], "acgtuNcgta[MASK]aguc")
    assert tokens == ["ACG", "T", "T", "N", "CGT", "A", "[MASK]", "AGT", "C"]
    assert places == [(0, 3), (3, 4), (4, 5), (5, 6), (6, 9), (9, 10), (10, 16), (16, 19), (19, 20)]
    assert tokenizers["3mer"]("acgtt").data == {"input_ids": [16, 8, 8], "attention_mask": [1, 1, 1]}
    assert tokenizers["3mer"].tokenize("AC") == ["A", "C"]


def test_overlapping_words(tokenizers):
    tokens, places = tokens_and_places(tokenizers["3mer-overlapping"], "acgtuNcg[MASK]aguc")
    assert tokens == [
        "ACG", "CGT", "GTT", "T", "T", "N", "C", "G", "[MASK]", "AGT", "GTC", "T", "C",
    ]  # fmt: skip
    assert places == [
        (0, 3), (1, 4), (2, 5), (3, 4), (4, 5), (5, 6), (6, 7), (7, 8), (8, 14),
        (14, 17), (15, 18), (16, 17), (17, 18),
    ]  # fmt: skip
    encoded = tokenizers["3mer-overlapping"](
        ["acgta", "t"], padding=True, return_offsets_mapping=True, return_tensors="pt"
    )
    assert encoded["input_ids"].tolist() == [[16, 37, 54, 8, 5], [8, 0, 0, 0, 0]]
    assert encoded["attention_mask"].tolist() == [[1] * 5, [1, 0, 0, 0, 0]]
    assert encoded["offset_mapping"][1].tolist() == [[0, 1]] + [[0, 0]] * 4


def test_truncation(tokenizers):
    cut = {"truncation": True, "max_length": 2, "return_offsets_mapping": True}
    assert tokenizers["3mer"](["acgtta"], **cut)["offset_mapping"] == [[(0, 3), (3, 6)]]
    assert tokenizers["3mer-overlapping"](["acgtta"], **cut)["offset_mapping"] == [[(0, 3), (1, 4)]]
    left = FixedTokenizer.from_name("3mer-overlapping", truncation_side="left")
    encoded = left(["acgtta", "a"], padding="max_length", **cut)
    assert encoded["offset_mapping"] == [[(4, 5), (5, 6)], [(0, 1), (0, 0)]]
    assert encoded["input_ids"] == [[8, 5], [5, 0]]


def scan(text, k, step):
    """The definition: words of k letters where there are k letters, else single ones."""
    place = 0
    while place < len(text):
        is_word = k > 1 and set(text[place : place + k]) <= set("ACGT") and place + k <= len(text)
        length = k if is_word else 1
        yield (place, place + length)
        place += length if step is None else step


sequences = st.text("ACGTACGTACGTN", max_size=25)


@settings(deadline=None, max_examples=60)
@given(sequences, st.integers(2, 4), st.booleans())
def test_words_are_as_defined(text, k, is_overlapping):
    tokenizer = FixedTokenizer.from_name(f"{k}mer{'-overlapping' * is_overlapping}")
    encoded = tokenizer(text, return_offsets_mapping=True)
    assert encoded["offset_mapping"] == list(scan(text, k, 1 if is_overlapping else None))
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert tokens == [text[start:end] for start, end in encoded["offset_mapping"]]
    assert len(tokens) == len(text) or not is_overlapping


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from([*"ACGTNacgtnRyUu", "[MASK]"]), max_size=20), min_size=1, max_size=4)
)
def test_decode_gives_back_what_was_read(tokenizers, rows):
    texts = ["".join(row) for row in rows]
    read = DNATokenizer().batch_decode(DNATokenizer()(texts)["input_ids"])
    for tokenizer in tokenizers.values():
        ids = tokenizer(texts)["input_ids"]
        assert tokenizer.batch_decode(ids) == read
        padded = tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
        plain = [text.replace("[MASK]", "") for text in read]
        assert tokenizer.batch_decode(padded, skip_special_tokens=True) == plain


def test_forms_of_input_and_output(tokenizers):
    for tokenizer in tokenizers.values():
        single = tokenizer("acgtt")["input_ids"]
        assert tokenizer([b"acgtt", "ACGTU"])["input_ids"] == [single, single]
        assert tokenizer(("ACGTT",))["input_ids"] == [single]
        assert tokenizer("ACGTT", return_tensors="pt")["input_ids"].tolist() == [single]
        assert isinstance(tokenizer(["ACGTT"], return_tensors="np")["input_ids"], np.ndarray)
        assert tokenizer.encode("ACGTT") == single
        assert tokenizer("")["input_ids"] == []
        assert tokenizer(["", "A"], padding=True)["input_ids"] == [[0], [5]]
        assert tokenizer.decode(5) == "A"
        assert tokenizer.decode([]) == ""
        assert tokenizer.convert_tokens_to_ids("what") == 1
        batch = DataCollatorWithPadding(tokenizer)([tokenizer("ACGTACG"), tokenizer("A")])
        assert batch["attention_mask"][1].sum() == 1
        again = pickle.loads(pickle.dumps(tokenizer))
        assert again("ACGNTTACG").data == tokenizer("ACGNTTACG").data


def test_byte_pairs_literal():
    # CA is the commonest pair, then CACA, then four pairs that occur twice each, of which TG is taken.
    tokenizer = FixedTokenizer.from_name("bpe-13", ["cacacacaTGN", "CACACACATG"])
    assert tokenizer.convert_ids_to_tokens(range(10, 13)) == ["CA", "CACA", "TG"]
    assert tokenizer.tokenize("ACACACACATGNCAN") == ["A", "CACA", "CACA", "TG", "N", "CA", "N"]
    tokens, places = tokens_and_places(tokenizer, "tca[MASK]cacag")
    assert tokens == ["T", "CA", "[MASK]", "CACA", "G"]
    assert places == [(0, 1), (1, 3), (3, 9), (9, 13), (13, 14)]


def test_byte_pairs_do_not_cross_n_and_are_the_same_again():
    texts = random_texts(30, 300, letters="ACGTN")
    one, two = (FixedTokenizer.from_name("bpe-200", texts) for _ in range(2))
    assert one.get_vocab() == two.get_vocab()
    assert len(one) == 200
    assert all("N" not in token for token in one.convert_ids_to_tokens(range(10, 200)))
    for text in texts:
        assert "".join(one.tokenize(text)) == text
        assert one.tokenize(text) == two.tokenize(text)
    # Too little to learn from: fewer tokens than asked for, but a tokenizer.
    assert len(FixedTokenizer.from_name("bpe-200", ["ACGT"])) == 10


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_loaded_by_auto_tokenizer(tokenizers, name, tmp_path):
    tokenizer = tokenizers[name]
    config = baseline_config("micro", len(tokenizer), num_hidden_layers=1)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded, FixedTokenizer)
    assert loaded.kind == tokenizer.kind
    assert loaded.get_vocab() == tokenizer.get_vocab()
    texts = random_texts(5, 50, seed=1, letters="ACGTNacgtnR")
    arguments = {"padding": True, "return_offsets_mapping": True, "return_tensors": "pt"}
    for key, value in tokenizer(texts, **arguments).items():
        assert torch.equal(loaded(texts, **arguments)[key], value)
    loaded.save_pretrained(tmp_path / "again")
    assert AutoTokenizer.from_pretrained(tmp_path / "again")(texts).data == tokenizer(texts).data
    with pytest.raises(ValueError, match="byte 0x2a"):
        loaded("AC*T")


def test_without_this_package_it_works_or_says_that_it_does_not(tokenizers, tmp_path):
    for name, tokenizer in tokenizers.items():
        config = baseline_config("micro", len(tokenizer), num_hidden_layers=1)
        AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    code = """
import sys
from pathlib import Path
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification
for name in ("base", "3mer", "3mer-overlapping", "bpe-40"):
    path = str(Path(sys.argv[1]) / name)
    tokenizer = AutoTokenizer.from_pretrained(path)
    for text in ("ACGTNACGTACG", "acgtnacgtacg", "AC!T"):
        try:
            print(name, text, *tokenizer(text)["input_ids"])
        except Exception:
            print(name, text, "error")
AutoModelForMaskedLM.from_pretrained(path), AutoModel.from_pretrained(path)
AutoModelForSequenceClassification.from_pretrained(path)
AutoModelForTokenClassification.from_pretrained(path)
assert not any(name.startswith("dnachunk") for name in sys.modules)
"""
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    said = []
    for name, tokenizer in tokenizers.items():
        ids = " ".join(map(str, tokenizer("ACGTNACGTACG")["input_ids"]))
        said.append(f"{name} ACGTNACGTACG {'error' if 'overlapping' in name else ids}")
        said += [f"{name} acgtnacgtacg error", f"{name} AC!T error"]
    assert done.stdout.splitlines() == said


def test_boundaries(tokenizers):
    windows = list(torch.randint(5, 9, (4, 61), generator=torch.Generator().manual_seed(0)))
    found = text_boundaries(tokenizers["base"].tokenize)(windows)
    assert all(boundaries.all() for boundaries in found)
    for boundaries, expected in zip(
        text_boundaries(tokenizers["3mer"].tokenize)(windows), kmer_boundaries(3)(windows), strict=True
    ):
        # The one letter left over is where a word would begin.
        assert torch.equal(boundaries, expected)
    tokenizer = tokenizers["bpe-40"]
    for window, boundaries in zip(windows, text_boundaries(tokenizer.tokenize)(windows), strict=True):
        text = DNATokenizer().decode(window)
        starts = [start for start, _ in tokenizer(text, return_offsets_mapping=True)["offset_mapping"]]
        assert boundaries.nonzero()[:, 0].tolist() == starts


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("base", (1, False, None)),
        ("1mer", (1, False, None)),
        ("8mer", (8, False, None)),
        ("2mer-overlapping", (2, True, None)),
        ("bpe-11", (None, False, 11)),
        ("bpe-65536", (None, False, 65536)),
    ],
)
def test_names(name, kind):
    assert Tokenization.parse(name) == kind


@pytest.mark.parametrize(
    "name",
    ["9mer", "0mer", "1mer-overlapping", "mer", "6-mer", "bpe", "bpe-10", "bpe-65537", "BPE-64", "", "٣mer"],
)
def test_wrong_names(name):
    with pytest.raises(ValueError, match=rf"must be base, 1mer to 8mer, .* got '{name}'"):
        FixedTokenizer.from_name(name)


def test_bad_input(tokenizers):
    for tokenizer in tokenizers.values():
        with pytest.raises(ValueError, match=r"byte 0x21 '!' at position 2 of sequence 1"):
            tokenizer(["ACGT", "AC!T"])
        with pytest.raises(ValueError, match=r"byte 0x20 at position 2 of sequence 0"):
            tokenizer.tokenize("AC GT")
        with pytest.raises(TypeError, match=r"must be str or bytes, got NoneType at index 1"):
            tokenizer(["ACGT", None])
        with pytest.raises(TypeError, match=r"got int"):
            tokenizer(5)
        with pytest.raises(ValueError, match=r"FixedTokenizer: the batch must have at least one sequence"):
            tokenizer([])
        with pytest.raises(ValueError, match=r"FixedTokenizer: text_pair is not supported"):
            tokenizer("ACGT", "ACGT")
        with pytest.raises(ValueError, match=r"FixedTokenizer: is_split_into_words is not supported"):
            tokenizer(["ACG", "CGT"], is_split_into_words=True)
        for wrong in (-1, len(tokenizer)):
            with pytest.raises(ValueError, match=f"token_ids must be 0 to {len(tokenizer) - 1}, got {wrong}"):
                tokenizer.decode([5, wrong])
        with pytest.raises(
            ValueError, match="FixedTokenizer: the vocabulary is fixed, got the new token 'X'"
        ):
            tokenizer.add_tokens(["X"])
    with pytest.raises(ValueError, match=r"byte 0x21"):
        FixedTokenizer.from_name("bpe-20", ["AC!"])
    with pytest.raises(ValueError, match="texts must be given to train bpe-20 on, got none"):
        FixedTokenizer.from_name("bpe-20")
    with pytest.raises(TypeError, match="texts must be an iterable of str, got one of them"):
        FixedTokenizer.from_name("bpe-20", "ACGT")
