"""Pre-training on Hugging Face's Trainer."""

from dnachunk.training.checkpoints import load_pretrained
from dnachunk.training.pretrainer import PreTrainer

__all__ = ["PreTrainer", "load_pretrained"]
