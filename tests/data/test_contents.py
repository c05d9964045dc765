import bz2
import contextlib
import functools
import gzip
import http.server
import logging
import lzma
import multiprocessing
import os
import pickle
import sys
import threading
from pathlib import Path

import fsspec
import pytest

from dnachunk.data import Genome, Record, read_labelled
from dnachunk.data.annotation import read_annotation
from dnachunk.data.contents import Contents, locate, unpacked_name
from dnachunk.data.vcf import VCF

TEXT = b">one\nGATTACA\n>two\nACGT\n"
IDS = [7, 5, 8, 8, 5, 6, 5]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def end_headers(self):
        if self.path.startswith("/cut"):
            # Says that there is more than comes.
            self._headers_buffer = [
                line.replace(b"Content-Length: ", b"Content-Length: 9") for line in self._headers_buffer
            ]
        super().end_headers()


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    with contextlib.suppress(FileNotFoundError):
        system.rm("/bucket", recursive=True)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("x.fa", ("x.fa", False)),
        (Path("/a/x.fa"), ("/a/x.fa", False)),
        ("https://host/a/x.fa.gz?token=1", ("https://host/a/x.fa.gz?token=1", True)),
        (Path("https://host/a/x.fa"), ("https://host/a/x.fa", True)),
        (Path("s3://bucket/x.fa").absolute(), ("s3://bucket/x.fa", True)),
        ("file:///a/x.fa", ("/a/x.fa", False)),
        (Path("file:///a/x.fa"), ("/a/x.fa", False)),
        ("chr1:/x", ("chr1:/x", False)),
    ],
)
def test_paths_and_urls(path, place):
    assert locate(path) == place


def test_a_folder_that_looks_like_a_url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "x.fa").write_bytes(TEXT)
    assert locate("s3:/x.fa") == ("s3:/x.fa", False)
    assert Genome("s3:/x.fa").length_bp == 11


def test_names_without_packing():
    assert unpacked_name("a/genes.v1.bed.gz") == "genes.v1.bed"
    assert unpacked_name("https://host/x.gff3.bz2?download=1#top") == "x.gff3"
    assert unpacked_name(Path("x.fa")) == "x.fa"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_remote_genomes(server, memory, caplog, pack):
    folder, url = server
    (folder / "x.fa.gz").write_bytes(pack(TEXT))
    memory.pipe_file("/bucket/x.fa.gz", pack(TEXT))
    (folder.parent / "x.fa.gz").write_bytes(pack(TEXT))
    caplog.set_level(logging.INFO, "dnachunk")
    for path in (
        f"{url}/x.fa.gz?token=1",
        Path(f"{url}/x.fa.gz"),
        "memory://bucket/x.fa.gz",
        folder.parent / "x.fa.gz",
        (folder.parent / "x.fa.gz").as_uri(),
    ):
        genome = Genome(path)
        assert genome.records == [Record("one", 7), Record("two", 4)]
        assert genome.name == "x"
        assert genome.fetch(0, 0, 7)[0].tolist() == IDS
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 3
    assert said[0] == f"Fetching   {url}/x.fa.gz?token=1 (0.0 MiB)"


def _fetch(genome, queue):
    queue.put((genome.fetch(0, 0, 7)[0].tolist(), os.listdir("/proc/self/fd") != []))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_remote_genome_is_fetched_once_for_all_processes(server, method):
    folder, url = server
    (folder / "x.fa.gz").write_bytes(gzip.compress(TEXT))
    genome = Genome(f"{url}/x.fa.gz")
    (folder / "x.fa.gz").unlink()
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_fetch, args=(genome, queue))
    child.start()
    assert queue.get(timeout=300) == (IDS, True)
    child.join()


def test_a_genome_that_outlives_its_process_is_fetched_again(memory):
    memory.pipe_file("/bucket/x.fa", TEXT)
    sent = pickle.dumps(Genome("memory://bucket/x.fa"))
    memory.pipe_file("/bucket/x.fa", TEXT.replace(b"GATTACA", b"CCCC"))
    assert pickle.loads(sent).fetch(0, 0, 4)[0].tolist() == [6] * 4


def test_remote_text_files(server, tmp_path):
    folder, url = server
    (tmp_path / "x.fa").write_bytes(TEXT)
    (folder / "genes.bed.gz").write_bytes(gzip.compress(b"one\t1\t3\nfar\t1\t3\n"))
    (folder / "v.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\none\t3\t.\tT\tC\t.\t.\t.\n"
    )
    (folder / "train.csv").write_text("sequence,label\nACGT,1\nGG,0\n")
    found = read_annotation(f"{url}/genes.bed.gz", Genome(tmp_path / "x.fa"))
    assert found.features == [(0, 1, 3, "genes", False, "")]
    vcf = VCF(Path(f"{url}/v.vcf"))
    (folder / "v.vcf").unlink()
    for _ in range(2):
        assert [record.position for record in vcf] == [3]
    assert read_labelled(f"{url}/train.csv").sequences == ["ACGT", "GG"]


def test_what_cannot_be_fetched_is_told(server, memory, monkeypatch):
    folder, url = server
    (folder / "cut.fa").write_bytes(TEXT)
    (folder / "page.fa").write_bytes(b"<html><body>Sign in</body></html>")
    with pytest.raises(FileNotFoundError, match=rf"{url}/absent.fa cannot be fetched: .*404"):
        Genome(f"{url}/absent.fa")
    with pytest.raises(OSError, match=rf"{url}/cut.fa cannot be fetched whole: 23 of 923 bytes came"):
        Genome(f"{url}/cut.fa")
    with pytest.raises(ValueError, match=rf"{url}/page.fa: it is a web page"):
        Genome(f"{url}/page.fa")
    with pytest.raises(FileNotFoundError, match=r"memory://bucket/x.fa: there is no such file"):
        Genome("memory://bucket/x.fa")
    with pytest.raises(OSError, match=r"http://127.0.0.1:1/x.fa cannot be fetched: .*refused"):
        Genome("http://127.0.0.1:1/x.fa")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ModuleNotFoundError, match=r"s3://bucket/x.fa: .*; pip install 'dnachunk\[remote\]'"):
        Genome("s3://bucket/x.fa")


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_packed_genomes_that_are_damaged(tmp_path, pack):
    path = tmp_path / "x.fa.bz2"
    path.write_bytes(pack(TEXT)[:-5])
    with pytest.raises(ValueError, match=r"x\.fa\.bz2 is cut short or damaged"):
        Genome(path)


def test_contents_are_where_they_are(tmp_path):
    (tmp_path / "x.fa.gz").write_bytes(gzip.compress(TEXT))
    contents = Contents(tmp_path / "x.fa.gz")
    contents.unpack()
    assert contents.place == tmp_path / "x.fa.gz"
    with contents.open() as unpacked:
        assert unpacked.read() == TEXT
