"""The page that shows tokens in a genome browser: what Python puts on it, and what Chromium makes of it."""

import base64
import contextlib
import gzip
import importlib.util
import json
import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

import dnachunk
from dnachunk.data import Genome
from dnachunk.errors import ArgumentError, UsageError
from dnachunk.visualization import browser_tracks, genome_browser
from tests.training.runs import SMALL_CONFIGS

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    *("--no-sandbox", "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
NASTY = "a<b>&\"'</script><!--"
REGION = "one:101-1900"
START, END = 100, 1900

pytest.importorskip("igv_notebook", reason="igv-notebook is not installed")


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(1)
    return {name: AutoModel.from_config(config).eval() for name, config in SMALL_CONFIGS.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A genome with soft-masked letters and N, genes whose names are of all letters, repeats and variants."""
    folder = tmp_path_factory.mktemp("genome")
    generator = torch.Generator().manual_seed(3)
    text = "".join("ACGT"[i] for i in torch.randint(4, (2400,), generator=generator).tolist())
    text = text[:310] + text[310:600].lower() + "NNN" + text[603:]
    (folder / "genome.fa").write_text(f">one\n{text}\n>two\n{text[900:1300]}\n>three\nA\n")
    (folder / "genes.gff3").write_text(
        "one\ts\tgene\t151\t260\t.\t+\t.\tID=g1;Name=%3Cimg src=x%3E &\n"
        "one\ts\tgene\t241\t400\t.\t-\t.\tID=g2</script>\n"
        "one\ts\t<b>exon</b>\t301\t350\t.\t+\t.\tParent=g2\n"
        "two\ts\tgene\t11\t30\t.\t+\t.\tID=other\n"
    )
    (folder / "repeats.out").write_text(
        "463 1.3 0.6 1.7 one 121 150 (2250) + L1 LINE/L1 1 30 (0) 1\n"
        "463 1.3 0.6 1.7 one 141 200 (2200) C (CA)n Simple_repeat 1 60 (0) 2\n"
    )
    (folder / "repeats.bed").write_text("one\t1000\t1040\tx\none\t1030\t1050\ty\none\t2000\t2100\tz\n")
    (folder / "variants.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"one\t150\t<rs1>\t{text[149]}\tA,C\t.\t.\t.\none\t161\t.\t{text[160:162]}\t<DEL>\t.\t.\t.\n"
        f"one\t2000\t.\t{text[1999]}\tA\t.\t.\t.\n"
    )
    return folder


@pytest.fixture(scope="module")
def browsed(models, files):
    """A page of all that there may be, over a region that cuts tokens."""
    return dnachunk.browse(
        files / "genome.fa",
        model={NASTY: models["dnachunker"], "mergedna": models["mergedna"], "mxdna": models["mxdna"]},
        tokenizer=["3mer", "bpe-32"],
        annotation=files / "genes.gff3",
        repeats=[files / "repeats.out", files / "repeats.bed"],
        vcf=files / "variants.vcf",
        region=REGION,
    )


def unpacked(text, kind=None):
    raw = gzip.decompress(base64.b64decode(text))
    return raw.decode() if kind is None else np.frombuffer(raw, kind)


def data_of(page):
    """The data of a page, as a browser reads it."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.to_html(), re.DOTALL)
    return json.loads(found[1])


def tokens_of(data, tokenizer, record=0):
    packed = data["tokenizers"][tokenizer]["records"][record]
    gaps, lengths = unpacked(packed["gaps"], "<u4"), unpacked(packed["lengths"], "<u4")
    ends = (gaps.astype(int) + lengths).cumsum()
    return list(zip((ends - lengths).tolist(), ends.tolist(), strict=True))


def test_tokens_are_those_of_tokenize(browsed, models, files, tmp_path):
    data = data_of(browsed)
    names = [each["name"] for each in data["tokenizers"]]
    assert names == [f"{NASTY} stage 0", NASTY, "mergedna", "mxdna", "3mer", "bpe-32"]
    assert [each["stage"] for each in data["tokenizers"]] == ["1 of 2", "2 of 2", None, None, None, None]
    _, letters, *_ = unpacked(data["fasta"]).split("\n")
    first_bp = data["records"][0]["sequenceStart"]
    for index, kind in ((1, "dnachunker"), (2, "mergedna"), (3, "mxdna")):
        tokens = list(dnachunk.tokenize_genome(models[kind], files / "genome.fa", region=REGION))
        assert tokens_of(data, index) == [(token.start_bp, token.end_bp) for token in tokens]
        assert [
            letters[start - first_bp : end - first_bp].upper() for start, end in tokens_of(data, index)
        ] == [token.sequence for token in tokens]
        if kind == "mxdna":
            packed = data["tokenizers"][index]["records"][0]
            assert unpacked(packed["experts"], "<i2").tolist() == [token.expert for token in tokens]
            scores = unpacked(packed["scores"], "<u2") / 1000
            assert scores == pytest.approx([token.score for token in tokens], abs=6e-4)
    output = tmp_path / "t.bed"
    dnachunk.tokenize_genome(models["dnachunker"], files / "genome.fa", output, region=REGION)
    rows = [line.split("\t") for line in (tmp_path / "t.stage_0.bed").read_text().splitlines()]
    assert tokens_of(data, 0) == [(int(start), int(end)) for _, start, end, *_ in rows]
    assert all(end - start in (1, 3) for start, end in tokens_of(data, 4))


def test_where_tokens_read_is_what_tokenize_writes(browsed, models, files, tmp_path):
    table = tmp_path / "reads.tsv"
    dnachunk.tokenize_genome(
        models["mxdna"], files / "genome.fa", tmp_path / "t.bed", region=REGION, receptive_positions=table
    )
    packed = data_of(browsed)["tokenizers"][3]["records"][0]
    taps = packed["taps"]
    reads = unpacked(packed["reads"], "<i4").reshape(-1, taps)
    weights = unpacked(packed["weights"], "<u2").reshape(-1, taps)
    rows = [line.split("\t")[4:] for line in table.read_text().splitlines()]
    assert len(rows) == len(reads)
    for row, places, amounts in zip(rows, reads.tolist(), weights.tolist(), strict=True):
        assert ["NA" if place == -(1 << 31) else f"{place / 100:.2f}" for place in places] == row[:taps]
        assert [f"{amount / 1000:.3f}" for amount in amounts] == row[taps:]


def values_of(lines):
    """Lines of bedGraph as a value for each base of the region, NaN where there is none."""
    values = np.full(END - START, np.nan)
    for line in lines:
        name, start, end, value = line.split("\t")
        assert name == "one"
        assert START <= int(start) < int(end) <= END
        assert np.isnan(values[int(start) - START : int(end) - START]).all()
        values[int(start) - START : int(end) - START] = float(value)
    return values


def compared_probabilities(models, files, folder):
    """What ``compare_tokens`` says of the region."""
    dnachunk.compare_tokens(
        files / "genome.fa",
        model=models["dnachunker"],
        region=REGION,
        bedgraph=folder / "p.bedgraph",
        mutated_windows=2,
        max_sites=10,
    )
    return values_of((folder / "p.bedgraph").read_text().splitlines())


def test_probabilities_are_those_of_compare_tokens(browsed, models, files, tmp_path):
    (track,) = data_of(browsed)["probabilities"]
    assert track["tokenizer"] == 0
    values = unpacked(track["records"][0], "<u2") / 65534
    assert values == pytest.approx(compared_probabilities(models, files, tmp_path), abs=1e-3)


def test_bases_without_a_token_have_no_probability():
    packed = genome_browser._probability_data(torch.tensor([0.0, float("nan"), 1.0, 0.5]))
    assert unpacked(packed, "<u2").tolist() == [0, 65535, 65534, 32767]


def test_letters_are_soft_masked_and_cover_the_tokens(browsed, files):
    data = data_of(browsed)
    header, letters, *rest = unpacked(data["fasta"]).split("\n")
    assert rest == [""]
    (record,) = data["records"]
    first = record["sequenceStart"]
    assert header == f">one:{first + 1}-{first + len(letters)} @len=2400"
    whole = (files / "genome.fa").read_text().split("\n")[1]
    assert letters == whole[first : first + len(letters)]
    starts, ends = zip(
        *(tokens_of(data, index)[place] for index in range(6) for place in (0, -1)), strict=True
    )
    assert (first, first + len(letters)) == (min(starts), max(ends))
    assert first <= START
    assert first + len(letters) >= END


def test_features_in_the_region_are_there_by_file(browsed):
    data = data_of(browsed)
    names = ["genes.gff3", "repeats.out", "repeats.bed", "variants.vcf"]
    assert [track["name"] for track in data["annotations"]] == names
    bed = data["annotations"].pop(2)
    genes, repeats, variants = (json.loads(unpacked(track["features"])) for track in data["annotations"])
    assert genes == [
        [0, 150, 260, "+", "gene", "<img src=x> &"],
        [0, 240, 400, "-", "gene", "g2</script>"],
        [0, 300, 350, "+", "<b>exon</b>", "g2"],
    ]
    assert repeats == [
        [0, 120, 150, ".", "repeats", "LINE/L1"],
        [0, 140, 200, ".", "repeats", "Simple_repeat"],
    ]
    assert json.loads(unpacked(bed["features"])) == [[0, 1000, 1050, ".", "repeats", ""]]
    assert [variant[1:5] for variant in variants] == [
        [149, 150, ".", "SNV"],
        [160, 162, ".", "other variant"],
    ]
    assert variants[0][5].startswith("<rs1> ")


class Elements(HTMLParser):
    """Counts the elements of a page."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def handle_starttag(self, tag, attrs):
        self.found[tag] += 1


BODY = {
    *("header", "h1", "p", "main", "div", "aside", "section", "h2", "table", "form", "input", "button"),
    *("label", "select", "ol"),
}


def test_nothing_that_is_named_ends_a_script_or_begins_a_tag(browsed):
    page = browsed.to_html()
    parser = Elements()
    parser.feed(page)
    assert parser.found == {
        "html": 1,
        "head": 1,
        "meta": 3,
        "title": 1,
        "style": 1,
        "script": 3,
        "body": 1,
    } | {name: count for name, count in parser.found.items() if name in BODY}
    assert NASTY not in page
    assert "img src=x" not in page
    style, *_ = re.findall(r"<meta http-equiv=\"Content-Security-Policy\" content=\"([^\"]*)\"", page)
    assert "http" not in style
    inside = re.fullmatch(r'<iframe srcdoc="([^"]*)" sandbox="([^"]*)".*</iframe>', browsed._repr_html_())
    assert unescape(inside[1]) == page
    assert "allow-same-origin" not in inside[2]


def test_a_whole_genome_and_a_record_of_one_base(files, tmp_path):
    written = dnachunk.browse(files / "genome.fa", tmp_path / "page.html", tokenizer="6mer")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == written.to_html()
    data = data_of(written)
    assert [record["name"] for record in data["records"]] == ["one", "two", "three"]
    assert unpacked(data["fasta"]).split("\n")[4:] == [">three:1-1 @len=1", "A", ""]
    assert tokens_of(data, 0, 2) == [(0, 1)]
    for record, length_bp in enumerate((2400, 400, 1)):
        tokens = tokens_of(data, 0, record)
        assert all(end == start for (_, end), (start, _) in pairwise(tokens))
        assert (tokens[0][0], tokens[-1][1]) == (0, length_bp)
    assert "Tokens of genome: 2,801 bases" in str(written)
    one = dnachunk.browse(files / "genome.fa", tokenizer="base", region="one:5-5")
    assert unpacked(data_of(one)["fasta"]).startswith(">one:4-6 @len=2400\n")
    assert written.title == "Tokens of genome"
    assert one.title == "Tokens of genome, one:5-5"


def test_names_of_records_are_such_as_a_place_can_hold():
    names = ["chr1", "HLA:A*01:01", "a<b", "a:b", "all", "ä"]
    assert genome_browser._page_names(names) == ["chr1", "HLA_A*01_01", "a_b_3", "a_b_4", "all_5", "_"]


def test_names_of_records_differ_as_igv_tells_them_apart():
    names = ["a:1", "a;1", "a_1_2", "chr1", "1", "CHR1", "MT", "chrM", "All", "chrX", "chrall", "x_y"]
    unique = genome_browser._page_names(names)
    assert unique == [
        *("a_1_1", "a_1_3", "a_1_2"),
        *("chr1_4", "1_5", "CHR1_6", "MT_7", "chrM_8", "All_9"),
        *("chrX", "chrall", "x_y"),
    ]
    assert len(set(map(genome_browser._igv_name, unique))) == len(names)


@pytest.mark.parametrize("length_bp", [1, 90])
def test_byte_pairs_of_records_shorter_than_a_window(tmp_path, length_bp):
    fasta = tmp_path / "short.fa"
    fasta.write_text(f">short\n{('AC' * 90)[:length_bp]}\n")
    (track,) = dnachunk.browse(fasta, tokenizer="bpe-16").tokens
    assert track.records[0].end_bp[-1] == length_bp
    assert (track.records[0].end_bp[0] > 1) == (length_bp > 1)


def test_a_window_of_no_bases_is_refused(files):
    with pytest.raises(ValueError, match="window_bp must be a whole number of at least 1, got 0"):
        dnachunk.browse(files / "genome.fa", tokenizer="3mer", window_bp=0)


def test_long_alleles_are_shortened():
    assert browser_tracks._short("ACG") == "ACG"
    assert browser_tracks._short("A" * 1000) == "A" * 24 + "… (1,000 bp)"


def test_what_is_wrong_is_told_and_nothing_is_written(models, files, tmp_path, monkeypatch):
    fasta, output = files / "genome.fa", tmp_path / "page.html"
    (tmp_path / "chr.fa").write_text(f">chr1\n{'ACGTTGCA' * 40}\n")
    (tmp_path / "one.bed").write_text("1\t5\t50\tx\n")
    (tmp_path / "one.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n1\t5\t.\tT\tA\t.\t.\t.\n"
    )
    (tmp_path / "n.fa").write_text(f">n\n{'N' * 100}\n")
    copy = tmp_path / "copy.fa"
    copy.write_bytes(fasta.read_bytes())
    before = sorted(tmp_path.iterdir())
    for arguments, error, said in (
        ({"fasta": fasta}, UsageError, "at least one model or tokenizer"),
        ({"fasta": fasta, "tokenizer": "3mer", "region": "one:2000-3000"}, ValueError, "does not lie in"),
        ({"fasta": fasta, "tokenizer": "3mer", "region": "four"}, ArgumentError, "no record 'four'"),
        ({"fasta": fasta, "tokenizer": "3mer-overlapping"}, ValueError, "overlap"),
        ({"fasta": fasta, "tokenizer": ["3mer", "3mer"]}, ArgumentError, "got 3mer twice"),
        ({"fasta": fasta, "tokenizer": "3mer", "batch_size": 0}, ArgumentError, "batch_size"),
        ({"fasta": tmp_path / "n.fa", "tokenizer": "3mer"}, ValueError, "there is no A, C, G or T"),
        *(
            (
                {"fasta": tmp_path / "chr.fa", "tokenizer": "3mer", name: tmp_path / file},
                ArgumentError,
                "'chr'",
            )
            for name, file in (("annotation", "one.bed"), ("repeats", "one.bed"), ("vcf", "one.vcf"))
        ),
        ({"fasta": copy, "tokenizer": "3mer", "output": copy}, ArgumentError, "different files"),
        ({"fasta": fasta, "tokenizer": "3mer", "output": tmp_path / "no" / "p.html"}, OSError, "no folder"),
        ({"fasta": fasta, "tokenizer": "3mer", "output": tmp_path}, OSError, "is a folder"),
    ):
        with pytest.raises(error, match=said):
            dnachunk.browse(**{"output": output, **arguments})
    page = dnachunk.browse(copy, tokenizer="3mer")
    with pytest.raises(ArgumentError, match="fasta and output must be different files"):
        page.write(copy)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "igv_notebook" else find_spec(name)
    )
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'dnachunk\[browse\]'"):
        dnachunk.browse(fasta, output, tokenizer="3mer")
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupted_write_leaves_what_was_there(browsed, monkeypatch, tmp_path):
    output = tmp_path / "page.html"
    output.write_text("what was there")

    def interrupt(_):
        assert len(list(tmp_path.iterdir())) == 2
        raise KeyboardInterrupt

    monkeypatch.setattr(type(browsed), "to_html", interrupt)
    with pytest.raises(KeyboardInterrupt):
        browsed.write(output)
    assert list(tmp_path.iterdir()) == [output]
    assert output.read_text() == "what was there"


def test_a_page_that_is_too_large_is_refused_before_anything_is_computed(
    models, files, monkeypatch, tmp_path
):
    monkeypatch.setattr(genome_browser, "MAX_PAGE_BYTES", 5_000)
    monkeypatch.setattr(genome_browser, "run_tiles", lambda *_, **__: pytest.fail("computed"))
    with pytest.raises(
        ArgumentError,
        match=r"2,801 bases .* about 0 MB and take a minute to open.*output='p\.xml', a session of IGV",
    ) as told:
        dnachunk.browse(files / "genome.fa", tmp_path / "p.html", model=models["mxdna"], tokenizer="3mer")
    most = int(re.search(r"of up to ([\d,]+) bases", str(told.value))[1].replace(",", ""))
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(genome_browser, "MAX_PAGE_BYTES", 5_000)
    region = f"one:1-{most}"
    page = dnachunk.browse(files / "genome.fa", model=models["mxdna"], tokenizer="3mer", region=region)
    assert len(page.spans) == 1


def test_the_estimate_of_a_page_is_not_below_its_size(models, tmp_path):
    """Data of 20,000 bases, of all kinds of tracks."""
    genome = Genome(dnachunk.data.packaged_genome())
    page = dnachunk.browse(
        genome, model=list(models.values()), tokenizer=["base", "6mer"], region="CHLTCG:1-20000"
    )
    size = len(json.dumps(page._data()))
    each_base = genome_browser._SEQUENCE_BYTES + 6 * genome_browser._TOKENS_BYTES
    each_base += genome_browser._PROBABILITY_BYTES + genome_browser._READS_BYTES
    assert size < 20_000 * each_base < 10 * size


# From here on in a browser.


@pytest.fixture(scope="module")
def chromium():
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@contextlib.contextmanager
def opening(chromium, browsed, file):
    """The page opened from a file, without a network; whatever it complains of fails the test."""
    browsed.write(file)
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    page, faults, requests = context.new_page(), [], []

    def route(route):
        requests.append(route.request.url)
        if route.request.url == file.as_uri():
            route.continue_()
        else:
            route.abort()

    context.route("**/*", route)
    page.on(
        "console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else 0
    )
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-opened]")
    yield page
    assert faults == []
    assert requests == [file.as_uri()]
    context.close()


@pytest.fixture
def opened(chromium, browsed, tmp_path):
    with opening(chromium, browsed, tmp_path / "page.html") as page:
        yield page


def test_records_whose_names_igv_takes_for_one(chromium, tmp_path):
    names = ["chr1", "1", "CHR1", "MT", "chrM", "All", "a:1", "a;1", "a_1_2", "__proto__"]
    fasta = tmp_path / "names.fa"
    fasta.write_text("".join(f">{name}\n{'ACGT' * 20}\n" for name in names))
    with opening(chromium, dnachunk.browse(fasta, tokenizer="6mer"), tmp_path / "names.html") as page:
        found = [
            page.evaluate(
                "async (name) => { await page.browser.search(`${name}:11-50`);"
                " return page.browser.referenceFrameList[0].chr; }",
                name,
            )
            for name in genome_browser._page_names(names)
        ]
    assert found == genome_browser._page_names(names)


def go(page, start, end):
    """Moves to bases counted from 0; gives what is in view, as the page says."""
    page.evaluate("(locus) => page.browser.search(locus)", f"one:{start + 1}-{end}")
    page.wait_for_function(
        """([start, end]) => { const shown = view();
        return shown && shown.start >= start - 20 && shown.end <= end + 20
            && element("locus").textContent.startsWith(place(shown.record, shown.start, shown.end))
            && page.browser.trackViews.every((each) => each.viewports.every((one) => !one.isLoading())); }""",
        arg=[start, end],
    )
    text = page.inner_text("#locus")
    first, last = (int(each.replace(",", "")) for each in re.search(r"one:([\d,]+)-([\d,]+)", text).groups())
    return first - 1, last


def test_tracks_have_their_features(opened, browsed, models, files, tmp_path):
    bed = tmp_path / "t.bed"
    dnachunk.tokenize_genome(models["mergedna"], files / "genome.fa", bed, region=REGION)
    rows = [line.split("\t") for line in bed.read_text().splitlines()]
    in_view = """([name, start, end]) => page.browser.findTracks("name", name)[0].trackView.viewports[0]
        .cachedFeatures.filter((feature) => feature.start < end && feature.end > start)
        .map(({ start, end, name }) => [start, end, name ?? null])"""
    for locus in ((100, 180), (560, 640), (1820, 1900)):
        start, end = go(opened, *locus)
        expected = [
            [int(first), int(last), letters]
            for _, first, last, letters, *_ in rows
            if int(first) < end and int(last) > start
        ]
        assert len(expected) > 10
        assert opened.evaluate(in_view, ["3 mergedna", start, end]) == expected
        found = [tuple(each[:2]) for each in opened.evaluate(in_view, ["5 3mer", start, end])]
        data = data_of(browsed)
        assert found == [(low, high) for low, high in tokens_of(data, 4) if low < end and high > start]
    go(opened, 140, 260)
    assert opened.evaluate(in_view, ["genes.gff3", 140, 260]) == [
        [150, 260, "<img src=x> &"],
        [240, 400, "g2</script>"],
    ]
    assert opened.evaluate(in_view, ["repeats.out", 140, 260]) == [
        [120, 150, "LINE/L1"],
        [140, 200, "Simple_repeat"],
    ]
    assert len(opened.evaluate(in_view, ["variants.vcf", 140, 260])) == 2
    # Where tokens cannot be seen there are bars.
    start, end = go(opened, 100, 1900)
    assert opened.evaluate("() => page.browser.findTracks('name', '3 mergedna')[0].isOverview")
    values = opened.evaluate(
        "() => page.browser.findTracks('name', '5 3mer')[0].trackView.viewports[0].cachedFeatures"
        ".map(({ value }) => value)"
    )
    assert min(values) >= 1
    assert max(values) == pytest.approx(3)


def test_probabilities_are_shown(opened, browsed):
    values = unpacked(data_of(browsed)["probabilities"][0]["records"][0], "<u2") / 65534
    start, end = go(opened, 700, 760)
    found = opened.evaluate(
        """([start, end]) => page.browser.tracks.find(({ type }) => type === "wig")
        .trackView.viewports[0].cachedFeatures
        .filter((feature) => feature.start >= start && feature.end <= end).map(({ value }) => value)""",
        [start, end],
    )
    assert found == pytest.approx(values[start - START : end - START].tolist())


def popup(page, track, bp):
    """What a click on a base shows, as the track says it."""
    return page.evaluate(
        """([name, bp]) => {
        const track = page.browser.findTracks("name", name)[0], viewport = track.trackView.viewports[0];
        return Object.fromEntries(track.popupData({
            viewport, referenceFrame: viewport.referenceFrame, genomicLocation: bp, y: 20,
        }).map(({ name, value }) => [name, value])); }""",
        [track, bp],
    )


def test_popups_say_what_a_token_is(opened, models, files):
    go(opened, 150, 230)
    tokens = list(dnachunk.tokenize_genome(models["mxdna"], files / "genome.fa", region=REGION))
    token = next(each for each in tokens if each.start_bp <= 190 < each.end_bp)
    found = popup(opened, "4 mxdna", 190.5)
    assert found["Token"] == token.sequence
    assert found["Length"] == f"{len(token.sequence)} bp"
    assert found["Location"] == f"one:{token.start_bp + 1}-{token.end_bp}"
    assert found["Expert"] == ("none" if token.expert < 0 else str(token.expert))
    if token.expert >= 0:
        assert float(found["Its probability"]) == pytest.approx(token.score, abs=6e-4)
    reads = popup(opened, "mxdna: where tokens read", 190.5)
    assert reads["Token"] == token.sequence
    assert re.fullmatch(r"reads at [\d.,-]+, weight [\d.]+|outside", reads["Tap 1"])
    escaped = NASTY.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = escaped.replace('"', "&quot;").replace("'", "&#39;")
    found = popup(opened, f"1 {escaped} stage 0", 190.5)
    assert (found["Tokenizer"], found["Stage"]) == (f"{escaped} stage 0", "1 of 2")
    assert popup(opened, "genes.gff3", 200)["Name"] == "&lt;img src=x&gt; &amp;"
    # A click for a mouse's sake.
    box = opened.evaluate(
        """() => { const { x, y, width, height } = page.browser.findTracks("name", "5 3mer")[0].trackView
        .viewports[0].$viewport[0].getBoundingClientRect(); return [x + width / 2, y + height - 12]; }"""
    )
    opened.mouse.click(*box)
    opened.wait_for_selector("text=Tokenizer", timeout=5000)
    assert opened.locator("img").count() == 0


def naive_density(tokens, letters, first_bp, bases):
    """Tokens per base over those bases that are A, C, G or T."""
    length = {place: end - start for start, end in tokens for place in range(start, end)}
    counted = [place for place in bases if letters[place - first_bp].upper() in "ACGT"]
    return sum(1 / length[place] for place in counted) / len(counted) if counted else None


def test_the_panel_counts_what_is_in_view(opened, browsed):
    data = data_of(browsed)
    letters, first_bp = unpacked(data["fasta"]).split("\n")[1], data["records"][0]["sequenceStart"]
    kinds = {
        "all": range(START, END),
        "gene": range(150, 400),
        "<b>exon</b>": range(300, 350),
        "repeats": [*range(120, 200), *range(1000, 1050)],
        "soft-masked": [place for place in range(START, END) if letters[place - first_bp].islower()],
    }
    kinds["elsewhere"] = [place for place in range(START, END) if place not in kinds["gene"]]
    for locus in ((100, 220), (280, 420), (590, 700), (100, 1900)):
        start, end = go(opened, *locus)
        shown = opened.locator(".tokenizer")
        for index in range(6):
            tokens = tokens_of(data, index)
            lengths = [high - low for low, high in tokens if low < end and high > start]
            text = shown.nth(index).locator(".figures").inner_text()
            assert text == f"{len(lengths):,}, mean {sum(lengths) / len(lengths):,.2f} bp"
            titles = shown.nth(index).locator("title").all_text_contents()
            counts = {
                int(each.split(" of ")[1].split()[0]): int(each.split()[0].replace(",", ""))
                for each in titles
            }
            assert counts == {
                length: count
                for length, count in enumerate(np.bincount(np.minimum(lengths, 32)).tolist())
                if count
            }
        table = [
            [cell.strip() for cell in row.split("\t")]
            for row in opened.locator("#regions tbody tr").all_inner_texts()
        ]
        expected = {
            kind: [
                place for place in bases if start <= place < end and letters[place - first_bp] in "ACGTacgt"
            ]
            for kind, bases in kinds.items()
        }
        assert {row[0] for row in table} == {kind for kind, bases in expected.items() if bases}
        for kind, *cells in table:
            wanted = [
                naive_density(tokens_of(data, index), letters, first_bp, expected[kind]) for index in range(6)
            ]
            assert [float(cell) for cell in cells] == pytest.approx(wanted, abs=6e-4)


def naive_sites(letters, first_bp, motif, wanted):
    """Places of a motif given as the letters that each position may be."""
    return [
        start
        for start in range(START, END - len(motif) + 1)
        if all(letters[start + offset - first_bp].upper() in allowed for offset, allowed in enumerate(wanted))
    ]


def test_a_motif_has_its_sites_and_their_tokens(opened, browsed):
    data = data_of(browsed)
    letters, first_bp = unpacked(data["fasta"]).split("\n")[1], data["records"][0]["sequenceStart"]
    forward = naive_sites(letters, first_bp, "TGR", ["T", "G", "AG"])
    reverse = naive_sites(letters, first_bp, "YCA", ["CT", "C", "A"])
    sites = sorted([(start, "+") for start in forward] + [(start, "-") for start in reverse])
    opened.fill("#motif-letters", "tgr")
    opened.click("#motif button")
    assert opened.inner_text("#motif-told") == f"{len(sites)} sites, by tokenizer:"
    rows = [row.split("\t") for row in opened.locator("#motif-figures tbody tr").all_inner_texts()]
    for index in range(6):
        tokens = tokens_of(data, index)
        each = [sum(low < start + 3 and high > start for low, high in tokens) for start, _ in sites]
        assert float(rows[0][1 + index]) == pytest.approx(np.mean(each), abs=6e-3)
        share = 100 * each.count(1) / len(each)
        assert float(rows[1][1 + index]) == pytest.approx(share, abs=0.06)
    opened.select_option("#motif-tokenizer", "4")
    listed = opened.locator("#motif-sites button")
    assert listed.count() == min(100, len(sites))
    edges = {edge for token in tokens_of(data, 4) for edge in token}
    complement = str.maketrans("ACGTN", "TGCAN")
    for place in (0, 1, 2, 3, 20):
        start, strand = sites[place]
        cut = "".join(
            ("|" if start + offset in edges else "") + letter
            for offset, letter in enumerate(letters[start - first_bp : start - first_bp + 3].upper())
        ) + ("|" if start + 3 in edges else "")
        if strand == "-":
            cut = cut[::-1].translate(complement)
        assert listed.nth(place).locator("span").inner_text() == f"one:{start + 1:,} {strand}"
        assert listed.nth(place).locator("b").inner_text() == cut
    cuts = [row.split("\t") for row in opened.locator("#motif-cuts tr").all_inner_texts()]
    assert int(cuts[0][1]) == max(int(cut[1]) for cut in cuts)
    assert {cut[0].replace("|", "") for cut in cuts} == {"TGR"}
    # A click jumps there.
    listed.nth(20).click()
    start = sites[20][0]
    opened.wait_for_function(
        """(start) => { const shown = view(); return shown.start <= start && shown.end - shown.start < 120
            && element("locus").textContent.startsWith(place(shown.record, shown.start, shown.end)); }""",
        arg=start,
    )
    shown = re.search(r"one:([\d,]+)-([\d,]+)", opened.inner_text("#locus"))
    low, high = (int(each.replace(",", "")) for each in shown.groups())
    assert low - 1 <= start < start + 3 <= high
    assert high - low < 120
    features = opened.evaluate(
        """async () => { await page.motifTrack;
        return page.browser.findTracks("name", "Motif")[0].featureSource.getAllFeatures().one.length; }"""
    )
    assert features == len(sites)
    for wrong, said in (("TXG", "must be of the letters"), ("ACGTACGTACGTTTTTACGT", "does not occur")):
        opened.fill("#motif-letters", wrong)
        opened.click("#motif button")
        assert said in opened.inner_text("#motif-told")
        assert opened.locator("#motif-found").is_hidden()
    tracks = "async () => { await page.motifTrack; return page.browser.findTracks('name', 'Motif').length; }"
    assert opened.evaluate(tracks) == 0


def test_beyond_the_region_there_is_nothing_and_it_is_said(opened):
    opened.evaluate("() => page.browser.search('one:2201-2300')")
    opened.wait_for_selector("text=Nothing of this page")
    assert opened.inner_text("#locus") == "Nothing of this page is in view."
    assert opened.inner_text("#lengths") == "No tokens."
    assert opened.locator("#regions tr").count() == 0


def test_it_shows_itself_in_a_notebook(chromium, browsed, tmp_path):
    (tmp_path / "notebook.html").write_text(f"<!DOCTYPE html><body>{browsed._repr_html_()}", encoding="utf-8")
    context = chromium.new_context(viewport={"width": 900, "height": 800}, offline=True)
    page, faults = context.new_page(), []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else 0)
    page.goto((tmp_path / "notebook.html").as_uri())
    frame = page.frames[1]
    frame.wait_for_selector("body[data-opened]")
    frame.fill("#motif-letters", "TGR")
    frame.click("#motif button")
    assert "sites" in frame.inner_text("#motif-told")
    assert faults == []
    context.close()
