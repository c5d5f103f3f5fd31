"""What `mulligan see atlas` and `mulligan see maps` store: the space that activations live in, and who lives where.

RUN/atlas.json holds one `Atlas`, the index of its tile pyramid; the cells of each zoom are in files of their own.
RUN/maps.json holds one `Maps`. Their figures are descriptions beside their controls, never findings.
"""

from __future__ import annotations

from dataclasses import dataclass

from .examples import ExampleRef
from .findings import DataRecord, NetworkRecord
from .quantities import Quantity
from .seeing import LeftOut

ATLAS_SCHEMA = "mulligan/atlas/1"
MAPS_SCHEMA = "mulligan/maps/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A figure of what is shown, and the same figure of its controls, by name ("random twin", "labels shuffled")."""

    name: str
    shown: Quantity
    controls: tuple[tuple[str, Quantity], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasCell:
    """One cell of one zoom.

    Attributes:
        row, column: from the top left. n: activations in it.
        labels: the commonest labels of their pictures, with how many have each.
        effects: the classes that its activations push most, with the mean effect on the logit.
        drawn: whether its picture is in the tile; else its square is coloured by its commonest label.
        reached: the objective's value on the picture before it was fitted into the tile.
    """

    row: int
    column: int
    n: int
    labels: tuple[tuple[str, int], ...] = ()
    effects: tuple[tuple[str, Quantity], ...] = ()
    drawn: bool = False
    reached: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasTile:
    """One picture of the pyramid: it covers `rows` x `columns` cells from cell (`row`, `column`) on."""

    row: int
    column: int
    rows: int
    columns: int
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasLevel:
    """One zoom.

    Attributes:
        side: cells along each side. pixels: of a cell in its tile, along each side.
        tiles: they cover the plane exactly once. cells: path of the file with this zoom's `AtlasCell`s.
        kept: cells with enough activations; drawn: how many of them have their picture.
        thin, thin_activations: cells that were left out since they hold too few, and what lies in them.
    """

    side: int
    pixels: int
    tiles: tuple[AtlasTile, ...]
    cells: str
    kept: int
    drawn: int
    thin: int
    thin_activations: int
    figures: tuple[Beside, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AtlasAgainst:
    """A second network on the layout of the first.

    Attributes:
        map: how its activations were brought there: "as they are" or "ridge". explained: how good that is.
        pairs: what the map was fitted on, in words. levels: its own pyramid, drawn by itself, cell by cell.
        overlap: share of the second network's activations in cells that the first one's fill, too, at the finest zoom.
    """

    network: NetworkRecord
    site: str
    activations: int
    map: str
    pairs: str
    explained: Beside
    outside: int
    levels: tuple[AtlasLevel, ...]
    figures: tuple[Beside, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Atlas:
    """RUN/atlas.json.

    Attributes:
        site, meaning: what was sampled, precisely. target: of a class atlas, the class; share: of the activations that
            push to it, how many were kept, strongest first.
        pictures, draws, repeated: how many pictures, places drawn of each, and draws that hit a place again (dropped).
        activations: how many are laid out. fitted: on how many of these the layout was made.
        components, explained: of the projection before the layout, and the share of the variance that it keeps.
        outside: activations beyond the frame, clamped to its border. fewest: activations that a cell must hold.
        shrinkage: of the covariance that directions are whitened with.
    """

    schema: str = ATLAS_SCHEMA
    mulligan: str = ""
    created: str = ""
    seconds: float = 0.0
    seed: int = 0
    network: NetworkRecord
    data: DataRecord
    site: str
    meaning: str
    units: int
    target: str | None = None
    share: float | None = None
    pictures: int
    draws: int
    repeated: int
    activations: int
    fitted: int
    components: int
    explained: float
    outside: int
    fewest: int
    shrinkage: float
    levels: tuple[AtlasLevel, ...]
    against: AtlasAgainst | None = None
    figures: tuple[Beside, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteMap:
    """One layer's map: `points` are x and y of each of `Maps.examples`, from 0 to 1, y downwards."""

    site: str
    meaning: str
    units: int
    points: tuple[tuple[float, float], ...]
    figures: tuple[Beside, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Maps:
    """RUN/maps.json.

    Attributes:
        laid_out: examples that the maps were made of; `examples` are those that are shown, the same in every map.
        groups: classes, or where these are many, groups of classes, each with a colour and a shape of its own.
        group_of: the group of each example shown; -1: of none.
    """

    schema: str = MAPS_SCHEMA
    mulligan: str = ""
    created: str = ""
    seconds: float = 0.0
    seed: int = 0
    network: NetworkRecord
    data: DataRecord
    laid_out: int
    examples: tuple[ExampleRef, ...]
    groups: tuple[str, ...]
    group_of: tuple[int, ...]
    maps: tuple[SiteMap, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
