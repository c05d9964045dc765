"""Installs a torch for tests on the CPU into a folder of its own, with empty CUDA libraries beside it.

The wheels of Linux need gigabytes of CUDA libraries to be loaded at all. A test on the CPU calls nothing in
them, so libraries of the same names, symbols and versions whose functions do nothing take their place: about
1.5 GB in all. Everything else is taken from the environment that the folder is put before, by ``PYTHONPATH``.

    python release/light_torch.py 2.9.1 FOLDER [--transformers 5.4.0]
"""

import argparse
import collections
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CUDA = re.compile(r"lib(cu|nv|nccl)")
OF_CUDA = re.compile(r"nvidia|cuda|triton")
# What functions answer where there is no device, by their names: text, that no stream is being captured
# (torch asks without looking for a device), or the error of CUDA.
ANSWERS = {
    r"String$|ErrorName$": 'const char *{}(void) {{ return "no CUDA"; }}',
    r"IsCapturing$": "int {}(void) {{ return 0; }}",
}
NO_DEVICE = "int {}(void) {{ return 100; }}"


def run(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def resolve(requirements: list[str]) -> dict[str, str]:
    """Versions of all packages that pip would install, by name."""
    pip = (
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--dry-run",
        "--ignore-installed",
        "--report",
        "-",
    )
    report = json.loads(run(*pip, *requirements))
    return {item["metadata"]["name"]: item["metadata"]["version"] for item in report["install"]}


def install(folder: Path, torch: str, transformers: str | None) -> None:
    """Installs torch, the torchvision that belongs to it and, if given, a transformers with its needs."""
    requirements = [f"torch=={torch}", "torchvision"]
    if transformers is not None:
        requirements.append(f"transformers=={transformers}")
    versions = resolve(requirements)
    if transformers is None:
        versions = {name: versions[name] for name in ("torch", "torchvision")}
    wanted = [f"{name}=={version}" for name, version in versions.items() if not OF_CUDA.match(name)]
    print("installing", *wanted)
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *wanted)


def replace_cuda(libraries: Path) -> list[str]:
    """Puts empty libraries where the ones in ``libraries`` need CUDA's; returns their names."""
    for library in libraries.glob("*.so*"):
        if CUDA.match(library.name):
            library.unlink()
    own = [str(library) for library in libraries.glob("*.so*")]
    needed = {
        name for name in re.findall(r"\(NEEDED\).*\[(.*?)\]", run("readelf", "-dW", *own)) if CUDA.match(name)
    }

    # The versions that a library's symbols have to have, e.g. libcublas.so.12 of libcublas.so.12's functions.
    versions: dict[str, set[str]] = collections.defaultdict(set)
    library = ""
    for line in run("readelf", "-VW", *own).splitlines():
        if found := re.search(r"File: (\S+)", line):
            library = found[1]
        elif found := re.search(r"Name: (\S+)\s+Flags", line):
            versions[library].add(found[1])
    owner = {version: name for name in needed for version in versions[name]}

    defined = {symbol.split("@")[0] for symbol in symbols("--defined-only", own)}
    functions: dict[str, set[str]] = collections.defaultdict(set)
    for symbol in symbols("--undefined-only", own):
        name, _, version = symbol.partition("@")
        version = version.lstrip("@")
        if version in owner:
            functions[owner[version]].add(name)
        elif not version and name not in defined and re.match(r"(cu|nccl|nv)[A-Za-z]", name):
            # It may be any of them, and torch takes whole ones from the environment before these.
            for library in needed:
                functions[library].add(name)
    for name in needed:
        build_empty(libraries / name, functions[name], versions[name])
    return sorted(needed)


def symbols(which: str, libraries: list[str]) -> set[str]:
    """Dynamic symbols of libraries, with their versions."""
    lines = run("nm", "-D", which, *libraries).splitlines()
    return {line.split()[-1] for line in lines if line.strip() and not line.endswith(":")}


def answer(name: str) -> str:
    """The definition of a function of a missing library, with a place for its name."""
    return next((text for pattern, text in ANSWERS.items() if re.search(pattern, name)), NO_DEVICE)


def build_empty(library: Path, functions: set[str], versions: set[str]) -> None:
    """Compiles a library whose functions answer that there is no device."""
    source = "\n".join(answer(name).format(name) for name in sorted(functions))
    command = [
        "cc",
        "-shared",
        "-fPIC",
        "-w",
        "-fno-builtin",
        "-O0",
        f"-Wl,-soname,{library.name}",
        "-x",
        "c",
        "-",
    ]
    with tempfile.TemporaryDirectory() as folder:
        if versions:
            first, *others = sorted(versions)
            script = Path(folder) / "versions"
            script.write_text(f"{first} {{ global: *; }};\n" + "".join(f"{name} {{ }};\n" for name in others))
            command.append(f"-Wl,--version-script={script}")
        subprocess.run([*command, "-o", str(library)], input=source, text=True, check=True)


def main() -> None:
    """Installs what the command line asks for, unless the folder has it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("torch", help="its version")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--transformers", metavar="VERSION", help="an own transformers as well")
    arguments = parser.parse_args()
    asked = f"torch {arguments.torch}, transformers {arguments.transformers}"
    done = arguments.folder / "installed"
    if done.is_file() and done.read_text() == asked:
        return
    shutil.rmtree(arguments.folder, ignore_errors=True)
    install(arguments.folder, arguments.torch, arguments.transformers)
    print("without", *replace_cuda(arguments.folder / "torch" / "lib"))
    done.write_text(asked)


if __name__ == "__main__":
    main()
