"""Sessions of IGV: the tracks they name, as htslib reads them, and what igv.js makes of a session."""

import contextlib
import functools
import gzip
import http.server
import importlib.util
import os
import random
import re
import threading
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyBigWig
import pysam
import pytest

import dnachunk
from dnachunk.data import Genome
from dnachunk.errors import ArgumentError, UsageError
from dnachunk.inference import GenomeTokens
from dnachunk.inference.writers import item_rgb
from dnachunk.visualization import BrowserSession, genome_browser
from tests.visualization.test_genome_browser import (
    REGION,
    chromium,  # noqa: F401
    compared_probabilities,
    files,  # noqa: F401
    models,  # noqa: F401
    values_of,
)


@pytest.fixture(scope="module")
def folder(models, files, tmp_path_factory):  # noqa: F811
    """A folder with a session of all that there may be, over a region that cuts tokens."""
    folder = tmp_path_factory.mktemp("session")
    dnachunk.browse(
        files / "genome.fa",
        folder / "all.xml",
        model={"a/b": models["dnachunker"], "mergedna": models["mergedna"], "mxdna": models["mxdna"]},
        tokenizer=["3mer", "bpe-32"],
        annotation=files / "genes.gff3",
        repeats=[files / "repeats.out", files / "repeats.bed"],
        vcf=files / "variants.vcf",
        region=REGION,
    )
    return folder


def session_of(path):
    """What a session says: its attributes, and the files of its tracks by name."""
    root = ElementTree.parse(path).getroot()
    tracks = {track.get("id"): track for track in root.iter("Track")}
    assert tracks.pop("Reference sequence").get("clazz").endswith("SequenceTrack")
    assert list(tracks) == [resource.get("path") for resource in root.iter("Resource")]
    return root.attrib, {track.get("name"): path.parent / place for place, track in tracks.items()}


def lines_of(path):
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_session_names_its_tracks(folder):
    said, tracks = session_of(folder / "all.xml")
    assert said["locus"] == REGION
    assert list(tracks) == [
        *("genes.gff3", "repeats.out", "repeats.bed", "variants.vcf", "a/b: boundary probability"),
        *("a/b stage 0", "a/b", "mergedna", "mxdna", "3mer", "bpe-32"),
    ]
    assert {path.parent for path in tracks.values()} == {folder / "all_tracks"}
    own = {folder / said["genome"], *tracks.values()}
    endings = {".fa": ".fai", ".gz": ".tbi"}
    # A bigWig is its own index.
    indexes = {path.with_name(path.name + endings[path.suffix]) for path in own if path.suffix in endings}
    assert set(contents(folder)) == {folder / "all.xml", *own, *indexes}


def test_tokens_are_the_bytes_of_tokenize(folder, models, files, tmp_path):  # noqa: F811
    _, tracks = session_of(folder / "all.xml")
    for name, kind in (("a/b", "dnachunker"), ("mergedna", "mergedna"), ("mxdna", "mxdna")):
        bed = tmp_path / f"{kind}.bed.gz"
        dnachunk.tokenize_genome(models[kind], files / "genome.fa", bed, region=REGION)
        for ending in ("", ".tbi"):
            found = tracks[name].with_name(tracks[name].name + ending)
            assert found.read_bytes() == bed.with_name(bed.name + ending).read_bytes()
    assert tracks["a/b stage 0"].read_bytes() == (tmp_path / "dnachunker.stage_0.bed.gz").read_bytes()


