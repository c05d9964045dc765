import gzip
import multiprocessing
import os
import pickle
import re
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest
import torch

from dnachunk import alphabet
from dnachunk.data import Genome, HeldOutWindows, Interval, Record, WindowDataset, packaged_genome

SHARED_GENOMES = Path(__file__).parents[2].parent / "shared" / "data" / "genomes"

TEXT = ">one first record\nACGTN\nacgtn\nRUu\n>two\nGATTACA\n"
FAI = "one\t13\t18\t5\t6\ntwo\t7\t39\t7\t8\n"
EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def bgzip(text, block_size=0xFF00):
    """The text in BGZF blocks, after the SAM specification, section 4.1."""
    blocks = []
    for start in range(0, len(text), block_size):
        block = text[start : start + block_size]
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = deflate.compress(block) + deflate.flush()
        header = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(packed) + 25)
        blocks.append(header + packed + struct.pack("<II", zlib.crc32(block), len(block)))
    return blocks


def gzi(blocks, block_size):
    offsets = [sum(map(len, blocks[: index + 1])) for index in range(len(blocks))]
    entries = [(packed, index * block_size) for index, packed in enumerate(offsets[:-1], start=1)]
    return struct.pack("<Q", len(entries)) + b"".join(struct.pack("<QQ", *entry) for entry in entries)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture(params=["plain", "fai", "crlf", "ragged", "gzip", "gzip members", "bgzip", "bgzip fai gzi"])
def literal(request, write):
    """`TEXT` in every form that a file can have."""
    match request.param:
        case "plain":
            return write("x.fa", TEXT)
        case "fai":
            write("x.fa.fai", FAI)
            return write("x.fa", TEXT)
        case "crlf":
            return write("x.fa", TEXT.replace("\n", "\r\n"))
        case "ragged":
            return write("x.fa", TEXT.replace("ACGTN\n", "A\n\nCGTN\n"))
        case "gzip":
            return write("x.fa.gz", gzip.compress(TEXT.encode()))
        case "gzip members":
            return write("x.fa.gz", gzip.compress(TEXT[:20].encode()) + gzip.compress(TEXT[20:].encode()))
        case "bgzip":
            return write("x.fa.gz", b"".join([*bgzip(TEXT.encode(), 7), EOF_BLOCK]))
        case "bgzip fai gzi":
            blocks = bgzip(TEXT.encode(), 7)
            write("x.fa.gz.gzi", gzi(blocks, 7))
            write("x.fa.gz.fai", FAI)
            return write("x.fa.gz", b"".join([*blocks, EOF_BLOCK]))


IDS = [[5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 9, 8, 8], [7, 5, 8, 8, 5, 6, 5]]
REPEATS = [[0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 1], [0] * 7]
COMPLEMENT = {5: 8, 6: 7, 7: 6, 8: 5, 9: 9}


def test_literal(literal):
    genome = Genome(literal)
    assert genome.records == [Record("one", 13), Record("two", 7)]
    assert (genome.name, genome.path, genome.length_bp) == ("x", literal, 20)
    assert genome.index_of("two") == 1
    assert "one" in genome
    assert "three" not in genome


def test_every_range_on_both_strands(literal):
    genome = Genome(literal)
    for record, (want_ids, want_repeats) in enumerate(zip(IDS, REPEATS, strict=True)):
        for start in range(len(want_ids) + 1):
            for end in range(start, len(want_ids) + 1):
                ids, repeats = genome.fetch(record, start, end)
                assert ids.dtype == torch.uint8
                assert repeats.dtype == torch.bool
                assert ids.tolist() == want_ids[start:end]
                assert repeats.tolist() == [bool(flag) for flag in want_repeats[start:end]]
                ids, repeats = genome.fetch(record, start, end, reverse_complement=True)
                assert ids.tolist() == [COMPLEMENT[i] for i in want_ids[start:end][::-1]]
                assert repeats.tolist() == [bool(flag) for flag in want_repeats[start:end][::-1]]


@pytest.mark.parametrize("piece_bp", [1, 3, 7, 1 << 20])
def test_iterate(literal, piece_bp):
    for index, (ids, repeats) in enumerate(zip(IDS, REPEATS, strict=True)):
        pieces = [piece for piece in Genome(literal).iterate(piece_bp) if piece.record_index == index]
        assert [piece.start_bp for piece in pieces] == list(range(0, len(ids), piece_bp))
        assert torch.cat([piece.ids for piece in pieces]).tolist() == ids
        assert torch.cat([piece.repeat_mask for piece in pieces]).tolist() == [bool(flag) for flag in repeats]


