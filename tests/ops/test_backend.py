"""Which form of an operation runs, and what is said where the GPU's cannot."""

import re
import subprocess
import sys
import warnings

import pytest
import torch
from torch._subclasses import FakeTensorMode

from dnachunk import ops
from dnachunk.ops import _backend, backend_of, use_backend
from tests.ops import kernel_cases
from tests.support.newest import needs_newest_torch

TIMEOUT_S = 120


@pytest.fixture
def forget():
    """Probes and warnings are kept for the process."""
    caches = (_backend.triton_fault, _backend._warn_of)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


class OnDevice:
    """What `backend_of` asks of a tensor."""

    def __init__(self, device, dtype=torch.float32):
        self.device = torch.device(device)
        self.dtype = dtype


@pytest.mark.parametrize(
    ("op", "tensors", "fault", "expected"),
    [
        ("selective_scan", [], None, "rust"),
        ("selective_scan", [OnDevice("cpu"), None], None, "rust"),
        ("selective_scan", [OnDevice("cuda:1"), None, OnDevice("cuda:1", torch.int64)], None, "triton"),
        ("selective_scan", [OnDevice("cuda:1")], "no compiler", "torch"),
        ("selective_scan", [OnDevice("cuda:1"), OnDevice("cuda:0")], None, "torch"),
        ("selective_scan", [OnDevice("cuda:1"), OnDevice("cpu")], None, "torch"),
        ("selective_scan", [OnDevice("cuda:0", torch.float64)], None, "torch"),
        ("selective_scan", [OnDevice("mps")], None, "torch"),
        ("selective_scan", [OnDevice("meta")], None, "torch"),
        ("token_unmerge", [OnDevice("cuda:0")], None, "torch"),
    ],
)
@pytest.mark.usefixtures("forget")
def test_choice(monkeypatch, op, tensors, fault, expected):
    monkeypatch.setattr(_backend, "triton_fault", lambda index: fault)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert backend_of(op, *tensors) == expected


def test_choice_inside_use_backend():
    cpu, cuda, wide = OnDevice("cpu"), OnDevice("cuda:0"), OnDevice("cuda:0", torch.float64)
    with use_backend("triton"):
        assert backend_of("selective_scan", cuda) == "triton"
        assert backend_of("selective_scan", wide) == "torch"
        assert backend_of("token_unmerge", cuda) == "torch"
        assert backend_of("selective_scan", cpu) == ("triton" if _backend.INTERPRETED else "torch")
        with use_backend("rust"):
            assert backend_of("selective_scan", cpu) == "rust"
    with (
        pytest.raises(ValueError, match="must be 'rust', 'triton' or 'torch', got 'cuda'"),
        use_backend("cuda"),
    ):
        pass


@pytest.mark.usefixtures("forget")
def test_one_warning_names_the_fault(monkeypatch):
    monkeypatch.setattr(_backend, "triton_fault", lambda index: "Triton finds no C compiler: install gcc")
    with pytest.warns(UserWarning, match="no C compiler: install gcc.*dnachunk doctor"):
        assert backend_of("selective_scan", OnDevice("cuda:0")) == "torch"
    assert backend_of("selective_scan", OnDevice("cuda:0")) == "torch"


@pytest.mark.parametrize(
    ("error", "has_headers", "told"),
    [
        (
            RuntimeError("Failed to find C compiler. Please specify"),
            True,
            "install gcc or clang, or name one in CC",
        ),
        (subprocess.CalledProcessError(1, ["cc"]), False, "install python3-dev"),
        (
            PermissionError(13, "Permission denied", "/root/.triton"),
            True,
            "set TRITON_CACHE_DIR .*'/root/.triton'",
        ),
        (ValueError("arch 52 is not supported"), True, "does not work on this device .*arch 52"),
    ],
)
@pytest.mark.usefixtures("forget")
def test_faults_are_told_with_their_remedy(monkeypatch, tmp_path, error, has_headers, told):
    triton_helpers = pytest.importorskip("dnachunk.ops._triton")

    def probe():
        raise error

    if has_headers:
        (tmp_path / "Python.h").touch()
    monkeypatch.setattr(_backend.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(triton_helpers, "probe", probe)
    monkeypatch.setattr(torch.cuda, "device", lambda index: torch.no_grad())
    fault = _backend.triton_fault(0)
    assert fault is not None
    assert re.search(told, fault), fault


def test_a_probe_under_compilation_is_a_constant(monkeypatch):
    probed = []

    def fault(index):
        probed.append(index)

    monkeypatch.setattr(_backend, "triton_fault", fault)

    def function(x):
        return x + 1 if _backend._triton_works(3) else x - 1

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(torch.zeros(2)), torch.ones(2))
    assert torch.equal(compiled(torch.zeros(2)), torch.ones(2))
    assert probed == [3]


@needs_newest_torch
@pytest.mark.parametrize("name", kernel_cases.SMALL_CASES)
def test_a_graph_on_a_gpu_holds_the_kernel_and_reads_nothing(monkeypatch, name):
    monkeypatch.setattr(_backend, "triton_fault", lambda index: None)
    case = kernel_cases.CASES[name]()
    targets = []

    def collect(module, _inputs):
        targets.extend(str(node.target) for node in module.graph.nodes)
        return module

    # Tensors without values: whatever would be read back raises.
    with FakeTensorMode():
        kwargs = {
            k: torch.empty(v.shape, dtype=v.dtype, device="cuda") if isinstance(v, torch.Tensor) else v
            for k, v in case.kwargs.items()
        }
        for argument in case.differentiable:
            kwargs[argument].requires_grad_()
        outputs = torch.compile(case.function, fullgraph=True, backend=collect)(**kwargs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert any(output.requires_grad for output in outputs) == bool(case.differentiable)
    assert f"dnachunk.{case.op}" in targets


def test_without_triton():
    """Nothing is said, every operation runs, and a GPU's fault would be told with its remedy."""
    code = """
import sys
sys.modules["triton"] = None
import torch
import dnachunk
from dnachunk import ops
from dnachunk.ops import _backend
ops.neighbor_cosine(torch.randn(1, 8, 4))
dnachunk.build_info()
_backend.importlib.util.find_spec = lambda name: None
assert _backend.triton_fault(0) == "Triton is not installed: pip install triton"
assert not any(name.endswith("triton") for name in sys.modules if name.startswith("dnachunk"))
"""
    command = [sys.executable, "-W", "error::UserWarning", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_doctor_tells_each_device(monkeypatch, capsys):
    from dnachunk import build
    from dnachunk.cli import main

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(build, "triton_fault", lambda index: "Triton lacks a thing" if index else None)
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first, second = lines.index("cuda:0"), lines.index("cuda:1")
    assert any(line == "  triton" for line in lines[first:second])
    own = "  torch: a kernel of ours would save little"
    assert lines[second + 1 :: 2] == ["  rust", "  torch: Triton lacks a thing", own]
    told = {name for line in lines[second + 2 :: 2] for name in line.strip().split(", ")}
    assert told == set(ops.__all__) - {"backend_of", "use_backend"}
