"""Fine-tuning runs that take a second."""

import copy

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForPreTraining,
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    TrainingArguments,
)

from dnachunk import DNATokenizer
from dnachunk.data import LabelledSet, Task
from dnachunk.random import mix
from tests.training.runs import SMALL_CONFIGS

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def save_small(directory, kind="mergedna"):
    torch.manual_seed(1)
    config = copy.deepcopy(SMALL_CONFIGS[kind])
    # Weights of the size that training gives them: smaller ones hardly tell sequences apart.
    config.initializer_range = 0.2
    AutoModelForPreTraining.from_config(config).save_pretrained(directory)
    DNATokenizer(cls_sep=kind == "mxdna").save_pretrained(directory)
    return directory


def save_bert(directory, k=3, **fields):
    """An encoder of ``transformers`` over words of k letters."""
    torch.manual_seed(1)
    words = [""]
    for _ in range(k):
        words += [word + letter for word in words for letter in "ACGTN" if word + letter not in words]
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *words[1:]])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Split(Regex(f".{{1,{k}}}"), "isolated")
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **dict(zip(names, SPECIAL, strict=True))
    ).save_pretrained(directory)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=24,
        pad_token_id=0,
        initializer_range=0.06,
        **fields,
    )
    BertForMaskedLM(config).save_pretrained(directory)
    return directory


def random_sequences(count, length_bp, seed, letters="ACGT"):
    return [
        "".join(letters[mix(seed, row, place) % len(letters)] for place in range(length_bp))
        for row in range(count)
    ]


def labelled(sequences, labels, columns=("label",)):
    cells = [label if isinstance(label, tuple) else (label,) for label in labels]
    places = [f"toy.csv, line {row + 2}" for row in range(len(sequences))]
    return LabelledSet(list(sequences), cells, places, columns)


def rich_in(letters, count, seed):
    """Sequences of 40 to 55 bases, two thirds of which are of these letters."""
    every = "ACGT" + letters * 2
    return [
        sequence[: 40 + row % 16] for row, sequence in enumerate(random_sequences(count, 55, seed, every))
    ]


def toy_set(count, seed):
    """Rich in A and T, or in C and G."""
    sequences = [
        pair
        for pairs in zip(rich_in("AT", count // 2, seed), rich_in("CG", count // 2, seed + 1), strict=True)
        for pair in pairs
    ]
    return labelled(sequences, ["weak", "strong"] * (count // 2))


def toy_task(train=96, valid=32, test=64):
    return Task.of({"train": toy_set(train, 10), "valid": toy_set(valid, 20), "test": toy_set(test, 30)})


def arguments(output_dir, **values):
    defaults = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 64,
        "learning_rate": 5e-3,
        "eval_strategy": "epoch",
        "logging_strategy": "epoch",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return TrainingArguments(str(output_dir), **{**defaults, **values})