def test_tokens_of_fixed_tokenizers_are_those_of_the_page(folder, files):  # noqa: F811
    _, tracks = session_of(folder / "all.xml")
    page = dnachunk.browse(files / "genome.fa", tokenizer=["3mer", "bpe-32"], region=REGION)
    letters = (files / "genome.fa").read_text().split("\n")[1].upper()
    for track in page.tokens:
        ((starts, ends, _),) = track.records
        expected = [
            ["one", str(start), str(end), letters[start:end], "0", ".", str(start), str(end)]
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
        found = [line.split("\t") for line in lines_of(tracks[track.name])]
        assert [line[:8] for line in found] == expected
        assert all(line[8] == item_rgb(int(line[1]), int(line[2])) for line in found)


def bigwig_lines(path):
    """A bigWig file as lines of bedGraph."""
    with pyBigWig.open(str(path)) as file:
        return [
            f"{name}\t{start}\t{end}\t{value}"
            for name in file.chroms()
            for start, end, value in file.intervals(name) or ()
        ]


def test_probabilities_are_those_of_compare_tokens(folder, models, files, tmp_path):  # noqa: F811
    _, tracks = session_of(folder / "all.xml")
    values = values_of(bigwig_lines(tracks["a/b: boundary probability"]))
    assert not np.isnan(values).all()
    assert values == pytest.approx(compared_probabilities(models, files, tmp_path), rel=1e-3, nan_ok=True)


def test_queries_through_the_indexes_give_what_a_scan_gives(models, files, tmp_path):  # noqa: F811
    """Of a whole genome, with a record of one base."""
    written = dnachunk.browse(
        files / "genome.fa",
        tmp_path / "t.xml",
        model={"d": models["dnachunker"]},
        tokenizer="3mer",
        annotation=files / "genes.gff3",
        vcf=files / "variants.vcf",
        repeats=files / "repeats.bed",
    )
    assert isinstance(written, BrowserSession)
    _, tracks = session_of(tmp_path / "t.xml")
    assert [int(counts.sum()) for counts in written.tokens.values()] == [
        len(lines_of(tracks[name])) for name in written.tokens
    ]
    generator = random.Random(0)
    lengths = {"one": 2400, "two": 400, "three": 1}
    for path in tracks.values():
        if path.suffix == ".bw":
            continue
        lines = [line.split("\t") for line in lines_of(path) if not line.startswith("#")]
        if path.name.endswith(".gff3.gz"):
            spans = [(line[0], int(line[3]) - 1, int(line[4])) for line in lines]
        elif path.name.endswith(".vcf.gz"):
            spans = [(line[0], int(line[1]) - 1, int(line[1]) - 1 + len(line[3])) for line in lines]
        else:
            spans = [(line[0], int(line[1]), int(line[2])) for line in lines]
        assert spans == sorted(spans, key=lambda span: (list(lengths).index(span[0]), span[1]))
        file = pysam.TabixFile(str(path))
        for _ in range(200):
            name = generator.choice(file.contigs)
            start = generator.randrange(lengths[name])
            end = min(lengths[name], start + generator.choice([1, 20, 500]))
            want = [
                "\t".join(line)
                for line, (of, low, high) in zip(lines, spans, strict=True)
                if of == name and low < end and high > start
            ]
            assert list(file.fetch(name, start, end)) == want


def test_sequences_are_named_where_they_are_indexed_and_copied_where_not(files, tmp_path):  # noqa: F811
    letters = dict(
        zip(("one", "two", "three"), (files / "genome.fa").read_text().split("\n")[1::2], strict=True)
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()

    def written(fasta):
        dnachunk.browse(fasta, tmp_path / "out" / "s.xml", tokenizer="3mer", region="one:1-90")
        said, _ = session_of(tmp_path / "out" / "s.xml")
        return said["genome"]

    plain = tmp_path / "in" / "g.fa"
    plain.write_bytes((files / "genome.fa").read_bytes())
    packed = tmp_path / "in" / "p.fa.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for fasta, name in ((plain, "g"), (packed, "p")):
        before = contents(tmp_path / "in")
        assert written(fasta) == f"s_tracks/{name}.fa"
        assert contents(tmp_path / "in") == before
        copy = tmp_path / "out" / "s_tracks" / f"{name}.fa"
        # The copy's index is what samtools makes.
        index = copy.with_name(copy.name + ".fai").read_text()
        with pysam.FastaFile(str(copy)) as file:
            assert {each: file.fetch(each) for each in file.references} == letters
            assert file.fetch("one", 55, 130) == letters["one"][55:130]
        copy.with_name(copy.name + ".fai").unlink()
        pysam.faidx(str(copy))
        assert copy.with_name(copy.name + ".fai").read_text() == index
        assert [record.name for record in Genome(copy).records] == list(letters)
    # That of the other is gone.
    assert not (tmp_path / "out" / "s_tracks" / "g.fa").exists()
    pysam.faidx(str(plain))
    assert written(plain) == "../in/g.fa"
    assert not list((tmp_path / "out" / "s_tracks").glob("*.fa*"))
    blocks = tmp_path / "in" / "b.fa.gz"
    pysam.tabix_compress(str(plain), str(blocks))
    pysam.faidx(str(blocks))
    assert written(blocks) == "../in/b.fa.gz"
    blocks.with_name("b.fa.gz.gzi").unlink()
    assert written(blocks) == "s_tracks/b.fa"


MESSY = {
    "g.gff3": (
        "##gff-version 3\n#!remark\none\ts\tgene\t301\t350\t.\t+\t.\tID=c\n"
        "chr9\ts\tgene\t1\t5\t.\t+\t.\tID=z\n"
        "one\ts\tgene\t101\t400\t.\t+\t.\tID=a;Note=%C3\none\ts\tmRNA\t101\t300\t.\t+\t.\tID=b;Parent=a\n"
        "\n##FASTA\n>one\nACGT\n",
        ["##gff-version 3", "one 101 400", "one 101 300", "one 301 350"],
    ),
    "g.gtf": (
        'two\ts\texon\t11\t30\t.\t-\t.\tgene_id "x";\none\ts\texon\t21\t30\t.\t+\t.\tgene_id "y";\n',
        ["one 21 30", "two 11 30"],
    ),
    "g.bed": ("browser x\ntrack name=y\nchrtwo 4 9 x\none\t70\t90\tx\none\t60\t90\tx\n", None),
}


@pytest.mark.parametrize("name", MESSY)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_annotations_are_sorted(files, tmp_path, name, ending):  # noqa: F811
    text, expected = MESSY[name]
    path = tmp_path / (name + ending)
    path.write_bytes(gzip.compress(text.encode()) if ending else text.encode())
    dnachunk.browse(
        files / "genome.fa", tmp_path / "s.xml", tokenizer="3mer", annotation=path, aliases={"chrtwo": "two"}
    )
    _, tracks = session_of(tmp_path / "s.xml")
    copy = tracks[name]
    assert copy.name == f"{name}.gz"
    lines = lines_of(copy)
    if expected is None:
        assert lines == ["one\t60\t90\tx", "one\t70\t90\tx", "two\t4\t9\tx"]
    else:
        shown = [
            line if line.startswith("#") else " ".join(np.array(line.split("\t"))[[0, 3, 4]])
            for line in lines
        ]
        assert shown == expected
        assert {line for line in lines if "\t" in line} <= set(text.splitlines())
    assert len(list(pysam.TabixFile(str(copy)).fetch("one"))) == sum(line.startswith("one") for line in lines)


def test_variants_are_sorted_and_have_the_names_of_the_sequences(files, tmp_path):  # noqa: F811
    vcf = tmp_path / "v.vcf"
    vcf.write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=chrtwo,length=400>\n##contig=<ID=chrX>\n"
        '##INFO=<ID=END,Number=1,Type=Integer,Description="x">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        "chrtwo\t90\tlast\tA\tC\t.\t.\t.\nchrX\t5\t.\tA\tC\t.\t.\t.\nchrtwo\t10\tlong\tA\t<DEL>\t.\t.\tEND=80\n"
    )
    dnachunk.browse(
        files / "genome.fa", tmp_path / "s.xml", tokenizer="3mer", vcf=vcf, aliases={"chrtwo": "two"}
    )
    _, tracks = session_of(tmp_path / "s.xml")
    with pysam.VariantFile(str(tracks["v.vcf"])) as file:
        assert list(file.header.contigs) == ["two", "chrX"]
        assert [each.id for each in file.fetch("two", 60, 61)] == ["long"]
        assert [each.id for each in file.fetch("two")] == ["long", "last"]


def test_annotations_that_are_indexed_are_named_where_they_lie(files, tmp_path):  # noqa: F811
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    gff, vcf = tmp_path / "in" / "g.gff3", tmp_path / "in" / "v.vcf"
    gff.write_text("one\ts\tgene\t151\t260\t.\t+\t.\tID=g1\ntwo\ts\tgene\t11\t30\t.\t+\t.\tID=o\n")
    vcf.write_bytes((files / "variants.vcf").read_bytes())
    gff = pysam.tabix_index(str(gff), preset="gff")
    vcf = pysam.tabix_index(str(vcf), preset="vcf")
    session = tmp_path / "out" / "s.xml"
    dnachunk.browse(files / "genome.fa", session, tokenizer="3mer", annotation=gff, vcf=vcf)
    _, tracks = session_of(session)
    assert {name: os.path.relpath(path, session.parent) for name, path in list(tracks.items())[:2]} == {
        "g.gff3": "../in/g.gff3.gz",
        "v.vcf": "../in/v.vcf.gz",
    }
    # Where the sequences are called otherwise, a copy has their names.
    renamed = tmp_path / "in" / "chr.fa"
    renamed.write_text((files / "genome.fa").read_text().replace(">", ">chr"))
    dnachunk.browse(renamed, session, tokenizer="3mer", annotation=gff, vcf=vcf, aliases="chr")
    _, tracks = session_of(session)
    assert list(pysam.TabixFile(str(tracks["g.gff3"])).contigs) == ["chrone", "chrtwo"]
    assert list(pysam.TabixFile(str(tracks["v.vcf"])).contigs) == ["chrone"]


def test_a_session_can_be_moved(files, tmp_path, monkeypatch):  # noqa: F811
    """And needs no package that only a page needs."""
    monkeypatch.setattr(genome_browser, "_igv", lambda: pytest.fail("igv.js was looked for"))
    (tmp_path / "before").mkdir()
    dnachunk.browse(files / "genome.fa", tmp_path / "before" / "s.xml", tokenizer="3mer")
    (tmp_path / "before").rename(tmp_path / "after")
    said, tracks = session_of(tmp_path / "after" / "s.xml")
    assert all(path.is_file() for path in (tmp_path / "after" / said["genome"], *tracks.values()))


def test_tracks_of_an_earlier_session_make_room(files, tmp_path):  # noqa: F811
    session, copy = tmp_path / "s.xml", tmp_path / "s_tracks" / "genome.fa"
    dnachunk.browse(files / "genome.fa", session, tokenizer=["3mer", "4mer"])
    dnachunk.browse(files / "genome.fa", session, tokenizer="3mer")
    names = ["3mer.bed.gz", "3mer.bed.gz.tbi", "genome.fa", "genome.fa.fai"]
    assert sorted(path.name for path in copy.parent.iterdir()) == names
    # Sequences that it copied, when they are read from there, stay.
    dnachunk.browse(copy, session, tokenizer="3mer")
    assert sorted(path.name for path in copy.parent.iterdir()) == names
    said, _ = session_of(session)
    assert said["genome"] == "s_tracks/genome.fa"
    # What would be written over what is read is refused.
    (tmp_path / "s_tracks" / "3mer.bed").write_text("one\t1\t2\tx\n")
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"3mer\.bed is not of an earlier s\.xml"):
        dnachunk.browse(copy, session, tokenizer="3mer", annotation=tmp_path / "s_tracks" / "3mer.bed")
    (tmp_path / "s_tracks" / "3mer.bed").unlink()
    with pytest.raises(ArgumentError, match="annotation and output must be different files"):
        dnachunk.browse(
            files / "genome.fa",
            session,
            tokenizer="3mer",
            annotation=copy.parent / "3mer.bed.gz",
            region="one:1-90",
            aliases={"x": "one"},
        )
    before.pop(tmp_path / "s_tracks" / "3mer.bed")
    assert contents(tmp_path) == before


