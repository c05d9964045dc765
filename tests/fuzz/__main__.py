"""Runs the readers on mutated files: ``python -m tests.fuzz --count 100000 --seed 1 vcf bed``."""

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path

from tests.fuzz import run
from tests.fuzz.readers import FAST, READERS


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", help="default all")
    parser.add_argument("--count", type=int, default=10_000, help="files for each; of models a hundredth")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.disable()
    warnings.simplefilter("ignore")
    for reader in READERS:
        if options.readers and reader.name not in options.readers:
            continue
        count = options.count if reader in FAST else -(-options.count // 100)
        with tempfile.TemporaryDirectory() as folder:
            target = reader(Path(folder))
            start = time.monotonic()
            print(f"{target.name}: {count} files, seed {options.seed}", end="", flush=True)
            run(target, count, options.seed)
            print(f", {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
