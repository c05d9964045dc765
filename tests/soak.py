"""Hours of everything at once, and memory that stays flat: ``python -m tests.soak --minutes 60``.

In one process: a thread that cuts a genome into tokens over and over, one that encodes strings, and a
training whose windows come from loader workers, forked and spawned in turn. Every pass must give what the
first gave.
"""

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from dnachunk import DNATokenizer, MergeDNAConfig, MergeDNAForPreTraining, tokenize_genome
from dnachunk.data import Genome, WindowCollator, WindowDataset, packaged_genome
from dnachunk.random import mix
from dnachunk.training.objectives import objective_of

ALLOWED_MIB = 32
"""What medians of memory may differ by between the second and the last quarter."""


def tree():
    """This process and its children."""
    found, front = {os.getpid()}, [os.getpid()]
    while front:
        for task in Path(f"/proc/{front.pop()}/task").glob("*/children"):
            children = [int(child) for child in task.read_text().split()]
            front += [child for child in children if child not in found]
            found.update(children)
    return found


def resident_mib():
    """Memory of this process alone, and of its children."""
    own, others = 0.0, 0.0
    for pid in tree():
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
        mib = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
        own, others = (own + mib, others) if pid == os.getpid() else (own, others + mib)
    return own, others


class Same:
    """Raises if a pass does not give what the first gave."""

    def __init__(self):
        self.first, self.count = {}, {}

    def check(self, name, digest):
        self.count[name] = self.count.get(name, 0) + 1
        if self.first.setdefault(name, digest) != digest:
            raise AssertionError(f"{name}: pass {self.count[name]} gave something else than the first")


def cut(same, end, faults):
    try:
        torch.manual_seed(0)
        model = MergeDNAForPreTraining(MergeDNAConfig.micro()).eval()
        genome = Genome(packaged_genome())
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "tokens.bed.gz"
            while time.monotonic() < end:
                tokenize_genome(model, genome, output, region="CHLTCG:100001-130000")
                same.check("tokenize", hashlib.sha256(output.read_bytes()).hexdigest())
    except BaseException as error:
        faults.append(error)


def encode(same, end, faults):
    try:
        texts = ["".join("ACGTN"[mix(row, place) % 5] for place in range(2_000)) for row in range(64)]
        tokenizer = DNATokenizer()
        while time.monotonic() < end:
            ids = tokenizer(texts, return_tensors="pt")["input_ids"]
            decoded = tokenizer.batch_decode(ids)
            same.check("encode", hashlib.sha256("".join(decoded).encode()).hexdigest())
            time.sleep(0.01)
    except BaseException as error:
        faults.append(error)


def train(same, context):
    """A few steps on windows that two workers make."""
    torch.manual_seed(0)
    model = MergeDNAForPreTraining(MergeDNAConfig.micro())
    windows = WindowDataset([Genome(packaged_genome())], 128, num_windows=24, seed=0)
    loader = DataLoader(
        windows, 4, collate_fn=WindowCollator(), num_workers=2, multiprocessing_context=context
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    objective, digest = objective_of(model.config, None), hashlib.sha256()
    for batch in loader:
        digest.update(batch["input_ids"].numpy().tobytes())
        loss = model(**objective.training_inputs(model.config, batch, 0, 0)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if not torch.isfinite(loss):
        raise AssertionError("the training diverged")
    same.check("windows", digest.hexdigest())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60)
    minutes = parser.parse_args().minutes
    begin = time.monotonic()
    end, same, faults, samples = begin + 60 * minutes, Same(), [], []
    threads = [threading.Thread(target=each, args=(same, end, faults)) for each in (cut, encode)]
    for thread in threads:
        thread.start()
    told = begin
    while time.monotonic() < end and not faults:
        train(same, ("fork", "spawn")[same.count.get("windows", 0) % 2])
        own, _ = resident_mib()
        open_files = len(os.listdir("/proc/self/fd"))
        samples.append((time.monotonic() - begin, own, open_files, threading.active_count()))
        if time.monotonic() - told > 60:
            told = time.monotonic()
            passes = ", ".join(f"{name} {count:,}" for name, count in sorted(same.count.items()))
            print(f"{samples[-1][0] / 60:6.1f} min  {own:8.1f} MiB  {open_files} files  {passes}", flush=True)
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    quarters = [
        [sample for sample in samples if quarter <= 4 * sample[0] / (60 * minutes) < quarter + 1]
        for quarter in range(4)
    ]
    if not all(quarters):
        sys.exit("too short to tell")
    _, second, _, last = (
        [statistics.median(column) for column in zip(*each, strict=True)] for each in quarters
    )
    print(f"memory {second[1]:.1f} -> {last[1]:.1f} MiB, files {second[2]} -> {last[2]}; passes {same.count}")
    if last[1] - second[1] > ALLOWED_MIB or last[2] > second[2]:
        sys.exit("not flat")


if __name__ == "__main__":
    main()