def test_what_is_wrong_is_told_and_nothing_is_written(files, tmp_path, monkeypatch):  # noqa: F811
    fasta, session = files / "genome.fa", tmp_path / "s.xml"
    (tmp_path / "chr.fa").write_text(f">chr1\n{'ACGTTGCA' * 40}\n")
    (tmp_path / "one.bed").write_text("1\t5\t50\tx\n")
    (tmp_path / "one.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n1\t5\t.\tT\tA\t.\t.\t.\n"
    )
    (tmp_path / "theirs_tracks").mkdir()
    (tmp_path / "theirs_tracks" / "3mer.bed.gz").write_text("mine")
    (tmp_path / "file_tracks").write_text("mine")
    os.mkfifo(tmp_path / "pipe.xml")
    before = sorted(tmp_path.rglob("*"))
    for arguments, error, said in (
        *(
            ({"fasta": tmp_path / "chr.fa", name: tmp_path / file}, ArgumentError, "aliases='chr'")
            for name, file in (("annotation", "one.bed"), ("repeats", "one.bed"), ("vcf", "one.vcf"))
        ),
        ({"region": "one:2000-3000"}, ValueError, "does not lie in"),
        ({"output": tmp_path / "no" / "s.xml"}, OSError, "no folder"),
        (
            {"output": tmp_path / "theirs.xml"},
            FileExistsError,
            r"3mer\.bed\.gz is not of an earlier theirs\.xml",
        ),
        ({"output": tmp_path / "file.xml"}, NotADirectoryError, "must be a folder"),
        ({"output": tmp_path / "pipe.xml"}, UsageError, "output must be a file, beside which"),
    ):
        with pytest.raises(error, match=said):
            dnachunk.browse(**{"fasta": fasta, "output": session, "tokenizer": "3mer", **arguments})
    page = dnachunk.browse(fasta, tokenizer="3mer")
    with pytest.raises(UsageError, match=r"output that ends in \.xml is a session"):
        page.write(session)
    # Whoever is root may write anywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="read-only"):
        dnachunk.browse(fasta, session, tokenizer="3mer")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("is_first", [True, False])
