"""Fetches Hugging Face's common tests: the source distribution of the transformers installed.

python tests/hf/fetch.py FOLDER
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    wanted, fetched = version("transformers"), folder / "version"
    if fetched.is_file() and fetched.read_text() == wanted:
        return
    tests = folder / "tests"
    tests.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as downloads:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*pip, f"transformers=={wanted}", "--dest", downloads], check=True)
        (archive,) = Path(downloads).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            for member in tar:
                parts = Path(member.name).parts
                if len(parts) == 3 and parts[1] == "tests" and parts[2].endswith(".py"):
                    (tests / parts[2]).write_bytes(tar.extractfile(member).read())
    (tests / "__init__.py").touch()
    fetched.write_text(wanted)


if __name__ == "__main__":
    main()
