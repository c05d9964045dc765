import gzip
import importlib
import importlib.util
import shutil

import pytest

import dnachunk
from dnachunk.data import Genome, packaged_genome
from dnachunk.models import shipped
from tests.cli.conftest import SMALL


@pytest.fixture
def short(monkeypatch, model, tmp_path_factory):
    """The demo's module, with a model and a training that take a second, and another model that ships."""
    demo = importlib.import_module("dnachunk.cli.demo")
    for name, value in (
        *(("FIELDS", SMALL[1::2]), ("WINDOW_BP", 64), ("STEPS", 2), ("EVAL_WINDOWS", 8)),
        *(("PAGE_BP", (demo.GENE_BP[0] - 100, demo.GENE_BP[0] + 200)), ("TOKENIZER", "bpe-32")),
    ):
        monkeypatch.setattr(demo, name, value)
    packaged = tmp_path_factory.mktemp("packaged")
    shutil.copytree(model, packaged / demo.SHIPPED)
    monkeypatch.setattr(shipped, "PACKAGED", packaged)
    return demo


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokens.bed", "theirs"),
        ("tokens_of_a_gene.png", "theirs"),
        ("tokens.html", "theirs"),
        ("results.json", "[]"),
        ("results.json", "{"),
        ("results.json", '{"command": "dnachunk demolish"}'),
    ],
)
def test_what_is_not_an_earlier_demos_stays(run, short, tmp_path, name, text):
    (tmp_path / "config.json").write_text("theirs")
    (tmp_path / name).write_text(text)
    result = run("demo", "--output-dir", tmp_path)
    assert result.status == 1
    assert f"{tmp_path / name} is not of an earlier demo" in result.err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "config.json": "theirs",
        name: text,
    }


def test_it_ends_with_tokens_and_plots(run, short, tmp_path):
    assert run("demo", "--output-dir", tmp_path / "demo").status == 0
    # The same again replaces its own.
    result = run("demo", "--output-dir", tmp_path / "demo")
    assert result.status == 0, result.err
    made = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"model.safetensors", "results.json", "tokens.bed", "tokens.png", "tokens_of_a_gene.png"} <= made
    assert (tmp_path / "demo" / "tokens_of_a_gene.png").read_bytes().startswith(b"\x89PNG")

    with gzip.open(packaged_genome().with_name("chlamydia_trachomatis_d.gff3.gz"), "rt") as file:
        gene = next(line.split("\t") for line in file if f"gene={short.GENE};" in line)
    start_bp = int(gene[3]) - 1
    # The printed tokens are the sequence around the gene's start, and the bar stands at the start.
    printed = [line.strip() for line in result.out.splitlines() if set(line.strip()) <= set("ACGT |")]
    before, after = (part.replace(" ", "") for part in " ".join(printed).split("|"))
    assert len(before) >= short.BEFORE_BP
    assert len(after) >= short.AFTER_BP - 16
    ids, _ = Genome(packaged_genome()).fetch(0, start_bp - len(before), start_bp + len(after))
    assert before + after == "".join("ACGT"[base - 5] for base in ids.tolist())
    rows = [line.split("\t") for line in (tmp_path / "demo" / "tokens.bed").read_text().splitlines()]
    held_out_bp = 104_252
    assert sum(int(end) - int(start) for _, start, end, *_ in rows) >= held_out_bp


def test_it_ends_with_a_page(run, short, tmp_path):
    pytest.importorskip("igv_notebook", reason="igv-notebook is not installed")
    result = run("demo", "--output-dir", tmp_path / "demo")
    assert result.status == 0, result.err
    page = tmp_path / "demo" / "tokens.html"
    assert result.out.splitlines()[-1] == f"open {page} in a web browser, by a double click"
    start_bp, end_bp = short.PAGE_BP
    expected = dnachunk.browse(
        packaged_genome(),
        model={
            "this demo": tmp_path / "demo",
            "dnachunker-micro": shipped.PACKAGED / "dnachunker-micro",
        },
        tokenizer="bpe-32",
        annotation=packaged_genome().with_name("chlamydia_trachomatis_d.gff3.gz"),
        region=f"CHLTCG:{start_bp + 1}-{end_bp}",
    )
    assert [track.name for track in expected.tokens] == ["this demo", "dnachunker-micro", "bpe-32"]
    assert page.read_text() == expected.to_html()
    assert short.GENE in [feature.name for feature in expected.annotations[0].features]


def test_without_the_extra_it_says_how_to_get_a_page(run, short, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "igv_notebook" else find_spec(name, *rest),
    )
    result = run("demo", "--output-dir", tmp_path / "demo")
    assert result.status == 0, result.err
    assert "pip install 'dnachunk[browse]'" in result.out.splitlines()[-1]
    assert (tmp_path / "demo" / "tokens.bed").exists()
    assert not (tmp_path / "demo" / "tokens.html").exists()
