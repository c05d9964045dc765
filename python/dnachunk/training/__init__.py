"""Pre-training and fine-tuning on Hugging Face's Trainer."""

from dnachunk.training.adaptation import LoRA, load_with_head
from dnachunk.training.checkpoints import load_pretrained
from dnachunk.training.finetune import Candidate, FineTuned, FineTuner, Run, finetune, grid
from dnachunk.training.pretrainer import PreTrainer

__all__ = [
    "Candidate",
    "FineTuned",
    "FineTuner",
    "LoRA",
    "PreTrainer",
    "Run",
    "finetune",
    "grid",
    "load_pretrained",
    "load_with_head",
]
