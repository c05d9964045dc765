import bz2
import errno
import gzip
import itertools
import lzma
import os
import random
import sys
import threading
import zipfile
from pathlib import Path

import pysam
import pytest

from dnachunk._native import rust
from dnachunk.data import Genome
from dnachunk.data.text import index_ending, read_lines, text_writer
from dnachunk.random import mix

LINES = ["first\n", "carriage return\r\n", "\n", "not UTF-8: \udcff\udce9\n", "Umlaut: ü\n", "last"]
BYTES = b"first\ncarriage return\r\n\nnot UTF-8: \xff\xe9\nUmlaut: \xc3\xbc\nlast"


@pytest.mark.parametrize(
    "kind", ["plain", "gzip", "several gzip members", "padded gzip", "bzip2", "xz", "several of xz"]
)
def test_lines_are_as_they_stand(tmp_path, kind):
    # The name says nothing.
    path = tmp_path / "lines.dat"
    packed = {
        "plain": BYTES,
        "gzip": gzip.compress(BYTES),
        "several gzip members": gzip.compress(BYTES[:20]) + gzip.compress(b"") + gzip.compress(BYTES[20:]),
        "padded gzip": gzip.compress(BYTES) + bytes(1000),
        "bzip2": bz2.compress(BYTES),
        "xz": lzma.compress(BYTES),
        "several of xz": lzma.compress(BYTES[:20]) + lzma.compress(BYTES[20:]),
    }
    path.write_bytes(packed[kind])
    assert list(read_lines(path)) == LINES


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"\xef\xbb\xbf", []),
        (b"\xef\xbb\xbffirst\nsecond", ["first\n", "second"]),
        (b"first\rsecond\r\rthird", ["first\r", "second\r", "\r", "third"]),
        (b"first\r", ["first\r"]),
        (b"\r\r\r", ["\r", "\r", "\r"]),
        (b"first\nin\rside\n\rlast", ["first\n", "in\rside\n", "\rlast"]),
        (b"first\r\r\nsecond\r\r\n", ["first\r\r\n", "second\r\r\n"]),
        (b"first\r\nsecond\xef\xbb\xbf\r\n", ["first\r\n", "second\ufeff\r\n"]),
    ],
)
def test_ends_of_lines_and_marks(tmp_path, text, lines):
    for number, data in enumerate((text, gzip.compress(text), bz2.compress(text), lzma.compress(text))):
        path = tmp_path / f"lines{number}"
        path.write_bytes(data)
        assert list(read_lines(path)) == lines


def test_ends_of_lines_that_are_mixed(tmp_path):
    (tmp_path / "mixed.txt").write_bytes(b"first\rsecond\rthird\n")
    with pytest.raises(ValueError, match=r"mixed\.txt: a line ends in \\n, and the first one in \\r alone"):
        list(read_lines(tmp_path / "mixed.txt"))


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\x04\x22\x4d\x18", "LZ4, which is not read: unlz4 it"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"BAM\x01", "BAM, which is not read: make FASTA of it with samtools fasta"),
        (b"BCF\x02\x02", "BCF, which is not read: make VCF of it with bcftools view"),
        (b"%PDF-1.7", "a PDF document"),
        (
            b"<!DOCTYPE HTML>\n",
            r"a web page \(HTML\), which is not read: fetch the file itself, not the page",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "a Git LFS pointer, which is not read: .* git lfs pull",
        ),
        ("chr1\t3".encode("utf-16"), "UTF-16 text, which is not read: make UTF-8 of it with iconv"),
        (gzip.compress(b"chr1", mtime=0), "gzip, and packed twice"),
        (b"member".ljust(257, b"\0") + b"ustar", "a tar archive, which is not read: unpack it with tar xf"),
    ],
)
def test_what_is_not_read_is_told(tmp_path, start, said):
    for pack in (gzip.compress, bz2.compress, bytes)[: 2 if start.startswith(b"\x1f") else 3]:
        (tmp_path / "file").write_bytes(pack(start))
        with pytest.raises(ValueError, match=f"file: it is {said}"):
            list(read_lines(tmp_path / "file"))


