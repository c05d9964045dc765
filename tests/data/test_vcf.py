import bz2
import gzip
import lzma
import os

import pytest

from dnachunk.data.vcf import VCF, other_allele

COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
HEADER = [
    "##fileformat=VCFv4.2\n",
    '##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency, of course">\n',
    '##INFO=<ID=DB,Number=0,Type=Flag,Description="Known">\n',
    "##contig=<ID=z>\n",
    f"{COLUMNS}\tFORMAT\tone sample\n",
]
RECORDS = [
    "z\t3\trs1;rs2\tA\tC,G\t.\tPASS\tAF=0.1,0.2;DB;OTHER=x=y\tGT:DP\t0|1:.\n",
    "z\t0\t.\tacgtN\t<DEL>\t3.5\tq10;s50\t.\tGT\t./.\n",
]


def write(path, lines, pack=lambda data: data):
    path.write_bytes(pack("".join(lines).encode("utf-8", "surrogateescape")))
    return path


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress], ids=["plain", "gzip"])
def test_columns_and_header_are_as_they_stand(tmp_path, pack):
    vcf = VCF(write(tmp_path / "v.vcf", HEADER + RECORDS, pack))
    assert vcf.header == HEADER
    assert vcf.info_numbers == {"AF": "A", "DB": "0"}
    # As often as one likes.
    for _ in range(2):
        first, second = vcf
        assert [first.line_number, second.line_number] == [6, 7]
        assert "\t".join(first.columns) + first.line_end == RECORDS[0]
        assert (first.contig, first.position, first.reference) == ("z", 3, "A")
        assert first.alternates == ["C", "G"]
        assert first.info == {"AF": "0.1,0.2", "DB": "", "OTHER": "x=y"}
        assert second.position == 0
        assert second.info == {}


def test_info_is_added_behind_and_replaced(tmp_path):
    first, second = VCF(write(tmp_path / "v.vcf", HEADER + RECORDS))
    added = first.with_info({"LLR": "1,2", "AF": "."})
    assert added == RECORDS[0].replace("AF=0.1,0.2;DB;OTHER=x=y", "DB;OTHER=x=y;LLR=1,2;AF=.")
    assert second.with_info({"LLR": "."}) == RECORDS[1].replace("\t.\tGT", "\tLLR=.\tGT")


def test_header_lines_are_added_behind_and_replaced(tmp_path):
    vcf = VCF(write(tmp_path / "v.vcf", HEADER + RECORDS))
    lines = vcf.header_with({"LLR": "##INFO=<ID=LLR,new>", "AF": "##INFO=<ID=AF,other>"})
    want = [HEADER[0], *HEADER[2:4], "##INFO=<ID=LLR,new>\n", "##INFO=<ID=AF,other>\n", HEADER[4]]
    assert list(lines) == want


def test_ends_of_lines_and_foreign_bytes_stay(tmp_path):
    lines = [line.replace("\n", "\r\n") for line in HEADER + RECORDS]
    lines[0] += "##source=M\udce9\r\n"
    lines[-1] = lines[-1].rstrip()
    vcf = VCF(write(tmp_path / "v.vcf", lines))
    assert "".join(vcf.header) == "".join(lines[:5])
    assert vcf.header_with({"X": "##INFO=<ID=X>"})[-2] == "##INFO=<ID=X>\r\n"
    first, second = vcf
    assert first.with_info({"X": "1"}).endswith("\tGT:DP\t0|1:.\r\n")
    assert second.with_info({"X": "1"}).endswith("\tX=1\tGT\t./.\n")


