"""What reads a mutated file, and what must hold where it is accepted."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import re
import struct

import torch

from dnachunk import DNATokenizer, MergeDNAConfig, MergeDNAForMaskedLM, load
from dnachunk.data import Genome, read_labelled
from dnachunk.data.annotation import read_annotation
from dnachunk.data.bend import read_bend
from dnachunk.data.dnalongbench import read_dnalongbench
from dnachunk.data.motif_matrices import read_motif_matrices
from dnachunk.data.repeats import with_repeats
from dnachunk.data.splice_sites import splice_site_sets
from dnachunk.data.text import read_lines
from dnachunk.data.vcf import VCF
from dnachunk.evaluation.motifs import log_odds
from tests.fuzz.mutation import mutated_bytes, mutated_json, mutated_lines

COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
MEME_LINES = [
    *(
        "MEME version 4",
        "ALPHABET= ACGT",
        "MOTIF MA1 one",
        "letter-probability matrix: alength= 4 w= 2 nsites= 9",
    ),
    *("0.5 0.5 0 0", "0.1 0.2 0.3 0.4", "URL x", "MOTIF two", "letter-probability matrix:", "1 0 0 0"),
]
JASPAR_LINES = [">MA1 one", "A [ 1 2 ]", "C [ 3 0 ]", "G [ 0 4 ]", "T [ 5 6 ]", ">two", "1", "2", "3", "4.5"]
VCF_LINES = [
    "##fileformat=VCFv4.2",
    '##INFO=<ID=AF,Number=A,Type=Float,Description="x">',
    "##contig=<ID=one>",
    f"{COLUMNS}\tFORMAT\tsample",
    "one\t3\trs1;rs2\tA\tC,G\t.\tPASS\tAF=0.1,0.2;DB\tGT\t0|1",
    "one\t0\t.\tacgtN\t<DEL>\t3.5\tq10\t.\tGT\t./.",
    "two\t9\t.\tA\tG]17:198982]\t.\t.\t.\tGT\t.",
    "three\t1\t.\tC\t*,T\t.\t.\tX=1\tGT\t1",
]
GFF_LINES = [
    "##gff-version 3",
    "one\ts\tregion\t1\t40\t.\t+\t.\tID=one",
    "one\ts\tgene\t3\t20\t.\t-\t.\tID=g1;note=x%09y",
    "one\ts\tCDS\t31\t45\t.\t+\t0\tID=c",
    "two\ts\tgene\t1\t4\t.\t?\t.\tID=g2",
    "two\ts\tsite\t5\t4\t.\t.\t.\tID=i",
    "chrM\ts\tgene\t1\t4\t.\t+\t.\tID=g3",
]
GTF_LINES = [line.replace("ID=", 'gene_id "') + '";' for line in GFF_LINES if "45" not in line]
BED_LINES = [
    "track name=x",
    "one\t0\t4\tLINE\t0\t-",
    "one\t5\t6\tSINE",
    "one\t7\t7",
    "two\t0\t3\t.\t0\t+",
    "two 1 2",
    "chrM\t3\t4",
]
OUT_LINES = [
    "   SW  perc perc perc  query  position in query  matching repeat  position in repeat",
    "score  div. del. ins.  sequence  begin end (left)  repeat class/family  begin end (left) ID",
    "463 1.3 0.6 1.7 one 3 6 (34) + (TAACCC)n Simple_repeat 1 463 (0) 1",
    "21 24.5 1.0 0.0 one 5 12 (28) C MER5A DNA/hAT-Charlie (23) 165 92 2 *",
    "21 24.5 1.0 0.0 two 10 10 (0) C MER5A DNA/hAT-Charlie (23) 165 92 3",
]
TABLE_LINES = ["sequence,label", "ACGTNNACGT,1", "acgt,0", '"GATTACA",1', "RYSWKM,0", "TTTT,1"]
BEND_LINES = [
    "chromosome\tstart\tend\tsplit\tlabel\tstrand",
    "one\t0\t8\ttrain\t0,2\t-",
    "one\t4\t40\ttrain\t\t+",
    "two\t1\t9\tvalid\t1\t.",
    "one\t8\t20\ttest\t2\t+",
]
LONG_LINES = [
    "gene_chrom\tgene_start\tgene_end\tgene_strand\tregion_chrom\tregion_start\tregion_end\ttarget\tsubset",
    "one\t4\t9\t+\tone\t20\t25\tpositive\ttrain",
    "one\t30\t39\t-\tone\t2\t9\tnegative\ttrain",
    "two\t3\t6\t+\ttwo\t5\t9\tnegative\ttest",
]
LONG_CONFIG = """genome_fa genome.fa str
EPI_file table.tsv str
enhancer_tabix_file masks.bed str
seq_len_cutoff 50 int
tss_flank_upstream 3 int
tss_flank_downstream 3 int
region_flank_upstream 2 int
region_flank_downstream 2 int
"""
EXON_LINES = [
    *(
        f"one\ts\texon\t{start}\t{end}\t.\t{strand}\t.\tParent={name}"
        for start, end, strand, name in (*((1, 4, "+", "a"), (24, 40, "+", "a,b"), (1, 6, "+", "b")),)
    ),
    *(f"two\ts\tCDS\t{start}\t{end}\t.\t-\t.\tID=c" for start, end in ((1, 2), (9, 10))),
]
LENGTHS = {"one": 40, "two": 10}
EXPECTED_ERRORS = (ValueError, OSError)


class BrokenError(AssertionError):
    """Something is not as it must be."""


def require(condition, what):
    if not condition:
        raise BrokenError(what)


def _gzip(data):
    return gzip.compress(data, 1)


def _xz(data):
    return lzma.compress(data, preset=0)


class Reader:
    """Writes a mutated file and reads it; `run` raises for whatever must not be.

    The peak of memory may grow by `memory_mib` over all files, each of some KiB: caches and buffers.
    """

    memory_mib = 256

    def __init__(self, folder):
        self.folder = folder
        (folder / "genome.fa").write_text(">one\n" + "ACGT" * 10 + "\n>two\nACGTTACGTT\n")
        self.genome = Genome(folder / "genome.fa")

    def write(self, random, name, data):
        """Plain, or packed and perhaps damaged; and whether the text can be read as it is."""
        # Those two are slow.
        pack = random.choice([None] * 40 + [_gzip] * 16 + [bz2.compress, _xz])
        is_whole = True
        if pack is not None:
            data = pack(data) + (bytes(random.randrange(600)) if pack is _gzip else b"")
            if random.random() < 0.3:
                data, is_whole = mutated_bytes(random, data), False
        path = self.folder / name
        path.write_bytes(data)
        return path, is_whole


def lines_plainly(data):
    """Lines of a text without their ends; None where these are mixed."""
    # Python takes the beginning of a mark for one where nothing follows.
    text = "" if b"\xef\xbb\xbf".startswith(data) else data.decode("utf-8-sig", "surrogateescape")
    first = re.search(r"\r*\n|\r+", text)
    if first is None or first[0].endswith("\n"):
        lines = text.split("\n")
    elif "\n" in text:
        return None
    else:
        lines = text.split("\r")
    # What follows the last end is a line if there is something in it.
    return [line.rstrip("\r") for line in (lines if lines[-1] else lines[:-1])]


class Lines(Reader):
    name = "lines"

    def run(self, random):
        data = mutated_bytes(random, mutated_lines(random, GFF_LINES + VCF_LINES, "\t"), 5)
        path, is_whole = self.write(random, "x.txt", data)
        with self.errors():
            lines = [line.rstrip("\r\n") for line in read_lines(path)]
            if is_whole:
                want = lines_plainly(data)
                require(want is not None, "mixed line ends are read")
                require(lines == want, f"{lines} is not {want}")

    @contextlib.contextmanager
    def errors(self):
        try:
            yield
        except EXPECTED_ERRORS as error:
            require(str(error).strip() and len(str(error)) < 2000, f"no message: {error!r}")
            str(error).encode("utf-8", "backslashreplace")


class Variants(Lines):
    name = "vcf"

    def run(self, random):
        data = mutated_bytes(random, mutated_lines(random, VCF_LINES, "\t"), 1)
        path, is_whole = self.write(random, "v.vcf", data)
        with self.errors():
            vcf = VCF(path, on_error="skip")
            found = list(vcf)
            with contextlib.suppress(ValueError):
                require(len(list(VCF(path))) == len(found) and not vcf.skipped, "skipped, but not refused")
            for record in found:
                require(record.contig and record.position >= 0, "no place")
                require(re.fullmatch("[A-Za-z]+", record.reference), "REF")
                record.info  # noqa: B018
                require(record.with_info({"X": "1"}).count("\t") == len(record.columns) - 1, "columns")
            vcf.header_with({"X": "##INFO=<ID=X>"})
            if is_whole:
                body = [
                    line for line in lines_plainly(data)[len(vcf.header) :] if line.strip("\r\n \t\x0b\x0c")
                ]
                body = [line for line in body if line.strip()]
                require(len(found) + len(vcf.skipped) == len(body), "lines are lost")
                want = {record.line_number: "\t".join(record.columns) for record in found}
                all_lines = lines_plainly(data)
                require(
                    all(all_lines[number - 1] == line for number, line in want.items()), "columns changed"
                )


class Annotations(Lines):
    name, suffix, lines, separator = "bed", ".bed", BED_LINES, "\t"

    def run(self, random):
        data = mutated_bytes(random, mutated_lines(random, self.lines, self.separator), 1)
        path, is_whole = self.write(random, f"a{self.suffix}", data)
        with self.errors():
            found = read_annotation(path, self.genome, on_error="skip")
            for feature in found.features:
                length_bp = self.genome.records[feature.record_index].length_bp
                require(0 <= feature.start_bp < feature.end_bp <= length_bp, f"{feature}")
                require(feature.end_bp - feature.start_bp < length_bp, f"{feature}")
            require(found.features == sorted(set(found.features)), "order")
            with contextlib.suppress(ValueError):
                strictly = read_annotation(path, self.genome)
                require(strictly == found and not found.skipped, "skipped, but not refused")
            # What follows ##FASTA is not read, whatever the ends of its lines.
            if is_whole and b"Is_circular" not in data and (lines := lines_plainly(data)) is not None:
                want = set(self.places(lines))
                got = {
                    (self.genome.records[f.record_index].name, f.start_bp, f.end_bp) for f in found.features
                }
                require(got == want, f"{got} is not {want}")

    def places(self, lines):
        """Record, start and end of what is no more than part of a record; of lines that are well formed."""
        for line in lines:
            if self.suffix != ".bed" and line.startswith(("##FASTA", ">")):
                return
            if line.startswith("#") or not line.strip():
                continue
            columns = line.split("\t") if "\t" in line or self.suffix != ".bed" else line.split()
            if self.suffix == ".bed":
                if line.split()[0] in ("track", "browser") or len(columns) < 3:
                    continue
                record, start, end, strand, first = *columns[:3], (columns + ["."] * 6)[5], 0
                strand = columns[5] if len(columns) > 5 else "."
            elif len(columns) == 9:
                record, start, end, strand, first = columns[0], columns[3], columns[4], columns[6], 1
            else:
                continue
            if not all(re.fullmatch("[0-9]{1,18}", number) for number in (start, end)):
                continue
            start, end = int(start) - first, int(end)
            length_bp = LENGTHS.get(record, 0)
            if strand in ("+", "-", ".", "?") and 0 <= start < end <= length_bp and end - start < length_bp:
                yield record, start, end


class GFF(Annotations):
    name, suffix, lines = "gff3", ".gff3", GFF_LINES


class GTF(Annotations):
    name, suffix, lines = "gtf", ".gtf", GTF_LINES


class Repeats(Lines):
    name = "repeats"

    def run(self, random):
        suffix, lines, separator = random.choice([(".bed", BED_LINES, "\t"), (".out", OUT_LINES, " ")])
        data = mutated_bytes(random, mutated_lines(random, lines, separator), 1)
        path, _ = self.write(random, f"r{suffix}", data)
        with self.errors():
            (genome,), skipped = with_repeats([self.genome], [path], on_error="skip")
            for index, (starts, ends) in genome.repeats.items():
                length_bp = genome.records[index].length_bp
                require(starts[0] >= 0 and ends[-1] <= length_bp and (starts < ends).all(), "places")
                require((ends[:-1] < starts[1:]).all(), "order")
                flagged = genome.fetch(index, 0, length_bp)[1].sum()
                require(flagged == (ends - starts).sum(), "bases")
            with contextlib.suppress(ValueError):
                (strictly,), _ = with_repeats([self.genome], [path])
                require(not skipped, "skipped, but not refused")
                require(strictly.repeats.keys() == genome.repeats.keys(), "records")


class Motifs(Lines):
    name = "motifs"

    def run(self, random):
        lines = random.choice([MEME_LINES, JASPAR_LINES])
        path, _ = self.write(random, "m.meme", mutated_bytes(random, mutated_lines(random, lines, " "), 1))
        with self.errors():
            for matrix in read_motif_matrices(path):
                require(matrix.name and matrix.counts.dim() == 2 and matrix.counts.shape[1] == 4, "shape")
                require(bool((matrix.counts >= 0).all() and (matrix.counts.sum(dim=1) > 0).all()), "counts")
                require(bool(log_odds(matrix.counts).isfinite().all()), "scores")


class Tables(Lines):
    name = "table"

    def run(self, random):
        separator, suffix = random.choice([(",", ".csv"), ("\t", ".tsv")])
        lines = [line.replace(",", separator) for line in TABLE_LINES]
        data = mutated_bytes(random, mutated_lines(random, lines, separator), 1)
        path, _ = self.write(random, f"t{suffix}", data)
        with self.errors():
            labelled = read_labelled(path)
            require(len(labelled.sequences) == len(labelled.labels) == len(labelled.places) > 0, "lengths")
            for sequence in labelled.sequences:
                require(re.fullmatch("[ACGTNRYSWKMBDHV]+", sequence), f"sequence {sequence!r}")


class Models(Lines):
    """A folder of a model with one file mutated, as :func:`dnachunk.load` reads it."""

    file = "config.json"
    name = "config"
    memory_mib = 4096

    def __init__(self, folder):
        super().__init__(folder)
        torch.manual_seed(0)
        small = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "group_dim": 4}
        self.model = folder / "model"
        MergeDNAForMaskedLM(MergeDNAConfig.micro(**small)).save_pretrained(self.model)
        DNATokenizer().save_pretrained(self.model)
        self.whole = (self.model / self.file).read_bytes()

    def run(self, random):
        (self.model / self.file).write_bytes(self.mutated(random))
        with self.errors(), contextlib.redirect_stderr(io.StringIO()):
            model = load(self.model, device="cpu")
            require(all(bool(p.isfinite().all()) for p in model.parameters()), "weights that are no numbers")

    def mutated(self, random):
        data = mutated_json(random, json.loads(self.whole))
        # A model of a million layers, or of that width, is built as it is asked for.
        return self.whole if re.search(rb"[0-9]{6,}", data) else data


class TokenizerConfigs(Models):
    file, name = "tokenizer_config.json", "tokenizer"


class Weights(Models):
    file, name = "model.safetensors", "safetensors"

    def mutated(self, random):
        (length,) = struct.unpack("<Q", self.whole[:8])
        header = json.loads(self.whole[8 : 8 + length])
        changed = mutated_json(random, header)
        size = random.choice([len(changed)] * 8 + [0, 2**63, length, len(changed) + 1])
        return struct.pack("<Q", size) + changed + self.whole[8 + length :]


class Bend(Lines):
    name, lines = "bend", BEND_LINES

    def sets(self, random):
        data = mutated_bytes(random, mutated_lines(random, self.lines, "\t"), 1)
        path, _ = self.write(random, "a.bed", data)
        return read_bend(path, "skip")

    def run(self, random):
        with self.errors():
            for labelled in self.sets(random).values():
                for sequence in labelled.sequences:
                    require(set(sequence) <= set("ACGTN") and 0 < len(sequence) <= 60, sequence)


class LongTables(Bend):
    name, lines = "dnalongbench", LONG_LINES

    def sets(self, random):
        config = self.folder / "config" / "a.config"
        config.parent.mkdir(exist_ok=True)
        config.write_text(LONG_CONFIG)
        (self.folder / "masks.bed").write_text("one\t10\t14\n")
        data = mutated_bytes(random, mutated_lines(random, self.lines, "\t"), 1)
        self.write(random, "table.tsv", data)
        return read_dnalongbench(config, "skip")


class SpliceSites(Bend):
    name, lines = "splice sites", EXON_LINES

    def sets(self, random):
        data = mutated_bytes(random, mutated_lines(random, self.lines, "\t"), 1)
        path, _ = self.write(random, "a.gff3", data)
        found = splice_site_sets(self.genome, path, test="two", window_bp=2, on_error="skip")
        require(all(len(text) == 2 for each in found.sets.values() for text in each.sequences), "window")
        return found.sets


FAST = [Lines, Variants, Annotations, GFF, GTF, Motifs, Repeats, Tables, Bend, LongTables, SpliceSites]
READERS = [*FAST, Models, TokenizerConfigs, Weights]