def test_pickled_by_path(literal):
    genome = pickle.loads(pickle.dumps(Genome(literal)))
    assert genome.path == literal
    assert genome.fetch(1, 0, 7)[0].tolist() == IDS[1]


def _fetch_in_child(genome, queue):
    queue.put([genome.fetch(0, start, start + 5)[0].tolist() for start in range(9)] * 20)


def test_forked_processes_share_an_open_genome(literal):
    genome = Genome(literal)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=_fetch_in_child, args=(genome, queue)) for _ in range(3)]
    for child in children:
        child.start()
    for _ in children:
        assert queue.get(timeout=60) == [IDS[0][start : start + 5] for start in range(9)] * 20
    for child in children:
        child.join()
    assert genome.fetch(0, 0, 13)[0].tolist() == IDS[0]


@pytest.mark.parametrize("compress", ["plain", "gzip", "bgzip"])
def test_long_records(write, compress):
    # Longer than the reader's buffers and than a piece; line length 70 divides none of them.
    generator = torch.Generator().manual_seed(7)
    lengths = [2_500_000, 1, 70, 140]
    letters = torch.frombuffer(bytearray(b"ACGTNacgtn"), dtype=torch.uint8)
    id_of = torch.tensor([5, 6, 7, 8, 9] * 2, dtype=torch.uint8)
    draws = [torch.randint(10, (length,), generator=generator) for length in lengths]
    lines = []
    for index, draw in enumerate(draws):
        sequence = bytes(letters[draw].numpy())
        lines += [b">record%d" % index, *(sequence[i : i + 70] for i in range(0, len(sequence), 70))]
    text = b"\n".join(lines)
    packed = {"plain": text, "gzip": gzip.compress(text, 1), "bgzip": b"".join([*bgzip(text), EOF_BLOCK])}
    genome = Genome(write("long.fa", packed[compress]))
    assert [record.length_bp for record in genome.records] == lengths
    for index, draw in enumerate(draws):
        ids, repeats = genome.fetch(index, 0, len(draw))
        assert torch.equal(ids, id_of[draw])
        assert torch.equal(repeats, draw >= 5)
    for start in torch.randint(lengths[0] - 1000, (200,), generator=generator).tolist():
        assert torch.equal(genome.fetch(0, start, start + 1000)[0], id_of[draws[0][start : start + 1000]])


def test_alphabet_is_the_same_in_both_languages(write):
    genome = Genome(write("x.fa", ">x\n" + "".join(alphabet.TOKENS[alphabet.A_ID :])))
    assert alphabet.TOKENS[: alphabet.A_ID] == alphabet.SPECIAL_TOKENS
    assert len(alphabet.TOKENS) == len(alphabet.COMPLEMENT) == alphabet.NUM_IDS
    ids, _ = genome.fetch(0, 0, 5)
    names = [alphabet.A_ID, alphabet.C_ID, alphabet.G_ID, alphabet.T_ID, alphabet.N_ID]
    assert ids.tolist() == names == list(range(alphabet.A_ID, alphabet.NUM_IDS))
    complement, _ = genome.fetch(0, 0, 5, reverse_complement=True)
    assert torch.equal(torch.tensor(alphabet.COMPLEMENT)[ids.long()].flip(0), complement.long())


def test_packaged_genome():
    genome = Genome(packaged_genome())
    assert genome.records == [Record("CHLTCG", 1_042_519)]
    assert genome.name == "chlamydia_trachomatis_d"
    ids = torch.cat([piece.ids for piece in genome.iterate()])
    assert ids.bincount(minlength=10)[:5].tolist() == [0] * 5
    assert ids.bincount()[5:9].sum() == len(ids)
    with gzip.open(packaged_genome().with_name("chlamydia_trachomatis_d.gff3.gz"), "rt") as lines:
        genes = [line.split("\t") for line in lines if "\tCDS\t" in line and "CDS2;" in line]
    # Gene CT001 lies on the reverse strand and starts with ATG.
    ((start, end),) = {(int(gene[3]), int(gene[4])) for gene in genes}
    assert genome.fetch(0, start - 1, end, reverse_complement=True)[0][:3].tolist() == [5, 8, 7]


