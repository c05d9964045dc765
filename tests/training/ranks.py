"""Run by ``torchrun``: trains on several processes and writes what rank 0 logged."""

import json
import os
import sys
from pathlib import Path

import torch

from tests.training.runs import GLOBAL_BATCH, make_trainer

if __name__ == "__main__":
    kind, fasta, output_dir = sys.argv[1], *map(Path, sys.argv[2:])
    trainer = make_trainer(
        fasta,
        output_dir,
        kind=kind,
        per_device_train_batch_size=GLOBAL_BATCH // 2,
        ddp_backend="gloo",
        eval_strategy="steps",
        eval_steps=3,
        save_strategy="steps",
        save_steps=3,
    )
    trainer.train()
    if trainer.args.process_index == 0:
        (output_dir / "history.json").write_text(json.dumps(trainer.state.log_history))
    torch.distributed.barrier()
    # Torch's threads may abort the interpreter while it shuts down; the numbers are written by then.
    os._exit(0)
