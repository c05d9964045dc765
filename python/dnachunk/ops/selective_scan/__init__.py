"""Selective scan of Mamba."""

from dnachunk.ops.selective_scan.naive import selective_scan_naive, selective_scan_torch
from dnachunk.ops.selective_scan.op import selective_scan

__all__ = ["selective_scan", "selective_scan_naive", "selective_scan_torch"]