@pytest.mark.skipif(not SHARED_GENOMES.is_dir(), reason="../shared/data is absent")
@pytest.mark.parametrize(
    "file", ["yeast_s288c_r64", "vertebrates_alpha_globin", "arabidopsis_tair10_1pct", "worm_chrI_2-3Mb"]
)
def test_real_genomes_against_a_plain_reader(file):
    path = SHARED_GENOMES / file / f"{file}.fa.gz"
    genome = Genome(path)
    id_of = torch.full((256,), 255, dtype=torch.uint8)
    for letters, token in [("Aa", 5), ("Cc", 6), ("Gg", 7), ("TtUu", 8), ("NRYSWKMBDHVnryswkmbdhv", 9)]:
        id_of[torch.tensor(list(letters.encode()))] = token
    records = gzip.decompress(path.read_bytes()).split(b">")[1:]
    assert len(records) == len(genome.records)
    for index, (text, record) in enumerate(zip(records, genome.records, strict=True)):
        header, _, sequence = text.partition(b"\n")
        sequence = torch.frombuffer(bytearray(sequence.replace(b"\n", b"")), dtype=torch.uint8)
        assert record == Record(header.split()[0].decode(), len(sequence))
        ids, repeats = genome.fetch(index, 0, record.length_bp)
        assert torch.equal(ids, id_of[sequence.long()])
        assert torch.equal(repeats, sequence >= ord("a"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("ACGT\n", "at byte 0 of the text: not a FASTA file: expected '>', got byte 0x41 'A'"),
        (b"\x7fELF\0\0\n>x\nAC", "expected '>', got byte 0x7f"),
        (b"\n\r\n \nAC", "at byte 5 of the text: not a FASTA file: expected '>', got byte 0x41 'A'"),
        (b"\n\n", "the file holds no record"),
        (b">x\rAC\n", "a line ends in a line feed, and the first one in a carriage return alone"),
        (
            ">x\nACGT\nAC*T\n",
            r"record 'x', base 7 \(byte 10 of the text\): byte 0x2a '\*' is no nucleotide",
        ),
        (">x\nACGT\n>\nA\n", "at byte 10 of the text: the header line before has no record name"),
        (">x\nAC\n>y\nA\n>x\nA\n", r"record 'x' \(sequence at byte 14\) has the name of an earlier record"),
        ("@read\nACGT\n+\nIIII\n", "it is FASTQ, which is not read: make FASTA of it with .* seqtk seq -A"),
        ("<!DOCTYPE html>\n<html>", r"it is a web page \(HTML\), which is not read: fetch the file itself"),
        (b"\x43\x27\x41\x1a\0\0\0\0", "it is UCSC 2bit, which is not read: make FASTA of it with twoBitToFa"),
        (b"CRAM\x03\0", "it is CRAM, which is not read: make FASTA of it with samtools fasta"),
        (b"chr1.fa".ljust(257, b"\0") + b"ustar\0", "it is a tar archive, which is not read: unpack it"),
    ],
)
@pytest.mark.parametrize("form", ["plain", "gzip", "bgzip"])
def test_bad_text(write, text, message, form):
    text = text.encode() if isinstance(text, str) else text
    if not text and form != "plain":
        message = "the file holds no record"
    packed = {"plain": text, "gzip": gzip.compress(text), "bgzip": b"".join([*bgzip(text, 4), EOF_BLOCK])}
    path = write("x.fa", packed[form])
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{message}"):
        Genome(path)


def test_every_truncation_of_gzip_is_told(write):
    whole = gzip.compress(TEXT.encode())
    for length in range(18, len(whole)):
        with pytest.raises(ValueError, match=r"at byte \d+ of the text: the file ends too early"):
            Genome(write("x.fa.gz", whole[:length]))


@pytest.mark.parametrize("index", [True, False])
def test_every_truncation_of_bgzip_is_told(write, index):
    blocks = bgzip(TEXT.encode(), 20)
    whole = b"".join([*blocks, EOF_BLOCK])
    if index:
        write("x.fa.gz.gzi", gzi(blocks, 20))
        write("x.fa.gz.fai", FAI)
    for length in range(18, len(whole)):
        with pytest.raises(ValueError, match="truncated|does not match"):
            Genome(write("x.fa.gz", whole[:length]))


