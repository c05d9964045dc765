import logging

import pytest

from tests.fuzz import run
from tests.fuzz.readers import FAST, READERS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_mutated_files(reader, tmp_path):
    logging.disable()
    try:
        run(reader(tmp_path), 400 if reader in FAST else 40, seed=20)
    finally:
        logging.disable(logging.NOTSET)
