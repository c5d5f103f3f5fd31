"""`mulligan see`: look at what a network has inside. One module a command."""

from __future__ import annotations

import typer

app = typer.Typer(name="see", help="Look at features, their parts, and the space they live in.", no_args_is_help=True)

from . import atlas as _atlas  # noqa: E402, F401  # registers its command
from . import examples as _examples  # noqa: E402, F401  # registers its command
from . import factors as _factors  # noqa: E402, F401  # registers its command
from . import labels as _labels  # noqa: E402, F401  # registers its command
from . import maps as _maps  # noqa: E402, F401  # registers its command
from . import photograph as _photograph  # noqa: E402, F401  # registers its command
from . import units as _units  # noqa: E402, F401  # registers its command
