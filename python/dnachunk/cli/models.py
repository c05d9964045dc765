"""``dnachunk models``: the trained tokenizers that ship with the package."""

from dnachunk.reporting import say


def models() -> None:
    """Lists the trained tokenizers that ship with the package, for --model by their names.

    Of each its system, its size, nats at [MASK] of held-out sequence beside those of the best table of fixed
    contexts, what it is for and what it was trained on.

    Example: dnachunk models
    """
    from dnachunk.models import list_models

    say(list_models())
