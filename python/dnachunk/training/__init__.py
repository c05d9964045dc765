"""Pre-training, fine-tuning and comparisons of models, on Hugging Face's Trainer."""

from dnachunk.training.adaptation import LoRA, load_with_head
from dnachunk.training.compare import ModelComparison, compare_models
from dnachunk.training.finetune import FineTuned, finetune, grid, run_search
from dnachunk.training.finetuner import FineTuner
from dnachunk.training.plan import Plan
from dnachunk.training.pretrain import PreTrained, pretrain
from dnachunk.training.pretrainer import PreTrainer
from dnachunk.training.recipe import Recipe, list_recipes
from dnachunk.training.run_store import Candidate, Run

__all__ = [
    "Candidate",
    "FineTuned",
    "FineTuner",
    "LoRA",
    "ModelComparison",
    "Plan",
    "PreTrained",
    "PreTrainer",
    "Recipe",
    "Run",
    "compare_models",
    "finetune",
    "grid",
    "list_recipes",
    "load_with_head",
    "pretrain",
    "run_search",
]