def test_damaged_blocks_are_told(write):
    whole = b"".join([*bgzip(TEXT.encode(), 20), EOF_BLOCK])
    write("x.fa.gz.fai", FAI)
    clean = Genome(write("x.fa.gz", whole))
    want = [piece.ids.tolist() for piece in clean.iterate()]
    told = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        try:
            genome = Genome(write("x.fa.gz", bytes(damaged)))
            got = [piece.ids.tolist() for piece in genome.iterate()]
        except ValueError:
            told += 1
        else:
            # Only bytes without meaning, such as the time stamp, may differ unnoticed.
            assert got == want
    assert told > len(whole) / 2


@pytest.mark.parametrize(
    ("fai", "reason"),
    [
        (
            "uno\t13\t18\t5\t6\ntwo\t7\t39\t7\t8\n",
            "record 'uno': its header line does not stand before byte 18",
        ),
        (
            "one\t13\t17\t5\t6\ntwo\t7\t39\t7\t8\n",
            "record 'one': its header line does not stand before byte 17",
        ),
        (
            "one\t12\t18\t5\t6\ntwo\t7\t39\t7\t8\n",
            "record 'two': its header line does not stand before byte 39",
        ),
        ("one\t13\t18\t5\t6\n", "record 'one': the text goes on after its end, byte 33"),
        ("two\t7\t39\t7\t8\n", "record 'two': its header line does not stand before byte 39"),
        ("two\t7\t39\t7\t8\none\t13\t18\t5\t6\n", "record 'two': its header line"),
        ("one\t13\t18\t6\t7\ntwo\t7\t39\t7\t8\n", "record 'one': its first line does not end after 6 bases"),
        ("one\t13\t18\t5\t7\ntwo\t7\t39\t7\t8\n", "record 'one': its first line does not end after 5 bases"),
        ("one\t13\t18\t5\t3\ntwo\t7\t39\t7\t8\n", "record 'one': bytes 23 to 21 are not what lies beside it"),
        (
            "one\t13\t18\t5\t6\ntwo\t8\t39\t8\t9\n",
            "record 'two': its last base, byte 46, is no letter",
        ),
        ("one\t13\t18\t5\t6\ntwo\t90\t39\t7\t8\n", "record 'two': it ends after the last byte, 47"),
        (f"one\t{2**64 - 1}\t18\t5\t{2**64 - 1}\n", "record 'one': it ends after the last byte, 47"),
        (f"one\t{2**64 - 1}\t18\t{2**64 - 2}\t1\n", "record 'one': "),
        ("one\t13\t99\t5\t6\n", "record 'one': bytes 0 to 99 are not what lies beside it"),
    ],
)
@pytest.mark.parametrize("form", ["plain", "bgzip"])
def test_index_of_another_file(write, fai, reason, form):
    packed = {"plain": TEXT.encode(), "bgzip": b"".join([*bgzip(TEXT.encode(), 7), EOF_BLOCK])}
    path = write("x.fa", packed[form])
    write("x.fa.fai", fai)
    with pytest.raises(ValueError, match=rf"x\.fa\.fai: the index does not match .*x\.fa: .*({reason})"):
        Genome(path)


OTHER_PROGRAMS = {
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "marks of joined files": lambda text: text.replace(b">", b"\xef\xbb\xbf>"),
    "carriage returns": lambda text: text.replace(b"\n", b"\r"),
    "text mode twice": lambda text: text.replace(b"\n", b"\r\r\n"),
    "blanks at line ends": lambda text: text.replace(b"N\n", b"N \t\n"),
    "blank lines around": lambda text: b"\n \r\n" + text + b"\n\r\n \t\n\n",
}


@pytest.mark.parametrize("form", ["plain", "gzip", "bgzip"])
@pytest.mark.parametrize("program", OTHER_PROGRAMS)
def test_what_other_programs_write(write, program, form):
    text = OTHER_PROGRAMS[program](TEXT.encode())
    packed = {"plain": text, "gzip": gzip.compress(text), "bgzip": b"".join([*bgzip(text, 7), EOF_BLOCK])}
    genome = Genome(write("x.fa", packed[form]))
    assert genome.records == [Record("one", 13), Record("two", 7)]
    assert [genome.fetch(index, 0, len(ids))[0].tolist() for index, ids in enumerate(IDS)] == IDS