def test_zip_and_zstandard(tmp_path):
    with zipfile.ZipFile(tmp_path / "lines.zip", "w") as archive:
        archive.writestr("lines.txt", BYTES)
    with pytest.raises(
        ValueError, match="it is a zip archive or an Excel workbook, which is not read: unzip it"
    ):
        list(read_lines(tmp_path / "lines.zip"))
    if sys.version_info >= (3, 14):
        from compression import zstd

        (tmp_path / "lines.zst").write_bytes(zstd.compress(BYTES))
        assert list(read_lines(tmp_path / "lines.zst")) == LINES
    else:
        (tmp_path / "lines.zst").write_bytes(b"\x28\xb5\x2f\xfd\x24\x00")
        with pytest.raises(ValueError, match="it is Zstandard, which is not read: unzstd it"):
            list(read_lines(tmp_path / "lines.zst"))


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
    # Each block says how long it is and, at its end, how much it holds; the last one is bgzip's end of file.
    start, sizes = 0, []
    while start < len(packed):
        assert packed[start : start + 4] == b"\x1f\x8b\x08\x04"
        assert packed[start + 12 : start + 16] == b"BC\x02\x00"
        start += int.from_bytes(packed[start + 16 : start + 18], "little") + 1
        sizes.append(int.from_bytes(packed[start - 4 : start], "little"))
    assert start == len(packed)
    *full, last, end = sizes
    assert set(full) <= {65_280}
    assert 0 < last <= 65_280
    assert end == 0
    assert sum(sizes) == len(gzip.decompress(packed)) == (length_bp and length_bp + 7) + 15
    assert packed.endswith(bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000"))
    genome = Genome(path)
    assert [record.name for record in genome.records] == (["long"] if sequence else []) + ["short"]
    if sequence:
        ids, _ = genome.fetch(0, length_bp // 2, length_bp)
        assert "".join("ACGT"[base - 5] for base in ids.tolist()) == sequence[length_bp // 2 :]


def test_bytes_that_cannot_be_compressed(tmp_path):
    # A carriage return might end the first line.
    noise = os.urandom(200_000).replace(b"\r", b"").decode("utf-8", "surrogateescape")
    with text_writer(tmp_path / "noise.gz", bgzip=True) as file:
        file.write(noise)
    assert "".join(read_lines(tmp_path / "noise.gz")) == noise


def test_flushed_text_can_be_read_at_once(tmp_path):
    path = tmp_path / "lines.gz"
    with text_writer(path, bgzip=True) as file:
        file.write("first\n")
        file.flush()
        assert list(read_lines(path)) == ["first\n"]
        file.write("second\n")
    assert list(read_lines(path)) == ["first\n", "second\n"]


@pytest.mark.parametrize("bgzip", [False, True])
def test_no_folder_to_write_in(tmp_path, bgzip):
    path = tmp_path / "missing" / "out"
    with pytest.raises(FileNotFoundError) as caught, text_writer(path, bgzip=bgzip):
        pass
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(path))


@pytest.mark.parametrize(
    ("bgzip", "length"), [(False, 1), (False, 400_000), (True, 0), (True, 1), (True, 400_000)]
)
def test_a_full_disk_is_an_error(bgzip, length):
    text = os.urandom(length).hex()
    with (
        pytest.raises(OSError, match="No space left") as caught,
        text_writer(Path("/dev/full"), bgzip=bgzip) as file,
    ):
        file.write(text)
    assert caught.value.errno == errno.ENOSPC


def test_an_error_closes_the_file():
    file = rust.BgzipWriter("/dev/full")
    assert not file.closed
    with pytest.raises(OSError, match="No space left"):
        file.write(os.urandom(70_000))
    assert file.closed
    file.close()
    for act in (file.flush, lambda: file.write(b"more")):
        with pytest.raises(OSError, match="/dev/full: the file is closed"):
            act()


def test_what_is_not_closed_has_no_end(tmp_path):
    path = tmp_path / "x.fa.gz"
    file = rust.BgzipWriter(path)
    assert file.write(b">a\nACGT\n") == 8
    file.flush()
    del file
    with pytest.raises(ValueError, match="lacks the empty block"):
        Genome(path)


def test_threads_write_one_after_another(tmp_path):
    path = tmp_path / "lines.gz"
    lines = [bytes([letter]) * 1000 + b"\n" for letter in b"ACGT"]
    file = rust.BgzipWriter(path)
    threads = [
        threading.Thread(target=lambda line=line: [file.write(line) for _ in range(500)]) for line in lines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file.close()
    assert sorted(gzip.decompress(path.read_bytes()).splitlines(keepends=True)) == [
        line for line in lines for _ in range(500)
    ]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("fault", ["cut", "damaged", "followed by something else"])
def test_bad_packing_is_named(tmp_path, pack, fault):
    packed = bytearray(pack(b"line\n" * 100_000 + random.Random(1).randbytes(1000).replace(b"\r", b"")))
    if fault == "cut":
        del packed[-200:]
    elif fault == "damaged":
        packed[-300] ^= 255
        packed[-6] ^= 255
    elif pack is gzip.compress:
        packed += b"something else"
    else:
        pytest.skip("bzip2 and xz pass over it")
    (tmp_path / "bad").write_bytes(packed)
    with pytest.raises(ValueError, match=r"bad is cut short or damaged: "):
        list(read_lines(tmp_path / "bad"))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.txt"):
        list(read_lines(tmp_path / "missing.txt"))


def _indexed(path, ending, lines, longest_bp, layout="bed"):
    index_path = path.with_name(path.name + ending)
    with text_writer(path, bgzip=True, index_path=index_path, longest_bp=longest_bp, layout=layout) as file:
        file.writelines("\t".join(map(str, line)) + "\n" for line in lines)
    return pysam.TabixFile(str(path), index=str(index_path), encoding="latin-1")


@pytest.mark.parametrize(("factor", "ending"), [(1, ".tbi"), (2000, ".csi")])
def test_queries_through_the_index_give_what_a_scan_gives(tmp_path, factor, ending):
    random_ = random.Random(0)
    lengths = {"long": 400_000 * factor, "one": 1, "none": 500, "mid.2|x": 70_000 * factor}
    lines = []
    for name, length_bp in lengths.items():
        edges = {0, length_bp, *(random_.randrange(length_bp) for _ in range(length_bp // factor // 4))}
        edges = [] if name == "none" else sorted(edges)
        lines += [(name, *span, "x" * (span[1] % 9)) for span in itertools.pairwise(edges)]
    longest_bp = max(lengths.values())
    assert index_ending(longest_bp) == ending
    file = _indexed(tmp_path / "t.bed.gz", ending, lines, longest_bp)
    assert file.contigs == [name for name in lengths if name != "none"]
    # Of several blocks, or nothing would be looked up.
    assert sum(len("\t".join(map(str, line))) + 1 for line in lines) > 3 * 0xFF00
    for _ in range(1000):
        name = random_.choice(file.contigs)
        start_bp = random_.randrange(lengths[name])
        end_bp = min(start_bp + random_.choice([1, 30, 5000, 10**9]), lengths[name])
        want = [line for line in lines if line[0] == name and line[1] < end_bp and line[2] > start_bp]
        assert list(file.fetch(name, start_bp, end_bp)) == ["\t".join(map(str, line)) for line in want]


def _gff_line(name, start_bp, end_bp, number):
    return (name, "s", "gene", start_bp + 1, end_bp, ".", "+", ".", f"ID=g{number};Note=\udcff")


def _vcf_line(name, start_bp, end_bp, number):
    # Some say their length in letters, some by END, and some lie about it.
    info = [f"END={end_bp}", f"DP=3;END={end_bp};X", "END=0;SVEND=9", "."][number % 4]
    reference = "N" if "END=" in info and "END=0" not in info else "A" * (end_bp - start_bp)
    return (name, start_bp + 1, f"v{number}", reference, "<X>", ".", ".", info)


@pytest.mark.parametrize(("layout", "line_of"), [("gff", _gff_line), ("vcf", _vcf_line)])
@pytest.mark.parametrize(("factor", "ending"), [(1, ".tbi"), (1500, ".csi")])
def test_queries_of_features_and_variants_give_what_a_scan_gives(tmp_path, layout, line_of, factor, ending):
    random_ = random.Random(3)
    lengths = {"long": 400_000 * factor, "short": 3}
    spans = []
    for name, length_bp in lengths.items():
        starts = sorted(random_.randrange(length_bp) for _ in range(4000 if name == "long" else 3))
        spans += [
            (name, start, min(length_bp, start + random_.choice([1, 9, 300, 2000]))) for start in starts
        ]
    lines = [line_of(*span, number) for number, span in enumerate(spans)]
    remarks = [("##first",), ("#second", "1", "2")]
    path = tmp_path / f"t.{layout}.gz"
    file = _indexed(
        path, ending, [*remarks, *lines[:50], ("# between",), *lines[50:]], 400_000 * factor, layout
    )
    assert file.contigs == list(lengths)
    assert list(file.header) == ["##first", "#second\t1\t2"]
    for _ in range(300):
        name = random_.choice(list(lengths))
        start_bp = random_.randrange(lengths[name])
        end_bp = min(start_bp + random_.choice([1, 30, 5000, 10**9]), lengths[name])
        want = [
            line
            for (of, low, high), line in zip(spans, lines, strict=True)
            if of == name and low < end_bp and high > start_bp
        ]
        found = [tuple(each.split("\t")) for each in file.fetch(name, start_bp, end_bp)]
        assert [each[:3] for each in found] == [tuple(map(str, each[:3])) for each in want]


def test_a_layout_that_there_is_none_of_is_refused(tmp_path):
    with pytest.raises(ValueError, match="layout must be bed, gff or vcf, got sam"):
        rust.BgzipWriter(tmp_path / "t.gz", tmp_path / "t.gz.tbi", 1000, "sam")
    assert not list(tmp_path.iterdir())


def test_an_index_of_pieces_written_and_flushed_anyhow(tmp_path):
    text = "".join(f"r{n // 7000}\t{n % 7000 * 3}\t{n % 7000 * 3 + 3}\tACG\n" for n in range(14_000))
    cuts = sorted(random.Random(1).randrange(len(text)) for _ in range(300))
    file = rust.BgzipWriter(tmp_path / "t.bed.gz", tmp_path / "t.bed.gz.tbi", 21_000)
    for start, end in itertools.pairwise([0, *cuts, len(text)]):
        file.write(text[start:end].encode())
        if start % 3 == 0:
            file.flush()
    file.close()
    found = pysam.TabixFile(str(tmp_path / "t.bed.gz"))
    for name, place in (("r0", 0), ("r0", 6999), ("r1", 0), ("r1", 3500), ("r1", 6999)):
        assert list(found.fetch(name, place * 3 + 1, place * 3 + 2)) == [
            f"{name}\t{place * 3}\t{place * 3 + 3}\tACG"
        ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("a\t5\t6\na\t4\t5\n", "position"),
        ("a\t5\n", "a line must be an interval, record, start and end, got 'a\t5'"),
        ("a\t1\t1000000000\n", "position"),
    ],
)
def test_what_cannot_be_indexed_is_refused(tmp_path, lines, said):
    file = rust.BgzipWriter(tmp_path / "t.bed.gz", tmp_path / "t.bed.gz.tbi", 1000)
    with pytest.raises(OSError, match=said):
        file.write(lines.encode())
    assert file.closed
    file.close()
    assert not (tmp_path / "t.bed.gz.tbi").exists()


def test_an_index_that_cannot_be_written_is_an_error():
    file = rust.BgzipWriter("/dev/null", "/dev/full", 1000)
    file.write(b"a\t5\t6\n")
    with pytest.raises(OSError, match="/dev/full"):
        file.close()
