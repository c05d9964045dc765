import functools

import pytest
import torch

from dnachunk import MergeDNAConfig, MergeDNAModel
from dnachunk.data import Genome
from dnachunk.errors import ArgumentError
from dnachunk.evaluation.boundary_survival import kmer_boundaries, model_boundaries, text_boundaries
from dnachunk.evaluation.variant_stability import (
    AGREEMENT,
    TwoAlleles,
    agreement,
    edit_distance,
    sample_variants,
    variant_class,
    variant_stability,
)
from dnachunk.random import mix
from tests.training.runs import FEW_LAYERS

HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
LETTERS = "PUCSMACGTN"


def text_of(ids):
    return "".join(LETTERS[index] for index in ids.tolist())


def random_text(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return "".join("ACGT"[i] for i in torch.randint(4, (length,), generator=generator).tolist())


def slow_distance(one, other):
    """Levenshtein's distance as it is defined."""

    @functools.cache
    def distance(i, j):
        if not (i and j):
            return i + j
        replaced = distance(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return min(replaced, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(one), len(other))


def slow_agreement(reference, alternate, place, deleted, inserted, before, after):
    """By dictionaries from bases of one allele to those of the other."""
    partner = {position: position for position in range(place)}
    if deleted == inserted:
        partner |= {place + offset: place + offset for offset in range(deleted)}
    partner |= {
        place + deleted + offset: place + inserted + offset
        for offset in range(len(reference) - place - deleted)
    }
    pairs = [(old, new) for old, new in partner.items() if old and new]
    old = {pair for pair in pairs if before[pair[0]]}
    new = {pair for pair in pairs if after[pair[1]]}

    def tokens(text, starts):
        cut = []
        for letter, begins in zip(text, starts, strict=True):
            if begins or not cut:
                cut.append("")
            cut[-1] += letter
        return cut

    tokens = tokens(text_of(reference), before), tokens(text_of(alternate), after)
    similarity = 1 - slow_distance(*tokens) / max(map(len, tokens))
    return (len(old & new) / len(old | new) if old | new else 1.0), similarity


def test_distances():
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        lengths = torch.randint(0, 12, (2,), generator=generator).tolist()
        one, other = ("".join("AB"[i] for i in torch.randint(2, (n,), generator=generator)) for n in lengths)
        assert edit_distance(one, other) == slow_distance(one, other)
    assert edit_distance([b"GAT", b"TA"], [b"TA"]) == 1


@pytest.mark.parametrize("place", [0, 1, 5, 12])
@pytest.mark.parametrize("sizes", [(1, 1), (3, 3), (0, 4), (4, 0), (2, 3), (0, 1)])
def test_agreement_is_as_defined(place, sizes):
    generator = torch.Generator().manual_seed(place)
    for _ in range(20):
        head = torch.randint(5, 9, (place,), generator=generator)
        tail = torch.randint(5, 9, (9,), generator=generator)
        middles = [torch.randint(5, 9, (size,), generator=generator) for size in sizes]
        reference, alternate = (torch.cat([head, middle, tail]) for middle in middles)
        starts = [torch.rand(len(each), generator=generator) < 0.4 for each in (reference, alternate)]
        for each in starts:
            each[0] = True
        alleles = TwoAlleles(reference, alternate, place, *sizes)
        assert agreement(alleles, *starts) == pytest.approx(slow_agreement(*alleles, *starts))


def test_one_token_each_agrees_on_its_boundaries():
    ids = torch.tensor([5, 6, 7])
    whole = torch.tensor([True, False, False])
    assert agreement(TwoAlleles(ids, torch.tensor([5, 8, 7]), 1, 1, 1), whole, whole) == (1, 0)


@pytest.mark.parametrize(
    ("deleted", "inserted", "name"),
    [
        (1, 1, "SNV"),
        (3, 3, "substitution of 2-5 bp"),
        (0, 1, "insertion of 1 bp"),
        (1, 0, "deletion of 1 bp"),
        (0, 5, "insertion of 2-5 bp"),
        (0, 6, "insertion of 6-19 bp"),
        (49, 0, "deletion of 20-49 bp"),
        (50, 0, "deletion of 50-199 bp"),
        (0, 999, "insertion of 200-999 bp"),
        (1000, 0, "deletion of 1000 or more bp"),
        (2, 7, "replacement of 6-19 bp"),
    ],
)
def test_kinds_and_sizes(deleted, inserted, name):
    assert variant_class(deleted, inserted) == name


@pytest.fixture
def write(tmp_path):
    """A genome of two records; gives what writes a VCF file of it, and the first record's text."""
    text = random_text(400)
    (tmp_path / "genome.fa").write_text(f">one\n{text[:300]}NN{text[302:]}\n>two\n{text[:100]}\n")

    def lines(*records):
        path = tmp_path / "v.vcf"
        rows = [
            "\t".join([contig, str(pos), ".", *alleles, ".", ".", "."]) for contig, pos, *alleles in records
        ]
        path.write_text(HEADER + "".join(row + "\n" for row in rows))
        return path

    return lines, text, Genome(tmp_path / "genome.fa")


SPANS = [(0, 0, 400), (1, 0, 100)]


def other(letter):
    return "CGTA"["ACGT".index(letter)]


def sampled(genome, path, **options):
    given = {"window_bp": 40, "max_variants": 100, "seed": 0}
    return sample_variants(genome, options.pop("spans", SPANS), path, **given | options)


def test_each_allele_is_counted_or_left_out_with_the_reason(write):
    lines, text, genome = write
    base = text[99]
    path = lines(
        ("one", 100, base, other(base)),
        ("one", 100, base, f"{other(base)},<DEL>,*,{base}A"),
        ("one", 120, text[119:129], text[119]),
        ("one", 120, text[119:141], text[119]),
        ("one", 290, text[289], other(text[289])),
        ("one", 50, other(text[49]), text[49]),
        ("three", 5, "A", "C"),
        ("two", 50, text[49], f"{text[49]}[one:5["),
        ("two", 50, text[49], "."),
    )
    sample = sampled(genome, path)
    assert sample.num_records == 9
    assert sample.counts == {"SNV": 2, "insertion of 1 bp": 1, "deletion of 6-19 bp": 1}
    assert sample.reasons == {
        "symbolic_allele": 1,
        "overlapping_deletion": 1,
        "too_long": 1,
        "n_in_context": 1,
        "reference_mismatch": 1,
        "unknown_contig": 1,
        "breakend": 1,
        "no_alternate": 1,
    }
    assert sample.unknown_contigs == {"three": 1}
    assert list(sample.alleles) == ["SNV", "insertion of 1 bp", "deletion of 6-19 bp"]
    (deletion,) = sample.alleles["deletion of 6-19 bp"]
    assert len(deletion.reference) == 40
    assert (deletion.deleted, deletion.inserted, len(deletion.alternate)) == (9, 0, 31)
    assert text_of(deletion.reference) in text
    kept = torch.cat([deletion.reference[: deletion.place], deletion.reference[deletion.place + 9 :]])
    assert torch.equal(kept, deletion.alternate)
    snv = sample.alleles["SNV"][0]
    assert text_of(snv.alternate)[snv.place] == other(base)
    inside = sampled(genome, path, spans=[(0, 110, 400)])
    assert inside.reasons["outside_region"] == 3
    assert inside.counts == {"deletion of 6-19 bp": 1}


def test_draws_hang_on_the_seed_alone(write):
    lines, text, genome = write
    path = lines(*(("one", place, text[place - 1], other(text[place - 1])) for place in range(30, 270)))

    def drawn(**options):
        found = sampled(genome, path, **options).alleles["SNV"]
        return [text_of(each.reference) + text_of(each.alternate) for each in found]

    assert len(drawn(max_variants=1000)) == 240
    few, more = drawn(max_variants=15), drawn(max_variants=40)
    assert (len(few), few) == (15, drawn(max_variants=15))
    assert set(few) < set(more) < set(drawn(max_variants=1000))
    assert drawn(max_variants=15, seed=1) != few
    # Those with the lowest numbers of all, in the file's order, which begins at its third line.
    everyone = drawn(max_variants=1000)
    lowest = sorted(range(240), key=lambda index: mix(0, index + 3, 0))[:15]
    assert few == [everyone[index] for index in sorted(lowest)]


def test_files_that_say_nothing_of_the_genome(write):
    lines, text, genome = write
    with pytest.raises(
        ArgumentError, match=r"v.vcf has no variant on a record of .*genome.fa: it names chr1"
    ):
        sampled(genome, lines(("chr1", 5, "A", "C")))
    with pytest.raises(ValueError, match="v.vcf holds no variant"):
        sampled(genome, lines())
    malformed = lines(("one", "x", text[4], "A"), ("one", 100, text[99], other(text[99])))
    with pytest.raises(ArgumentError, match=r"v.vcf, line 3: POS must be a whole number, got 'x'"):
        sampled(genome, malformed)
    assert sampled(genome, malformed, on_error="skip").counts == {"SNV": 1}


def stable(sample, tokenizers, min_variants=1):
    told = []
    found = variant_stability(sample, tokenizers, min_variants=min_variants, seed=0, advance=told.append)
    assert told == [1] * len(sample.alleles)
    return found.kinds


def test_words_stand_substitutions_and_lose_their_frame(write):
    lines, text, genome = write
    places = range(30, 270, 12)
    records = [("one", place, text[place - 1], other(text[place - 1])) for place in places]
    records += [("one", place, text[place - 1 : place + 1], text[place - 1]) for place in places]
    kinds = stable(
        sampled(genome, lines(*records)),
        {"6mer": kmer_boundaries(6), "letters": text_boundaries(list), "A": text_boundaries(split_at_a)},
    )
    snv, deletion = kinds["SNV"], kinds["deletion of 1 bp"]
    assert (snv.num_found, snv.num_variants, deletion.num_found) == (20, 20, 20)
    jaccard, similarity = (AGREEMENT.index(name) for name in ("boundary_jaccard", "edit_similarity"))
    assert snv.tokenizers["6mer"].mean[jaccard] == 1
    # Seven words, of which one is another.
    assert snv.tokenizers["6mer"].mean[similarity].item() == pytest.approx(1 - 1 / 7)
    assert deletion.tokenizers["6mer"].mean[jaccard] < 0.7
    assert deletion.tokenizers["letters"].mean.tolist() == pytest.approx([1, 1 - 1 / 40])
    assert deletion.tokenizers["A"].mean[jaccard] == 1
    for band in (*snv.tokenizers.values(), *deletion.tokenizers.values()):
        assert (band.low <= band.mean + 1e-12).all()
        assert (band.mean <= band.high + 1e-12).all()


def split_at_a(text):
    head, *pieces = text.split("A")
    return [*([head] if head else []), *(f"A{piece}" for piece in pieces)]


def test_a_model_as_each_variant_alone(write):
    lines, text, genome = write
    torch.manual_seed(0)
    model = MergeDNAModel(MergeDNAConfig(**FEW_LAYERS, initializer_range=0.5)).eval()
    records = [("one", place, text[place - 1], text[place - 1] + "GA") for place in range(30, 270, 40)]
    sample = sampled(genome, lines(*records))
    (kind,) = sample.alleles
    found = stable(sample, {"model": model_boundaries(model)})[kind].tokenizers["model"].mean
    alone = model_boundaries(model, batch_size=1)
    slow = [
        slow_agreement(*each, alone([each.reference])[0].tolist(), alone([each.alternate])[0].tolist())
        for each in sample.alleles[kind]
    ]
    assert found.tolist() == pytest.approx(torch.tensor(slow, dtype=torch.float64).mean(dim=0).tolist())
    assert 0 < found[0] < 1


def test_too_few_of_a_kind(write):
    lines, text, genome = write
    sample = sampled(genome, lines(("one", 50, text[49], other(text[49]))))
    kinds = stable(sample, {"6mer": kmer_boundaries(6)}, min_variants=2)
    assert (kinds["SNV"].num_variants, dict(kinds["SNV"].tokenizers)) == (1, {})