def test_index_of_a_text_with_a_mark_and_carriage_returns(write):
    write("x.fa.fai", "one\t13\t21\t5\t6\ntwo\t7\t42\t7\t8\n".replace("\n", "\r\n"))
    genome = Genome(write("x.fa", b"\xef\xbb\xbf" + TEXT.encode().replace(b"\n", b"\r")))
    assert [genome.fetch(index, 0, len(ids))[0].tolist() for index, ids in enumerate(IDS)] == IDS


@pytest.mark.parametrize("zeros", [1, 17, 18, 5000])
def test_padded_and_joined_gzip(write, zeros):
    text, padding = TEXT.encode(), bytes(zeros)
    blocks = b"".join([*bgzip(text[:20], 7), EOF_BLOCK])
    forms = [
        gzip.compress(text) + padding,
        gzip.compress(text[:20]) + padding + gzip.compress(text[20:]) + padding,
        b"".join([*bgzip(text, 7), EOF_BLOCK]) + padding,
        # Two files of bgzip, and one of bgzip and one of gzip.
        blocks + b"".join([*bgzip(text[20:], 7), EOF_BLOCK]),
        blocks + gzip.compress(text[20:]),
    ]
    for packed in forms:
        genome = Genome(write("x.fa.gz", packed))
        assert [genome.fetch(index, 0, len(ids))[0].tolist() for index, ids in enumerate(IDS)] == IDS
    for packed in forms[:3]:
        with pytest.raises(
            ValueError, match=r"x\.fa\.gz: .*(damaged data|no bgzip block|too early|truncated)"
        ):
            Genome(write("x.fa.gz", packed + b"x"))


EMPTY_TEXT = ">none first\n>one\nACGT\nAC\n>blank\n\n\n>two\nT\n>last"


@pytest.mark.parametrize("form", ["plain", "fai", "gzip", "bgzip", "bgzip fai"])
def test_records_without_a_base(write, form):
    names = ["none", "one", "blank", "two", "last"]
    if "fai" in form:
        # As samtools writes it; the header line at the end of the file has no line end.
        write(
            "x.fa.fai",
            "none\t0\t12\t0\t0\none\t6\t17\t4\t5\nblank\t0\t32\t0\t1\ntwo\t1\t39\t1\t2\nlast\t0\t46\t0\t0\n",
        )
    packed = {
        "gzip": gzip.compress(EMPTY_TEXT.encode()),
        "bgzip": b"".join([*bgzip(EMPTY_TEXT.encode(), 7), EOF_BLOCK]),
    }
    genome = Genome(write("x.fa", packed.get(form.split()[0], EMPTY_TEXT)))
    assert genome.records == [
        Record(name, length) for name, length in zip(names, [0, 6, 0, 1, 0], strict=True)
    ]
    assert genome.skipped == []
    assert [(piece.record_index, piece.ids.tolist()) for piece in genome.iterate()] == [
        (1, [5, 6, 7, 8, 5, 6]),
        (3, [8]),
    ]
    for index in (0, 2, 4):
        assert [part.shape for part in genome.fetch(index, 0, 0, reverse_complement=True)] == [(0,), (0,)]
        with pytest.raises(ValueError, match=f"<= end_bp <= 0 in record '{names[index]}', got 0, 1"):
            genome.fetch(index, 0, 1)


def test_windows_pass_over_records_without_a_base(write):
    genome = Genome(write("x.fa", EMPTY_TEXT))
    windows = WindowDataset([genome], 3, num_windows=20, seed=1)
    assert {len(item["input_ids"]) for item in windows} == {3}
    assert len(HeldOutWindows([genome], 3, [Interval("one")])) == 2
    assert Genome(write("y.fa", ">x\n")).length_bp == 0


FAULTY_TEXT = ">a\nACGT\n>b\nA*\nA\n>a again\nGG\n>\nTT\n>c\nNN\n>b\nG\n"


