import json
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, DataCollatorForLanguageModeling, DataCollatorWithPadding
from transformers.tokenization_python import PythonBackend

from dnachunk.tokenization import DNATokenizer

VOCABULARY = {
    "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "A": 5, "C": 6, "G": 7, "T": 8, "N": 9,
}  # fmt: skip


@pytest.fixture
def tokenizer():
    return DNATokenizer()


def test_padded_batch(tokenizer):
    batch = tokenizer(["ACGT", "ttag", "n"], padding=True, return_tensors="pt")
    assert list(batch) == ["input_ids", "attention_mask"]
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [8, 8, 5, 7], [9, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0]]


def test_lists_and_single_sequences(tokenizer):
    assert tokenizer("AC[MASK]u").data == {"input_ids": [5, 6, 4, 8], "attention_mask": [1, 1, 1, 1]}
    assert tokenizer(["AC", b"g"]).data == {"input_ids": [[5, 6], [7]], "attention_mask": [[1, 1], [1]]}
    assert tokenizer.encode("acg") == [5, 6, 7]
    assert tokenizer.encode("acg", return_tensors="pt").tolist() == [[5, 6, 7]]
    array = tokenizer(("A", "C"), return_tensors="np")["input_ids"]
    assert isinstance(array, np.ndarray)
    assert array.tolist() == [[5], [6]]


def test_empty(tokenizer):
    assert tokenizer("").data == {"input_ids": [], "attention_mask": []}
    assert tokenizer([]).data == {"input_ids": [], "attention_mask": []}
    assert tokenizer([], padding=True, return_tensors="pt")["input_ids"].shape == (0, 0)
    assert tokenizer(["", "A"], padding=True, return_tensors="pt")["input_ids"].tolist() == [[0], [5]]
    for empty in (DNATokenizer(cls_sep=True)([]), tokenizer([])):
        assert empty.data == {"input_ids": [], "attention_mask": []}


