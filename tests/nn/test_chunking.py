import dataclasses
import math

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from dnachunk import nn as dnn
from dnachunk.nn import Chunk, Chunks, Dechunk, GridRouter, Router, Routing
from dnachunk.ops import boundary_routing
from dnachunk.ops.boundary_routing import boundary_routing_naive
from dnachunk.ops.dechunk import dechunk_naive
from dnachunk.segmentation import Segmentation

LENGTHS = [40, 23, 1, 0]


def sample(router):
    """Vectors, lengths, protected positions and their routing."""
    x, lengths = torch.randn(4, 40, 8), torch.tensor(LENGTHS)
    is_protected = torch.rand(4, 40) < 0.1
    return x, lengths, is_protected, router(x, lengths, is_protected)


def drawn_router():
    """Projections that are no longer equal."""
    router = Router(8)
    for projection in (router.q_proj, router.k_proj):
        torch.nn.init.normal_(projection.weight)
    return router


class Net(torch.nn.Module):
    """The design's example of a learned tokenizer in somebody's own model."""

    def __init__(self, width=32):
        super().__init__()
        self.encode, self.route = dnn.BiMamba(width), dnn.Router(width)
        self.chunk, self.dechunk = dnn.Chunk(), dnn.Dechunk()
        self.trunk = torch.nn.TransformerEncoderLayer(width, 4, 64, 0.0, batch_first=True)

    def forward(self, x):
        x = self.encode(x)
        routing = self.route(x)
        chunks = self.chunk(x, routing)
        return x + self.dechunk(self.trunk(chunks.values, src_key_padding_mask=chunks.is_padding), routing)


