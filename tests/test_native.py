"""The compiled module: what it is built from, its manners across processes and threads, and under abuse."""

import hashlib
import importlib.metadata
import inspect
import itertools
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings

import pytest
import torch
from packaging.requirements import Requirement
from torch.utils.data import DataLoader, Dataset

import dnachunk
from dnachunk import _native, ops

# Python 3.12 warns of any fork beside threads; that the kernels stand it is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
TIMEOUT_S = 120


def test_build_info():
    info = dnachunk.build_info()
    backends = info.pop("backends")
    assert set(info) == {"version", "torch", "torch_running", "profile", "target", "transformers"}
    assert info["torch_running"] == torch.__version__
    requirements = [Requirement(text) for text in importlib.metadata.requires("dnachunk")]
    (torch_requirement,) = (each for each in requirements if each.name == "torch" and each.marker is None)
    assert info["torch"] == str(torch_requirement.specifier)
    assert info["transformers"] == importlib.metadata.version("transformers")
    assert info["profile"] in ("release", "debug")
    assert all(isinstance(value, str) and value for value in info.values())
    assert set(backends["cpu"].values()) == {"rust"}
    assert set(backends["cpu"]) == set(ops.__all__) - {"backend_of", "use_backend"}


def test_an_older_torch_is_refused_by_name():
    code = "import torch; torch.__version__ = '2.8.1+cpu'; import dnachunk.ops"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    last = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1
    assert last == ("ImportError: dnachunk runs with torch 2.9 and later, but torch 2.8.1+cpu is installed")


def test_a_torch_without_a_needed_function_is_refused_by_name(tmp_path):
    """A library of torch's name that lacks most of what torch's has, and a module of its name beside it."""
    (tmp_path / "torch.py").write_text("__version__ = '9.1.0'\n")
    source = "int aoti_torch_get_dim(void) { return 0; }\nint aoti_torch_get_sizes(void) { return 0; }\n"
    library = tmp_path / "libtorch_cpu.so"
    command = ["cc", "-shared", "-fPIC", "-Wl,-soname,libtorch_cpu.so", "-o", library, "-x", "c", "-"]
    subprocess.run(command, input=source, text=True, check=True, timeout=TIMEOUT_S)
    load = f"""
import importlib.util, sys
sys.path.insert(0, {str(tmp_path)!r})
spec = importlib.util.spec_from_file_location("dnachunk._rust", {_native.rust.__file__!r})
spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""
    for before, missing in (
        ("", "libtorch_cpu.so"),
        (f"import ctypes; ctypes.CDLL({str(library)!r})", "aoti_torch_get_strides"),
    ):
        result = subprocess.run(
            [sys.executable, "-c", before + load],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        last = result.stderr.strip().splitlines()[-1]
        assert last == (
            f"ImportError: dnachunk runs with torch 2.9 and later, but torch 9.1.0 has no {missing}"
        )


def test_a_device_is_named_as_torch_names_it():
    for tensor in (
        torch.ones(2, 3, 4, device="meta"),
        torch.ones(2, 3, 4, dtype=torch.float64, device="meta"),
    ):
        with pytest.raises(ValueError, match=r"grouping must be on the CPU, got meta$"):
            _native.rust.neighbor_cosine_forward(tensor)


def test_calls_keep_no_memory():
    """150,000 calls, of tensors of all kinds and of what is none, grow the process by no megabyte."""
    code = """
import gc, sys, torch
from dnachunk import _native
torch.set_num_threads(1)
call = _native.rust.neighbor_cosine_forward
x, strided = torch.randn(2, 40, 16), torch.randn(2, 16, 40).transpose(1, 2)
parameter = torch.nn.Parameter(torch.randn(2, 40, 16))
tensors = x, strided, parameter, torch.nn.Parameter(torch.randn(2, 16, 40)).transpose(1, 2)
def run(rounds):
    for _ in range(rounds):
        for tensor in tensors:
            call(tensor)
        try:
            call(3)
        except TypeError:
            pass
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4
before = run(3_000)
counts = [sys.getrefcount(tensor) for tensor in tensors]
growth = run(30_000) - before
assert growth < 1024, f"{growth} KiB"
assert counts == [sys.getrefcount(tensor) for tensor in tensors]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=TIMEOUT_S)


