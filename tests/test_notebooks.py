"""The notebooks run from top to bottom, and are kept as they are written: without outputs."""

import json
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FEW_STEPS = 2


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def steps_cell(notebook):
    (cell,) = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    return cell


def executed(path, folder, steps=None):
    """The notebook with its outputs, run in a folder, with its own number of steps or this one."""
    notebook = nbformat.read(path, as_version=4)
    if steps is not None:
        steps_cell(notebook).source = f"STEPS = {steps}"
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    return client.execute()


def num_figures(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def num_plots(notebook):
    """Cells that draw."""
    draws = re.compile(r"^(plot_\w+|figure, .*= plt\.subplots)\(", re.MULTILINE)
    return sum(draws.search(cell.source) is not None for cell in code_cells(notebook))


def test_there_are_the_five():
    assert [path.stem for path in NOTEBOOKS] == [
        "drop_in_module",
        "finetune_with_lora",
        "pretrain_your_genome",
        "quickstart",
        "read_the_tokens",
    ]
    readme = (ROOT / "README.md").read_text()
    for path in NOTEBOOKS:
        assert f"(notebooks/{path.name})" in readme


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_with_a_few_steps(path, tmp_path):
    notebook = executed(path, tmp_path, FEW_STEPS)
    assert num_figures(notebook) == num_plots(notebook) > 0


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_as_it_is(path, tmp_path):
    notebook = executed(path, tmp_path)
    assert num_figures(notebook) == num_plots(notebook) > 0


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert cell.outputs == []
        assert cell.execution_count is None
    assert re.fullmatch(r"STEPS = \d+", steps_cell(notebook).source)
    # What an editor adds of the machine it ran on.
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info == {"name": "python"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_chooses_a_gpu_and_says_what_runs_where(path):
    notebook = nbformat.read(path, as_version=4)
    for expected in ("on a GPU where there is one", "Triton", "Rust", "`dnachunk doctor`"):
        assert expected in notebook.cells[0].source
    code = "\n".join(cell.source for cell in code_cells(notebook))
    # The package's own functions choose as well; what a notebook moves itself goes where this says.
    if "device)" in code.replace(".device)", ""):
        assert 'device = "cuda" if torch.cuda.is_available() else "cpu"' in code
    else:
        assert re.search(r"dnachunk\.(pretrain|load)\(", code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_names_no_path_of_a_machine(path):
    cells = json.loads(path.read_text())["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    assert re.findall(r"(?<![\w.)])/\w[\w./-]*|[A-Za-z]:\\\w+|\.\./|~/", text) == []