def test_cls_sep():
    tokenizer = DNATokenizer(cls_sep=True)
    batch = tokenizer(["ACG", "t"], padding=True, return_special_tokens_mask=True, return_tensors="pt")
    assert batch["input_ids"].tolist() == [[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert batch["special_tokens_mask"].tolist() == [[1, 0, 0, 0, 1], [1, 0, 1, 1, 1]]
    assert tokenizer("ACGTA", truncation=True, max_length=4)["input_ids"] == [2, 5, 6, 3]
    assert tokenizer("AC", add_special_tokens=False)["input_ids"] == [5, 6]
    assert tokenizer.num_special_tokens_to_add() == 2
    assert tokenizer.decode(batch["input_ids"]) == ["[CLS]ACG[SEP]", "[CLS]T[SEP][PAD][PAD]"]
    assert tokenizer.decode(batch["input_ids"], skip_special_tokens=True) == ["ACG", "T"]
    with pytest.raises(ValueError, match=r"max_length must hold \[CLS\] and \[SEP\], got 1"):
        tokenizer("ACG", truncation=True, max_length=1)


def test_truncation_and_padding_widths(tokenizer):
    sequences = ["ACGTACG", "tt"]
    ids = tokenizer(sequences, truncation=True, max_length=4)["input_ids"]
    assert ids == [[5, 6, 7, 8], [8, 8]]
    left = DNATokenizer(truncation_side="left")
    assert left(sequences, truncation=True, max_length=4)["input_ids"] == [[8, 5, 6, 7], [8, 8]]
    padded = tokenizer(sequences, padding="max_length", truncation=True, max_length=3, return_tensors="pt")
    assert padded["input_ids"].tolist() == [[5, 6, 7], [8, 8, 0]]
    multiple = tokenizer(sequences, padding=True, pad_to_multiple_of=4, return_length=True)
    assert [len(row) for row in multiple["input_ids"]] == multiple["length"] == [8, 8]
    short = tokenizer(sequences, padding="max_length", max_length=4)
    assert [len(row) for row in short["input_ids"]] == [7, 4]
    limited = DNATokenizer(model_max_length=2)
    assert limited(sequences, truncation=True)["input_ids"] == [[5, 6], [8, 8]]


def test_repeat_mask(tokenizer):
    batch = tokenizer(["aC[MASK]g", "T"], padding=True, return_tensors="pt", return_repeat_mask=True)
    assert batch["repeat_mask"].dtype == torch.bool
    assert batch["repeat_mask"].tolist() == [[True, False, False, True], [False] * 4]
    rows = [tokenizer(text, return_repeat_mask=True) for text in ("aCg", "t")]
    assert tokenizer.pad(rows, return_tensors="pt")["repeat_mask"].tolist() == [
        [True, False, True],
        [True, False, False],
    ]


class OneByOne(DNATokenizer):
    """Hugging Face's own way from tokens to a batch."""

    _encode_plus = PythonBackend._encode_plus


symbols = st.sampled_from([*"ACGTNacgtnRyUu", "[MASK]", "[CLS]"])
batches = st.lists(st.lists(symbols, max_size=20).map("".join), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(
    batches,
    st.booleans(),
    st.sampled_from([{}, {"padding": True}, {"padding": "max_length", "truncation": True, "max_length": 8}]),
    st.sampled_from([{}, {"pad_to_multiple_of": 4}]),
    st.sampled_from(["left", "right"]),
)
def test_against_hugging_faces_own_path(sequences, cls_sep, lengths, multiple, truncation_side):
    options = {**lengths, **(multiple if lengths else {})}
    kwargs = {"cls_sep": cls_sep, "truncation_side": truncation_side}
    assert DNATokenizer(**kwargs)(sequences, **options).data == OneByOne(**kwargs)(sequences, **options).data


@settings(deadline=None, max_examples=40)
@given(batches)
def test_decode_gives_back_what_was_read(sequences):
    tokenizer = DNATokenizer()
    table = str.maketrans("RyUu", "NNTT")
    read = [s.translate(table).upper() for s in sequences]
    assert tokenizer.batch_decode(tokenizer(sequences)["input_ids"]) == read
    padded = tokenizer(sequences, padding=True, return_tensors="pt")["input_ids"]
    width = padded.shape[1]
    lengths = [len(tokenizer.tokenize(s)) for s in sequences]
    assert tokenizer.batch_decode(padded) == [
        text + "[PAD]" * (width - length) for text, length in zip(read, lengths, strict=True)
    ]
    plain = [text.replace("[MASK]", "").replace("[CLS]", "") for text in read]
    assert tokenizer.batch_decode(padded, skip_special_tokens=True) == plain


def test_decode_forms(tokenizer):
    assert tokenizer.decode(5) == "A"
    assert tokenizer.decode([5, 4, 0]) == "A[MASK][PAD]"
    assert tokenizer.decode([]) == ""
    assert tokenizer.decode(np.array([[5, 6], [7, 8]])) == ["AC", "GT"]
    assert tokenizer.decode([torch.tensor([5]), torch.tensor([6, 7])]) == ["A", "CG"]
    assert tokenizer.decode(torch.empty(0, 3, dtype=torch.int64)) == []
    for wrong in (-100, 10, 261):
        with pytest.raises(ValueError, match=f"token_ids must be 0 to 9, got {wrong}"):
            tokenizer.decode([5, wrong])


def test_vocabulary(tokenizer):
    assert tokenizer.vocab_size == len(tokenizer) == 10
    assert tokenizer.get_vocab() == VOCABULARY
    assert tokenizer.convert_tokens_to_ids(["A", "[MASK]", "N", "what"]) == [5, 4, 9, 1]
    assert tokenizer.convert_ids_to_tokens([0, 9]) == ["[PAD]", "N"]
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id, tokenizer.unk_token_id) == (0, 4, 1)
    assert tokenizer.tokenize("aR[SEP]u") == ["A", "N", "[SEP]", "T"]
    assert sorted(tokenizer.all_special_ids) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="an id must be 0 to 9, got 10"):
        tokenizer.convert_ids_to_tokens(10)
    with pytest.raises(ValueError, match="the vocabulary is fixed, got the new token 'ACGT'"):
        tokenizer.add_tokens(["ACGT"])


@pytest.mark.parametrize("cls_sep", [False, True])
def test_save_and_load(tmp_path, cls_sep):
    tokenizer = DNATokenizer(cls_sep=cls_sep, model_max_length=512)
    tokenizer.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert written["tokenizer_class"] == "DNATokenizer"
    for loaded in (DNATokenizer.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)):
        assert type(loaded) is DNATokenizer
        assert loaded("AC[MASK]gt").data == tokenizer("AC[MASK]gt").data
        assert (loaded.cls_sep, loaded.model_max_length, len(loaded)) == (cls_sep, 512, 10)