# Made once, as the module is imported: torch's own parallel operations may hang in a forked child.
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(3, 4000, 16, generator=GENERATOR)
GRAD_SCORES = torch.randn(3, 4000, generator=GENERATOR)
GRAD_TOKENS = torch.randn(3, 2700, 16, generator=GENERATOR)
LENGTHS = torch.tensor([4000, 3999, 1])
SIZES = torch.ones(3, 4000, dtype=torch.int64)
METRIC = X[:, :500].contiguous()
with warnings.catch_warnings():
    # Nested tensors announce that they are new.
    warnings.simplefilter("ignore")
    NESTED = torch.nested.nested_tensor([torch.randn(rows, 4) for rows in (6, 2)])


def workload():
    """The bits that parallel kernels give: of text, neighbours, whole sequences, and of backwards."""
    x = X.detach().requires_grad_()
    scores = ops.neighbor_cosine(x)
    index, threshold = ops.neighbor_match(scores, LENGTHS, LENGTHS // 3)
    merged, sizes = ops.token_merge(x, SIZES, index, 2700)
    results = [
        *(scores, index, threshold, merged, sizes),
        ops.global_match(METRIC, torch.tensor([500, 3, 0]), torch.tensor([100, 1, 0])),
        *torch.autograd.grad(scores, x, GRAD_SCORES),
        *torch.autograd.grad(merged, x, GRAD_TOKENS),
        *ops.encode_dna(["ACGTTGCA" * 5000] * 4),
    ]
    digest = hashlib.sha256()
    for result in results:
        digest.update(result.detach().numpy().tobytes())
    return digest.hexdigest()


def _put_workload(queue):
    torch.set_num_threads(2)
    queue.put(workload())


def _put_workload_of_a_child(queue):
    # What it gives lies in the queue already, for its child to be compared with.
    _put_workload(queue)
    queue.put(_result_of_child("fork", _put_workload))


def _result_of_child(method, target):
    """The last thing that the process puts in its queue; a hang or an exit code is a failure."""
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=target, args=(queue,))
    process.start()
    try:
        result = queue.get(timeout=TIMEOUT_S)
        process.join(TIMEOUT_S)
        while not queue.empty():
            result = queue.get(timeout=TIMEOUT_S)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == 0
    return result


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_kernels_in_children_of_a_process_that_used_them(method):
    expected = workload()
    for _ in range(2 if method == "fork" else 1):
        assert _result_of_child(method, _put_workload) == expected
    assert workload() == expected


def test_kernels_in_a_forked_child_of_a_forked_child():
    expected = workload()
    assert _result_of_child("fork", _put_workload_of_a_child) == expected


def test_a_forked_child_whose_parent_used_torch_alone():
    # torch's team of threads is the parent's, though no kernel of ours ran there.
    code = """
import os, torch
from dnachunk import DNATokenizer
torch.set_num_threads(2)
torch.randn(2_000_000).add(1)
tokenizer = DNATokenizer()
child = os.fork()
if child == 0:
    tokenizer(["ACGT" * 20_000] * 2, return_tensors="np")
    os._exit(0)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code], timeout=TIMEOUT_S, check=True, env=environment)


class Workloads(Dataset):
    """Each sample is what the kernels give in the worker."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return workload()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_kernels_in_data_loader_workers(method):
    expected = workload()
    loader = DataLoader(
        Workloads(), batch_size=2, num_workers=2, multiprocessing_context=method, timeout=TIMEOUT_S
    )
    for batch in loader:
        assert batch == [expected, expected]
        assert workload() == expected


def test_kernels_from_several_python_threads():
    expected = workload()
    results = [None] * 4

    def work(slot):
        results[slot] = workload()

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert results == [expected] * 4


