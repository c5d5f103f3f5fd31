"""The JSON Schema of RUN/findings.json, generated from the records. The committed copy is `findings.schema.json`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import msgspec

from ..records import Findings
from ..records.findings import SCHEMA
from .writing import write_atomically


def findings_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the document that gates releases.

    Unknown fields are allowed: fields may be added under the same schema number.
    """
    (reference,), definitions = msgspec.json.schema_components([Findings], ref_template="#/$defs/{name}")
    body = definitions[reference["$ref"].rpartition("/")[2]]
    body["properties"]["schema"] = {"const": SCHEMA}
    body["required"] = [*body["required"], "schema"]
    for definition in definitions.values():
        # Python 3.13 strips the indentation of docstrings, earlier versions keep it; the file must not depend on that.
        definition["description"] = inspect.cleandoc(definition.get("description", ""))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        **reference,
        "title": f"Mulligan's findings ({SCHEMA})",
        "description": "What an audit found in a network, its controls, and what each check was able to see.",
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """The schema as the committed file has it."""
    return json.dumps(findings_schema(), indent=2, ensure_ascii=False) + "\n"


def write_schema(path: Path | str) -> Path:
    """Write the schema to `path` and return it. Raises BadInput if it cannot be written."""
    return write_atomically(Path(path), schema_text())
