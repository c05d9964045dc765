"""``python -m benchmarks``: see the package's docstring for how to add a case."""

import argparse
import json
import os
import pathlib
import sys

import torch

from benchmarks import machine, runner


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Times every operation and model against its rivals, after checking that they agree.",
    )
    parser.add_argument(
        "--filter", action="append", metavar="NAME", help="only cases with this in their name; several add up"
    )
    parser.add_argument("--without", action="append", default=[], metavar="FORM", help="leave this form out")
    parser.add_argument("--repeats", type=int, default=15, help="samples of each form, at most (default: 15)")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="default: cpu")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/benchmarks.json"))
    arguments = parser.parse_args()
    if arguments.repeats < 3:
        parser.error(f"--repeats must be at least 3, got {arguments.repeats}")
    cases = runner.find_cases(arguments.filter or [""])
    if not cases:
        names = ", ".join(case.name for case in runner.find_cases())
        parser.error(f"--filter must be part of one of {names}, got {arguments.filter!r}")

    facts = machine.facts(arguments.device)
    limits = machine.Limits(arguments.device)
    print(f"{facts['cpu']}, {facts['threads']} threads, device {facts['device']}, torch {torch.__version__}")
    print(f"limits: {limits}", end="\n\n", flush=True)
    report = {"machine": facts, "limits": limits.as_json(), "results": [], "failures": []}
    # Written after each shape: a run that is ended early leaves what it has.
    for case in cases:
        for shape in case.shapes:
            try:
                for record in runner.run_case(
                    case, shape, arguments.device, limits, arguments.repeats, arguments.without
                ):
                    print(runner.format_record(record), flush=True)
                    report["results"].append(record)
            except runner.DisagreementError as error:
                failure = f"{case.name} {dict(shape)}: {error}"
                print(f"NOT REPORTED  {failure}", end="\n\n", flush=True)
                report["failures"].append(failure)
            _write(arguments.output, report)
    print(f"written to {arguments.output}")
    return 1 if report["failures"] else 0


def _write(path: pathlib.Path, report: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(report, indent=2) + "\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    sys.exit(main())