def test_the_number_of_threads_is_torchs():
    code = """
import os, torch
torch.set_num_threads(1)
from dnachunk import ops
x = torch.randn(1, 200_000, 16)
count = lambda: len(os.listdir("/proc/self/task"))
before = count()
ops.neighbor_cosine(x)
assert count() == before, "one thread was asked for"
torch.set_num_threads(3)
ops.neighbor_cosine(x)
assert count() == before + 2, (before, count())
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=TIMEOUT_S)


def long_calls():
    text = "ACGT" * 8_000_000
    x = torch.randn(1, 12_000, 64)
    qkv, angles = torch.randn(1, 40_000, 3, 4, 16), torch.ones(1, 40_000, 8)
    length = torch.tensor([12_000])
    return {
        "encode_dna": lambda: ops.encode_dna([text] * 4),
        "global_match": lambda: ops.global_match(x, length, length // 2),
        "window_attention": lambda: ops.window_attention(qkv, angles, angles, torch.tensor([40_000]), 512),
    }


@pytest.mark.parametrize("name", ["encode_dna", "global_match", "window_attention"])
def test_the_gil_is_released(name):
    call = long_calls()[name]
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        edges = [time.perf_counter()]
        for _ in range(3):
            call()
            edges.append(time.perf_counter())
    finally:
        stop.set()
        thread.join()
    # Under the GIL the other thread would not run inside any call.
    middles = [
        (start + (end - start) / 10, end - (end - start) / 10) for start, end in itertools.pairwise(edges)
    ]
    assert any(start < t < end for t in ticks for start, end in middles), edges


def samples(fasta):
    """Arguments that every function of the compiled module takes."""
    x, rows = torch.randn(2, 6, 4), torch.randn(12, 4)
    scores, taps = torch.randn(2, 6), torch.randn(2, 6, 4)
    two_of_six = torch.tensor([6, 5])
    merges = torch.tensor([2, 1])
    index = torch.tensor([[0, 0, 1, 2, 2, 3], [0, 1, 1, 2, 3, -1]])
    sizes = torch.ones(2, 6, dtype=torch.int64)
    merged, merged_sizes = torch.randn(2, 4, 4), torch.ones(2, 4, dtype=torch.int64)
    dechunked = (merged, scores, torch.zeros(2, 6, dtype=torch.bool), index)
    qkv, angles = torch.randn(2, 6, 3, 2, 4), torch.randn(1, 6, 2)
    ids, offsets = torch.tensor([5, 6, 4], dtype=torch.uint8), torch.tensor([0, 2, 3])
    soft = (scores, scores, 4, 0, 0.1)
    soft_scores, shares = (scores, two_of_six, merges), torch.rand(2, 6, 2)
    soft_rows = (x, torch.ones(2, 6), shares, torch.tensor([[0, 0, 1, 2, 3, 3], [0, 1, 1, 2, 3, -1]]))
    conv = (x, torch.randn(4, 3), torch.ones(4), two_of_six, True, False)
    matrices = (-torch.rand(4, 3), torch.randn(2, 6, 3), torch.randn(2, 6, 3))
    scan = (x, x, *matrices, torch.ones(4), x, torch.ones(4), two_of_six, False)
    opened = (fasta, fasta, False)
    genome = _native.rust.Genome(*opened)
    packed = f"{fasta}.gz"
    return {
        "BgzipWriter": (_native.rust.BgzipWriter, (packed,)),
        "BgzipWriter.write": (_native.rust.BgzipWriter(packed).write, (b"ACGT",)),
        "Genome": (_native.rust.Genome, opened),
        "Genome.fetch": (genome.fetch, (0, 1, 5, True)),
        "foreign_file": (None, (b"PK\x03\x04",)),
        "basic_units_forward": (None, (x, [1, 2, 3, 4], torch.tensor([0, 1]), two_of_six)),
        "boundary_routing_forward": (None, (x, x, two_of_six, torch.zeros(2, 6, dtype=torch.bool))),
        "boundary_routing_backward": (None, (scores, scores, torch.ones(2, 6, 2), x, x)),
        "causal_conv_forward": (None, conv),
        "causal_conv_backward": (None, (x, *conv)),
        "chunk_pool_forward": (None, (x, index, 4, "mean")),
        "chunk_pool_backward": (None, (merged, index, "boundary")),
        "dechunk_forward": (None, (*dechunked, "right")),
        "dechunk_backward": (None, (x, *dechunked, "left")),
        "decode_dna": (None, (ids, offsets, torch.tensor([True, False, False]))),
        "deformable_conv_forward": (None, (x, taps, taps, two_of_six)),
        "deformable_conv_backward": (None, (torch.randn(2, 6, 4, 4), x, taps, taps, two_of_six)),
        "encode_dna": (None, (["ACGT", b"acgtn", "[MASK]"],)),
        "global_match_forward": (None, (x, two_of_six, merges)),
        "neighbor_cosine_forward": (None, (x,)),
        "neighbor_cosine_backward": (None, (scores, scores, scores, x)),
        "neighbor_match_forward": (None, (scores, two_of_six, merges, 4, 0, "window")),
        "rms_norm_forward": (None, (rows, torch.ones(4), 1e-6, "float32")),
        "rms_norm_backward": (None, (rows, torch.ones(12), rows, torch.ones(4))),
        "rotary_forward": (None, (qkv, angles, angles)),
        "rotary_backward": (None, (qkv, angles, angles)),
        "selective_scan_forward": (None, scan),
        "selective_scan_backward": (None, (x, torch.zeros(2, 1, 3, 4), *scan)),
        "soft_assignment_forward": (None, (*soft_scores, 4, 0, 0.1)),
        "soft_assignment_backward": (None, (shares, *soft_scores, 4, 0, 0.1)),
        "soft_merge_forward": (None, (*soft_rows, 4, 4, 0)),
        "soft_merge_backward": (None, (merged, scores[:, :4], *soft_rows, 4, 0)),
        "swiglu_forward": (None, (rows,)),
        "swiglu_backward": (None, (rows[:, :2], rows)),
        "token_merge_forward": (None, (x, sizes, index, 4, *soft)),
        "token_merge_backward": (None, (merged, merged_sizes, x, sizes, index, *soft)),
        "token_sum_forward": (None, (x, index, 4)),
        "token_unmerge_forward": (None, (merged, index)),
        "unit_gather_forward": (None, (x, torch.tensor([7, 0, 7]))),
        "unit_gather_backward": (None, (rows[:3], torch.tensor([7, 0, 7]), 2, 6)),
        "unit_scatter_forward": (None, (x, rows[:2], torch.randn(2), torch.tensor([7, 0]))),
        "unit_scatter_backward": (None, (x, rows[:2], torch.randn(2), torch.tensor([7, 0]))),
        "window_attention_forward": (None, (qkv, angles, angles, two_of_six, 4, 0, scores)),
        "window_attention_backward": (
            None,
            (torch.randn(2, 6, 2, 4), qkv, angles, angles, two_of_six, 4, 0, scores),
        ),
        "window_center_forward": (None, (x, two_of_six, 4, 0)),
    }


def garbage():
    floats = torch.randn(2, 6)
    values = [None, True, "", "text", "\ud800", b"\xff", 1.5, float("nan"), float("inf"), 0, -1, 3, 1 << 40]
    values += [
        1 << 62,
        (1 << 63) - 1,
        1 << 63,
        -(1 << 63),
        1 << 70,
        [],
        ["A", 3],
        [None],
        {},
        object(),
        torch,
    ]
    values += [
        torch.tensor(1),
        torch.tensor(-1.0),
        torch.zeros(0),
        torch.zeros(2, 0, 4),
        torch.zeros(0, 6, 4),
    ]
    values += [torch.randn([2] * rank) for rank in range(7)]
    dtypes = [torch.bool, torch.uint8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16]
    dtypes += [torch.float64, torch.complex64, torch.float8_e4m3fn, torch.uint32]
    values += [torch.zeros(2, 6, dtype=dtype) for dtype in dtypes]
    values += [torch.zeros(2, 6, 4, dtype=dtype) for dtype in dtypes]
    values += [torch.full((2, 6), fill) for fill in (-2, -(1 << 63), (1 << 63) - 1, 1 << 33)]
    values += [torch.full((2,), fill) for fill in (-1, 7, -(1 << 63), (1 << 63) - 1)]
    values += [torch.full((2, 6, 4), float("nan")), torch.full((2, 6), float("nan"))]
    values += [
        floats.to("meta"),
        torch.randn(2, 6, 4, device="meta"),
        floats.to_sparse(),
        floats.to_sparse_csr(),
    ]
    values += [torch.randn(2, 6, 4).to_sparse(), torch.randn(2, 6, 4).to_mkldnn()]
    values += [torch.randn(2, 6, 4).to_sparse_csr(), torch.randn(2, 6, 3, 4, 8).to_sparse()]
    values += [NESTED]
    values += [torch.full((2, 6), 255, dtype=torch.uint8).view(torch.bool)]
    values += [torch.nn.Parameter(floats), floats.t(), torch.randn(4, 6, 2).transpose(0, 2), floats[:, :0]]
    values += [torch.randn(1, 1).expand(2, 6), torch.randn(1, 1, 1).expand(2, 6, 4)]
    with torch._subclasses.FakeTensorMode():
        values += [torch.empty(2, 6), torch.empty(2, 6, 4), torch.empty(2, dtype=torch.int64)]
    return values


def _put_abuse(name, fasta, queue):
    # Sparse tensors of some layouts announce that they are new.
    warnings.simplefilter("ignore")
    # Where files are written under any name.
    os.chdir(os.path.dirname(fasta))
    function, arguments = samples(fasta)[name]
    function = function or getattr(_native.rust, name)
    function(*arguments)
    faults = []
    trials = [(place, value) for place in range(len(arguments)) for value in garbage()]
    for place, value in trials:
        shown = f"argument {place} = {value!r:.60}"
        # Written before the call: should the process die, this is what killed it.
        queue.put(shown)
        try:
            function(*arguments[:place], value, *arguments[place + 1 :])
        except (ValueError, TypeError, RuntimeError):
            pass
        except BaseException as error:
            # Python's own answer to an integer that no machine word holds.
            is_huge = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
            is_file = name in ("BgzipWriter", "Genome") and isinstance(error, OSError)
            if not is_file and not (is_huge and isinstance(error, OverflowError)):
                faults.append(f"{shown}: {type(error).__name__}: {error}")
    for count in (0, len(arguments) + 1):
        try:
            function(*([torch.zeros(1)] * count))
            faults.append(f"{count} arguments were taken")
        except TypeError:
            pass
    queue.put(faults)


@pytest.mark.parametrize(
    "name",
    sorted(
        {name for name, value in vars(_native.rust).items() if callable(value) and name[0] != "_"}
        - {"build_info"}
        | {"BgzipWriter.write", "Genome.fetch"}
    ),
)
def test_garbage_is_an_error_and_never_a_panic(name, tmp_path):
    fasta = str(tmp_path / "a.fa")
    with open(fasta, "w", encoding="ascii") as file:
        file.write(">a\nACGTACGT\n")
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=_put_abuse, args=(name, fasta, queue))
    process.start()
    last = "nothing"
    while process.is_alive() or not queue.empty():
        if queue.empty():
            time.sleep(0.001)
            continue
        last = queue.get()
        if isinstance(last, list):
            break
    process.join(TIMEOUT_S)
    assert process.exitcode == 0, f"the process died (exit code {process.exitcode}) at {last}"
    assert last == [], "\n".join(last)


def test_the_stub_declares_what_there_is():
    stub = inspect.getsourcefile(_native).replace("_native.py", "_rust.pyi")
    with open(stub, encoding="utf-8") as file:
        text = file.read()
    for name in vars(_native.rust):
        if not name.startswith("__"):
            assert f"def {name}(" in text or f"class {name}" in text, name
