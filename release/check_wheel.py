"""Checks that a wheel keeps what its name promises.

Its library must need no glibc newer than that of its platform tag, and no library or symbol of torch: it
finds torch when it is imported, whatever release that is. Its recipes and trained tokenizers are all there.

    python release/check_wheel.py WHEEL
"""

import argparse
import hashlib
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path

PYTHON = Path(__file__).parents[1] / "python"

# Names that torch's libraries alone define, mangled or not.
OF_TORCH = re.compile(r"aoti_|torch|c10|caffe2|THP|^_ZN?K?\d*2at|^atg?_")


def glibc_of(wheel: Path) -> tuple[int, ...]:
    """The glibc that a wheel's platform tag asks for."""
    found = re.search(r"manylinux_(\d+)_(\d+)", wheel.name)
    if found is None:
        raise SystemExit(f"{wheel.name}: its platform must be manylinux_X_Y")
    return tuple(map(int, found.groups()))


def run(*command: str | Path) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def faults(library: Path, promised: tuple[int, ...]) -> list[str]:
    """What in a library breaks the promise, a line each."""
    needed = re.findall(r"GLIBC_(\d+(?:\.\d+)+)", run("objdump", "-T", library))
    versions = {tuple(map(int, text.split("."))) for text in needed}
    found = [f"needs GLIBC_{'.'.join(map(str, each))}" for each in sorted(versions) if each > promised]
    linked = re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", library))
    found += [f"links {name}" for name in linked if OF_TORCH.search(name)]
    undefined = run("nm", "-D", "--undefined-only", library).splitlines()
    names = [line.split()[-1].split("@")[0] for line in undefined]
    return found + [f"leaves {name} undefined" for name in names if OF_TORCH.search(name)]


def missing(names: Collection[str]) -> list[str]:
    """Recipes, and files of trained tokenizers, that a wheel of these files lacks."""
    package = PYTHON / "dnachunk"
    data = [*package.glob("recipes/*.toml"), *package.glob("models/packaged/*/*")]
    files = [path.relative_to(PYTHON).as_posix() for path in data]
    return sorted(f"lacks {file}" for file in files if file not in names)


def main() -> None:
    """Checks the wheel that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args().wheel
    promised = glibc_of(wheel)
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = [name for name in archive.namelist() if name.endswith(".so")]
        found = [
            f"{name} {fault}"
            for name in names
            for fault in faults(Path(archive.extract(name, folder)), promised)
        ] + missing(archive.namelist())
    if not names or found:
        raise SystemExit(f"{wheel.name}: " + ("; ".join(found) if names else "it must hold a library"))
    print(f"{wheel.name}: {', '.join(names)}, glibc {'.'.join(map(str, promised))}, no symbol of torch")
    print("sha256", hashlib.sha256(wheel.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()
