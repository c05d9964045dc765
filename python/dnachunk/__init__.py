"""Learnable DNA tokenizers: a call for each job, operations, modules and Hugging Face models.

Importing the package loads neither torch nor ``transformers``: each name is loaded when it is asked for, and
``transformers``' Auto classes learn of the models when they are.
"""

import importlib
from typing import TYPE_CHECKING

from dnachunk._lazy import after_import, lazy_names

if TYPE_CHECKING:
    from dnachunk.baselines import FixedTokenizer as FixedTokenizer
    from dnachunk.build import build_info as build_info
    from dnachunk.data import splice_site_sets as splice_site_sets
    from dnachunk.evaluation import compare_tokens as compare_tokens
    from dnachunk.evaluation import predict as predict
    from dnachunk.evaluation import profile as profile
    from dnachunk.evaluation import score_mutations as score_mutations
    from dnachunk.evaluation import score_variants as score_variants
    from dnachunk.inference import embed_genome as embed_genome
    from dnachunk.inference import load as load
    from dnachunk.inference import tokenize_genome as tokenize_genome
    from dnachunk.models import *  # noqa: F403
    from dnachunk.segmentation import Segmentation as Segmentation
    from dnachunk.tokenization import DNATokenizer as DNATokenizer
    from dnachunk.training.compare import compare_models as compare_models
    from dnachunk.training.finetune import finetune as finetune
    from dnachunk.training.pretrain import pretrain as pretrain
    from dnachunk.version import __version__ as __version__
    from dnachunk.visualization.genome_browser import browse as browse

_HOMES = {
    **dict.fromkeys(importlib.import_module("dnachunk.models").__all__, "dnachunk.models"),
    "DNATokenizer": "dnachunk.tokenization",
    "FixedTokenizer": "dnachunk.baselines",
    "Segmentation": "dnachunk.segmentation",
    "__version__": "dnachunk.version",
    "browse": "dnachunk.visualization.genome_browser",
    "build_info": "dnachunk.build",
    **dict.fromkeys(("embed_genome", "load", "tokenize_genome"), "dnachunk.inference"),
    **dict.fromkeys(
        ("compare_tokens", "predict", "profile", "score_mutations", "score_variants"), "dnachunk.evaluation"
    ),
    "compare_models": "dnachunk.training.compare",
    "finetune": "dnachunk.training.finetune",
    "pretrain": "dnachunk.training.pretrain",
    "splice_site_sets": "dnachunk.data",
}
# Type checkers read no list that is computed; without one they take every public name above.
if not TYPE_CHECKING:
    __all__ = sorted(_HOMES)  # noqa: PLE0605

__getattr__, __dir__ = lazy_names(__name__, _HOMES)

after_import("transformers.models.auto.configuration_auto", ["dnachunk.models.auto_configurations"])
after_import(
    "transformers.models.auto.tokenization_auto", ["dnachunk.tokenization", "dnachunk.baselines.tokenizers"]
)
