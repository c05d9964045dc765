"""``dnachunk doctor``: what is installed, and which form of each operation this machine runs."""

from dnachunk.reporting import say


def doctor() -> None:
    """Tells what is installed, and which form of each operation runs on each device of this machine.

    rust and triton are kernels, for CPUs and for GPUs; torch is PyTorch's own operations, with the reason.

    Example: dnachunk doctor
    """
    from dnachunk.build import build_info

    info = build_info()
    backends = info.pop("backends")
    for name, value in info.items():
        say(f"{name}: {value}")
    for device, forms in backends.items():
        say(f"\n{device}")
        for form in sorted(set(forms.values())):
            say(f"  {form}")
            say("    " + ", ".join(name for name, own in forms.items() if own == form))
