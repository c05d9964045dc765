"""What models cost: operations, parameters, tokens, memory and speed, against the length of a sequence."""

import copy
import gc
import os
import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForMaskedLM, set_seed

from dnachunk.alphabet import is_base
from dnachunk.baselines import FixedTokenizer, baseline_config
from dnachunk.baselines.model import Size
from dnachunk.data import Genome, packaged_genome
from dnachunk.errors import ArgumentError, UsageError, require_at_least, require_one_of
from dnachunk.files import output_folder, written_whole
from dnachunk.inference.genome import open_genome
from dnachunk.inference.tokens import PathLike, load_model, ready
from dnachunk.models import MODEL_TYPES
from dnachunk.models.configuration_common import DNAConfig
from dnachunk.models.limits import length_limits
from dnachunk.models.loading import ask, best_device, load_pretrained, load_tokenizer, those_to_ask
from dnachunk.models.modeling_common import DNAPreTrainedModel
from dnachunk.models.shipped import model_folder, told_names
from dnachunk.ops import decode_dna
from dnachunk.reporting import Report, Table, progress, require_own_files, write_results
from dnachunk.tokenization import DNATokenizer

PLOT = "profile.png"
"""The plot's file, in the output folder."""

_JOB = "profile"
# What byte-pair encoding is trained on, at most.
_TEXT_BP, _MAX_TEXTS = 512, 4096


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model costs on one sequence.

    Attributes:
        tokens: Tokens that the sequence is cut into, of the coarsest segmentation; of a baseline those that
            it reads.
        forward_flops: Floating-point operations of the forward pass.
        backward_flops: Of the backward pass; None where it was not run.
        forward_peak_bytes: Highest memory of a forward pass without gradients, the weights included.
        step_peak_bytes: Of a forward and a backward pass.
        forward_seconds: Median of forward passes without gradients.
        step_seconds: Of forward and backward passes.
    """

    tokens: int
    forward_flops: int
    backward_flops: int | None
    forward_peak_bytes: int
    step_peak_bytes: int | None
    forward_seconds: float
    step_seconds: float | None


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What a model costs.

    Attributes:
        parameters: All of its parameters, the head's too.
        costs: By length of the sequence in bases.
    """

    parameters: int
    costs: Mapping[int, Cost]


