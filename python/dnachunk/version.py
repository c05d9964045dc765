"""The version of this installation."""

from importlib.metadata import version

__version__ = version("dnachunk")

__all__ = ["__version__"]
