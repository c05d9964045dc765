"""``dnachunk browse`` to a page, or where that would be too large to a session."""

from xml.etree import ElementTree

from dnachunk.visualization import genome_browser


def test_what_is_too_large_for_a_page_is_told_how_to_be_seen(run, model, fasta, tmp_path, monkeypatch):
    monkeypatch.setattr(genome_browser, "MAX_PAGE_BYTES", 100)
    monkeypatch.chdir(tmp_path)
    words = ["browse", "--model", f"first={model}", "--model", f"second={model}", "--fasta", fasta]
    result = run(*words, "--output", "tokens.html")
    assert result.status == 1
    assert "take a minute to open" in result.err
    assert "in 2 tracks of tokens would have about 0 MB" in result.err
    assert "give a --region of up to" in result.err
    assert "or --output tokens.xml, a session of IGV with indexed tracks" in result.err
    assert not list(tmp_path.iterdir())
    result = run(*words, "--output", "tokens.xml")
    assert result.status == 0, result.err
    assert "tokens.xml: open it in IGV" in result.out
    names = [track.get("name") for track in ElementTree.parse("tokens.xml").getroot().iter("Track")]
    assert names == ["Reference sequence", "first", "second"]
    assert all(f"tokens_tracks/{name}.bed.gz" in result.out for name in names[1:])
    first, second = (tmp_path / "tokens_tracks" / f"{name}.bed.gz" for name in names[1:])
    assert first.read_bytes() == second.read_bytes()


def test_two_models_have_two_names(run, model, fasta, tmp_path):
    result = run(
        "browse", "--model", model, "--model", model, "--fasta", fasta, "--output", tmp_path / "s.xml"
    )
    assert result.status == 2
    assert f"several models are called {model.name}: give --model NAME=DIR" in " ".join(result.err.split())
    assert not list(tmp_path.iterdir())


def test_a_page_is_the_first_rank_s(run, fasta, tmp_path, monkeypatch):
    words = ["browse", "--tokenizer", "base", "--fasta", fasta, "--output", tmp_path / "p.html"]
    monkeypatch.setenv("RANK", "1")
    result = run(*words)
    assert (result.status, result.out, list(tmp_path.iterdir())) == (0, "", [])
    monkeypatch.setenv("RANK", "0")
    assert run(*words).status == 0
    assert (tmp_path / "p.html").is_file()
