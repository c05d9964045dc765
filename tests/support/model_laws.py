"""The laws of every model: a test file derives a class from :class:`ModelLaws`, which does the rest."""

import contextlib
import dataclasses
import json
import multiprocessing
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from unittest import mock

import accelerate
import numpy as np
import peft
import pytest
import safetensors.torch
import torch
import torch.distributed.fsdp
import torch.nn.functional as F
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel, Trainer, TrainingArguments, pipeline

from dnachunk import DNATokenizer
from dnachunk.alphabet import A_ID, IGNORE_INDEX, MASK_ID, N_ID, PAD_ID
from tests.support.births import Birth, assert_births

# Error allowed relative to the largest value. Float32 is law 4's; float64 shows what its noise would hide.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}

Batch = dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class ModelCase:
    """What the laws need to know of a model.

    Attributes:
        config: Makes a small configuration, all but its shape by default; takes any field.
        heads: Every model class, with the Auto class that loads it; base model under ``"base"``, otherwise
            ``"masked_lm"``, ``"sequence"``, ``"token"``, ``"pretraining"``.
        hidden_shapes: ``(model, output, batch)`` to the shapes of ``hidden_states``, the embedding's first.
        extents: Output fields that law 1 compares, and what their second dimension counts: ``"bases"``
            (positions of the input) or ``"tokens"``; ``"sequence"`` for fields ``[B, …]`` of neither.
        draws: ``(head, batch size)`` to the arguments that fix every random draw of ``forward``.
        beside_embeddings: From a batch to what ``inputs_embeds`` alone does not tell.
        prefix: Ids before the bases of each sequence, such as ``[CLS]``.
        suffix: Ids after them.
        loss_is_of_labels: Whether ``loss`` depends on no sequence but those that have labels.
        without_gradient: Names of trainable parameters that may get a zero gradient (but not None).
        births: Patterns of names, and how the parameters and buffers start whose names they match first.
        resized: Fields of the configuration that give some parameters other shapes.
    """

    config: Callable[..., PreTrainedConfig]
    heads: Mapping[str, tuple[type[PreTrainedModel], type]]
    hidden_shapes: Callable[[PreTrainedModel, Any, Batch], list[tuple[int, ...]]]
    extents: Mapping[str, str]
    draws: Callable[[str, int], dict[str, Any]] = lambda head, size: {}
    beside_embeddings: Callable[[Batch], dict[str, Any]] = lambda batch: {}
    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    loss_is_of_labels: bool = True
    without_gradient: tuple[str, ...] = ()
    births: Mapping[str, Birth] = dataclasses.field(default_factory=dict)
    resized: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def build(
        self, head: str, dtype: torch.dtype = torch.float32, *, seed: int = 0, **fields: Any
    ) -> PreTrainedModel:
        """A seeded model in evaluation mode.

        Its weights are ten times as large as by default: at initialisation all scores nearly tie, and a law
        would hang on the last bit.
        """
        torch.manual_seed(seed)
        return self.heads[head][0](self.config(**{"initializer_range": 0.2, **fields})).to(dtype).eval()

    def batch(self, lengths: list[int], seed: int = 0) -> Batch:
        """Random right-padded sequences of bases, ``[MASK]`` and ``N`` among them."""
        generator = torch.Generator().manual_seed(seed)
        rows = [
            torch.cat(
                [
                    torch.tensor(self.prefix, dtype=torch.int64),
                    torch.randint(MASK_ID, N_ID + 1, (length,), generator=generator),
                    torch.tensor(self.suffix, dtype=torch.int64),
                ]
            )
            for length in lengths
        ]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD_ID)
        return {"input_ids": ids, "attention_mask": (ids != PAD_ID).long()}

    def with_labels(self, head: str, batch: Batch) -> Batch:
        """The batch with labels for a head: some of the bases, or a class a sequence or base."""
        ids = batch["input_ids"]
        is_letter = (ids >= A_ID) & (ids < N_ID) & (batch["attention_mask"] == 1)
        labels = {
            "base": None,
            "masked_lm": torch.where(is_letter & (ids % 3 != 0), ids, IGNORE_INDEX),
            "pretraining": torch.where(is_letter, ids, IGNORE_INDEX),
            "sequence": ids[:, len(self.prefix)] % 2,
            "token": torch.where(is_letter, ids % 2, IGNORE_INDEX),
        }[head]
        return batch if labels is None else {**batch, "labels": labels}


def rows_of(case: ModelCase, output: Any, batch: Batch) -> list[dict[str, torch.Tensor]]:
    """The compared fields of each sequence, cut to what is real; checks the segmentation on the way."""
    segmentation = output.segmentation.validate()
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    special = len(case.prefix) + len(case.suffix)
    rows = []
    for row, length in enumerate(lengths):
        index = segmentation.token_index[row]
        assert (index >= 0).sum() == length - special, "every base lies in a token, and nothing else does"
        cut = {"bases": length, "tokens": int(segmentation.num_tokens[row])}
        fields = {"token_index": index[:length]}
        for name, extent in case.extents.items():
            value = output.get(name)
            if value is not None:
                whole = extent == "sequence" or (value.dim() == 2 and value.is_floating_point())
                fields[name] = value[row] if whole else value[row, : cut[extent]]
        rows.append(fields)
    return rows