@pytest.mark.parametrize(
    ("allele", "kind"),
    [
        ("A", None),
        ("acgtn", None),
        (".", "no_alternate"),
        ("*", "overlapping_deletion"),
        ("<DEL>", "symbolic_allele"),
        ("<INS:ME:ALU>", "symbolic_allele"),
        ("<*>", "symbolic_allele"),
        ("G]17:198982]", "breakend"),
        ("]13:123456]T", "breakend"),
        ("[<ctg1>:7[A", "breakend"),
        (".A", "breakend"),
        ("G.", "breakend"),
    ],
)
def test_kinds_of_alleles(allele, kind):
    assert other_allele(allele) == kind


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], r"v\.vcf is empty"),
        (HEADER[:3], r"v\.vcf has no line #CHROM"),
        (["BCF\2\2\0\1\2"], r"v\.vcf: it is BCF, which is not read: make VCF of it with bcftools view"),
        (["chr1\t3\n"], r"v\.vcf, line 1: expected '##fileformat=VCF…': chr1"),
        ([HEADER[0], RECORDS[0]], r"v\.vcf, line 2: expected the columns #CHROM POS ID .*: z"),
        ([HEADER[0], COLUMNS.replace("\t", " ") + "\n"], r"line 2: expected the columns #CHROM POS ID "),
    ],
)
def test_bad_headers(tmp_path, lines, said):
    with pytest.raises(ValueError, match=said):
        VCF(write(tmp_path / "v.vcf", lines))


def test_pipes_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe must be a file, because it is read more than once"):
        VCF(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        VCF(tmp_path / "absent")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("z\t3\t.\tA\tC\n", "expected 10 columns between tabs, got 5: z"),
        ("z\n", "expected 10 columns between tabs, got 1: "),
        (RECORDS[0].replace("z", ""), "CHROM is empty"),
        (RECORDS[0].replace("\t3\t", "\t-3\t"), "POS must be a whole number, got '-3'"),
        (RECORDS[0].replace("\t3\t", "\t3.5\t"), "POS must be a whole number, got '3.5'"),
        (RECORDS[0].replace("\t3\t", "\t" + "9" * 5000 + "\t"), "POS must be a whole number, got '999"),
        (RECORDS[0].replace("\tA\t", "\tA-\t"), "REF must be nucleotide letters, got 'A-'"),
        (RECORDS[0].replace("\tA\t", "\t.\t"), r"REF must be nucleotide letters, got '\.'"),
        (RECORDS[0].replace("C,G", "C,,G"), "ALT must be alleles, got 'C,,G'"),
        (RECORDS[0].replace("C,G", "<DEL"), "ALT must be alleles, got '<DEL'"),
        (RECORDS[0].replace("C,G", "[MASK]"), r"ALT must be alleles, got '\[MASK\]'"),
    ],
)
def test_bad_lines_are_told_by_number(tmp_path, line, said):
    vcf = VCF(write(tmp_path / "v.vcf", [*HEADER, RECORDS[0], line, RECORDS[1]]))
    with pytest.raises(ValueError, match=rf"v\.vcf, line 7: {said}"):
        list(vcf)


def test_bad_lines_are_left_out(tmp_path):
    lines = [*HEADER, RECORDS[0], "z\t3\n", "\n", RECORDS[1].replace("acgtN", "-"), RECORDS[1], "  \n"]
    vcf = VCF(write(tmp_path / "v.vcf", lines), on_error="skip")
    for _ in range(2):
        assert [record.line_number for record in vcf] == [6, 10]
        assert vcf.skipped == [
            (7, "expected 10 columns between tabs, got 2"),
            (9, "REF must be nucleotide letters, got '-'"),
        ]
    with pytest.raises(ValueError, match="on_error must be fail or skip, got pass"):
        VCF(tmp_path / "v.vcf", on_error="pass")


@pytest.mark.parametrize(
    "program",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r"),
        lambda text: text + b"\n\r\n",
        lambda text: gzip.compress(text) + bytes(600),
        bz2.compress,
        lzma.compress,
    ],
    ids=["mark", "returns", "blank lines", "padded gzip", "bzip2", "xz"],
)
def test_what_other_programs_write(tmp_path, program):
    vcf = VCF(write(tmp_path / "v.vcf", HEADER + RECORDS, program))
    assert [line.rstrip() for line in vcf.header] == [line.rstrip() for line in HEADER]
    assert [record.columns for record in vcf] == [line.rstrip().split("\t") for line in RECORDS]