def test_masking_collator(tokenizer):
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5, seed=1)
    rows = [tokenizer("ACGT" * 50, return_special_tokens_mask=True), tokenizer("ac" * 30 + "[MASK]")]
    rows[1]["special_tokens_mask"] = [0] * 60 + [1]
    batch = collator(rows)
    original = tokenizer(["ACGT" * 50, "ac" * 30 + "[MASK]"], padding=True, return_tensors="pt")
    labelled = batch["labels"] != -100
    assert torch.equal(batch["attention_mask"], original["attention_mask"])
    assert torch.equal(batch["labels"][labelled], original["input_ids"][labelled])
    assert torch.equal(batch["input_ids"][~labelled], original["input_ids"][~labelled])
    assert not labelled[1, 60:].any()
    assert 60 < labelled.sum() < 200
    assert (batch["input_ids"][labelled] == 4).float().mean() > 0.6


def test_padding_collator(tokenizer):
    rows = [{**tokenizer(text), "labels": label} for text, label in (("ACG", 0), ("T", 1))]
    batch = DataCollatorWithPadding(tokenizer)(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["labels"].tolist() == [0, 1]


def test_pickle(tokenizer):
    copy = pickle.loads(pickle.dumps(DNATokenizer(cls_sep=True)))
    assert copy("ACGT").data == DNATokenizer(cls_sep=True)("ACGT").data


def _encode_in_child(queue, tokenizer, sequences):
    queue.put(tokenizer(sequences, padding=True, return_tensors="np")["input_ids"].tolist())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_after_fork(tokenizer):
    sequences = ["ACGTN" * 20_000, "ac[MASK]"]
    expected = tokenizer(sequences, padding=True, return_tensors="pt")["input_ids"].tolist()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_encode_in_child, args=(queue, tokenizer, sequences))
    child.start()
    assert queue.get() == expected
    child.join()
    assert child.exitcode == 0


def test_bad_input(tokenizer):
    with pytest.raises(ValueError, match=r"byte 0x21 '!' at position 2 of sequence 1"):
        tokenizer(["ACGT", "AC!"])
    with pytest.raises(ValueError, match="text_pair is not supported, got 'ACG'"):
        tokenizer("ACG", "ACG")
    with pytest.raises(ValueError, match="return_offsets_mapping is not supported"):
        tokenizer("ACG", return_offsets_mapping=True)
    with pytest.raises(ValueError, match="return_tensors needs rows of one length, got 2 to 4 ids"):
        tokenizer(["AC", "ACGT"], return_tensors="pt")
    with pytest.raises(TypeError, match="sequences must be str or bytes, got list at index 0"):
        tokenizer([["AC", "GT"]])
    with pytest.raises(ValueError, match="mask_token must be '\\[MASK\\]', got '<mask>'"):
        DNATokenizer(mask_token="<mask>")


def test_left_padding_is_refused(tokenizer):
    message = "padding_side must be 'right', got 'left'"
    with pytest.raises(ValueError, match=message):
        DNATokenizer(padding_side="left")
    with pytest.raises(ValueError, match=message):
        tokenizer(["A", "CG"], padding=True, padding_side="left")
    with pytest.raises(ValueError, match=message):
        tokenizer.pad([tokenizer("A"), tokenizer("CG")], padding_side="left")
    tokenizer.padding_side = "left"
    with pytest.raises(ValueError, match=message):
        tokenizer(["A", "CG"], padding=True)