def gradients(model: PreTrainedModel, scalar: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradient of each trainable parameter, 0 where there is none."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(scalar, list(named.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(named, grads, strict=True))


def project(fields: dict[str, torch.Tensor]) -> torch.Tensor:
    """A number that hangs on every differentiable field, with weights that hang on its shape alone."""
    total = torch.zeros(())
    for value in fields.values():
        if value.requires_grad:
            generator = torch.Generator().manual_seed(1)
            weights = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
            total = total + (weights * value).sum()
    assert total.requires_grad
    return total


def assert_fields_close(actual, expected, tolerance, place=""):
    """Equal where integer or bool; otherwise close relative to the field's largest value."""
    assert actual.keys() == expected.keys()
    for name, want in expected.items():
        got = actual[name]
        assert got.shape == want.shape, f"{place} {name}: {tuple(got.shape)} != {tuple(want.shape)}"
        if not want.is_floating_point():
            assert torch.equal(got, want), f"{place} {name} differs"
        elif want.numel():
            error, scale = (got - want).abs().max().item(), want.abs().max().item()
            assert error <= tolerance * scale, f"{place} {name}: error {error:.2e}, scale {scale:.2e}"


def run(case, head, model, batch, *, row=None, **arguments):
    """Rows, and the gradients of a projection of all of them, or of one, plus the loss where it is theirs."""
    batch = case.with_labels(head, batch)
    if row is not None and "labels" in batch and case.loss_is_of_labels:
        others = torch.arange(len(batch["labels"])) != row
        batch["labels"] = batch["labels"].masked_fill(
            others.view(-1, *[1] * (batch["labels"].dim() - 1)), IGNORE_INDEX
        )
    output = model(**{**case.draws(head, len(batch["input_ids"])), **batch, **arguments})
    rows = rows_of(case, output, batch)
    kept = rows if row is None else [rows[row]]
    scalar = sum(project(fields) for fields in kept)
    if output.get("loss") is not None and case.loss_is_of_labels:
        scalar = scalar + output.loss
        kept[0]["loss"] = output.loss
    return kept, gradients(model, scalar)


def _row(batch: Batch, row: int) -> Batch:
    length = int(batch["attention_mask"][row].sum())
    return {name: value[row : row + 1, :length] for name, value in batch.items()}


def _padded(batch: Batch, extra: int) -> Batch:
    return {
        name: F.pad(value, (0, extra), value=PAD_ID if name == "input_ids" else 0)
        for name, value in batch.items()
    }


def check_padding_is_inert(case: ModelCase, head: str, dtype: torch.dtype) -> None:
    """Law 1: the same alone, right-padded and beside a longer sequence, whatever the padding holds."""
    model, tolerance = case.build(head, dtype), TOLERANCE[dtype]
    # The last sequence is empty.
    batch = case.batch([37, 61, 1, 0])
    garbled = dict(batch)
    garbled["input_ids"] = torch.where(batch["attention_mask"] == 0, A_ID, batch["input_ids"])
    for row in range(3):
        alone = _row(batch, row)
        draws = {
            name: value[row : row + 1]
            for name, value in case.draws(head, 4).items()
            if isinstance(value, torch.Tensor)
        }
        rows, grads = run(case, head, model, alone, row=0, **draws)
        without_mask = {"input_ids": alone["input_ids"], **draws, "attention_mask": None}
        others = {
            "padded": run(case, head, model, _padded(alone, 23), row=0, **draws),
            "in a batch": run(case, head, model, batch, row=row),
            "beside other padding": run(case, head, model, garbled, row=row),
            "without a mask": run(case, head, model, alone, row=0, **without_mask),
        }
        for how, (other_rows, other_grads) in others.items():
            place = f"sequence {row} {how}:"
            assert_fields_close(other_rows[0], rows[0], tolerance, place)
            scale = max(grad.abs().max() for grad in grads.values())
            for name, grad in grads.items():
                error = (other_grads[name] - grad).abs().max()
                assert error <= tolerance * scale, f"{place} gradient of {name}: {error:.2e} of {scale:.2e}"


def check_batch_order(case: ModelCase, head: str, dtype: torch.dtype) -> None:
    """Law 2: permuting the batch permutes the outputs and nothing else."""
    model, tolerance = case.build(head, dtype), TOLERANCE[dtype]
    batch, order = case.batch([37, 61, 5, 16]), torch.tensor([2, 0, 3, 1])
    draws = case.draws(head, 4)
    moved = {k: v[order] if isinstance(v, torch.Tensor) else v for k, v in draws.items()}
    rows, _ = run(case, head, model, batch)
    others, _ = run(case, head, model, {k: v[order] for k, v in batch.items()}, **moved)
    losses = [fields.pop("loss", torch.zeros(1)) for fields in (rows[0], others[0])]
    assert_fields_close({"loss": losses[1]}, {"loss": losses[0]}, tolerance)
    for place, row in enumerate(order.tolist()):
        assert_fields_close(others[place], rows[row], tolerance, f"sequence {row}:")


def check_save_load(case: ModelCase, head: str, folder: Any) -> None:
    """Law 3: a saved model loads to equal outputs, by its class and by the Auto class."""
    model_class, auto_class = case.heads[head]
    model, batch = case.build(head), case.batch([37, 20])
    model.save_pretrained(folder)
    assert (folder / "model.safetensors").is_file()
    with torch.no_grad():
        expected = rows_of(case, model(**batch, **case.draws(head, 2)), batch)
    for loader in (model_class, auto_class):
        loaded, info = loader.from_pretrained(folder, output_loading_info=True)
        assert type(loaded) is model_class
        assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
        with torch.no_grad():
            rows = rows_of(case, loaded(**batch, **case.draws(head, 2)), batch)
        written = model.state_dict()
        assert loaded.state_dict().keys() == written.keys()
        for name, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, written[name]), name
        # Where weights lie in memory changes the order of torch's own sums.
        for row, want in zip(rows, expected, strict=True):
            assert_fields_close(row, want, TOLERANCE[torch.float32])


