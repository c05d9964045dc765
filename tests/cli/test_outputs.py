"""What a user has is never replaced unasked: every command, every kind of output."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dnachunk import DNATokenizer, MxDNAConfig, MxDNAForMaskedLM
from dnachunk.data import Task, read_labelled
from dnachunk.training.adaptation import load_with_head
from tests.cli.conftest import SMALL

VARIANTS = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


@pytest.fixture(scope="module")
def vcf(fasta, tmp_path_factory):
    """Two variants of the genome."""
    name, *lines = fasta.read_text().split("\n")
    letters = "".join(lines)[:40].upper()
    path = tmp_path_factory.mktemp("vcf") / "variants.vcf"
    record = name[1:].split()[0]
    alleles = [(at, letters[at - 1], "A" if letters[at - 1] != "A" else "C") for at in (10, 20)]
    rows = [f"{record}\t{at}\t.\t{base}\t{other}\t.\t.\t.\n" for at, base, other in alleles]
    path.write_text(VARIANTS + "".join(rows))
    return path


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """A coding sequence and a table of measured mutants."""
    folder = tmp_path_factory.mktemp("scan")
    (folder / "cds.fa").write_text(">cds\nATGAAAGCTTGGTAA\n")
    (folder / "dms.csv").write_text("mutant,score\nK2R,0.5\nA3V,0.1\nW4C,0.9\n")
    return folder


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("labelled") / "train.csv"
    rows = [f"{'ACGT'[index % 4] * 3}ACGTTGCA{'TGCA'[index // 4 % 4] * 3},{index % 2}" for index in range(24)]
    path.write_text("sequence,label\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def classifier(model, labelled, tmp_path_factory):
    """The model with a head for the labels, which predicts as badly as any."""
    directory = tmp_path_factory.mktemp("classifier")
    task = Task.of({"train": read_labelled(labelled)}, valid_share=0.2)
    load_with_head(model, task).save_pretrained(directory)
    DNATokenizer().save_pretrained(directory)
    return directory


@pytest.fixture
def commands(model, classifier, fasta, vcf, scan, labelled, tmp_path):
    """By command: its words without the output, and the inputs that it reads."""
    suite = tmp_path / "suite"
    for split in ("train", "test"):
        (suite / "task").mkdir(parents=True, exist_ok=True)
        shutil.copy(labelled, suite / "task" / f"{split}.csv")
    motifs = tmp_path / "motifs" / "motifs.jaspar"
    motifs.parent.mkdir()
    motifs.write_text(">at\n9 0\n0 0\n0 0\n0 9\n")
    genes = motifs.with_name("genes.gff3")
    exon = "{}\tx\texon\t{}\t{}\t.\t+\t.\tParent={}\n"
    exons = [exon.format(name, start, start + 19, name) for name in ("one", "two") for start in (11, 61)]
    genes.write_text("".join(exons))
    repeats = motifs.parent / "repeats.out"
    repeats.write_text("9 1.5 0 0 one 11 60 (0) + X LINE/L1 1 50 (0) 1\n")
    of_genome = ["--model", model, "--fasta", fasta]
    short = ["--max-steps", 2, "--per-device-train-batch-size", 2]
    return {
        "tokenize": (of_genome, [fasta, model / "model.safetensors", model / "config.json"]),
        "embed": (of_genome, [fasta, model / "model.safetensors"]),
        "score-variants": ([*of_genome, "--vcf", vcf], [fasta, vcf, model / "tokenizer_config.json"]),
        "score-mutations": (
            ["--model", model, "--fasta", scan / "cds.fa", "--variants", scan / "dms.csv"],
            [scan / "cds.fa", scan / "dms.csv"],
        ),
        "predict": (
            ["--model", classifier, "--sequences", labelled],
            [labelled, classifier / "model.safetensors"],
        ),
        "browse": (
            [*of_genome, "--region", "one:1-400", "--vcf", vcf],
            [fasta, vcf, model / "model.safetensors"],
        ),
        "compare-tokens": (
            [
                *(*of_genome, "--mutated-windows", 2, "--region", "one:1-400", "--vcf", vcf),
                *("--motif", motifs, "--repeats", repeats, "--labelled", labelled),
            ],
            [fasta, vcf, motifs, repeats, labelled],
        ),
        "splice-sites": (
            ["--fasta", fasta, "--annotation", genes, "--test", "two", "--window-bp", 8],
            [fasta, genes],
        ),
        "profile": (
            ["--model", model, "--fasta", fasta, "--length-bp", 64, "--repeats", 1],
            [fasta, model / "model.safetensors"],
        ),
        "pretrain": (["--fasta", fasta, "--eval-windows", 2, *short, *SMALL], [fasta]),
        "finetune": (["--model", model, "--train", labelled, *short], [labelled]),
        "evaluate": (["--model", model, "--suite", suite, "--seeds", 1, *short], [labelled]),
    }


FILES = {
    "tokenize": "out.bed",
    "embed": "out.safetensors",
    "score-variants": "out.tsv",
    "predict": "out.tsv",
    "browse": "out.html",
}
WITH_NUMBERS = [command for command in FILES if command != "browse"]
FOLDERS = [
    *("score-mutations", "compare-tokens", "profile", "pretrain", "finetune", "evaluate", "splice-sites"),
]
STREAMING = ["tokenize", "score-variants", "predict", "browse"]


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.mark.parametrize("link", ["path", "symlink", "hard link"])
@pytest.mark.parametrize("command", FILES)
def test_an_output_that_is_an_input_is_refused(run, commands, tmp_path, command, link):
    words, inputs = commands[command]
    for number, path in enumerate(inputs):
        # The name's ending must be one that the command writes.
        output = tmp_path / f"{number}_{FILES[command]}"
        if link == "path":
            if path.suffix != output.suffix and command == "embed":
                continue
            output = path
        elif link == "symlink":
            output.symlink_to(path)
        else:
            os.link(path, output)
        before = path.read_bytes()
        result = run(command, *words, "--output", output)
        assert result.status != 0
        refusals = ("must be different files", "must not end in", "is not of an earlier")
        assert any(refusal in result.err for refusal in refusals)
        assert path.read_bytes() == before
        assert path.samefile(output)


@pytest.mark.parametrize("standard_output", ["-", "/dev/stdout"])
@pytest.mark.parametrize("command", STREAMING)
def test_standard_output_gets_what_a_file_does(
    run, commands, tmp_path, monkeypatch, command, standard_output
):
    monkeypatch.chdir(tmp_path)
    words, _ = commands[command]
    assert run(command, *words, "--output", FILES[command]).status == 0
    before = contents(tmp_path)
    result = run(command, *words, "--output", standard_output)
    assert result.status == 0
    assert result.out == (tmp_path / FILES[command]).read_text()
    assert standard_output in result.err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", STREAMING)
def test_a_pipe_is_written_to_and_stays_one(run, commands, tmp_path, command):
    words, _ = commands[command]
    expected = tmp_path / FILES[command]
    run(command, *words, "--output", expected)
    folder = tmp_path / "pipes"
    folder.mkdir()
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert run(command, *words, "--output", pipe).status == 0
    reader.join()
    assert read == [expected.read_text()]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(folder.iterdir()) == [pipe]


@pytest.mark.parametrize("command", FILES)
def test_a_device_is_never_replaced(run, commands, tmp_path, command):
    device = tmp_path / FILES[command]
    try:
        # The same as /dev/null, which a test must not try its luck with.
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        device.open("wb").close()
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    words, _ = commands[command]
    result = run(command, *words, "--output", device)
    assert (result.status == 0) == (command in STREAMING)
    assert stat.S_ISCHR(device.stat().st_mode)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


@pytest.mark.parametrize("command", FILES)
def test_a_link_is_followed(run, commands, tmp_path, command):
    words, _ = commands[command]
    target, link = tmp_path / "elsewhere" / FILES[command], tmp_path / FILES[command]
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    assert run(command, *words, "--output", link).status == 0
    assert link.is_symlink()
    assert target.read_bytes() not in (b"old", b"")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.parametrize("beside", [".json", ".png"])
@pytest.mark.parametrize("command", WITH_NUMBERS)
def test_files_beside_the_output_replace_no_others(run, commands, tmp_path, command, beside):
    if beside == ".png" and command != "tokenize":
        return
    words, _ = commands[command]
    output = tmp_path / FILES[command]
    theirs = output.with_suffix(beside)
    theirs.write_text("the user's own")
    result = run(command, *words, "--output", output)
    assert result.status == 1
    assert f"{theirs} is not of an earlier" in result.err
    assert not output.exists()
    assert theirs.read_text() == "the user's own"


@pytest.mark.parametrize("command", WITH_NUMBERS)
def test_the_output_is_not_where_the_numbers_go(run, commands, tmp_path, command):
    words, _ = commands[command]
    result = run(command, *words, "--output", tmp_path / "x.json")
    assert result.status != 0
    assert "must not end in .json" in result.err or "must end in .safetensors or .npz" in result.err
    assert not list(tmp_path.glob("x*"))


def test_another_commands_numbers_are_kept(run, commands, tmp_path):
    words, _ = commands["tokenize"]
    assert run("tokenize", *words, "--output", tmp_path / "x.bed").status == 0
    before = contents(tmp_path)
    for command, name in (
        ("embed", "x.npz"),
        ("score-variants", "x.tsv"),
        ("tokenize", "x.bed.gz"),
    ):
        result = run(command, *commands[command][0], "--output", tmp_path / name)
        assert result.status == 1
        assert "x.json is not of an earlier" in result.err
    assert contents(tmp_path) == before
    assert run("tokenize", *words, "--output", tmp_path / "x.bed").status == 0


@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_of_something_else_is_refused(run, commands, tmp_path, command):
    words, _ = commands[command]
    folder = tmp_path / "taken"
    folder.mkdir()
    (folder / "results.json").write_text('{"metrics": {"theirs": 1}}')
    before = contents(folder)
    result = run(command, *words, "--output-dir", folder)
    assert result.status == 1
    assert f"{folder / 'results.json'} is not of an earlier {command}" in (result.err)
    assert contents(folder) == before


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_a_model_is_not_written_over(run, commands, model, tmp_path, command):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    before = contents(folder)
    words, _ = commands[command]
    result = run(command, *words, "--output-dir", folder)
    assert result.status == 1
    assert "holds a model: choose another" in result.err
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["tokenizer_config.json", "training_args.bin"])
@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_a_part_of_a_model_is_not_written_over(run, commands, tmp_path, command, name):
    folder = tmp_path / "part"
    folder.mkdir()
    (folder / name).write_text("theirs")
    words, _ = commands[command]
    result = run(command, *words, "--output-dir", folder)
    assert result.status == 1
    assert "holds a model: choose another" in result.err
    assert contents(folder) == {Path(name): b"theirs"}


@pytest.mark.parametrize("command", FOLDERS)
def test_a_file_is_no_folder(run, commands, tmp_path, command):
    words, _ = commands[command]
    file = tmp_path / "file"
    file.write_text("theirs")
    for output in (file, file / "below", "-"):
        result = run(command, *words, "--output-dir", output)
        assert result.status == 1
        assert "folder" in result.err
    assert file.read_text() == "theirs"


@pytest.mark.parametrize("command", FOLDERS)
def test_the_same_again_is_no_surprise(run, commands, tmp_path, command):
    """What can be computed again replaces its own; what was trained is not thrown away."""
    words, _ = commands[command]
    folder = tmp_path / "out"
    assert run(command, *words, "--output-dir", folder).status == 0
    before = contents(folder)
    again = run(command, *words, "--output-dir", folder)
    if command in ("pretrain", "finetune"):
        assert again.status == 1
        assert contents(folder) == before
    else:
        assert again.status == 0
        assert contents(folder).keys() == before.keys()


def test_a_table_is_not_scored_onto_itself(run, commands, scan, model, tmp_path):
    words, _ = commands["score-mutations"]
    folder = tmp_path / "scan"
    assert run("score-mutations", *words, "--output-dir", folder).status == 0
    before = contents(folder)
    table = ["--variants", folder / "scores.csv", "--output-dir", folder]
    result = run("score-mutations", "--model", model, "--fasta", scan / "cds.fa", *table)
    assert result.status == 1
    assert "must be different files" in result.err
    assert contents(folder) == before


def test_the_positions_are_no_file_beside_the_tokens(run, fasta, tmp_path):
    MxDNAForMaskedLM(MxDNAConfig.micro()).save_pretrained(tmp_path / "mxdna")
    DNATokenizer(cls_sep=True).save_pretrained(tmp_path / "mxdna")
    for positions in ("x.json", "x.png", "x.bed"):
        result = run(
            *("tokenize", "--model", tmp_path / "mxdna", "--fasta", fasta, "--output", tmp_path / "x.bed"),
            *("--receptive-positions", tmp_path / positions),
        )
        assert result.status == 1
        assert "must be different files" in result.err
    assert not (tmp_path / "x.bed").exists()


# A command in a process of its own, which is sent a signal as soon as it is about to write.
SIGNALLED = """
import os, signal, sys, threading, time
from pathlib import Path
from dnachunk.cli import main

# A shell's background jobs are deaf to these.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
folder, number = Path(sys.argv[1]), int(sys.argv[2])

def watch():
    while not any(folder.rglob(".*")):
        time.sleep(0.001)
    os.kill(os.getpid(), number)

threading.Thread(target=watch, daemon=True).start()
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("command", ["tokenize", "score-variants"])
def test_a_signal_leaves_nothing_behind(commands, tmp_path, command, number):
    words, _ = commands[command]
    folder = tmp_path / "outputs"
    folder.mkdir()
    output = folder / FILES[command]
    output.write_text("what was there")
    ended = subprocess.run(
        [sys.executable, "-c", SIGNALLED, folder, str(int(number)), command]
        + [str(word) for word in (*words, "--output", output)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 128 + number
    assert "Traceback" not in ended.stderr
    assert contents(folder) == {output.relative_to(folder): b"what was there"}
