"""A loaded model with an identity, what it takes, what it answers, and named sites to watch and edit."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..records import BadInput, MulliganError, NetworkRecord, Site, Task, parse_site
from .edits import Edit
from .identity import identity
from .inputs import ArrayInput, ImageInput, NetworkInput, TokenInput
from .leaves import leaves, pick
from .parts import Part
from .taps import Tap, Taps

Reduce = Callable[[Tensor, Site], Tensor]


@dataclass(frozen=True)
class Step:
    """One thing that happened in the dry run: a module was entered or left."""

    path: str
    call: int
    leaving: bool


@dataclass(frozen=True)
class DryRun:
    """What one forward pass on a made-up input told: ports with shapes, the order of calls, what is changed in place."""

    ports: Mapping[Site, tuple[int, ...]]
    order: tuple[Step, ...]
    overwritten: frozenset[Site]


class Watched(Mapping[str, Tensor]):
    """What passed the watched sites in the latest forward pass, by alias (or by `Site`)."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites = tuple(sites)
        self._values: dict[str, Tensor] = {}
        self._versions: dict[str, int] = {}

    def __getitem__(self, site: str | Site) -> Tensor:
        alias = site if isinstance(site, str) else site.alias
        if alias not in self._values:
            raise BadInput("nothing has passed here", where=alias, fix="run the network inside the `with` block first")
        tensor = self._values[alias]
        if alias in self._versions and tensor._version != self._versions[alias]:
            raise MulliganError(f"what passed at {alias} was changed in place later, unlike in the dry run: watch it with copy=True.")
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Network:
    """Wraps any `nn.Module`; patches nothing, and puts it into evaluation mode.

    Args:
        module: the model.
        name: what reports call it.
        input: what it takes; None if only tensors of your own will be passed.
        classes: names of its answers, in order.
        task: what it is for; guessed from input and classes if None.
        parts: sites that are not ports, from the family's adapter.
        meanings: site pattern to a sentence that says precisely what the site is.
        call: (module, x, mask) to output. answer: output to the tensor of logits (or of the embedding).
        recipe: plain data from which `load` builds the same network.
        head: path of the layer whose rows are the classes, if the last linear layer is not it.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str = "network",
        input: NetworkInput | None = None,
        classes: Sequence[str] | None = None,
        task: Task | None = None,
        parts: Sequence[Part] = (),
        meanings: Mapping[str, str] | None = None,
        call: Callable[[nn.Module, Tensor, Tensor | None], Any] | None = None,
        answer: Callable[[Any], Tensor] | None = None,
        recipe: Mapping[str, Any] | None = None,
        head: str | None = None,
    ) -> None:
        self.module = module.eval()
        self.name, self.input, self.recipe = name, input, dict(recipe or {})
        self.classes = tuple(classes) if classes is not None else None
        self.parts: dict[Site, Part] = {part.site.place: part for part in parts}
        self.meanings = dict(meanings or {})
        self._call, self._answer, self._head = call, answer, head
        self.taps = Taps(module)
        self.task: Task = task or ("language" if isinstance(input, TokenInput) else "classification" if self.classes else "other")

    def __repr__(self) -> str:
        return f"Network({self.name!r}, {self.parameters:,} parameters, {self.task})"

    @cached_property
    def identity(self) -> str:
        """A hash of weights and architecture; do not edit weights in place behind it (use `fresh` after that)."""
        return identity(self.module)

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    def record(self) -> NetworkRecord:
        """What the findings say of this network."""
        steps = {"kind": type(self.input).__name__, "steps": list(self.input.steps())} if self.input is not None else None
        return NetworkRecord(name=self.name, identity=self.identity, parameters=self.parameters, classes=self.classes, input=steps)

    def with_module(self, module: nn.Module, name: str | None = None) -> Network:
        """The same network around another module of the same architecture (an edited copy, a twin)."""
        return Network(
            module, name=name or self.name, input=self.input, classes=self.classes, task=self.task, parts=tuple(self.parts.values()),
            meanings=self.meanings, call=self._call, answer=self._answer, recipe={}, head=self._head,
        )  # fmt: skip

    def with_input(self, input: NetworkInput) -> Network:
        """The same network with other preprocessing."""
        other = self.with_module(self.module)
        other.input, other.recipe = input, self.recipe
        return other

    # Running
    def __call__(self, x: Tensor, mask: Tensor | None = None) -> Any:
        """The module's raw output for a batch; gradients as the caller's context says."""
        x = x.to(self.device)
        mask = mask.to(self.device) if mask is not None else None
        return self._call(self.module, x, mask) if self._call else self.module(x)

    def logits(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The answer: [batch, classes], [batch, position, vocabulary] or [batch, feature].

        Raises:
            BadInput: if it is not finite, or does not fit the class names.
        """
        return self.answer(self(x, mask))

    def answer(self, output: Any) -> Tensor:
        """The logits in a raw output (see `logits`)."""
        out = self.answer_unchecked(output)
        if not torch.isfinite(out).all():
            raise BadInput("the network answers with NaN or infinity", where=self.name, fix="check the weights file and the input's scale")
        if self.classes is not None and out.shape[-1] != len(self.classes):
            raise BadInput(f"the network has {out.shape[-1]} answers and {len(self.classes)} class names are given", where=self.name, fix="pass the right list with --classes")
        return out

    def answer_unchecked(self, output: Any) -> Tensor:
        """The logits in a raw output, whatever they are."""
        return self._answer(output) if self._answer else pick(output, "")[1]

    def logits_unchecked(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`logits` for passes under an edit, where NaN may be the point."""
        return self.answer_unchecked(self(x, mask))

    # Sites
    def example(self, batch: int = 2) -> tuple[Tensor, Tensor | None]:
        """A made-up input of the right shape, for dry runs."""
        generator = torch.Generator().manual_seed(0)
        match self.input:
            case ImageInput():
                pixels = torch.rand(batch, self.input.channels, *self.input.size, generator=generator)
                return torch.as_tensor(self.input.normalise(pixels)), None
            case TokenInput():
                ids = torch.randint(5, 100, (batch, _LENGTH), generator=generator)
                return ids, torch.ones_like(ids)
            case ArrayInput():
                return torch.rand(batch, *self.input.shape, generator=generator), None
        raise BadInput("this network does not say what it takes", where=self.name, fix="pass --input, or input= to Network")

    @cached_property
    def dry_run(self) -> DryRun:
        """One pass on `example()`; finds every port that tensors pass, with shapes."""
        return self.rehearse(*self.example())

    def rehearse(self, x: Tensor, mask: Tensor | None = None) -> DryRun:
        """The same on an input of your own; makes it this network's `dry_run`."""
        ports: dict[Site, tuple[int, ...]] = {}
        order: list[Step] = []
        held: list[tuple[Site, Tensor, int]] = []
        calls: dict[str, int] = {}
        handles = []

        def see(path: str, port: Any, call: int, value: Any) -> None:
            for number, (leaf, tensor) in enumerate(leaves(value)):
                site = Site(path, port, call, "" if number == 0 else leaf)
                ports[site] = tuple(tensor.shape)
                held.append((site, tensor, tensor._version))

        for path, module in self.module.named_modules():

            def before(module: nn.Module, args: Any, kwargs: Any, path: str = path) -> None:
                order.append(Step(path, calls.get(path, 0), False))
                see(path, "in", calls.get(path, 0), {**{str(i): arg for i, arg in enumerate(args)}, **kwargs})

            def after(module: nn.Module, args: Any, kwargs: Any, output: Any, path: str = path) -> None:
                call = calls.get(path, 0)
                calls[path] = call + 1
                order.append(Step(path, call, True))
                see(path, "out", call, output)

            handles += [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after, with_kwargs=True)]
        try:
            with torch.no_grad():
                self(x, mask)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            first = str(error).strip().split("\n")[0]
            raise BadInput(f"the network refuses an input of shape {tuple(x.shape)}: {first}", where=self.name, fix="check --input, or the factory's own input") from error
        finally:
            for handle in handles:
                handle.remove()
        overwritten = frozenset(site for site, tensor, version in held if tensor._version != version)
        self.__dict__["dry_run"] = DryRun(ports, tuple(order), overwritten)
        return self.__dict__["dry_run"]

    def sites(self, pattern: str | Iterable[str] = "*") -> list[Site]:
        """Sites whose alias fits a glob (or any of several), with shapes and axes, in the order in which they pass.

        Outputs and parts are listed; inputs only where the pattern ends in ".in", other leaves where it ends in "]".

        Raises:
            BadInput: if a pattern fits nothing; a module that did not run in the dry run has no site.
        """
        found: dict[Site, Site] = {}
        for glob in [pattern] if isinstance(pattern, str) else pattern:
            matches = [site for site in self._all_sites if _fits(site, glob)]
            if not matches:
                found_site = self.site(glob)  # says why not
                matches = [found_site]
            found.update((site.place, site) for site in matches)
        return list(found.values())

    @cached_property
    def _all_sites(self) -> list[Site]:
        sites = [self._with_axes(site) for site in self.dry_run.ports]
        for part in self.parts.values():
            sites.append(replace(part.site, axes=part.axes, shape=self._part_shape(part)))
        return sites

    def _part_shape(self, part: Part) -> tuple[int, ...]:
        if part.combine is None:
            return ()
        shapes = [self.dry_run.ports.get(replace(read, leaf="")) for read in part.reads]
        if any(shape is None for shape in shapes):
            return ()
        return tuple(part.combine(*(torch.empty(shape or (), device="meta") for shape in shapes)).shape)

    def site(self, alias: str | Site) -> Site:
        """One site by its alias, with shape and axes.

        Raises:
            BadInput: if the module, call, leaf or part does not exist, or did not run.
        """
        asked = alias if isinstance(alias, Site) else parse_site(alias)
        place = asked.place
        if place in self.parts:
            return replace(place, axes=self.parts[place].axes, shape=self._part_shape(self.parts[place]))
        if place.part:
            there = [part.site.part for part in self.parts.values() if part.site.path == place.path]
            raise BadInput(f"this module has no part {place.part!r}; it has {', '.join(there) or 'none'}", where=place.alias, fix="see `mulligan sites`")
        if place in self.dry_run.ports:
            return self._with_axes(place)
        self.taps.module(place.path)
        ran = [site for site in self.dry_run.ports if site.path == place.path and site.port == place.port]
        if not ran:
            raise BadInput("this module never runs in a forward pass (or no tensor passes there)", where=place.alias, fix="choose another site; `mulligan sites` lists them")
        raise BadInput(f"this call or tensor does not exist; there are {', '.join(site.alias for site in ran[:5])}", where=place.alias, fix="choose one of these")

    def _with_axes(self, site: Site) -> Site:
        shape = self.dry_run.ports[site.place]
        return replace(site, axes=axes_of(shape, self.input), shape=shape)

    def meaning(self, site: Site) -> str:
        """What the site is, precisely."""
        if site.place in self.parts:
            return self.parts[site.place].meaning
        for pattern, text in self.meanings.items():
            if fnmatch.fnmatchcase(site.alias, pattern):
                return text
        module = self.taps.module(site.path)
        side = "what goes into" if site.port == "in" else "what comes out of"
        kind = type(module).__name__ if site.path else "the network"
        return f"{side} {kind}" + (f" (call {site.call + 1} of this shared module)" if site.call else "")

    # Watching and editing
    @contextmanager
    def watching(self, sites: str | Site | Iterable[str | Site], *, reduce: Reduce | None = None, copy: bool = False) -> Iterator[Watched]:
        """Within the block, keep what passes at `sites` in each forward pass; the latest replaces the one before.

        Args:
            sites: aliases, globs or sites.
            reduce: (tensor, site) to what is kept, computed as the tensor passes.
            copy: copy every tensor; those that the dry run saw overwritten in place are copied anyway.
        """
        resolved = self._resolve(sites)
        watched = Watched(resolved)
        taps: list[Tap] = []
        try:
            for site in resolved:
                taps += self._read(site, self._keeper(watched, site, reduce, copy))
            yield watched
        finally:
            for tap in taps:
                self.taps.untap(tap)

    def _keeper(self, watched: Watched, site: Site, reduce: Reduce | None, copy: bool) -> Callable[[Tensor], None]:
        must_copy = copy or site.place in self.dry_run.overwritten

        def keep(tensor: Tensor) -> None:
            if reduce is not None:
                watched._values[site.alias] = reduce(tensor, site)
            elif must_copy:
                watched._values[site.alias] = tensor.clone()
            else:
                watched._values[site.alias] = tensor
                if not tensor.is_inference():
                    watched._versions[site.alias] = tensor._version

        return keep

    @contextmanager
    def editing(self, edits: Mapping[str, Edit] | Mapping[Site, Edit]) -> Iterator[None]:
        """Within the block, every forward pass has its sites changed: {site: edit}. Blocks nest; outer edits act first."""
        taps: list[Tap] = []
        try:
            for asked, edit in edits.items():
                for site in self._resolve(asked):
                    taps += self._write(site, edit)
            yield
        finally:
            for tap in taps:
                self.taps.untap(tap)

    def _resolve(self, sites: str | Site | Iterable[str | Site]) -> list[Site]:
        wanted = [sites] if isinstance(sites, str | Site) else list(sites)
        resolved: dict[Site, Site] = {}
        for item in wanted:
            for site in self.sites(item) if isinstance(item, str) and any(c in item for c in "*?") else [self.site(item)]:
                resolved[site.place] = site
        return list(resolved.values())

    def _read(self, site: Site, keep: Callable[[Tensor], None]) -> list[Tap]:
        part = self.parts.get(site.place)
        if part is None or part.intercepts:
            return [self.taps.tap(site.place, read=keep)]
        return self._gather(part, lambda tensors: keep(part.combine(*tensors)))  # type: ignore[misc]

    def _gather(self, part: Part, then: Callable[[list[Tensor]], None]) -> list[Tap]:
        """Taps that collect the ports of a part; when the last has passed, `then` gets the tensors."""
        scratch: dict[int, Tensor] = {}

        def collect(index: int) -> Callable[[Tensor], None]:
            def read(tensor: Tensor) -> None:
                scratch[index] = tensor
                if index == len(part.reads) - 1:
                    then([scratch[i] for i in range(len(part.reads))])

            return read

        return [self.taps.tap(read, read=collect(index)) for index, read in enumerate(part.reads)]

    def _write(self, site: Site, edit: Edit) -> list[Tap]:
        def checked(tensor: Tensor) -> Tensor:
            new = edit(tensor, site)
            if new.shape != tensor.shape:
                raise BadInput(f"the edit gives shape {tuple(new.shape)} where {tuple(tensor.shape)} passes", where=site.alias, fix="return a tensor of the same shape")
            return new

        part = self.parts.get(site.place)
        if part is None or part.intercepts:
            return [self.taps.tap(site.place, write=checked)]
        combine, split, writes = part.combine, part.split, part.writes
        if combine is None or split is None or writes is None:
            raise BadInput("this site can be watched but not edited", where=site.alias, fix="edit a site before or after it")
        scratch: dict[int, Tensor] = {}
        taps = [self.taps.tap(read, read=lambda t, i=i: scratch.__setitem__(i, t)) for i, read in enumerate(part.reads[:-1])]

        def write(last: Tensor) -> Tensor:
            tensors = [scratch[i] for i in range(len(part.reads) - 1)] + [last]
            return split(checked(combine(*tensors)), *tensors)

        return [*taps, self.taps.tap(writes, write=write)]

    # The head
    @cached_property
    def head(self) -> str:
        """Path of the layer whose weight rows are the network's answers.

        Raises:
            BadInput: if there is none.
        """
        if self._head is not None:
            return self._head
        wanted = len(self.classes) if self.classes is not None else None
        ran = {step.path for step in self.dry_run.order}
        for path, module in reversed(list(self.module.named_modules())):
            out = getattr(module, "out_features", None) or getattr(module, "out_channels", None)
            if path in ran and isinstance(module, nn.Linear | nn.Conv2d) and (wanted is None or out == wanted):
                return path
        raise BadInput("no layer has one row for each class", where=self.name, fix="name it with head=")

    @property
    def head_weights(self) -> tuple[Tensor, Tensor | None]:
        """The head's weight [answers, features] and bias [answers] (or None)."""
        layer = self.taps.module(self.head)
        weight: Any = layer.weight
        bias: Any = getattr(layer, "bias", None)
        return weight.detach().flatten(1), bias.detach() if bias is not None else None


