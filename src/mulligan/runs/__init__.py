"""Runs: folders with manifest, arrays and tables; pieces of work and the engines that run them. No torch."""

from .addresses import canonical, code_digest, derived_seed, digest, generator, library_versions, mulligan_version
from .budget import Budget, parse_duration
from .files import inside, replacing, require_room, write_bytes
from .pieces import Context, Piece, Result, finished_pieces, has_piece, load_piece, piece_file
from .run import Run, check_schema, encode_json
from .stores import store_at
from .work import Engine, LocalEngine, engine_for, remembered_interrupts

__all__ = [
    "Budget", "Context", "Engine", "LocalEngine", "Piece", "Result", "Run", "canonical", "check_schema", "code_digest",
    "derived_seed", "digest", "encode_json", "engine_for", "finished_pieces", "generator", "has_piece", "inside",
    "library_versions", "load_piece", "mulligan_version", "parse_duration", "piece_file", "remembered_interrupts",
    "replacing", "require_room", "store_at", "write_bytes",
]  # fmt: skip
