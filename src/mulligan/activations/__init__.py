"""Record activations (stream to a run), pool them as they pass, and rank examples."""

from .passes import pool_name
from .pools import Pool, sampled_places
from .ranking import stratified, top
from .recording import Plan, Recording, record

__all__ = ["Plan", "Pool", "Recording", "pool_name", "record", "sampled_places", "stratified", "top"]
