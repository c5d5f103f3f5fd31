"""Two classes shown together are answered as an unrelated third."""

from .check import CHECK

__all__ = ["CHECK"]
