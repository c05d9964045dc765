"""``ModelTesterMixin`` and ``ConfigTester`` on every class, one test case each."""

import unittest

import pytest
import torch
from hf_tests.test_configuration_common import ConfigTester
from hf_tests.test_modeling_common import ModelTesterMixin

import dnachunk
from dnachunk.alphabet import A_ID, CLS_ID, N_ID, SEP_ID
from tests.models import test_dnachunker_laws, test_mergedna_laws, test_mxdna_laws

BATCH, BASES = 3, 14
LAWS = (test_mergedna_laws, test_dnachunker_laws, test_mxdna_laws)

# What the common tests ask for and these models cannot have, or tests elsewhere.
SKIPPED = {
    "test_batching_equivalence": "compares rows of tokens, whose number is each sequence's own; law 2 does",
}


class ModelTester:
    """What Hugging Face's tests ask of a "model tester"."""

    batch_size, num_hidden_layers = BATCH, 1

    def __init__(self, case, head, model_class):
        self.case = case
        self.head = head
        self.is_training = head != "base"
        self.special = len(case.prefix) + len(case.suffix)
        self.seq_length = BASES + self.special
        self.hidden_size = self.get_config().hidden_size
        config, inputs = self.prepare_config_and_inputs_for_common()
        with torch.no_grad():
            model = model_class(config).eval()
            output = model(**inputs)
            self.expected_num_hidden_layers = len(case.hidden_shapes(model, output, inputs))

    def get_config(self):
        # As many ids that some can be taken away.
        return self.case.config(vocab_size=40)

    def prepare_config_and_inputs_for_common(self):
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(A_ID, N_ID + 1, (BATCH, BASES), generator=generator)
        if self.special:
            ends = torch.ones(BATCH, 1, dtype=torch.int64)
            ids = torch.cat([CLS_ID * ends, ids, SEP_ID * ends], dim=1)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return self.get_config(), {**inputs, **self.case.draws(self.head, BATCH)}


class Common(ModelTesterMixin):
    """The common tests of one model class; ``case`` and ``head`` say which."""

    case, head = None, None
    # They are refused; see the law test_output_attentions.
    has_attentions = False
    # Otherwise it is left out of models without a year of copyright.
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        if self._testMethodName in SKIPPED:
            self.skipTest(SKIPPED[self._testMethodName])
        if self.head == "pretraining" and self._testMethodName == "test_model_outputs_equivalence":
            self.skipTest("subtracts outputs, and is_masked is bool; test_return_dict compares them")
        torch.manual_seed(0)
        self.model_tester = ModelTester(self.case, self.head, self.all_model_classes[0])
        self.config_tester = ConfigTester(
            self, config_class=type(self.case.config()), common_properties=["hidden_size"]
        )

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = dict(inputs_dict)
        if return_labels:
            labelled = self.case.with_labels(self.head, inputs)
            inputs.update({name: value for name, value in labelled.items() if name == "labels"})
        return inputs

    def test_config(self):
        self.config_tester.run_common_tests()


for _laws in LAWS:
    for _head, (_model_class, _) in _laws.CASE.heads.items():
        _name = f"Test{_model_class.__name__}"
        globals()[_name] = type(
            _name,
            (Common, unittest.TestCase),
            {"case": _laws.CASE, "head": _head, "all_model_classes": (_model_class,)},
        )


def test_all_classes_are_here():
    classes = {name for name in dnachunk.__all__ if name.startswith(("MergeDNA", "DNAChunker", "MxDNA"))}
    tested = {name.removeprefix("Test") for name in globals() if name.startswith("Test")}
    assert {name for name in classes if not name.endswith("Config")} == tested


pytestmark = pytest.mark.filterwarnings("default")
