import gc
import os

# Threads that wait by spinning starve whatever else a shared machine runs; read when torch loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch

# Two cores, shared: a fixed team keeps timings and thread-count tests meaningful.
torch.set_num_threads(min(2, os.cpu_count() or 1))

# Autograd starts its threads at the first backward pass. After torch.compile has added devices that would be
# more than the caller's, and no forked child could run a backward pass.
torch.ones((), requires_grad=True).backward()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run only the tests marked slow")
    parser.addoption("--hf", metavar="FOLDER", help="Hugging Face's own tests, which tests/hf runs")


def pytest_collection_modifyitems(config, items):
    slow = config.getoption("--slow")
    for item in items:
        if ("slow" in item.keywords) != slow:
            item.add_marker(pytest.mark.skip(reason="slow tests run under --slow, the others without"))


@pytest.fixture(scope="module")
def quick_collections():
    """Every training collects garbage; what the imports left need not be walked through each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
