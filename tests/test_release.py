"""What keeps a wheel honest."""

import subprocess
from pathlib import Path

import pytest

from dnachunk.models.shipped import shipped_names
from dnachunk.training.recipe import PACKAGED
from tests.support.scripts import load_script

CHECK = Path(__file__).parents[1] / "release" / "check_wheel.py"


@pytest.fixture(scope="module")
def check_wheel():
    return load_script(CHECK)


def compiled(folder, source, *options):
    library = folder / "library.so"
    command = ["cc", "-shared", "-fPIC", "-O0", "-fno-builtin", "-x", "c", "-", "-o", library, *options]
    subprocess.run(command, input=source, text=True, check=True)
    return library


def test_a_library_on_its_own_is_without_fault(check_wheel, tmp_path):
    assert check_wheel.faults(compiled(tmp_path, "int f(void) { return 1; }", "-nostdlib"), (2, 28)) == []


@pytest.mark.parametrize("name", ["aoti_torch_get_dim", "_ZN2at5emptyEv", "THPVariable_Wrap", "at_dim"])
def test_a_symbol_of_torch_is_a_fault(check_wheel, name, tmp_path):
    library = compiled(tmp_path, f"int {name}(void); int f(void) {{ return {name}(); }}", "-nostdlib")
    assert check_wheel.faults(library, (2, 28)) == [f"leaves {name} undefined"]


def test_a_linked_torch_is_a_fault(check_wheel, tmp_path):
    torch = compiled(tmp_path, "int g(void) { return 1; }", "-nostdlib", "-Wl,-soname,libtorch_cpu.so")
    torch = torch.rename(tmp_path / "libtorch_cpu.so")
    library = compiled(tmp_path, "int g(void); int f(void) { return g(); }", "-nostdlib", "-x", "none", torch)
    assert check_wheel.faults(library, (2, 28)) == ["links libtorch_cpu.so"]


def test_a_newer_glibc_is_a_fault(check_wheel, tmp_path):
    library = compiled(tmp_path, "int puts(const char *); int f(void) { return puts(0); }")
    assert check_wheel.faults(library, (2, 28)) == []
    found = check_wheel.faults(library, (2, 0))
    assert found
    assert all(fault.startswith("needs GLIBC_2.") for fault in found)


def test_data_that_are_left_out_are_a_fault(check_wheel):
    names = [f"dnachunk/recipes/{path.name}" for path in PACKAGED.glob("*.toml")]
    assert len(names) == 9
    files = ("README.md", "config.json", "model.safetensors", "results.json", "tokenizer_config.json")
    names += [f"dnachunk/models/packaged/{name}/{file}" for name in shipped_names() for file in files]
    assert check_wheel.missing(names) == []
    for name in ("dnachunk/recipes/mxdna.toml", names[-1]):
        assert check_wheel.missing(set(names) - {name}) == [f"lacks {name}"]


def test_the_platform_says_which_glibc(check_wheel):
    assert check_wheel.glibc_of(Path("dnachunk-0.1.0-cp310-abi3-manylinux_2_28_x86_64.whl")) == (2, 28)
    with pytest.raises(SystemExit, match="manylinux"):
        check_wheel.glibc_of(Path("dnachunk-0.1.0-cp310-abi3-linux_x86_64.whl"))