@dataclass(frozen=True, slots=True)
class CostProfile(Report):
    """What models cost against the length of a sequence.

    Attributes:
        models: By name.
        device: Where it was measured, in words.
        is_on_gpu: Whether that is a GPU.
    """

    models: Mapping[str, ModelCost]
    device: str
    is_on_gpu: bool

    @property
    def metrics(self) -> dict[str, Any]:
        """What ``dnachunk profile`` writes."""

        def fields(length_bp: int, cost: Cost) -> dict[str, Any]:
            return {
                **asdict(cost),
                "forward_macs": cost.forward_flops // 2,
                "backward_macs": None if cost.backward_flops is None else cost.backward_flops // 2,
                "forward_bases_per_second": length_bp / cost.forward_seconds,
                "step_bases_per_second": None if cost.step_seconds is None else length_bp / cost.step_seconds,
            }

        return {
            "device": self.device,
            "peak_memory": "allocated" if self.is_on_gpu else "tensors alive",
            "models": {
                name: {
                    "parameters": model.parameters,
                    "lengths_bp": {str(length): fields(length, cost) for length, cost in model.costs.items()},
                }
                for name, model in self.models.items()
            },
        }

    def save(self, output_dir: PathLike, draw: "Draw | None" = None) -> None:
        """Writes ``results.json``, and a plot beside it, both or none.

        Args:
            output_dir: The folder.
            draw: Makes the plot: :func:`~dnachunk.visualization.plot_cost`.

        Raises:
            OSError: If a file cannot be written.
        """
        folder = _own_folder(output_dir)
        with written_whole(folder) as staging:
            if draw is not None:
                draw(self).savefig(staging / PLOT, dpi=150)
            write_results(staging / "results.json", _JOB, self.metrics)

    def report(self) -> list[Table | str]:
        """What was counted, and what was measured."""
        rows = [
            (name, model, length_bp, cost)
            for name, model in self.models.items()
            for length_bp, cost in model.costs.items()
        ]
        memory = (
            "allocated on the GPU"
            if self.is_on_gpu
            else "of the tensors alive, without what kernels use inside"
        )
        return [
            Table(
                (
                    *("counted", "bases", "parameters", "tokens", "bases/token"),
                    *("GMACs forward", "GFLOPs forward", "GFLOPs backward"),
                ),
                [
                    (
                        *(name, f"{length_bp:,}", f"{model.parameters:,}", f"{cost.tokens:,}"),
                        f"{length_bp / cost.tokens:.2f}",
                        *(_billions(flops) for flops in (cost.forward_flops // 2, cost.forward_flops)),
                        _billions(cost.backward_flops),
                    )
                    for name, model, length_bp, cost in rows
                ],
                "FLOPs: two for each product in matrix products, convolutions, attention and the recurrences "
                "of scans and of smoothing, padding included; embeddings, norms, activations, softmax, "
                "decisions, and sums of rows count nothing. A MAC is two of them.",
            ),
            Table(
                (
                    *("measured", "bases", "MB forward", "MB with backward"),
                    *("bases/s forward", "bases/s with backward"),
                ),
                [
                    (
                        *(name, f"{length_bp:,}"),
                        *(_megabytes(peak) for peak in (cost.forward_peak_bytes, cost.step_peak_bytes)),
                        *(_speed(length_bp, took) for took in (cost.forward_seconds, cost.step_seconds)),
                    )
                    for name, _, length_bp, cost in rows
                ],
                f"On {self.device}: one sequence, evaluation mode, medians; the backward pass has all "
                f"gradients. MB are the highest memory {memory}, the weights included.",
            ),
        ]


Draw = Callable[[CostProfile], Any]
"""What makes the plot of a profile."""


class _Subject(NamedTuple):
    """A model that is looked at, and its tokenizer."""

    network: Any
    tokenizer: Any


def profile(
    output_dir: PathLike | None = None,
    *,
    model: Any = (),
    tokenizer: str | Sequence[str] = (),
    size: str = "tiny",
    fasta: PathLike | Genome | None = None,
    length_bp: int | Sequence[int] = (1024, 4096, 16384),
    tokens_per_base: float | None = None,
    backward: bool = True,
    repeats: int = 3,
    seed: int = 0,
    draw: Draw | None = None,
) -> CostProfile:
    """Tells what models and baselines cost against the length of a sequence, side by side.

    Counts floating-point operations, forward and backward, parameters and tokens, and measures the highest
    memory and bases a second, of one sequence of a genome at a time, on a GPU where there is one. Untrained
    models cost what trained ones do, but for DNAChunker and MxDNA, whose tokens are then those of chance.

    Operations are what torch's ``FlopCounterMode`` counts, with the operations' own formulas: two for each
    product in matrix products, convolutions, attention and the recurrences of scans and of smoothing, padding
    included, in the forms that run on the device (kernels of attention compute scores again in the backward
    pass). Embeddings, norms, activations, softmax, decisions and sums of rows count nothing. Memory is what
    is allocated on a GPU, and on a CPU that of the tensors alive, without what kernels use inside.

    Args:
        output_dir: Folder to write ``results.json`` into. Default: nothing is written.
        model: Folders of models, or of baselines and their tokenizers; models of ours; or ``"mergedna"``,
            ``"dnachunker"`` and ``"mxdna"``, untrained: one, several, or by the names that they are to have.
        tokenizer: Baselines beside them, the untrained encoder on fixed tokens: ``"base"``, ``"6mer"`` (1 to
            8), ``"6mer-overlapping"``, or ``"bpe-1024"``, trained on the genome; one or several.
        size: Of what is untrained: ``"micro"``, ``"tiny"``, or ``"base"``, which is the papers'.
        fasta: The genome; default the one that ships with the package.
        length_bp: Bases of the sequence, or several lengths.
        tokens_per_base: In (0, 1], asked of MergeDNA and DNAChunker; default as they are configured.
        backward: Whether the backward pass is run.
        repeats: Timed passes of each, of which the median counts.
        seed: Of untrained weights.
        draw: Makes a plot to write beside ``results.json``, see :meth:`CostProfile.save`.

    Returns:
        The profile; :func:`~dnachunk.visualization.plot_cost` draws it.

    Raises:
        OSError: If a file cannot be read or written.
        ValueError: If an argument is out of range, a model unknown, or the sequence longer than the genome's
            records or than a model takes.

    Example:
        >>> found = profile(tokenizer="6mer", size="micro", length_bp=120, repeats=1)
        >>> found.models["6mer"].costs[120].tokens
        20
    """
    require_one_of("size", size, get_args(Size))
    require_at_least("repeats", repeats, 1)
    lengths = [length_bp] if isinstance(length_bp, int) else list(length_bp)
    if not lengths:
        raise UsageError("`length_bp` must be one length or several, got none")
    for length in lengths:
        require_at_least("length_bp", length, 1)
    lengths = sorted(set(lengths))
    if output_dir is not None:
        _own_folder(output_dir)
    genome = open_genome(packaged_genome() if fasta is None else fasta)
    texts = {length: _stretch(genome, length) for length in lengths}
    tokenizers = [tokenizer] if isinstance(tokenizer, str) else list(tokenizer)
    subjects: dict[str, _Subject] = {}
    set_seed(seed)
    makers = [(name, lambda each=each: _model(each, size)) for name, each in _named(model)]
    makers += [(name, lambda name=name: _baseline(name, size, genome)) for name in tokenizers]
    for name, make in makers:
        if name in subjects:
            raise UsageError(f"several models are called {name}: give them names of their own")
        subjects[name] = make()
    if not subjects:
        raise UsageError("at least one `model` or `tokenizer` must be given")
    for name, subject in subjects.items():
        _check_length(name, subject, texts)
    networks = [subject.network for subject in subjects.values()]
    for network in those_to_ask(networks, "tokens_per_base", tokens_per_base):
        ask(network, tokens_per_base)
    device = best_device()
    found = {}
    with progress(len(subjects) * len(texts), "profile", "passes") as advance:
        for name, (built, reader) in subjects.items():
            before = torch.cuda.memory_allocated() if device.type == "cuda" else 0
            network = built.eval().to(device).requires_grad_(True)
            costs = {}
            for length, text in texts.items():
                costs[length] = _measure(network, reader, text, device, before, backward, repeats)
                advance(1)
            found[name] = ModelCost(sum(each.numel() for each in network.parameters()), costs)
            network.to("cpu")
    words = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"a CPU, threads: {torch.get_num_threads()}"
    )
    result = CostProfile(found, words, device.type == "cuda")
    if output_dir is not None:
        result.save(output_dir, draw)
    return result


def _own_folder(output_dir: PathLike) -> Path:
    """The output folder, if nothing is replaced there but an earlier profile.

    Raises:
        OSError: If something would be, or it cannot be written into.
    """
    folder = output_folder(output_dir)
    require_own_files(folder / "results.json", _JOB, [folder / PLOT])
    return folder


def _named(model: Any) -> list[tuple[str, Any]]:
    """Models and their names."""
    if isinstance(model, Mapping):
        return list(model.items())
    models = [model] if isinstance(model, str | os.PathLike | DNAPreTrainedModel) else [*model]
    return [
        (Path(each).resolve().name if isinstance(each, str | os.PathLike) else type(each).__name__, each)
        for each in models
    ]


def _model(model: Any, size: str) -> _Subject:
    """A model by its folder or kind, or as it is."""
    if not isinstance(model, str | os.PathLike):
        network = ready(copy.deepcopy(model), type(model).__name__, getattr(model, "device", None))
        return _Subject(network, DNATokenizer(cls_sep=network.config.model_type == "mxdna"))
    directory = model_folder(model)
    if directory.is_dir():
        tokenizer = load_tokenizer(directory)
        if isinstance(tokenizer, FixedTokenizer):
            return _Subject(load_pretrained(AutoModelForMaskedLM, directory), tokenizer)
        return _Subject(load_model(directory, device="cpu"), tokenizer)
    if str(model) not in MODEL_TYPES:
        raise ArgumentError(
            f"`model` must be a folder of a model, or of {', '.join(MODEL_TYPES)}, {told_names(model)}"
        )
    config_class = type(AutoConfig.for_model(str(model)))
    config = config_class() if size == "base" else getattr(config_class, size)()
    return _Subject(
        AutoModelForMaskedLM.from_config(config), DNATokenizer(cls_sep=config.model_type == "mxdna")
    )


def _baseline(name: str, size: Any, genome: Genome) -> _Subject:
    texts = (
        _letters(genome, index, start_bp, start_bp + _TEXT_BP)
        for index, record in enumerate(genome.records)
        for start_bp in range(0, min(record.length_bp, _TEXT_BP * _MAX_TEXTS), _TEXT_BP)
    )
    tokenizer = FixedTokenizer.from_name(
        name, (text for _, text in zip(range(_MAX_TEXTS), texts, strict=False))
    )
    config = baseline_config(size, len(tokenizer))
    return _Subject(AutoModelForMaskedLM.from_config(config), tokenizer)


def _letters(genome: Genome, index: int, start_bp: int, end_bp: int) -> str:
    ids, _ = genome.fetch(index, start_bp, min(end_bp, genome.records[index].length_bp))
    return decode_dna(ids, torch.tensor([0, len(ids)]))[0]


def _stretch(genome: Genome, length_bp: int) -> str:
    """The first stretch of so many bases, a multiple of them from its record's beginning, that has no N.

    Raises:
        ArgumentError: If no record has so many bases, or none of the stretches is without N.
    """
    for index, record in enumerate(genome.records):
        for start_bp in range(0, record.length_bp - length_bp + 1, length_bp):
            ids, _ = genome.fetch(index, start_bp, start_bp + length_bp)
            if is_base(ids).all():
                return _letters(genome, index, start_bp, start_bp + length_bp)
    longest_bp = max((record.length_bp for record in genome.records), default=0)
    raise ArgumentError(
        f"`length_bp` must be that of a stretch without N in {genome.path}, whose longest record has "
        f"{longest_bp:,} bases, got {length_bp:,}"
    )


def _check_length(name: str, subject: _Subject, texts: Mapping[int, str]) -> None:
    """Raises :class:`ArgumentError` if a model does not take the longest sequence."""
    bases, ids = length_limits(*subject)
    length, text = max(texts.items())
    if bases is not None and length > bases:
        raise ArgumentError(f"`length_bp` must be at most {bases:,} for {name}, got {length:,}")
    if ids is not None and (tokens := len(subject.tokenizer(text, verbose=False)["input_ids"])) > ids:
        raise ArgumentError(
            f"`length_bp` must give at most {ids:,} tokens for {name}, got {length:,}, which are {tokens:,}"
        )


def _measure(
    network: Any,
    tokenizer: Any,
    text: str,
    device: torch.device,
    before_bytes: int,
    backward: bool,
    repeats: int,
) -> Cost:
    encoded = tokenizer([text], return_tensors="pt", return_token_type_ids=False, verbose=False)
    inputs = {name: value.to(device) for name, value in encoded.items()}
    num_tokens = inputs["input_ids"].shape[1]
    if isinstance(network.config, DNAConfig):
        bases = DNATokenizer()([text], return_tensors="pt")["input_ids"].to(device)
        with torch.no_grad():
            cut = network.encode_tokens(bases, vectors=False)
        num_tokens = int(cut.segmentation.num_tokens[0])

    def forward() -> Any:
        with torch.no_grad():
            return network(**inputs).logits

    def step() -> None:
        network(**inputs).logits.float().sum().backward()
        network.zero_grad(set_to_none=True)

    # A first pass makes what is made once, such as the angles of positions.
    forward()
    flops, peak = _count(forward, network, inputs, device, before_bytes)
    seconds = _median_seconds(forward, device, repeats)
    if not backward:
        return Cost(num_tokens, flops, None, peak, None, seconds, None)
    total, step_peak = _count(step, network, inputs, device, before_bytes)
    step_seconds = _median_seconds(step, device, repeats)
    return Cost(num_tokens, flops, total - flops, peak, step_peak, seconds, step_seconds)


def _count(
    run: Callable[[], Any],
    network: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    device: torch.device,
    before_bytes: int,
) -> tuple[int, int]:
    """Floating-point operations and the highest memory in bytes."""
    from torch.utils.flop_counter import FlopCounterMode

    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops(), torch.cuda.max_memory_allocated(device) - before_bytes
    held = [*network.parameters(), *network.buffers(), *inputs.values()]
    with LiveTensors(held) as live, FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops(), live.peak_bytes


class LiveTensors(TorchDispatchMode):
    """Follows the memory of the tensors that operations make, while they are alive.

    Args:
        held: Tensors that are there at the beginning.

    Attributes:
        bytes: Memory of those that are alive.
        peak_bytes: The highest it was.
    """

    def __init__(self, held: Sequence[torch.Tensor] = ()) -> None:
        super().__init__()
        self.bytes = self.peak_bytes = 0
        self._alive: set[int] = set()
        for tensor in held:
            self._meet(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation and notes its results."""
        del types
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if isinstance(each, torch.Tensor):
                self._meet(each)
        return out

    def _meet(self, tensor: torch.Tensor) -> None:
        # A storage keeps its Python object, and with it the identity, for as long as it lives.
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self.bytes += size
            self.peak_bytes = max(self.peak_bytes, self.bytes)
            weakref.finalize(storage, self._part, key, size).atexit = False

    def _part(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.bytes -= size


def _median_seconds(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    samples = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        samples.append(time.perf_counter() - started)
    return statistics.median(samples)


def _billions(count: int | None) -> str:
    return "—" if count is None else f"{count / 1e9:,.3f}"


def _megabytes(count: int | None) -> str:
    return "—" if count is None else f"{count / 1e6:,.1f}"


def _speed(length_bp: int, seconds: float | None) -> str:
    return "—" if seconds is None else f"{length_bp / seconds:,.0f}"


__all__ = ["Cost", "CostProfile", "LiveTensors", "ModelCost", "profile"]
