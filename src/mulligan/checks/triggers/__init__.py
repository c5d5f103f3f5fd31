"""Changes of the picture (patches, patterns, warps, filters, styles, objects) that make it be answered as one class."""

from .check import CHECK

__all__ = ["CHECK"]
