"""Options that the commands of `mulligan see` share, and loading what they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[str, typer.Argument(help="As for audit.", show_default=False)]
Weights = Annotated[Path | None, typer.Option(help="Weights of that shape: safetensors, or a torch state dict.")]
Data = Annotated[str | None, typer.Option(help="Folder of images, .parquet, .npz, .txt, .jsonl.")]
Classes = Annotated[Path | None, typer.Option(help="Class names: one a line, or a JSON list.")]
Input = Annotated[str | None, typer.Option(help="How pixels become input: size=28,channels=1,mean=0,std=1.")]
Device = Annotated[str, typer.Option(help="Where the network runs: cpu, cuda, cuda:1, mps.")]
Out = Annotated[str | None, typer.Option(help="The run's folder (default: runs/TIME-see-ID).")]
Seed = Annotated[int, typer.Option(help="All randomness derives from it.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in --out, where an earlier run was interrupted.")]


def load_both(
    model: str, weights: Path | None, data: str | None, classes: Path | None, input: str | None, device: str
) -> tuple[Any, Any]:
    """The network, and the data set or None.

    Raises:
        BadInput: if either cannot be loaded.
    """
    from ...datasets import load_dataset
    from ...networks import load
    from ..cli import read_classes

    names = read_classes(classes) if classes else None
    network = load(model, weights=weights, input=input, classes=names)
    network.to(device)
    return network, load_dataset(data, classes=network.classes) if data else None
