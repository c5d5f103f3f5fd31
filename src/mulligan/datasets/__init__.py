"""Images, texts and arrays to batches. Every example has an id that lasts, and is read when it is asked for."""

from .batches import Batch, batches, require_kind
from .dataset import Dataset, require_classes
from .loading import load_dataset

__all__ = ["Batch", "Dataset", "batches", "load_dataset", "require_classes", "require_kind"]
