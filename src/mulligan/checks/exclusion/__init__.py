"""One class beside anything but another is answered as an unrelated third."""

from .check import CHECK

__all__ = ["CHECK"]
