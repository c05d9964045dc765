"""A pre-training run that takes a second."""

import copy

import torch
from transformers import AutoModelForPreTraining, TrainingArguments

from dnachunk import DNAChunkerConfig, DNATokenizer, MergeDNAConfig, MxDNAConfig
from dnachunk.data import Genome, HeldOutWindows, WindowDataset, default_holdout
from dnachunk.training import PreTrainer

FEW_LAYERS = {
    "num_local_encoder_layers": 2,
    "num_latent_encoder_layers": 1,
    "num_latent_decoder_layers": 1,
    "num_local_decoder_layers": 1,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "train_length_bp": 64,
}
GLOBAL_BATCH = 4


def write_genome(path, length_bp=4000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sequence = "".join("ACGT"[base] for base in torch.randint(4, (length_bp,), generator=generator).tolist())
    path.write_text(f">one\n{sequence}\n>two\n{sequence[::-1][: length_bp // 8]}\n")
    return path


SMALL_CONFIGS = {
    "dnachunker": DNAChunkerConfig(
        hidden_size=32,
        num_attention_heads=2,
        num_hidden_layers=1,
        num_encoder_layers=1,
        num_decoder_layers=1,
        state_size=4,
        train_length_bp=64,
    ),
    "mergedna": MergeDNAConfig(**FEW_LAYERS),
    "mxdna": MxDNAConfig(
        hidden_size=32, num_attention_heads=2, num_nucleotide_layers=1, num_token_layers=1, train_length_bp=64
    ),
}
"""Of each model, a configuration that trains in a second."""


def make_trainer(
    fasta, output_dir, *, kind="mergedna", max_steps=6, config=None, callbacks=None, **arguments
):
    torch.manual_seed(0)
    settings = copy.deepcopy(SMALL_CONFIGS[kind])
    for name, value in (config or {}).items():
        setattr(settings, name, value)
    model = AutoModelForPreTraining.from_config(settings)
    defaults = {
        "max_steps": max_steps,
        "per_device_train_batch_size": GLOBAL_BATCH,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    args = TrainingArguments(str(output_dir), **{**defaults, **arguments})
    genomes = [Genome(fasta)]
    holdout = default_holdout(genomes)
    windows = WindowDataset(genomes, 64, holdout=holdout, num_windows=100, seed=args.seed)
    held_out = HeldOutWindows(genomes, 64, holdout)
    return PreTrainer(model, args, windows, held_out, DNATokenizer(), callbacks=callbacks)


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]
