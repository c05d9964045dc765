"""Zero-shot scores as they are defined, in strings and one variant at a time."""

import math

import torch

from dnachunk import DNATokenizer, MergeDNAConfig, MergeDNAForMaskedLM
from dnachunk.alphabet import A_ID, MASK_ID, T_ID
from dnachunk.evaluation.zero_shot import ZeroShotModel
from tests.training.runs import FEW_LAYERS


def other_strand(sequence):
    return sequence[::-1].translate(str.maketrans("ACGTN", "TGCAN"))


def small_model():
    torch.manual_seed(2)
    return MergeDNAForMaskedLM(MergeDNAConfig(**FEW_LAYERS, initializer_range=0.2)).eval()


def zero_shot_model(network, *, cls_sep=False):
    def embed(batch):
        output = network.base_model(**batch)
        counts = output.segmentation.num_tokens.tolist()
        rows = zip(output.last_hidden_state, counts, strict=True)
        return torch.stack([row[:count].mean(dim=0) for row, count in rows])

    return ZeroShotModel(lambda batch: network(**batch).logits, embed, cls_sep)


@torch.no_grad()
def slow_scores(network, tokenizer, sequence, start, reference, alternate, window_bp, strands="+", trim=True):
    """Both scores of ``reference`` at ``start``, from 0, becoming ``alternate``; a codon is not trimmed."""
    if len(strands) == 2:
        end = start + len(reference)
        alleles = map(other_strand, (sequence, reference, alternate))
        mirrored, reference_there, alternate_there = alleles
        here = (sequence, start, reference, alternate)
        there = (mirrored, len(sequence) - end, reference_there, alternate_there)
        both = [slow_scores(network, tokenizer, *each, window_bp, trim=trim) for each in (here, there)]
        return tuple((one + other) / 2 for one, other in zip(*both, strict=True))
    assert sequence[start : start + len(reference)] == reference
    while trim and reference and alternate and reference[-1] == alternate[-1]:
        reference, alternate = reference[:-1], alternate[:-1]
    while trim and reference and alternate and reference[0] == alternate[0]:
        reference, alternate, start = reference[1:], alternate[1:], start + 1
    if not (reference and alternate):
        while start and sequence[start - 1] == (reference + alternate)[-1]:
            start -= 1
            reference, alternate = (allele[-1:] + allele[:-1] for allele in (reference, alternate))
    width = window_bp - max(0, len(alternate) - len(reference))
    first = max(0, min(start - (width - len(reference)) // 2, len(sequence) - width))
    left, right = sequence[first:start], sequence[start + len(reference) : first + width]

    def log_odds(allele):
        inputs = tokenizer([left + "[MASK]" * len(allele) + right], return_tensors="pt")
        logits = network(**inputs).logits[inputs["input_ids"] == MASK_ID]
        probabilities = logits[:, A_ID : T_ID + 1].double().softmax(dim=-1)
        return sum(
            math.log(4 * row["ACGT".index(letter)])
            for row, letter in zip(probabilities.tolist(), allele, strict=True)
        )

    def vector(allele):
        inputs = DNATokenizer()([left + allele + right], return_tensors="pt")
        return network.base_model(**inputs).last_hidden_state[0].double().mean(dim=0)

    cosine = torch.cosine_similarity(vector(reference), vector(alternate), dim=0)
    return log_odds(alternate) - log_odds(reference), 1 - float(cosine)