def test_an_interrupted_session_leaves_what_was_there(files, tmp_path, monkeypatch, is_first):  # noqa: F811
    session = tmp_path / "s.xml"
    if not is_first:
        dnachunk.browse(files / "genome.fa", session, tokenizer="3mer")
    before = contents(tmp_path)
    write = GenomeTokens.write

    def interrupt(tokens, output, **arguments):
        if "4mer" in output.name:
            assert (output.parent / "3mer.bed.gz").is_file()
            raise KeyboardInterrupt
        return write(tokens, output, **arguments)

    monkeypatch.setattr(GenomeTokens, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        dnachunk.browse(files / "genome.fa", session, tokenizer=["3mer", "4mer"])
    assert contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == (0 if is_first else 2)
    monkeypatch.undo()
    dnachunk.browse(files / "genome.fa", session, tokenizer=["3mer", "4mer"])
    assert list(session_of(session)[1]) == ["3mer", "4mer"]


# From here on in a browser.


class Server(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, whole or in part, igv.js, and a page that loads it."""

    def __init__(self, *arguments, script, ranges, **options):
        self.script, self.ranges = script, ranges
        super().__init__(*arguments, **options)

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if self.path == "/":
            body = (
                b'<!DOCTYPE html><link rel="icon" href="data:,">'
                b'<div id="igv"></div><script src="igv.js"></script>'
            )
        elif self.path == "/igv.js":
            body = self.script
        elif path.is_file():
            body = path.read_bytes()
        else:
            self.send_error(404)
            return
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        self.send_response(206 if part else 200)
        if part:
            start, end = int(part[1]), min(int(part[2] or len(body)), len(body) - 1)
            self.ranges.append(path.name)
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(body)}")
            body = body[start : end + 1]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """A server of a folder: its address, and the names of files of which parts were asked for."""
    spec = importlib.util.find_spec("igv_notebook")
    script = Path(spec.submodule_search_locations[0], "js", "igv.min.js").read_bytes()
    ranges = []
    handler = functools.partial(Server, directory=folder, script=script, ranges=ranges)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", ranges
        finally:
            server.shutdown()


def test_igv_shows_the_tracks_of_a_session(chromium, folder):  # noqa: F811
    _, tracks = session_of(folder / "all.xml")
    with served(folder) as (address, ranges):
        context = chromium.new_context(viewport={"width": 1400, "height": 900})
        page, faults = context.new_page(), []
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else 0)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        page.evaluate(
            """async () => { window.browser = await igv.createBrowser(document.getElementById("igv"),
            { loadDefaultGenomes: false, sessionURL: "all.xml" }); }"""
        )
        loaded = page.evaluate("() => browser.tracks.map(({ name }) => name).filter((name) => name)")
        assert loaded == list(tracks)
        assert page.evaluate("() => browser.referenceFrameList[0].getLocusString()") == "one:101-1,900"
        # By its index too, which a session does not name.
        named = f"all_tracks/{tracks['mergedna'].name}"
        page.evaluate(
            "(url) => browser.loadTrack({ name: 'indexed', url, indexURL: `${url}.tbi` }).then(() => null)",
            named,
        )
        in_view = """([name, start, end]) => browser.findTracks("name", name)[0].trackView.viewports[0]
            .cachedFeatures.filter((feature) => feature.start < end && feature.end > start)
            .map(({ start, end, name, color }) => [start, end, name, color])"""
        for start, end in ((140, 200), (560, 620), (1820, 1880)):
            page.evaluate("(locus) => browser.search(locus)", f"one:{start + 1}-{end}")
            page.wait_for_function(
                "() => browser.trackViews.every((each) => each.viewports.every((one) => !one.isLoading()))"
            )
            for name in ("a/b stage 0", "a/b", "mergedna", "mxdna", "3mer", "bpe-32", "indexed"):
                rows = [
                    line.split("\t") for line in lines_of(tracks["mergedna" if name == "indexed" else name])
                ]
                expected = [
                    [int(row[1]), int(row[2]), row[3], f"rgb({row[8]})"]
                    for row in rows
                    if int(row[1]) < end and int(row[2]) > start
                ]
                assert len(expected) > 10
                assert page.evaluate(in_view, [name, start, end]) == expected
            letters = page.evaluate(
                "([start, end]) => browser.genome.getSequence('one', start, end)", [start, end]
            )
            with pysam.FastaFile(str(folder / "all_tracks" / "genome.fa")) as file:
                assert letters.upper() == file.fetch("one", start, end).upper()
        page.evaluate("() => browser.search('one:141-400')")
        page.wait_for_function(
            "() => browser.trackViews.every((each) => each.viewports.every((one) => !one.isLoading()))"
        )
        for name, spans in (
            ("genes.gff3", [[150, 260], [240, 400], [300, 350]]),
            ("repeats.out", [[120, 150], [140, 200]]),
            # Of an allele that is not written in letters igv.js draws the first base.
            ("variants.vcf", [[149, 150], [160, 161]]),
        ):
            assert [each[:2] for each in page.evaluate(in_view, [name, 140, 400])] == spans
        values = page.evaluate(
            """() => { const track = browser.findTracks("name", "a/b: boundary probability")[0];
            return [track.type, track.dataRange.min, track.dataRange.max]; }"""
        )
        assert values == ["wig", 0, 1]
        assert set(ranges) == {tracks[name].name for name in ("mergedna", "a/b: boundary probability")}
        assert faults == []
        context.close()