def test_a_learned_tokenizer_in_somebodys_own_model_trains():
    net = Net()
    embedding, head = torch.nn.Embedding(4, 32), torch.nn.Linear(32, 4)
    parameters = [*net.parameters(), *embedding.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    ids = torch.randint(4, (4, 64))
    target = ids.roll(1, dims=1)
    before = {name: parameter.clone() for name, parameter in net.named_parameters()}
    losses = []
    for _ in range(25):
        loss = torch.nn.functional.cross_entropy(head(net(embedding(ids))).flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0], losses
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert not torch.equal(parameter, before[name]), name


def test_router_starts_as_the_identity():
    router = Router(8)
    x, lengths, is_protected, routing = sample(router)
    expected = boundary_routing(x, x, lengths, is_protected)
    assert isinstance(routing, Routing)
    *decisions, most_tokens = vars(routing).values()
    for got, want in zip(decisions, (*expected, lengths), strict=True):
        assert torch.equal(got, want)
    assert most_tokens is None
    assert {name for name, _ in router.named_parameters()} == {"q_proj.weight", "k_proj.weight"}


@pytest.mark.parametrize("ratio", [1.0, 0.5, 0.3, 0.01])
def test_grid_router_cuts_where_the_grid_does(ratio):
    x, lengths, is_protected, routing = sample(GridRouter(ratio))
    for row, length in enumerate(LENGTHS):
        for t in range(length):
            on_grid = t == 0 or int(ratio * t + 1e-6) > int(ratio * (t - 1) + 1e-6)
            forced = t == 0 or bool(is_protected[row, t] or is_protected[row, t - 1])
            assert routing.is_boundary[row, t] == (on_grid or forced)
            assert routing.is_forced[row, t] == forced
            assert routing.boundary_probability[row, t] == float(on_grid or forced)
    assert torch.equal(GridRouter(ratio)(2 * x, lengths, is_protected).token_index, routing.token_index)
    share = GridRouter(ratio)(torch.zeros(1, 100_000, 1)).is_boundary.float().mean().item()
    assert share == pytest.approx(ratio, abs=1e-4)


@pytest.mark.parametrize("ratio", [0, -0.5, 1.5, float("nan")])
def test_grid_router_refuses_a_ratio_out_of_range(ratio):
    with pytest.raises(ValueError, match=r"GridRouter: ratio must be in \(0, 1\], got"):
        GridRouter(ratio)


def test_router_compares_queries_with_the_keys_before():
    router = drawn_router()
    x, lengths, is_protected, routing = sample(router)
    query, key = x @ router.q_proj.weight.T, x @ router.k_proj.weight.T
    p, is_boundary, is_forced, token_index, num_tokens = boundary_routing_naive(
        query, key, lengths, is_protected
    )
    torch.testing.assert_close(routing.boundary_probability, p, rtol=0, atol=1e-6)
    assert torch.equal(routing.is_boundary, is_boundary)
    assert torch.equal(routing.is_forced, is_forced)
    assert torch.equal(routing.token_index, token_index)
    assert torch.equal(routing.num_tokens, num_tokens)
    Segmentation(routing.token_index, routing.num_tokens).validate()


def routed_within(probability, lengths, is_protected, budget):
    """The definition: forced places, then the most probable, the first of equals, up to the budget."""
    index = torch.full(probability.shape, -1)
    forced = torch.zeros(probability.shape, dtype=torch.bool)
    for row, length in enumerate(lengths.tolist()):

        def is_forced(t, row=row):
            return t == 0 or bool(is_protected[row, t] or is_protected[row, t - 1])

        def place(t, row=row):
            level = round((0.5 - probability[row, t].item()) * 8192)
            return (not is_forced(t), 0 if is_forced(t) else level, t)

        count = math.ceil(budget * length - 1e-9)
        begins = sorted(range(length), key=place)[:count]
        for t in range(length):
            index[row, t] = sum(begin <= t for begin in begins) - 1
        forced[row, [t for t in begins if is_forced(t)]] = True
    return index, forced


@pytest.mark.parametrize("budget", [1.0, 0.5, 0.3, 0.1])
def test_a_budget_is_spent_where_the_probability_is_highest(budget):
    router = drawn_router()
    x, lengths, is_protected, free = sample(router)
    x[0, 5:9] = x[0, 4]  # ties
    free = router(x, lengths)
    routing = router(x, lengths, is_protected, budget)
    index, forced = routed_within(free.boundary_probability, lengths, is_protected, budget)
    assert torch.equal(routing.token_index, index)
    assert torch.equal(routing.is_forced, forced)
    assert routing.num_tokens.tolist() == [math.ceil(budget * length - 1e-9) for length in LENGTHS]
    assert routing.most_tokens == math.ceil(budget * 40 - 1e-9)
    expected = torch.where(forced, 1.0, free.boundary_probability)
    assert torch.equal(routing.boundary_probability, expected)
    assert torch.equal(routing.is_boundary, Segmentation(index, routing.num_tokens).boundaries)
    Segmentation(routing.token_index, routing.num_tokens).validate()


def test_a_budget_is_the_modules_or_the_calls():
    x = torch.randn(2, 30, 8)
    router = Router(8, budget=0.2)
    assert router(x).num_tokens.tolist() == [6, 6]
    assert router(x, budget=0.5).num_tokens.tolist() == [15, 15]
    assert torch.equal(Router(8)(x, budget=0.2).token_index, router(x).token_index)
    assert "budget=0.2" in repr(router)
    for wrong in (0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"Router: budget must be in \(0, 1\], got"):
            router(x, budget=wrong)
        with pytest.raises(ValueError, match=r"Router: budget must be in \(0, 1\], got"):
            Router(8, budget=wrong)


def test_what_is_not_a_number_begins_no_chunk_before_others():
    x = torch.randn(1, 20, 8)
    x[0, 7] = math.nan
    routing = Router(8, budget=0.9)(x)
    assert routing.num_tokens.tolist() == [18]
    # The two places that compare with it.
    assert routing.is_boundary[0].logical_not().nonzero().flatten().tolist() == [7, 8]


def test_a_budget_gives_a_gradient_to_every_free_decision():
    router = drawn_router()
    x, lengths, is_protected, _ = sample(router)
    routing = router(x, lengths, is_protected, 0.3)
    (given,) = torch.autograd.grad(routing.boundary_probability.sum(), router.q_proj.weight)
    free = router(x, lengths).boundary_probability
    (want,) = torch.autograd.grad(torch.where(routing.is_forced, 0.0, free).sum(), router.q_proj.weight)
    assert torch.equal(given, want)
    assert given.any()


def test_under_a_budget_shapes_follow_from_shapes():
    stage = Stage(Router(8, budget=0.4))
    compiled = torch.compile(stage, fullgraph=True, backend="aot_eager", dynamic=False)
    x = torch.randn(3, 40, 8)
    out, routing = compiled(x)
    expected, expected_routing = stage(x)
    torch.testing.assert_close(out, expected)
    assert torch.equal(routing.token_index, expected_routing.token_index)
    # Padded as far as a sequence of this width could need.
    lengths = torch.tensor([40, 3, 0])
    assert Chunk()(x, Router(8, budget=0.4)(x, lengths)).values.shape == (3, 16, 8)
    exported = torch.export.export(stage, (x,)).module()
    assert torch.equal(exported(x)[1].token_index, routing.token_index)


@pytest.mark.parametrize("pooling", ["mean", "boundary"])
def test_chunk(pooling):
    x, _, _, routing = sample(drawn_router())
    chunks = Chunk(pooling)(x, routing)
    assert isinstance(chunks, Chunks)
    assert chunks.values.shape == (4, int(routing.num_tokens.max()), 8)
    assert torch.equal(chunks.lengths, routing.num_tokens)
    for row, count in enumerate(routing.num_tokens.tolist()):
        assert chunks.is_padding[row].tolist() == [chunk >= count for chunk in range(chunks.values.shape[1])]
        for chunk in range(count):
            members = x[row, routing.token_index[row] == chunk]
            expected = members.mean(dim=0) if pooling == "mean" else members[0]
            torch.testing.assert_close(chunks.values[row, chunk], expected)
    assert not chunks.values[chunks.is_padding].any()


@pytest.mark.parametrize("backward_gate", ["right", "left"])
def test_dechunk(backward_gate):
    routing = sample(drawn_router())[-1]
    values = torch.randn(4, int(routing.num_tokens.max()), 8)
    expected = dechunk_naive(
        values, routing.boundary_probability, routing.is_forced, routing.token_index, backward_gate
    )
    torch.testing.assert_close(Dechunk(backward_gate)(values, routing), expected)
    assert Dechunk().backward_gate == "right"


def test_protected_positions_keep_their_vectors():
    x, _, is_protected, routing = sample(drawn_router())
    chunks = Chunk()(x, routing)
    out = Dechunk()(chunks.values, routing)
    is_real = routing.token_index >= 0
    assert torch.equal(out[is_protected & is_real], x[is_protected & is_real])


def test_padding_is_inert_and_batch_order_irrelevant():
    router, chunk, dechunk = drawn_router(), Chunk(), Dechunk()

    def there_and_back(x, lengths):
        x = x.clone().requires_grad_()
        routing = router(x, lengths)
        out = dechunk(chunk(x, routing).values, routing)
        (grad,) = torch.autograd.grad(out.square().sum(), x)
        return routing.token_index, out.detach(), grad

    x, lengths = torch.randn(3, 40, 8), torch.tensor([40, 23, 9])
    together = there_and_back(x, lengths)
    backwards = there_and_back(x.flip(0), lengths.flip(0))
    for row, length in enumerate(lengths.tolist()):
        alone = there_and_back(x[row : row + 1, :length], lengths[row : row + 1])
        for got, want, other in zip(alone, together, backwards, strict=True):
            torch.testing.assert_close(got[0], want[row, :length], rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(other[2 - row], want[row], rtol=1e-5, atol=1e-6)


def test_the_router_learns_through_dechunk():
    router = drawn_router()
    routing = sample(router)[-1]
    values = torch.randn(4, int(routing.num_tokens.max()), 8)
    Dechunk()(values, routing).square().sum().backward()
    for projection in (router.q_proj, router.k_proj):
        assert projection.weight.grad.isfinite().all()
        assert projection.weight.grad.any()


def test_under_autocast_probabilities_stay_float32():
    net = Net()
    with torch.autocast("cpu", torch.bfloat16):
        routing = net.route(torch.randn(2, 30, 32))
        out = net(torch.randn(2, 30, 32))
    assert routing.boundary_probability.dtype == torch.float32
    out.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_checkpointing_changes_nothing():
    router = drawn_router()
    x, lengths, is_protected, expected = sample(router)
    routing = checkpoint(router, x, lengths, is_protected, use_reentrant=False)
    wanted = torch.autograd.grad(expected.boundary_probability.sum(), router.q_proj.weight)
    got = torch.autograd.grad(routing.boundary_probability.sum(), router.q_proj.weight)
    assert torch.equal(routing.token_index, expected.token_index)
    assert torch.equal(got[0], wanted[0])


class Stage(torch.nn.Module):
    """There and back, as one module."""

    def __init__(self, route=None):
        super().__init__()
        self.route, self.chunk, self.dechunk = route or drawn_router(), Chunk(), Dechunk()

    def forward(self, x):
        routing = self.route(x)
        return self.dechunk(self.chunk(x, routing).values, routing), routing


def test_compiles_into_one_graph():
    stage, x = Stage(), torch.randn(2, 40, 8)
    with torch._dynamo.config.patch(capture_scalar_outputs=True):
        compiled = torch.compile(stage, fullgraph=True, backend="aot_eager")
        out, routing = compiled(x)
    expected, expected_routing = stage(x)
    torch.testing.assert_close(out, expected)
    assert torch.equal(routing.token_index, expected_routing.token_index)
    out.sum().backward()
    assert stage.route.q_proj.weight.grad.any()


def test_exports():
    stage, x = Stage(), torch.randn(2, 40, 8)
    exported = torch.export.export(stage, (x,)).module()
    for inputs in (x, torch.randn(2, 40, 8)):
        out, routing = exported(inputs)
        expected, expected_routing = stage(inputs)
        torch.testing.assert_close(out, expected)
        assert torch.equal(routing.num_tokens, expected_routing.num_tokens)


@pytest.mark.parametrize("shape", [(0, 5, 8), (2, 0, 8)])
def test_nothing(shape):
    out, routing = Stage()(torch.randn(shape))
    assert out.shape == shape
    assert not routing.num_tokens.any()


def test_errors():
    with pytest.raises(ValueError, match="Chunk: pooling must be 'mean' or 'boundary', got 'max'"):
        Chunk("max")
    with pytest.raises(ValueError, match="Dechunk: backward_gate must be 'right' or 'left', got 'both'"):
        Dechunk("both")
    x, _, _, routing = sample(Router(8))
    with pytest.raises(dataclasses.FrozenInstanceError):
        routing.lengths = None
    with pytest.raises(ValueError, match=r"lengths must be in \[0, 40\], got 41"):
        Router(8)(x, torch.tensor([41, 0, 0, 0]))