_LENGTH = 11  # of a made-up text: no hidden size is 11, so the axis is known by it


def axes_of(shape: tuple[int, ...], input: NetworkInput | None) -> tuple[str, ...]:
    """What each axis of a port's tensor is, from its shape in the dry run."""
    if isinstance(input, TokenInput):
        names = ["feature"] * len(shape)
        positions = [i for i, size in enumerate(shape) if size == _LENGTH]
        for number, axis in enumerate(positions):
            names[axis] = "position" if len(positions) == 1 else ("query", "key")[min(number, 1)]
        if shape and shape[0] != _LENGTH:
            names[0] = "batch"
        if len(shape) == 4 and "position" in names and names.count("feature") == 2:
            names[names.index("feature")] = "head"
        elif len(shape) == 4 and names.count("feature") == 1:
            names[names.index("feature")] = "head"
        return tuple(names)
    match len(shape):
        case 0:
            return ()
        case 4:
            return ("batch", "channel", "height", "width")
        case 3:
            return ("batch", "position", "feature")
        case _:
            return ("batch", "feature", *(f"axis{i}" for i in range(2, len(shape))))[: len(shape)]


def _fits(site: Site, glob: str) -> bool:
    if site.port == "in" and not glob.endswith(".in"):
        return False
    if site.leaf and not glob.endswith("]"):
        return False
    escaped = glob.replace("[", "[[]") if glob.endswith("]") else glob
    return fnmatch.fnmatchcase(site.alias, escaped)