def check_config_round_trip(case: ModelCase, folder: Any, **fields: Any) -> None:
    """Law 3: a configuration equals its copy read back from JSON, and ``AutoConfig`` finds its class."""
    config = case.config(**fields)
    config.save_pretrained(folder)
    for loaded in (
        type(config).from_pretrained(folder),
        AutoConfig.from_pretrained(folder),
        type(config)(**json.loads(config.to_json_string(use_diff=False))),
    ):
        assert type(loaded) is type(config)
        assert {**loaded.to_dict(), "_name_or_path": ""} == {**config.to_dict(), "_name_or_path": ""}
        for name, value in fields.items():
            assert getattr(loaded, name) == value, name


def check_unknown_config_field(case: ModelCase) -> None:
    """Law 3: a field that does not exist is an error that shows name and value."""
    with pytest.raises(ValueError, match=r"hidden_sizes=77"):
        case.config(hidden_sizes=77)


def check_determinism_over_threads(case: ModelCase, head: str) -> None:
    """Law 4: the same tokens for any number of threads, outputs and gradients to 1e-5; twice is equal."""
    model, batch = case.build(head).train(), case.batch([200, 150, 90])
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(case, head, model, batch))
    finally:
        torch.set_num_threads(before)
    (rows, grads), *others = results
    for tolerance, (other_rows, other_grads) in zip((0.0, 1e-5, 1e-5), others, strict=True):
        for other, want in zip(other_rows, rows, strict=True):
            assert_fields_close(other, want, tolerance)
        scale = max(grad.abs().max() for grad in grads.values())
        for name, grad in grads.items():
            assert (other_grads[name] - grad).abs().max() <= tolerance * scale, name


def assert_each_learns(
    case: ModelCase, head: str, learners: Callable[..., Any], *, bf16: bool = False
) -> None:
    """Finite and non-zero gradients for each of a model's parameters, in one of a few draws at least.

    Whether a part of a model is used at all (an expert) hangs on the draw of its weights.

    Args:
        case: The case.
        head: Which model.
        learners: From a seed to a model and the parameters of it that are to learn, by name.
        bf16: Whether under bf16 autocast.
    """
    unmoved: set[str] | None = None
    for seed in range(6):
        model, parameters = learners(seed)
        batch = case.with_labels(head, case.batch([96, 70], seed))
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = model(**batch, **case.draws(head, 2))
        loss = output.get("loss")
        if loss is None:
            loss = project({"last_hidden_state": output.last_hidden_state})
        assert torch.isfinite(loss)
        loss.backward()
        assert parameters
        for name, parameter in parameters.items():
            assert parameter.grad is not None, f"{name} has no gradient"
            assert torch.isfinite(parameter.grad).all(), f"the gradient of {name} is not finite"
        zero = {name for name, parameter in parameters.items() if not parameter.grad.any()}
        unmoved = zero if unmoved is None else unmoved & zero
        if not unmoved:
            return
    raise AssertionError(f"the gradients of {sorted(unmoved)} are zero")


def check_every_parameter_learns(case: ModelCase, head: str, *, bf16: bool, **fields: Any) -> None:
    """Law 6: finite and non-zero gradients for every trainable parameter, with weights as they start."""
    std = case.config().initializer_range

    def learners(seed):
        model = case.build(head, seed=seed, initializer_range=std, **fields).train()
        named = model.named_parameters()
        return model, {name: p for name, p in named if p.requires_grad and name not in case.without_gradient}

    assert_each_learns(case, head, learners, bf16=bf16)


def check_bf16_autocast(case: ModelCase, head: str, *, agreement: float, error: float) -> None:
    """bf16 autocast decides nearly the same tokens, and its loss is near float32's.

    Args:
        case: The case.
        head: A head with a loss.
        agreement: Share of boundaries that must agree.
        error: Relative error of the loss allowed.
    """
    model = case.build(head)
    batch = case.with_labels(head, case.batch([256, 200, 90]))
    with torch.no_grad():
        exact = model(**batch, **case.draws(head, 3))
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(**batch, **case.draws(head, 3))
    same = exact.segmentation.boundaries == rough.segmentation.boundaries
    share = same[batch["attention_mask"] == 1].double().mean().item()
    assert share >= agreement, f"{share:.3f} of the boundaries agree"
    relative = abs(rough.loss.item() - exact.loss.item()) / exact.loss.item()
    assert relative <= error, f"loss {exact.loss.item():.4f} became {rough.loss.item():.4f}"


def _peak_bytes(layer: Callable[[int], None], length: int, queue: Any) -> None:
    torch.set_num_threads(2)
    # Imports and the first allocations are not the layer's.
    layer(64)
    before = _high_water_bytes()
    layer(length)
    queue.put((before, _high_water_bytes()))


def _high_water_bytes() -> int:
    # Not getrusage: its maximum outlives exec, so a child would show what its parent used.
    with open("/proc/self/status", encoding="ascii") as status:
        kib = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    return int(kib) * 1024


def check_linear_memory(layer: Callable[[int], None], length: int = 262_144) -> None:
    """Law 7: forward and backward of ``layer(length)`` within 4 GiB, and four times the memory of a quarter.

    ``layer`` is a module-level function: it runs in processes of its own, whose peak is then its own.
    """
    context = multiprocessing.get_context("spawn")
    own = []
    for positions in (length // 4, length):
        queue = context.SimpleQueue()
        process = context.Process(target=_peak_bytes, args=(layer, positions, queue))
        process.start()
        process.join(timeout=300)
        assert process.exitcode == 0, f"{positions} positions: exit code {process.exitcode}"
        before, peak = queue.get()
        own.append(peak - before)
    assert peak < 4 << 30, f"{peak / 2**30:.2f} GiB at {length} positions"
    assert own[1] < 6 * own[0], (
        f"{own[0] / 2**20:.0f} MiB became {own[1] / 2**20:.0f} at four times the length"
    )


def _count_calls(model: PreTrainedModel) -> list[int]:
    calls = [0]

    def count(*_: Any) -> None:
        calls[0] += 1

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(count)
    return calls


def check_checkpointing(case: ModelCase, head: str) -> None:
    """Law 8: gradient checkpointing recomputes, and changes neither token nor gradient."""
    model, batch = case.build(head, torch.float64).train(), case.batch([37, 61])
    calls = _count_calls(model)
    rows, grads = run(case, head, model, batch)
    plain_calls = calls[0]
    with warnings.catch_warnings():
        # Its new name is not in every release that the package supports.
        warnings.simplefilter("ignore", FutureWarning)
        model.gradient_checkpointing_enable({"use_reentrant": False})
    calls[0] = 0
    other_rows, other_grads = run(case, head, model, batch)
    assert calls[0] > plain_calls, "nothing was recomputed"
    for other, want in zip(other_rows, rows, strict=True):
        assert_fields_close(other, want, 0.0)
    assert_fields_close(other_grads, grads, 1e-12)


def check_inputs_embeds(case: ModelCase, head: str) -> None:
    """``inputs_embeds`` stands for ``input_ids``; both or neither is an error."""
    model, batch = case.build(head), case.batch([37, 20])
    embeds = model.get_input_embeddings()(batch["input_ids"])
    beside = {"attention_mask": batch["attention_mask"], **case.beside_embeddings(batch)}
    with torch.no_grad():
        expected = rows_of(case, model(**batch), batch)
        rows = rows_of(case, model(inputs_embeds=embeds, **beside), batch)
    for row, want in zip(rows, expected, strict=True):
        assert_fields_close(row, want, 0.0)
    with pytest.raises(
        ValueError, match="exactly one of input_ids and inputs_embeds must be given, got both"
    ):
        model(input_ids=batch["input_ids"], inputs_embeds=embeds)
    with pytest.raises(
        ValueError, match="exactly one of input_ids and inputs_embeds must be given, got neither"
    ):
        model()
    with pytest.raises(ValueError, match=r"inputs_embeds must be \[B, N, \d+\], got \[2, \d+, 1\]"):
        model(inputs_embeds=embeds[..., :1])
    leaf = embeds.detach().requires_grad_()
    output = model(inputs_embeds=leaf, **beside)
    project(rows_of(case, output, batch)[1]).backward()
    assert leaf.grad[1, : 20 + len(case.prefix)].any()
    assert not leaf.grad[0].any()
    assert not leaf.grad[1, 20 + len(case.prefix) + len(case.suffix) :].any()


def check_bad_input_ids(case: ModelCase, head: str) -> None:
    """Ids out of range or shape are errors that show what came."""
    model, ids = case.build(head), case.batch([9])["input_ids"]
    size = model.get_input_embeddings().num_embeddings
    for wrong in (-1, size):
        with pytest.raises(ValueError, match=rf"input_ids must be in \[0, {size}\), got {wrong}"):
            model(torch.where(torch.arange(ids.shape[1]) == 3, wrong, ids))
    with pytest.raises(ValueError, match=r"input_ids must be \[B, N\], got \[\d+\]"):
        model(ids[0])
    for wrong, kind in (
        (ids.to(torch.uint8), "torch.uint8"),
        (ids.float(), "torch.float32"),
        ([[5]], "list"),
    ):
        with pytest.raises(TypeError, match=f"input_ids must be a torch.Tensor of int64, got {kind}"):
            model(wrong)
    with pytest.raises(ValueError, match=r"attention_mask must be \[1, \d+\], got \[1, 2\]"):
        model(ids, attention_mask=torch.ones(1, 2))


def check_return_dict(case: ModelCase, head: str) -> None:
    """``return_dict=False`` gives the fields that are set, in order, by argument and by configuration."""
    model, batch = case.build(head), case.batch([37, 20])
    arguments = {**case.with_labels(head, batch), **case.draws(head, 2)}
    with torch.no_grad():
        expected = model(**arguments)
        by_argument = model(**arguments, return_dict=False)
        model.config.return_dict = False
        by_configuration = model(**arguments)
        assert not isinstance(model(**arguments, return_dict=True), tuple)
    for result in (by_argument, by_configuration):
        assert isinstance(result, tuple)
        assert len(result) == len(expected)
        for got, want in zip(result, expected.to_tuple(), strict=True):
            assert type(got) is type(want)
            if isinstance(want, torch.Tensor):
                assert torch.equal(got, want)


def check_output_hidden_states(case: ModelCase, head: str) -> None:
    """Hidden states come when asked for, in the shapes of the case; the first is the embedding."""
    model, batch = case.build(head), case.batch([37, 20])
    arguments = {**batch, **case.draws(head, 2)}
    with torch.no_grad():
        assert model(**arguments).hidden_states is None
        output = model(**arguments, output_hidden_states=True)
        model.config.output_hidden_states = True
        again = model(**arguments)
        assert model(**arguments, output_hidden_states=False).hidden_states is None
        embedded = model.get_input_embeddings()(batch["input_ids"])
    shapes = [tuple(state.shape) for state in output.hidden_states]
    assert shapes == case.hidden_shapes(model, output, batch)
    assert torch.equal(output.hidden_states[0], embedded)
    for got, want in zip(again.hidden_states, output.hidden_states, strict=True):
        assert torch.equal(got, want)
    assert len({state.data_ptr() for state in output.hidden_states}) == len(shapes)


def check_attn_implementation(case: ModelCase, head: str) -> None:
    """``"eager"`` and ``"sdpa"`` agree to 1e-5, and each runs when chosen, before building or after."""
    batch = case.batch([37, 61])
    results, softmaxes = {}, {}
    for chosen in ("sdpa", "eager"):
        built = case.build(head, attn_implementation=chosen)
        switched = case.build(head)
        switched.set_attn_implementation(chosen)
        for how, model in (("built", built), ("switched", switched)):
            with mock.patch.object(torch, "softmax", wraps=torch.softmax) as softmax:
                results[chosen, how] = run(case, head, model, batch)
            softmaxes[chosen, how] = softmax.call_count
    # Written out, attention calls softmax; a model may do so elsewhere too.
    for how in ("built", "switched"):
        assert softmaxes["eager", how] > softmaxes["sdpa", how], softmaxes
    rows, grads = results["sdpa", "built"]
    scale = max(grad.abs().max() for grad in grads.values())
    for other_rows, other_grads in results.values():
        for other, want in zip(other_rows, rows, strict=True):
            assert_fields_close(other, want, 1e-5)
        for name, grad in grads.items():
            assert (other_grads[name] - grad).abs().max() <= 1e-5 * scale, name
    with pytest.raises(ValueError, match="nonsense"):
        case.build(head, attn_implementation="nonsense")


def check_compile(case: ModelCase, head: str, *, training: bool, backend: str, lengths=((61, 40), (80, 17))):
    """One graph, compiled, gives what the model gives, forward and backward, at each of the lengths."""
    model = case.build(head).train(training)
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    torch._dynamo.reset()
    try:
        for of_batch in lengths:
            batch = case.batch(list(of_batch))
            with contextlib.nullcontext() if training else torch.no_grad():
                arguments = {**case.with_labels(head, batch), **case.draws(head, len(of_batch))}
                output, expected = compiled(**arguments), model(**arguments)
            pairs = zip(rows_of(case, output, batch), rows_of(case, expected, batch), strict=True)
            for row, want in pairs:
                assert_fields_close(row, want, 1e-5)
            if training:
                grads, want = (gradients(model, result.loss) for result in (output, expected))
                scale = max(grad.abs().max() for grad in want.values())
                for name, grad in want.items():
                    assert (grads[name] - grad).abs().max() <= 1e-5 * scale, name
    finally:
        torch._dynamo.reset()


def check_export(case: ModelCase, head: str) -> None:
    """``torch.export`` takes the model, and the exported program gives what it gives, on other bases too."""
    model = case.build(head)
    batch, other = (case.batch([61, 40], seed) for seed in (0, 1))
    program = torch.export.export(model, (), batch, strict=False).module()
    with torch.no_grad():
        rows, expected = (rows_of(case, function(**other), other) for function in (program, model))
    for row, want in zip(rows, expected, strict=True):
        assert_fields_close(row, want, 1e-6)


def check_left_padding_error(case: ModelCase, head: str) -> None:
    """Padding before a base is an error that names the sequence."""
    model, batch = case.build(head), case.batch([12, 12])
    for place in (0, 5):
        mask = batch["attention_mask"].clone()
        mask[1, place] = 0
        with pytest.raises(ValueError, match=r"attention_mask must be right-padded .* row 1"):
            model(batch["input_ids"], attention_mask=mask)


def check_padding_without_a_mask(case: ModelCase, head: str) -> None:
    """Padding and no mask is an error that names the sequence."""
    model, ids = case.build(head), case.batch([12, 9])["input_ids"]
    with pytest.raises(ValueError, match=r"attention_mask must be given beside padding \(\[PAD\] in row 1"):
        model(ids)


def check_output_attentions(case: ModelCase, head: str) -> None:
    """Attention weights, which are not kept, are refused alike by argument and by configuration."""
    batch = case.batch([12])
    with pytest.raises(ValueError, match="output_attentions must be False"):
        case.build(head)(**batch, output_attentions=True)
    model = case.build(head, output_attentions=True)
    with pytest.raises(ValueError, match="output_attentions must be False"):
        model(**batch)


def check_births(case: ModelCase, head: str) -> None:
    """Parameters start as the case says, and so again on memory that held anything."""
    model_class, config = case.heads[head][0], case.config()
    torch.manual_seed(0)
    assert_births(model_class(config), case.births)
    with torch.device("meta"):
        model = model_class(config)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for values in model.state_dict().values():
            values.fill_(float("nan"))
    model.init_weights()
    assert_births(model, case.births)


def check_births_of_what_is_missing(case: ModelCase, head: str, folder: Any) -> None:
    """What a checkpoint lacks starts as in a new model; what it has is loaded."""
    model_class = case.heads[head][0]
    model = case.build(head, initializer_range=1.0)
    saved = {name: values + 1.0 for name, values in model.state_dict().items()}
    for first in (0, 1):
        model.save_pretrained(folder, state_dict=dict(saved))
        path = folder / "model.safetensors"
        kept = dict(list(safetensors.torch.load_file(path).items())[first::2])
        safetensors.torch.save_file(kept, path, {"format": "pt"})
        case.config().save_pretrained(folder)
        loaded = model_class.from_pretrained(folder)
        assert_births(loaded, case.births, saved.keys() - kept.keys())
        for name, values in kept.items():
            assert torch.equal(loaded.state_dict()[name], values), name
    model.save_pretrained(folder, state_dict=dict(saved))
    case.config(**case.resized).save_pretrained(folder)
    loaded = model_class.from_pretrained(folder, ignore_mismatched_sizes=True)
    state = loaded.state_dict()
    resized = {
        name for name, values in state.items() if name not in saved or values.shape != saved[name].shape
    }
    assert resized
    assert_births(loaded, case.births, resized)
    for name in state.keys() - resized:
        assert torch.equal(state[name], saved[name]), name


def check_config_of_others(case: ModelCase, folder: Any) -> None:
    """What is read keeps fields that nobody declared; a new configuration takes those of transformers."""
    config = case.config(tokenizer_class="DNATokenizer", bos_token_id=1)
    config.auto_map = {"AutoModel": "modeling.Model"}
    config.my_note = "mine"
    config.quantization_config = {"quant_method": "nothing"}
    config.save_pretrained(folder)
    for loaded in (
        type(config).from_pretrained(folder),
        AutoConfig.from_pretrained(folder),
        type(config).from_json_file(folder / "config.json"),
        type(config)(**config.to_dict()),
    ):
        for name in ("tokenizer_class", "bos_token_id", "auto_map", "my_note", "quantization_config"):
            assert getattr(loaded, name) == getattr(config, name), name
    with pytest.raises(ValueError, match=r"hidden_size must be .*, got 33"):
        type(config).from_pretrained(folder, hidden_size=33)
    config, unused = type(config).from_pretrained(folder, num_labels=3, nonsense=1, return_unused_kwargs=True)
    assert (config.num_labels, unused) == (3, {"nonsense": 1})


def check_offloading(case: ModelCase, head: str, folder: Any) -> None:
    """Weights that lie elsewhere until they are used give the same bits."""
    batch = case.batch([37, 20])
    arguments = {**case.with_labels(head, batch), **case.draws(head, 2)}

    def outputs(model):
        with torch.no_grad():
            return rows_of(case, model(**arguments), batch)

    plain = case.build(head)
    expected = outputs(plain)
    leaves = [name for name, module in plain.named_modules() if module._parameters]
    by_turns = {name: ("cpu", "disk")[index % 2] for index, name in enumerate(leaves)}
    half = {"cpu": sum(values.nbytes for values in plain.state_dict().values()) // 2}
    by_size = accelerate.infer_auto_device_map(plain, half, sorted(plain._no_split_modules))
    assert {"cpu", "disk"} == set(by_size.values())
    cpu = torch.device("cpu")
    for offloaded in (
        accelerate.cpu_offload(case.build(head), cpu),
        accelerate.disk_offload(case.build(head), str(folder / "all"), cpu),
        accelerate.dispatch_model(case.build(head), by_turns, cpu, offload_dir=str(folder / "by_turns")),
        accelerate.dispatch_model(case.build(head), by_size, cpu, offload_dir=str(folder / "by_size")),
    ):
        assert any(parameter.is_meta for parameter in offloaded.parameters())
        for row, want in zip(outputs(offloaded), expected, strict=True):
            assert_fields_close(row, want, 0.0)


def check_sharding(case: ModelCase, head: str, folder: Any) -> None:
    """Sharded by FSDP in the units that the model names, it gives what it gives, and learns."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=0, world_size=1
    )
    try:
        plain, sharded = case.build(head), case.build(head)
        units = [module for module in sharded.modules() if type(module).__name__ in plain._no_split_modules]
        assert units
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
        for unit in [*units, sharded]:
            torch.distributed.fsdp.fully_shard(unit, mesh=mesh)
        batch = case.with_labels(head, case.batch([37, 20]))
        outputs = [model(**batch, **case.draws(head, 2)) for model in (sharded, plain)]
        results = [rows_of(case, output, batch) for output in outputs]
        for row, want in zip(*results, strict=True):
            assert_fields_close(row, want, TOLERANCE[torch.float32])
        for output, rows in zip(outputs, results, strict=True):
            loss = output.get("loss")
            (project(rows[0]) if loss is None else loss).backward()
        wanted = dict(plain.named_parameters())
        for name, parameter in sharded.named_parameters():
            want = wanted[name].grad
            got = None if parameter.grad is None else parameter.grad.full_tensor()
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5, msg=name)
    finally:
        torch.distributed.destroy_process_group()


def check_heads_of_users(case: ModelCase, folder: Any) -> None:
    """What a subclass adds starts as transformers starts it, and finite where a checkpoint lacks it."""
    base_class = case.heads["base"][0]

    class WithHead(base_class):
        def __init__(self, config):
            super().__init__(config)
            self.convolve = torch.nn.Conv1d(config.hidden_size, 64, 3)
            self.normalize = torch.nn.BatchNorm1d(64)
            self.scale = torch.nn.LayerNorm(64, bias=False)
            self.post_init()

    case.build("base").save_pretrained(folder)
    loaded = WithHead.from_pretrained(folder)
    std = loaded.config.initializer_range
    assert loaded.convolve.weight.std().item() == pytest.approx(std, rel=0.1)
    for weight in (loaded.normalize.weight, loaded.scale.weight, loaded.normalize.running_var):
        assert torch.equal(weight.detach(), torch.ones(64))


def check_pipeline(case: ModelCase, head: str, tokenizer: Any) -> None:
    """A pipeline gives the same for sequences one by one and in batches."""
    task = {
        "base": "feature-extraction",
        "masked_lm": "fill-mask",
        "sequence": "text-classification",
        "token": "token-classification",
    }[head]
    texts = ["ACG[MASK]TGCA", "TTAGG[MASK]", "G[MASK]ATTACAGATTACA"]
    run_pipeline = pipeline(task, model=case.build(head), tokenizer=tokenizer, device="cpu")
    alone, together = (run_pipeline(texts, batch_size=size) for size in (1, 3))
    assert len(alone) == len(together) == len(texts)
    if head == "base":
        for one, padded in zip(alone, together, strict=True):
            real = torch.tensor(one)
            torch.testing.assert_close(torch.tensor(padded)[:, : real.shape[1]], real, rtol=1e-4, atol=1e-4)
        return
    for one, batched in zip(alone, together, strict=True):
        pairs = zip(
            *([result] if isinstance(result, dict) else result for result in (one, batched)), strict=True
        )
        for got, want in pairs:
            assert got.pop("score") == pytest.approx(want.pop("score"), rel=1e-3)
            assert got == want


def check_unknown_argument(case: ModelCase, head: str) -> None:
    """An argument that ``forward`` does not know is an error, not silence."""
    model, batch = case.build(head), case.batch([12])
    with pytest.raises(TypeError, match="keep_ration"):
        model(**batch, keep_ration=0.3)
    # What asks for nothing is none: peft passes such to any model.
    model(**batch, output_attentions=None, use_cache=False)


def check_plain_trainer(case: ModelCase, head: str, directory: Any) -> None:
    """Hugging Face's own ``Trainer`` trains, evaluates and predicts."""
    model = case.build(head, num_labels=2) if head in ("sequence", "token") else case.build(head)
    batch = case.with_labels(head, case.batch([12, 12, 12]))
    rows = [{name: value[row] for name, value in batch.items()} for row in range(3)]
    arguments = TrainingArguments(
        str(directory),
        max_steps=1,
        per_device_train_batch_size=2,
        per_device_eval_batch_size=2,
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)
    assert trainer.train().global_step == 1
    assert trainer.evaluate()["eval_loss"] > 0
    output = trainer.predict(rows)
    with torch.no_grad():
        expected = model.eval()(**batch).logits.numpy()
    np.testing.assert_allclose(output.predictions, expected, rtol=1e-3, atol=1e-4)


def check_peft_by_task(case: ModelCase, head: str) -> None:
    """``peft`` wraps a head by the name of its task."""
    task = {"base": "FEATURE_EXTRACTION", "sequence": "SEQ_CLS", "token": "TOKEN_CLS"}[head]
    model, batch = case.build(head), case.with_labels(head, case.batch([12, 9]))
    with torch.no_grad():
        expected = model(**batch)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # peft finds the classifier itself among those of a SEQ_CLS model alone.
        excluded = ["classifier"] if head == "token" else None
        lora = peft.LoraConfig(task_type=task, target_modules="all-linear", exclude_modules=excluded)
        adapted = peft.get_peft_model(model, lora).eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted(**batch)[0], expected)


def check_every_adapter_learns(case: ModelCase, head: str) -> None:
    """Each adapter that ``peft`` makes of all linear layers gets a gradient."""

    def learners(seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lora = peft.LoraConfig(target_modules="all-linear")
            model = peft.get_peft_model(case.build(head, seed=seed), lora).train()
        # The other half of an adapter starts at zero, and so hides this one's gradient.
        return model, {name: weight for name, weight in model.named_parameters() if "lora_B" in name}

    assert_each_learns(case, head, learners)


def check_empty_batch(case: ModelCase, head: str) -> None:
    """No sequences give empty outputs and a differentiable 0."""
    model, batch = case.build(head), case.batch([12, 9])
    nothing = {name: value[:0] for name, value in case.with_labels(head, batch).items()}
    output = model(**nothing, **case.draws(head, 0))
    assert output.segmentation.token_index.shape == (0, batch["input_ids"].shape[1])
    if output.get("loss") is not None:
        output.loss.backward()
        assert output.loss.item() == 0


class ModelLaws:
    """The laws as tests: a test file derives a class from this one and says what the model is.

    Attributes:
        case: The model.
        variants: Every path that a field of the configuration opens, beside the default.
        loss_head: Head that is pre-trained.
        embedding_heads: Heads that take ``inputs_embeds``; ``None`` is all.
        round_trip_fields: Fields of a configuration, none at its default, that JSON has to bring back.
    """

    case: ClassVar[ModelCase]
    variants: ClassVar[list[dict[str, Any]]]
    loss_head: ClassVar[str] = "masked_lm"
    embedding_heads: ClassVar[list[str] | None] = None
    round_trip_fields: ClassVar[dict[str, Any]]

    def pytest_generate_tests(self, metafunc):
        laws = metafunc.cls
        heads = list(laws.case.heads)
        values = {
            "head": heads,
            "embedding_head": laws.embedding_heads or heads,
            "dtype": [torch.float64, torch.float32],
            "bf16": [False, True],
            "variant": laws.variants,
        }
        for name, choices in values.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, choices, ids=str)

    def varied(self, variant):
        """The case with other defaults."""
        config = self.case.config
        return dataclasses.replace(self.case, config=lambda **fields: config(**{**variant, **fields}))

    def test_padding_is_inert(self, head, dtype):
        check_padding_is_inert(self.case, head, dtype)

    def test_padding_is_inert_in_every_variant(self, variant):
        check_padding_is_inert(self.varied(variant), self.loss_head, torch.float64)

    def test_batch_order(self, head):
        check_batch_order(self.case, head, torch.float64)

    def test_save_load(self, head, tmp_path):
        check_save_load(self.case, head, tmp_path)

    def test_config_round_trip(self, tmp_path):
        check_config_round_trip(self.case, tmp_path)
        check_config_round_trip(self.case, tmp_path, **self.round_trip_fields)

    def test_unknown_config_field(self):
        check_unknown_config_field(self.case)

    def test_config_of_others(self, tmp_path):
        check_config_of_others(self.case, tmp_path)

    def test_births(self, head):
        check_births(self.case, head)

    def test_births_of_what_is_missing(self, head, tmp_path):
        check_births_of_what_is_missing(self.case, head, tmp_path)

    def test_births_in_every_variant(self, variant):
        check_births(self.varied(variant), self.loss_head)

    def test_determinism_over_threads(self, head):
        check_determinism_over_threads(self.case, head)

    def test_every_parameter_learns(self, head, bf16):
        check_every_parameter_learns(self.case, head, bf16=bf16)

    def test_every_parameter_learns_in_every_variant(self, variant):
        check_every_parameter_learns(self.case, self.loss_head, bf16=True, **variant)

    def test_bf16_autocast(self):
        check_bf16_autocast(self.case, self.loss_head, agreement=0.9, error=0.02)

    def test_checkpointing(self, head):
        check_checkpointing(self.case, head)

    def test_inputs_embeds(self, embedding_head):
        check_inputs_embeds(self.case, embedding_head)

    def test_bad_input_ids(self, head):
        check_bad_input_ids(self.case, head)

    def test_return_dict(self, head):
        check_return_dict(self.case, head)

    def test_output_hidden_states(self, head):
        check_output_hidden_states(self.case, head)

    def test_attn_implementation(self, head):
        check_attn_implementation(self.case, head)

    def test_left_padding(self, head):
        check_left_padding_error(self.case, head)

    def test_padding_without_a_mask(self, head):
        check_padding_without_a_mask(self.case, head)

    def test_output_attentions(self, head):
        check_output_attentions(self.case, head)

    def test_offloading(self, head, tmp_path):
        check_offloading(self.case, head, tmp_path)

    # Nothing is changed in place, which is what FSDP warns of.
    @pytest.mark.filterwarnings("ignore:FSDP2-wrapped module:UserWarning")
    def test_sharding(self, head, tmp_path):
        check_sharding(self.case, head, tmp_path)

    def test_heads_of_users(self, tmp_path):
        check_heads_of_users(self.case, tmp_path)

    def test_pipeline(self, head):
        if head == "pretraining":
            pytest.skip("no pipeline pre-trains")
        check_pipeline(self.case, head, DNATokenizer(cls_sep=bool(self.case.prefix)))

    def test_unknown_argument(self, head):
        check_unknown_argument(self.case, head)

    def test_plain_trainer(self, head, tmp_path):
        if head in ("base", "pretraining"):
            pytest.skip("it has no loss, or predicts random passes")
        check_plain_trainer(self.case, head, tmp_path)

    @pytest.mark.parametrize("task_head", ["base", "sequence", "token"])
    def test_peft_by_task(self, task_head):
        check_peft_by_task(self.case, task_head)

    def test_every_adapter_learns(self, head):
        check_every_adapter_learns(self.case, head)

    def test_empty_batch(self, head):
        check_empty_batch(self.case, head)
