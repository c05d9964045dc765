"""A model and a tokenizer as the hub has them: their code lies in the folder, and nowhere else."""

import json

import safetensors.torch
import torch

MODELING = '''
import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import (
    BaseModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)


class ToyConfig(PreTrainedConfig):
    model_type = "{model_type}"

    def __init__(self, vocab_size=8, hidden_size=16, **kwargs):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        super().__init__(**kwargs)


class ToyPreTrainedModel(PreTrainedModel):
    config_class = ToyConfig
    base_model_prefix = "toy"

    def _init_weights(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.5)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)


class ToyModel(ToyPreTrainedModel):
    """Words of three: each position is what its neighbours and it are, mixed."""

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.mix = nn.Linear(3 * config.hidden_size, config.hidden_size)
        self.post_init()

    def forward(self, input_ids):
        x = nn.functional.pad(self.embed(input_ids), (0, 0, 1, 1))
        return BaseModelOutput(torch.tanh(self.mix(torch.cat([x[:, :-2], x[:, 1:-1], x[:, 2:]], -1))))


class ToyForSequenceClassification(ToyPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.toy = ToyModel(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    def forward(self, input_ids, labels=None):
        is_real = (input_ids != 0)[..., None].float()
        # As HyenaDNA: scores of positions, and then one for all.
        scores = self.score(self.toy(input_ids).last_hidden_state)
        logits = (scores * is_real).sum(1) / is_real.sum(1)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class ToyForTokenClassification(ToyPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.toy = ToyModel(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(self, input_ids, labels=None):
        logits = self.score(self.toy(input_ids).last_hidden_state)
        loss = None if labels is None else nn.functional.cross_entropy(logits.mT, labels)
        return TokenClassifierOutput(loss=loss, logits=logits)
'''
TOKENIZATION = """
from transformers import PreTrainedTokenizer

LETTERS = ["[PAD]", "[UNK]", "A", "C", "G", "T", "N"]


class ToyTokenizer(PreTrainedTokenizer):
    model_input_names = ["input_ids"]

    def __init__(self, **kwargs):
        kwargs = {"pad_token": "[PAD]", "unk_token": "[UNK]", **kwargs}
        super().__init__(**kwargs)

    @property
    def vocab_size(self):
        return len(LETTERS)

    def get_vocab(self):
        return {letter: index for index, letter in enumerate(LETTERS)}

    def _tokenize(self, text):
        return list(text)

    def _convert_token_to_id(self, token):
        return self.get_vocab().get(token, 1)

    def _convert_id_to_token(self, index):
        return LETTERS[index]

    def save_vocabulary(self, save_directory, filename_prefix=None):
        return ()
"""


def save_with_code(directory, model_type="toy_dna"):
    """A model of the toy's own code, with random weights and no head."""
    directory.mkdir()
    (directory / "modeling_toy.py").write_text(MODELING.replace("{model_type}", model_type))
    (directory / "tokenization_toy.py").write_text(TOKENIZATION)
    classes = {"AutoConfig": "ToyConfig", "AutoModel": "ToyModel"}
    for task in ("SequenceClassification", "TokenClassification"):
        classes[f"AutoModelFor{task}"] = f"ToyFor{task}"
    config = {"model_type": model_type, "vocab_size": 8, "hidden_size": 16, "architectures": ["ToyModel"]}
    config["auto_map"] = {auto: f"modeling_toy.{name}" for auto, name in classes.items()}
    (directory / "config.json").write_text(json.dumps(config))
    tokenizer = {"tokenizer_class": "ToyTokenizer"}
    tokenizer["auto_map"] = {"AutoTokenizer": ["tokenization_toy.ToyTokenizer", None]}
    (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    torch.manual_seed(3)
    weights = {
        "toy.embed.weight": torch.randn(8, 16),
        "toy.mix.weight": torch.randn(16, 48) / 4,
        "toy.mix.bias": torch.zeros(16),
    }
    safetensors.torch.save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory
