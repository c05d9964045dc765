import gzip
import importlib

from dnachunk.data import Genome, packaged_genome
from tests.cli.conftest import SMALL


def test_it_ends_with_tokens_and_plots(run, tmp_path, monkeypatch):
    demo = importlib.import_module("dnachunk.cli.demo")
    monkeypatch.setattr(demo, "FIELDS", SMALL[1::2])
    monkeypatch.setattr(demo, "WINDOW_BP", 64)
    monkeypatch.setattr(demo, "STEPS", 2)
    monkeypatch.setattr(demo, "EVAL_WINDOWS", 8)
    result = run("demo", "--output-dir", tmp_path / "demo")
    assert result.status == 0, result.err
    made = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"model.safetensors", "results.json", "tokens.bed", "tokens.png", "tokens_of_a_gene.png"} <= made
    assert (tmp_path / "demo" / "tokens_of_a_gene.png").read_bytes().startswith(b"\x89PNG")

    with gzip.open(packaged_genome().with_name("chlamydia_trachomatis_d.gff3.gz"), "rt") as file:
        gene = next(line.split("\t") for line in file if f"gene={demo.GENE};" in line)
    start_bp = int(gene[3]) - 1
    # The printed tokens are the sequence around the gene's start, and the bar stands at the start.
    printed = [line.strip() for line in result.out.splitlines() if set(line.strip()) <= set("ACGT |")]
    before, after = (part.replace(" ", "") for part in " ".join(printed).split("|"))
    assert len(before) >= demo.BEFORE_BP
    assert len(after) >= demo.AFTER_BP - 16
    ids, _ = Genome(packaged_genome()).fetch(0, start_bp - len(before), start_bp + len(after))
    assert before + after == "".join("ACGT"[base - 5] for base in ids.tolist())
    rows = [line.split("\t") for line in (tmp_path / "demo" / "tokens.bed").read_text().splitlines()]
    held_out_bp = 104_252
    assert sum(int(end) - int(start) for _, start, end, _ in rows) >= held_out_bp
