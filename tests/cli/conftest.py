import gzip
from types import SimpleNamespace

import pytest
import torch

from dnachunk import DNATokenizer, MergeDNAConfig, MergeDNAForPreTraining
from dnachunk.cli import main
from tests.training.conftest import _one_thread  # noqa: F401
from tests.training.runs import FEW_LAYERS, write_genome

SMALL = [word for name, value in FEW_LAYERS.items() for word in ("--config", f"{name}={value}")]


@pytest.fixture(scope="package")
def fasta(tmp_path_factory):
    return write_genome(tmp_path_factory.mktemp("genome") / "genome.fa")


@pytest.fixture(scope="package")
def model(tmp_path_factory):
    """A saved model with random weights, which tokenizes as well as any."""
    directory = tmp_path_factory.mktemp("model")
    torch.manual_seed(1)
    MergeDNAForPreTraining(MergeDNAConfig(**FEW_LAYERS)).save_pretrained(directory)
    DNATokenizer().save_pretrained(directory)
    return directory


@pytest.fixture
def run(capfd):
    """Runs a command line; gives its status, standard output, and standard error."""

    def run(*words):
        capfd.readouterr()
        status = main([str(word) for word in words])
        out, err = capfd.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return run


@pytest.fixture
def bad_fasta(tmp_path):
    """Makes a file that is wrong in some way; gives its path and what the message must say."""

    def make(fault):
        path = tmp_path / "bad.fa"
        if fault == "empty":
            path.write_text("")
        elif fault == "binary":
            path.write_bytes(bytes(range(256)) * 8)
        elif fault == "stray byte":
            path.write_text(">one\n" + "ACGT" * 50 + "AC!T" + "ACGT" * 50 + "\n")
            return path, "one"
        elif fault == "truncated gzip":
            path = tmp_path / "bad.fa.gz"
            path.write_bytes(gzip.compress(b">one\n" + b"ACGTTGCA" * 500 + b"\n")[:-20])
        elif fault == "wrong index":
            write_genome(path)
            (tmp_path / "bad.fa.fai").write_text("one\t123\t5\t60\t61\n")
        elif fault == "missing":
            return tmp_path / "missing.fa", "missing.fa"
        return path, path.name

    return make


FAULTS = ["empty", "binary", "stray byte", "truncated gzip", "wrong index", "missing"]
