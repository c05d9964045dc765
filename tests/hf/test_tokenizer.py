"""``TokenizerTesterMixin`` on the tokenizer of DNA, with and without ``[CLS]`` and ``[SEP]``.

The common tests are written in English. What reaches the encoder is spelled in bases, a letter for a letter.
"""

import tempfile
import unittest
from unittest import mock

from hf_tests.test_tokenization_common import TokenizerTesterMixin

from dnachunk import DNATokenizer, tokenization
from dnachunk.segmentation import split_symbols

FIXED_VOCABULARY = "the vocabulary is DNA's, and stays so"
RIGHT_PADDING = "padding is on the right, where the models want it: the left is refused by name"
NO_PAIRS = "pairs of sequences are refused by name"
SKIPPED = {
    "test_bos_token_with_add_bos_token_false": FIXED_VOCABULARY,
    "test_bos_token_with_add_bos_token_true": FIXED_VOCABULARY,
    "test_get_vocab": FIXED_VOCABULARY,
    "test_pad_token_initialization": FIXED_VOCABULARY,
    "test_save_and_load_tokenizer": FIXED_VOCABULARY,
    "test_tokenize_special_tokens": FIXED_VOCABULARY,
    "test_batch_encode_plus_padding": RIGHT_PADDING,
    "test_encode_basic_padding": RIGHT_PADDING,
    "test_encode_plus_with_padding_0": RIGHT_PADDING,
    "test_encode_plus_with_padding_1": RIGHT_PADDING,
    "test_call": NO_PAIRS,
    "test_mask_output": NO_PAIRS,
    "test_maximum_encoding_length_pair_input": NO_PAIRS,
    "test_number_of_added_tokens": NO_PAIRS,
    "test_special_tokens_mask_input_pairs": NO_PAIRS,
    "test_token_type_ids": "there are no token types to return: refused by name",
    "test_pretokenized_inputs": "letters are the words: is_split_into_words is refused by name",
    "test_maximum_encoding_length_single_input": "return_overflowing_tokens is refused by name",
    "test_chat_template": "nobody chats in DNA",
    "test_chat_template_batched": "nobody chats in DNA",
    "test_chat_template_dict_saving": "nobody chats in DNA",
}


def spelled_in_bases(sequences, *arguments, **keywords):
    """``encode_dna`` of any text."""
    spelled = [
        "".join(
            symbol if len(symbol) > 1 or symbol in "ACGTN" else "ACGT"[ord(symbol) % 4]
            for symbol in split_symbols(text)
        )
        for text in sequences
    ]
    return encode_dna(spelled, *arguments, **keywords)


encode_dna = tokenization.encode_dna


class Common(TokenizerTesterMixin):
    tokenizer_class = DNATokenizer
    test_seq2seq = False
    cls_sep = False

    @classmethod
    def setUpClass(cls):
        cls.from_pretrained_id, cls.tokenizers_list = [], []
        cls._data = "ACGTNACCA"
        cls.tmpdirname = tempfile.mkdtemp()
        DNATokenizer(cls_sep=cls.cls_sep).save_pretrained(cls.tmpdirname)

    def setUp(self):
        if self._testMethodName in SKIPPED:
            self.skipTest(SKIPPED[self._testMethodName])
        patch = mock.patch.object(tokenization, "encode_dna", spelled_in_bases)
        patch.start()
        self.addCleanup(patch.stop)

    def get_input_output_texts(self, tokenizer):
        return "ACGTNACCA", "ACGTNACCA"

    def get_clean_sequence(self, tokenizer, with_prefix_space=False, max_length=20, min_length=5):
        text = "ACGTN" * 4
        text = text[:max_length] if max_length else text
        return text, tokenizer.encode(text, add_special_tokens=False)


class TestDNATokenizer(Common, unittest.TestCase):
    pass


class TestDNATokenizerWithClsAndSep(Common, unittest.TestCase):
    cls_sep = True
