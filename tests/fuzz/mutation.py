"""Mutations that know what a file is made of: lines of fields, JSON, bytes."""

import copy
import json

FIELDS = [
    *(
        "",
        ".",
        "0",
        "1",
        "-1",
        "3",
        "40",
        "41",
        "9" * 18,
        "9" * 19,
        "9" * 400,
        "1.5",
        "1e3",
        "٣",
        "NaN",
        "+",
        "-",
    ),
    *(
        "?",
        "one",
        "two",
        "chr1",
        "gene",
        "ACGT",
        "acgtn",
        "<DEL>",
        "G]17:198982]",
        "*",
        ",",
        "A,,C",
        "a=b;c",
        ";",
    ),
    *(
        "Is_circular=true",
        "ID=1;Is_circular=true",
        "track",
        "browser",
        "#",
        ">",
        '"',
        "'",
        "\ufeff",
        "\u2028",
    ),
    *("\x85", "\x1c", " ", "\udcff", "\x00", "é", "x" * 300, "[MASK]", "##FASTA", "[0, 1]", "None"),
]
LINES = [
    "",
    " ",
    "\t",
    "#",
    "##",
    "# a",
    "##FASTA",
    ">one",
    "track name=x",
    "browser",
    "ACGT",
    "\ufeff",
    "\t\t\t",
]
BYTES = [
    b"\n",
    b"\r",
    b"\r\n",
    b"\t",
    b" ",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\x1f\x8b",
    b'"',
    b",",
    b"{",
    b"]",
]
VALUES = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        7,
        10**6,
        2**31,
        2**63,
        2**80,
        1.5,
        -0.5,
        1e308,
        "",
        "1",
        "true",
        "float32",
    ),
    *("nothing", "../x", "é", [], [0], [1, "a"], {}, {"a": 1}, [[]]),
]


def mutated_lines(random, lines, separator):
    """A few fields and lines changed, as bytes with one kind of line end."""
    lines = list(lines)
    for _ in range(random.randrange(4)):
        place = random.randrange(len(lines) + 1)
        kind = random.randrange(6)
        if kind == 0 or place == len(lines):
            lines.insert(place, random.choice([*LINES, *lines]))
        elif kind == 1:
            del lines[place]
        elif kind == 2:
            other = random.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
        else:
            fields = lines[place].split(separator)
            field = random.randrange(len(fields))
            if kind == 3:
                fields.insert(field, random.choice(FIELDS))
            elif kind == 4 and len(fields) > 1:
                del fields[field]
            else:
                fields[field] = random.choice(FIELDS)
            lines[place] = separator.join(fields)
    end = random.choice(["\n", "\n", "\n", "\r\n", "\r", "\r\r\n"])
    text = end.join(lines) + random.choice(["", end, end * 3])
    data = text.encode("utf-8", "surrogateescape")
    return (b"\xef\xbb\xbf" if random.random() < 0.1 else b"") + data


def mutated_bytes(random, data, most=2):
    """A few bytes changed, put in, taken out, or the rest cut off."""
    data = bytearray(data)
    for _ in range(random.randrange(most + 1)):
        place = random.randrange(len(data) + 1)
        kind = random.randrange(6)
        if kind < 2 or place == len(data):
            data[place:place] = random.choice(BYTES)
        elif kind == 2:
            data[place] ^= 1 << random.randrange(8)
        elif kind == 3:
            del data[place : place + random.randrange(1, 20)]
        elif kind == 4:
            other = random.randrange(len(data))
            data[place:place] = data[other : other + random.randrange(1, 20)]
        else:
            del data[place:]
    return bytes(data)


def mutated_json(random, tree):
    """Values replaced by ones of other types, keys dropped, renamed and added; as bytes."""
    tree = copy.deepcopy(tree)
    for _ in range(random.randrange(1, 4)):
        parent, keys = tree, [] if not isinstance(tree, dict | list) else _keys(tree)
        if not keys:
            break
        key = random.choice(keys)
        while isinstance(parent[key], dict | list) and _keys(parent[key]) and random.random() < 0.8:
            parent = parent[key]
            key = random.choice(_keys(parent))
        kind = random.randrange(5)
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            parent[random.choice(["", "x", "dtype", "model_type", "é"])] = parent[key]
        else:
            parent[key] = copy.deepcopy(random.choice(VALUES))
    if random.random() < 0.03:
        tree = random.choice(VALUES)
    data = json.dumps(tree).encode()
    return mutated_bytes(random, data) if random.random() < 0.15 else data


def _keys(tree):
    return list(tree) if isinstance(tree, dict) else list(range(len(tree)))
