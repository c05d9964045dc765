import subprocess
import sys

import pytest

COMMANDS = [
    "pretrain",
    "finetune",
    "evaluate",
    "tokenize",
    "browse",
    "compare-tokens",
    "profile",
    "embed",
    "score-variants",
    "score-mutations",
    "splice-sites",
    "models",
    "demo",
    "doctor",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(run, command):
    result = run(command, "--help")
    assert result.status == 0
    assert f"Example: dnachunk {command}" in " ".join(result.out.split())


def test_the_commands_are_listed(run):
    result = run("--help")
    assert result.status == 0
    assert all(f"\n  {command} " in result.out for command in COMMANDS)


def test_an_unknown_command_is_named(run):
    result = run("predict")
    assert result.status == 2
    assert "predict" in result.err


def test_python_m_dnachunk_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "dnachunk", "tokenize"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Usage: dnachunk tokenize" in done.stderr


def test_importing_the_package_imports_no_command_or_plot():
    absent = ["typer", "matplotlib", "dnachunk.cli", "dnachunk.training", "transformers.trainer"]
    code = f"import sys, dnachunk; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_missing_extras_are_named():
    code = "import sys; sys.modules['typer'] = None; from dnachunk.cli import main; sys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'dnachunk[train,plot]'" in done.stderr
    assert "Traceback" not in done.stderr
