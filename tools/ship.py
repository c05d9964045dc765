"""Makes a trained tokenizer that ships with the package out of a finished pre-training.

Its weights are rounded to bfloat16 and evaluated again, so that every figure of its card is that of the file.
The genomes are the run's, in the same order; whether they are, and all else that the run was begun with, is
checked against its last checkpoint.

    python tools/ship.py RUN NAME --fasta F --fasta F --purpose "What this one is for."
"""

import argparse
import json
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from transformers import AutoModelForPreTraining

from dnachunk.models.loading import load_pretrained
from dnachunk.models.shipped import MAX_BYTES, PACKAGED, PURPOSE
from dnachunk.reporting import to_json
from dnachunk.training import PreTrainer
from dnachunk.training.checkpoints import last_checkpoint
from dnachunk.training.pretrain import prepare_pretraining
from dnachunk.training.progress import log_lines
from dnachunk.training.recipe import RECIPE
from dnachunk.training.trainer import SETTINGS


def round_weights(run: Path, folder: Path) -> None:
    """Writes a run's model into a folder, its weights in bfloat16, which are loaded in float32."""
    weights = {name: tensor.bfloat16() for name, tensor in load_file(run / "model.safetensors").items()}
    file = folder / "model.safetensors"
    save_file(weights, file, metadata={"format": "pt"})
    # As any other file of the package.
    file.chmod(0o644)
    if file.stat().st_size > MAX_BYTES:
        raise SystemExit(
            f"{run}: the weights must have at most {MAX_BYTES:,} bytes, got {file.stat().st_size:,}"
        )
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(to_json({**config, "dtype": "float32"}), encoding="utf-8")
    shutil.copy(run / "tokenizer_config.json", folder)


def without_folders(command: str) -> str:
    """A command line whose paths are names alone: where they were says nothing elsewhere."""
    return shlex.join(Path(word).name if "/" in word else word for word in shlex.split(command))


def ship(run: Path, folder: Path, fasta: list[Path], purpose: str, remark: str = "") -> None:
    """Writes the model, its card and its figures into a folder."""
    checkpoint = last_checkpoint(run)
    if checkpoint is None:
        raise SystemExit(f"{run} must hold a checkpoint, which has the losses")
    state = json.loads((Path(checkpoint) / "trainer_state.json").read_text(encoding="utf-8"))
    if state["global_step"] != state["max_steps"]:
        raise SystemExit(f"{run} must be finished, got {state['global_step']} of {state['max_steps']} steps")
    settings = json.loads((Path(checkpoint) / SETTINGS).read_text(encoding="utf-8"))
    results: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    round_weights(run, folder)

    with tempfile.TemporaryDirectory() as scratch:
        pretraining = prepare_pretraining(
            fasta,
            scratch,
            recipe=run / RECIPE,
            weight=settings["weight"],
            eval_windows=results["metrics"]["holdout_windows"],
            resume_from_checkpoint=checkpoint,
        )
        network, tokenizer = pretraining.build()
        windows = pretraining.windows(state["max_steps"] * settings["windows a step"])
        pretraining.require_same_run(network.config)
        network.load_state_dict(load_pretrained(AutoModelForPreTraining, folder).state_dict())
        held_out = pretraining.held_out_windows()
        trainer = PreTrainer(network, pretraining.args, None, held_out, tokenizer)
        log_lines(trainer)
        figures = trainer.evaluate()

    metrics = {name: value for name, value in results["metrics"].items() if not name.startswith("eval_")}
    metrics |= {name: value for name, value in figures.items() if name.startswith("eval_")}
    command = without_folders(results["command"])
    results |= {"command": command, "metrics": metrics, "purpose": purpose}
    results["genomes"] = [genome.name for genome in pretraining.genomes]
    (folder / "results.json").write_text(to_json(results), encoding="utf-8")
    made = [
        f"By `{command}`.",
        remark,
        "Its weights are stored in bfloat16 and loaded in float32; all figures at the end of the training "
        "are those of the weights as they are stored.",
    ]
    more = {
        "What it is for": f"{purpose} {PURPOSE}",
        "How it was made": " ".join(filter(None, made)),
    }
    card = pretraining.card(
        network,
        windows,
        metrics,
        state["log_history"],
        is_resumed="--resume-from-checkpoint" in command,
        more=more,
        name=folder.name,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def main() -> None:
    """Ships what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="output folder of a finished pretrain")
    parser.add_argument("name", help="what the model is to be called")
    parser.add_argument("--fasta", type=Path, action="append", required=True, help="the run's, in its order")
    parser.add_argument("--purpose", required=True, help="a sentence that says what this one is for")
    parser.add_argument("--remark", default="", help="a sentence on what the last command does not say")
    parser.add_argument("--into", type=Path, default=PACKAGED, help="folder of the model's folder")
    given = parser.parse_args()
    folder = given.into / given.name
    if folder.exists():
        raise SystemExit(f"{folder} is there: remove it first")
    with tempfile.TemporaryDirectory(dir=given.into.parent) as staging:
        made = Path(staging) / given.name
        made.mkdir()
        ship(given.run, made, given.fasta, given.purpose, given.remark)
        given.into.mkdir(exist_ok=True)
        made.rename(folder)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    print(f"{folder}: {sizes['model.safetensors']:,} bytes of weights, {sum(sizes.values()):,} in all")


if __name__ == "__main__":
    main()