@pytest.mark.parametrize("fai", [None, "a\t4\t3\t4\t5\nb\t2\t11\t1\t2\n"])
@pytest.mark.parametrize("form", ["plain", "ragged", "gzip", "bgzip"])
def test_faulty_records_are_left_out(write, form, fai):
    text = FAULTY_TEXT.replace("GT", "\nGT") if form == "ragged" else FAULTY_TEXT
    packed = {"gzip": gzip.compress(text.encode()), "bgzip": b"".join([*bgzip(text.encode(), 7), EOF_BLOCK])}
    path = write("x.fa", packed.get(form, text))
    if fai:
        write("x.fa.fai", fai)
    with pytest.raises(
        ValueError, match=r"does not match" if fai and form != "gzip" else r"\(on_error='skip' leaves"
    ):
        Genome(path)
    genome = Genome(path, on_error="skip")
    shift = form == "ragged"
    for opened in (genome, pickle.loads(pickle.dumps(genome))):
        assert opened.records == [Record("a", 4), Record("c", 2), Record("b", 1)]
        assert opened.skipped == [
            ("b", f"base 2 (byte {12 + shift} of the text): byte 0x2a '*' is no nucleotide letter"),
            ("a", f"(sequence at byte {25 + shift}) has the name of an earlier record"),
            ("", f"at byte {30 + shift} of the text: the header line before has no record name"),
        ]
        ids = [
            opened.fetch(index, 0, record.length_bp)[0].tolist()
            for index, record in enumerate(opened.records)
        ]
        assert ids == [[5, 6, 7, 8], [9, 9], [7]]
        assert opened.index_of("b") == 2


def test_no_record_that_can_be_read(write):
    with pytest.raises(
        ValueError, match=r"x\.fa: no record of the file can be read: 'a', base 1 \(byte 3 of"
    ):
        Genome(write("x.fa", ">a\n-\n"), on_error="skip")


INTERRUPTED_SCRIPT = textwrap.dedent("""
    import os, signal, sys, tempfile, threading, time
    from pathlib import Path
    from dnachunk.data import Genome

    def read_bytes():
        return int(Path("/proc/self/io").read_text().split()[1])

    def interrupt():
        while read_bytes() < before + (4 << 20):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before = read_bytes()
    threading.Thread(target=interrupt).start()
    try:
        Genome(sys.argv[1], on_error="skip")
    except KeyboardInterrupt:
        share = (read_bytes() - before) / os.path.getsize(sys.argv[1])
        print("interrupted", share, os.listdir(tempfile.gettempdir()))
""")


@pytest.mark.parametrize("form", ["plain", "gzip"])
def test_an_interrupt_is_heard_while_a_file_is_read(tmp_path, form):
    path, temporary = tmp_path / "big.fa", tmp_path / "temporary"
    # 64 GiB of text, most of it the fault of one record.
    if form == "plain":
        path.write_bytes(b">one\nAC")
        os.truncate(path, 1 << 36)
    else:
        path.write_bytes(gzip.compress(b">one\nAC") + gzip.compress(bytes(1 << 26)) * (1 << 10))
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_SCRIPT, path],
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    what, share, left = done.stdout.split(maxsplit=2)
    assert (what, left) == ("interrupted", "[]\n")
    assert float(share) < 1


@pytest.mark.parametrize("fai", ["", "one\t13\n", "one\tx\t18\t5\t6\n", "one\t13\t18\t0\t6\n", "\xff"])
def test_index_that_is_none(write, fai):
    path = write("x.fa", TEXT)
    write("x.fa.fai", fai)
    with pytest.raises(
        ValueError,
        match=r"x\.fa\.fai: (line 1 of the index must be name, length, .*|the index holds no record)",
    ):
        Genome(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        struct.pack("<Q", 2**63),
        struct.pack("<QQQ", 1, 3, 7),
        struct.pack("<QQQ", 1, 2**63, 7),
        struct.pack("<QQQ", 1, 30, 2**40),
        struct.pack("<QQQQQ", 2, 40, 7, 30, 14),
        struct.pack("<QQQ", 1, 30, 7) + b"more",
    ],
)
def test_block_index_that_does_not_match(write, content):
    path = write("x.fa.gz", b"".join([*bgzip(TEXT.encode(), 7), EOF_BLOCK]))
    write("x.fa.gz.gzi", content)
    with pytest.raises(ValueError, match=r"x\.fa\.gz\.gzi: "):
        Genome(path)


