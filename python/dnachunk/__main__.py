"""``python -m dnachunk``, the same as the command ``dnachunk``."""

import sys

from dnachunk.cli import main

sys.exit(main())
