import gzip
import os

import pytest

from dnachunk.data import Genome
from dnachunk.data.text import read_lines, text_writer
from dnachunk.random import mix

LINES = ["first\n", "carriage return\r\n", "\n", "not UTF-8: \udcff\udce9\n", "Umlaut: ü\n", "last"]
BYTES = b"first\ncarriage return\r\n\nnot UTF-8: \xff\xe9\nUmlaut: \xc3\xbc\nlast"


@pytest.mark.parametrize("kind", ["plain", "gzip", "several gzip members"])
def test_lines_are_as_they_stand(tmp_path, kind):
    # The name says nothing.
    path = tmp_path / "lines.dat"
    packed = {
        "plain": BYTES,
        "gzip": gzip.compress(BYTES),
        "several gzip members": gzip.compress(BYTES[:20]) + gzip.compress(b"") + gzip.compress(BYTES[20:]),
    }
    path.write_bytes(packed[kind])
    assert list(read_lines(path)) == LINES


@pytest.mark.parametrize("bgzip", [False, True])
def test_what_is_written_is_read(tmp_path, bgzip):
    path = tmp_path / "out"
    with text_writer(path, bgzip=bgzip) as file:
        file.writelines(LINES)
    assert list(read_lines(path)) == LINES
    assert (gzip.decompress(path.read_bytes()) if bgzip else path.read_bytes()) == BYTES


@pytest.mark.parametrize("length_bp", [0, 1, 65_279, 65_280, 65_281, 400_000])
def test_bgzip_is_entered_in_its_middle(tmp_path, length_bp):
    sequence = "".join("ACGT"[mix(1, place) % 4] for place in range(length_bp))
    path = tmp_path / "genome.fa.gz"
    with text_writer(path, bgzip=True) as file:
        file.write(f">long\n{sequence}\n>short\nGATTACA\n" if sequence else ">short\nGATTACA\n")
    packed = path.read_bytes()
    # Each block says how long it is; the last one is bgzip's end of file.
    start, blocks = 0, 0
    while start < len(packed):
        assert packed[start : start + 4] == b"\x1f\x8b\x08\x04"
        assert packed[start + 12 : start + 16] == b"BC\x02\x00"
        start += int.from_bytes(packed[start + 16 : start + 18], "little") + 1
        blocks += 1
    assert start == len(packed)
    assert blocks > length_bp // 65_536 + 1
    assert packed.endswith(bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000"))
    genome = Genome(path)
    assert [record.name for record in genome.records] == (["long"] if sequence else []) + ["short"]
    if sequence:
        ids, _ = genome.fetch(0, length_bp // 2, length_bp)
        assert "".join("ACGT"[base - 5] for base in ids.tolist()) == sequence[length_bp // 2 :]


def test_bytes_that_cannot_be_compressed(tmp_path):
    noise = os.urandom(200_000).decode("utf-8", "surrogateescape")
    with text_writer(tmp_path / "noise.gz", bgzip=True) as file:
        file.write(noise)
    assert "".join(read_lines(tmp_path / "noise.gz")) == noise


@pytest.mark.parametrize("fault", ["cut", "damaged"])
def test_bad_gzip_is_named(tmp_path, fault):
    packed = bytearray(gzip.compress(b"line\n" * 100_000 + os.urandom(1000)))
    if fault == "cut":
        del packed[-200:]
    else:
        packed[-300] ^= 255
        packed[-6] ^= 255
    (tmp_path / "bad.gz").write_bytes(packed)
    with pytest.raises(ValueError, match=r"bad\.gz is cut short or damaged: "):
        list(read_lines(tmp_path / "bad.gz"))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.txt"):
        list(read_lines(tmp_path / "missing.txt"))