def test_stray_byte_behind_an_index_is_told_when_it_is_read(write):
    write("x.fa.fai", FAI)
    genome = Genome(write("x.fa", TEXT.replace("acgtn", "ac-tn").replace("GATTACA", "GATT\nCA")))
    assert genome.fetch(0, 0, 7)[0].tolist() == IDS[0][:7]
    with pytest.raises(ValueError, match=r"record 'one', base 8 \(byte 26 of the text\): byte 0x2d '-' is"):
        genome.fetch(0, 5, 10)
    with pytest.raises(ValueError, match=r"record 'two', base 5 \(byte 43 of the text\): byte 0x0a is no"):
        genome.fetch(1, 0, 7)


def test_line_that_is_longer_than_the_index_says(write):
    write("x.fa.fai", "one\t10\t5\t4\t5\n")
    genome = Genome(write("x.fa", ">one\nACGT\nACGTACG\n"))
    assert genome.fetch(0, 0, 8)[0].tolist() == [5, 6, 7, 8, 5, 6, 7, 8]
    with pytest.raises(ValueError, match="record 'one', after byte 10 of the text: a line has not 4 bases"):
        genome.fetch(0, 4, 10)


def test_file_that_shrinks_under_an_open_genome(write):
    genome = Genome(write("x.fa", TEXT))
    os.truncate(genome.path, 41)
    with pytest.raises(ValueError, match="record 'two', byte 39 of the text: the file ends too early"):
        genome.fetch(1, 0, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 0, 1), r"Genome.fetch: record_index must be from 0 to 1, got 2"),
        ((-1, 0, 1), r"record_index must be from 0 to 1, got -1"),
        ((1, 0, 8), r"start_bp, end_bp must be 0 <= start_bp <= end_bp <= 7 in record 'two', got 0, 8"),
        ((1, -1, 2), r"got -1, 2"),
        ((1, 3, 2), r"got 3, 2"),
    ],
)
def test_bad_range(write, arguments, message):
    genome = Genome(write("x.fa", TEXT))
    with pytest.raises(ValueError, match=message):
        genome.fetch(*arguments)


def test_bad_path_and_name(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"nothing\.fa"):
        Genome(tmp_path / "nothing.fa")
    with pytest.raises(ValueError, match="it is a folder: give a FASTA file"):
        Genome(tmp_path)
    with pytest.raises(ValueError, match="on_error must be fail or skip, got ignore"):
        Genome(tmp_path, on_error="ignore")
    os.mkfifo(tmp_path / "pipe.fa")
    with pytest.raises(ValueError, match="not a regular file"):
        Genome(tmp_path / "pipe.fa")
    genome = Genome(write("x.fa", TEXT))
    with pytest.raises(KeyError, match="has no record 'three'"):
        genome.index_of("three")
    with pytest.raises(ValueError, match=r"Genome.iterate: piece_bp must be at least 1, got 0"):
        list(genome.iterate(0))


MEMORY_SCRIPT = textwrap.dedent("""
    import sys
    from pathlib import Path
    from dnachunk.data import Genome

    def peak_growth_mib(work):
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is in use
        before = peak_kib()
        work()
        return (peak_kib() - before) / 1024

    def peak_kib():
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    def stream():
        for file in sys.argv[1:]:
            for piece in Genome(file).iterate():
                pass

    genome = Genome(sys.argv[1])
    print(peak_growth_mib(stream), peak_growth_mib(lambda: genome.fetch(0, 0, genome.length_bp)))
""")


def check_memory(*paths):
    command = [sys.executable, "-c", MEMORY_SCRIPT, *paths]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    streamed, whole = (float(growth) for growth in output.split())
    assert streamed < 20
    # The measure sees memory that does grow with the genome: ids and repeat flags, a byte each.
    assert whole > 0.9 * 2 * 40_000_000 / 2**20


def test_memory_does_not_grow_with_the_genome(write):
    text = b">one\n" + b"ACGTTGCAAC" * 4_000_000
    paths = [
        write("line.fa", text),
        write("gzip.fa.gz", gzip.compress(text, 1)),
        write("bgzip.fa.gz", b"".join([*bgzip(text), EOF_BLOCK])),
    ]
    check_memory(*paths)


@pytest.mark.slow
def test_memory_of_a_large_genome(write):
    path = write("big.fa", b">one\n" + (b"ACGTTGCAAC" * 6 + b"\n") * 3_300_000)
    assert path.stat().st_size > 200e6
    check_memory(path)
