"""A loaded model with an identity, what it takes, what it answers, and named sites to watch and edit."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from ..records import BadInput, MulliganError, NetworkRecord, Site, Task, parse_site
from .edits import Edit
from .identity import identity
from .inputs import ArrayInput, ImageInput, NetworkInput, TokenInput
from .leaves import pick
from .parts import Part
from .rehearsal import DryRun, rehearse, version
from .taps import Tap, Taps

Reduce = Callable[[Tensor, Site], Tensor]
Inputs = Shaped[Tensor, "batch *input"]
Mask = Shaped[Tensor, "batch position"]
Answer = Float[Tensor, "batch *answer"]
_T = TypeVar("_T")
_LENGTH = 11  # tokens of a made-up text: no hidden size is 11, so the axis is known by it


class _Enough(Exception):
    """Ends a pass of which nothing more is wanted; never leaves `Network.__call__`."""


def _enough(tensor: Tensor) -> None:
    raise _Enough


class Watched(Mapping[str, Tensor]):
    """What passed the watched sites in the latest forward pass, by alias (or by `Site`)."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites = tuple(sites)
        self._values: dict[str, Tensor] = {}
        self._versions: dict[str, int] = {}

    def __getitem__(self, site: str | Site) -> Tensor:
        alias = self._alias(site)
        if alias not in self._values:
            if alias not in {watched.alias for watched in self.sites}:
                raise BadInput("this site is not watched", where=alias, fix="name it in `watching`")
            raise BadInput("nothing has passed here", where=alias, fix="run the network inside the `with` block first")
        tensor = self._values[alias]
        if version(tensor) != self._versions[alias]:
            raise MulliganError(
                f"what passed at {alias} was changed in place later, unlike in the dry run: watch it with copy=True."
            )
        return tensor

    def __contains__(self, site: object) -> bool:
        return isinstance(site, str | Site) and self._alias(site) in self._values

    def get(self, site: str | Site, default: Any = None) -> Any:
        """What passed there, or `default` if nothing did."""
        return self[site] if site in self else default  # noqa: SIM401, of which this is the definition

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _alias(self, site: str | Site) -> str:
        if isinstance(site, Site) or site in self._values:
            return str(site)
        return parse_site(site).alias

    def _keep(self, site: Site, tensor: Tensor) -> None:
        self._values[site.alias], self._versions[site.alias] = tensor, version(tensor)


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
        neurons: aliases of the feed-forwards' neurons, where the family's adapter knows them; None: to be guessed.
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
        neurons: Sequence[str] | None = None,
    ) -> None:
        self.module = module.eval()
        self.name, self.input, self.recipe = name, input, dict(recipe or {})
        self.classes = tuple(classes) if classes is not None else None
        self.parts: dict[Site, Part] = {part.site.place: part for part in parts}
        self.meanings = dict(meanings or {})
        self._call, self._answer, self._head = call, answer, head
        self.neurons = tuple(neurons) if neurons is not None else None
        self.taps = Taps(module)
        for part in parts:
            for port in (part.site, *part.reads):
                self.taps.module(port.path)
        self.task: Task = task or (
            "language" if isinstance(input, TokenInput) else "classification" if self.classes else "other"
        )

    def __repr__(self) -> str:
        return f"Network({self.name!r}, {self.parameters:,} parameters, {self.task})"

    @cached_property
    def identity(self) -> str:
        """A hash of weights and architecture, computed once: after changing weights in place, use `with_module`."""
        return identity(self.module)

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def to(self, device: str | torch.device) -> Network:
        """Move the weights to a device ("cpu", "cuda", "cuda:1", "mps"), in place; returns the network itself.

        Raises:
            BadInput: if torch does not know the device, or it is not there.
        """
        try:
            self.module.to(device)
        except (RuntimeError, AssertionError) as error:
            first = str(error).strip().split("\n")[0]
            raise BadInput(
                f"the network cannot run there: {first}", where=device, fix="choose cpu, cuda or mps"
            ) from error
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The weights' own precision."""
        return next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.get_default_dtype())

    def record(self) -> NetworkRecord:
        """What the findings say of this network."""
        match self.input:
            case ImageInput():
                taken = {"kind": "images", "spec": self.input.spec()}
            case TokenInput():
                taken = {"kind": "texts", "context": self.input.context}
            case ArrayInput():
                taken = {"kind": "arrays", "shape": list(self.input.shape)}
            case None:
                taken = None
        return NetworkRecord(
            name=self.name, identity=self.identity, parameters=self.parameters, classes=self.classes, input=taken
        )

    def with_module(self, module: nn.Module, name: str | None = None) -> Network:
        """The same network around another module of the same architecture (an edited copy, a twin)."""
        return Network(
            module, name=name or self.name, input=self.input, classes=self.classes, task=self.task,
            parts=tuple(self.parts.values()), meanings=self.meanings, call=self._call, answer=self._answer, recipe={},
            head=self._head, neurons=self.neurons,
        )  # fmt: skip

    def with_input(self, input: NetworkInput) -> Network:
        """The same network with other preprocessing."""
        other = self.with_module(self.module)
        other.input = input
        if self.recipe and isinstance(input, ImageInput | ArrayInput):
            other.recipe = {**self.recipe, "input": input.spec()}
        return other

    # Running
    def __call__(self, x: Inputs, mask: Mask | None = None) -> Any:
        """The module's raw output for a batch; gradients as the caller's context says.

        Numbers that are not whole are given in the weights' own precision.
        """
        x = x.to(self.device, self.dtype if x.is_floating_point() else None)
        mask = mask.to(self.device) if mask is not None else None
        with self.taps.whole_pass():
            try:
                return self._call(self.module, x, mask) if self._call else self.module(x)
            except _Enough:
                return None

    def logits(self, x: Inputs, mask: Mask | None = None) -> Answer:
        """The answer: [batch, classes], [batch, position, vocabulary] or [batch, feature].

        Raises:
            BadInput: if it is not finite, or does not fit the class names.
        """
        return self.answer(self(x, mask))

    def answer(self, output: Any) -> Answer:
        """The logits in a raw output (see `logits`)."""
        out = self.answer_unchecked(output)
        self.check_answer(out)
        return out

    def check_answer(self, answer: Answer) -> None:
        """See whether logits are finite, and as many as the classes.

        Raises:
            BadInput: if not.
        """
        if not torch.isfinite(answer).all():
            raise BadInput(
                "the network answers with NaN or infinity",
                where=self.name,
                fix="check the weights file and the input's scale",
            )
        self._fit_classes(answer.shape[-1])

    def answer_unchecked(self, output: Any) -> Answer:
        """The logits in a raw output, whatever they are."""
        return self._answer(output) if self._answer else pick(output, "")[1]

    def logits_unchecked(self, x: Inputs, mask: Mask | None = None) -> Answer:
        """`logits` for passes under an edit, where NaN may be the point."""
        return self.answer_unchecked(self(x, mask))

    def check_classes(self) -> None:
        """See whether there are as many class names as answers, by the head or else by a run on `example()`.

        Raises:
            BadInput: if there are not, or the network is no classifier.
        """
        if self.classes is None:
            return
        if self.task in ("language", "embedding"):
            raise BadInput(
                f"this network's task is {self.task}: it has no classes", where=self.name, fix="leave --classes out"
            )
        if self._head is not None:
            self._fit_classes(self.head_weights[0].shape[0])
        elif self.input is not None:
            with torch.no_grad():
                self._fit_classes(self.logits_unchecked(self.dry_run.x, self.dry_run.mask).shape[-1])

    def _fit_classes(self, answers: int) -> None:
        if self.classes is not None and answers != len(self.classes):
            raise BadInput(
                f"the network has {answers} answers and {len(self.classes)} class names are given",
                where=self.name,
                fix="pass the right list with --classes",
            )

    # Sites
    def example(self, batch: int = 2) -> tuple[Inputs, Mask | None]:
        """A made-up input of the right shape, for dry runs."""
        generator = torch.Generator().manual_seed(0)
        match self.input:
            case ImageInput():
                pixels = torch.rand(batch, self.input.channels, *self.input.size, generator=generator)
                return self.input.normalise(pixels), None
            case TokenInput():
                ids = torch.randint(
                    *_plain_ids(self.input), (batch, min(_LENGTH, self.input.context)), generator=generator
                )
                return ids, torch.ones_like(ids, dtype=torch.bool)
            case ArrayInput():
                return torch.rand(batch, *self.input.shape, generator=generator), None
        raise BadInput(
            "this network does not say what it takes", where=self.name, fix="pass --input, or input= to Network"
        )

    @cached_property
    def dry_run(self) -> DryRun:
        """One pass on `example()`; finds every port that tensors pass, with shapes and axes."""
        return rehearse(self.module, self, *self.example(), self.input)

    def rehearse(self, x: Inputs, mask: Mask | None = None) -> DryRun:
        """The same on an input of your own; makes it this network's `dry_run`."""
        run = rehearse(self.module, self, x, mask, self.input)
        for cached in ("_all_sites", "head"):
            self.__dict__.pop(cached, None)
        self.__dict__["dry_run"] = run
        return run

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
            sites.append(self._with_axes(part.site.place))
        return sites

    def site(self, alias: str | Site) -> Site:
        """One site by its alias, with shape and axes.

        Raises:
            BadInput: if the module, call, leaf or part does not exist, or did not run.
        """
        asked = alias if isinstance(alias, Site) else parse_site(alias)
        place = asked.place
        if place in self.parts or place in self.dry_run.ports:
            return self._with_axes(place)
        self.taps.module(place.path)
        if place.part:
            there = [part.site.part for part in self.parts.values() if part.site.path == place.path]
            raise BadInput(
                f"this module has no part {place.part!r}; it has {', '.join(there) or 'none'}",
                where=place.alias,
                fix="see `mulligan sites`",
            )
        first = replace(place, leaf="")
        if self.dry_run.names.get(first) == place.leaf:
            return self._with_axes(first)
        ran = [site for site in self.dry_run.ports if site.path == place.path and site.port == place.port]
        if not ran:
            raise BadInput(
                "this module never runs in a forward pass (or no tensor passes there)",
                where=place.alias,
                fix="choose another site; `mulligan sites` lists them",
            )
        raise BadInput(
            f"this call or tensor does not exist; there are {', '.join(site.alias for site in ran[:5])}",
            where=place.alias,
            fix="choose one of these",
        )

    def _with_axes(self, place: Site) -> Site:
        run = self.dry_run
        if place in self.parts:
            part = self.parts[place]
            return replace(place, axes=part.axes, shape=part.shape(run.ports))
        return replace(place, axes=run.axes[place], shape=run.ports[place])

    def meaning(self, site: Site) -> str:
        """What the site is, precisely."""
        if site.place in self.parts:
            return self.parts[site.place].meaning
        if site.alias in self.meanings:
            return self.meanings[site.alias]
        for pattern, text in self.meanings.items():
            if fnmatch.fnmatchcase(site.alias, pattern):
                return text
        module = self.taps.module(site.path)
        side = "what goes into" if site.port == "in" else "what comes out of"
        kind = type(module).__name__ if site.path else "the network"
        return f"{side} {kind}" + (f" (call {site.call + 1} of this shared module)" if site.call else "")

    # Watching and editing
    @contextmanager
    def watching(
        self,
        sites: str | Site | Iterable[str | Site],
        *,
        reduce: Reduce | None = None,
        copy: bool = False,
        stop: bool = False,
    ) -> Iterator[Watched]:
        """Within the block, keep what passes at `sites` in each forward pass; the latest replaces the one before.

        Args:
            sites: aliases, globs or sites.
            reduce: (tensor, site) to what is kept, computed as the tensor passes.
            copy: copy every tensor; those that the dry run saw overwritten in place are copied anyway.
            stop: end each pass when the last of these sites has passed; the network's output is then None. (It
                ends by an exception: a forward that catches every `Exception` goes on in its own way.)
        """
        resolved = self._resolve(sites)
        watched = Watched(resolved)
        taps: list[Tap] = []
        try:
            for site in resolved:
                taps += self._read(site, self._keeper(watched, site, reduce, copy))
            if stop and resolved:
                taps.append(self.taps.tap(self._last_port(resolved), read=_enough))
            yield watched
        finally:
            for tap in taps:
                self.taps.untap(tap)

    def _keeper(self, watched: Watched, site: Site, reduce: Reduce | None, copy: bool) -> Callable[[Tensor], None]:
        must_copy = copy or any(read in self.dry_run.overwritten for read in self._ports(site))

        def keep(tensor: Tensor) -> None:
            kept = tensor if reduce is None else reduce(tensor, site)
            # What was reduced may still be a view of what passed.
            if must_copy and _shares_memory(kept, tensor):
                kept = kept.clone()
            watched._keep(site, kept)

        return keep

    def _last_port(self, sites: Sequence[Site]) -> Site:
        """The port that tensors pass last of all these sites' ports."""
        order = {port: number for number, port in enumerate(self.dry_run.ports)}
        ports = [
            port
            for site in sites
            # A pattern is no function of ports: it is caught inside its module.
            for port in self._ports(site) or (Site(site.path, "out", site.call),)
        ]
        return max(ports, key=lambda port: order.get(port, len(order)))

    def _ports(self, site: Site) -> tuple[Site, ...]:
        """The ports at whose tensors a site looks."""
        part = self.parts.get(site.place)
        return part.reads if part is not None else (site.place,)

    @contextmanager
    def editing(self, edits: Mapping[str, Edit] | Mapping[Site, Edit]) -> Iterator[None]:
        """Within the block every forward pass is changed at these sites: {site: edit}.

        Blocks nest; outer edits act first.
        """
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
            for site in (
                self.sites(item) if isinstance(item, str) and any(c in item for c in "*?") else [self.site(item)]
            ):
                resolved[site.place] = site
        return list(resolved.values())

    def _read(self, site: Site, keep: Callable[[Tensor], None]) -> list[Tap]:
        part = self.parts.get(site.place)
        if part is None or part.pattern_of:
            return [self.taps.tap(site.place, read=keep)]
        combine = _needed(part.combine, site)
        scratch, taps = self._gather(part.reads[:-1])
        return [*taps, self.taps.tap(part.reads[-1], read=lambda last: keep(combine(*scratch, last)))]

    def _write(self, site: Site, edit: Edit) -> list[Tap]:
        def checked(tensor: Tensor) -> Tensor:
            new = edit(tensor, site)
            if new.shape != tensor.shape:
                raise BadInput(
                    f"the edit gives shape {tuple(new.shape)} where {tuple(tensor.shape)} passes",
                    where=site.alias,
                    fix="return a tensor of the same shape",
                )
            return new

        part = self.parts.get(site.place)
        if part is None or part.pattern_of:
            return [self.taps.tap(site.place, write=checked)]
        combine, split = _needed(part.combine, site), _needed(part.split, site)
        scratch, taps = self._gather(part.reads[:-1])

        def write(last: Tensor) -> Tensor:
            return split(checked(combine(*scratch, last)), *scratch, last)

        return [*taps, self.taps.tap(_needed(part.writes, site), write=write)]

    def _gather(self, ports: Sequence[Site]) -> tuple[list[Tensor], list[Tap]]:
        """A list that always holds what passed these ports latest, and the taps that fill it."""
        scratch = [torch.empty(0)] * len(ports)

        def hold(index: int, port: Site) -> Callable[[Tensor], None]:
            overwritten = port in self.dry_run.overwritten
            return lambda tensor: scratch.__setitem__(index, tensor.clone() if overwritten else tensor)

        return scratch, [self.taps.tap(port, read=hold(index, port)) for index, port in enumerate(ports)]

    # The head
    @cached_property
    def head(self) -> str:
        """Path of the layer whose weight rows are the network's answers.

        Raises:
            BadInput: if there is none.
        """
        if self._head is not None:
            return self._head
        run = self.dry_run
        ran = list(dict.fromkeys(step.path for step in run.order if step.leaving))
        rows = [path for path in ran if isinstance(self.taps.module(path), nn.Linear | nn.Conv2d)]
        with torch.no_grad():
            answer = self.logits_unchecked(run.x, run.mask)
            if self.classes is not None:
                self._fit_classes(answer.shape[-1])
            # A convolution may be the head, with an average over one place or a flattening after it.
            rows_of_answers = [path for path in rows if math.prod(run.ports[Site(path)]) == answer.numel()]
            with self.watching(rows_of_answers, copy=True) as watched:
                self(run.x, run.mask)
        for path in reversed(rows_of_answers):
            if torch.equal(watched[path].reshape(answer.shape), answer):
                return path
        if self.classes is not None:
            for path in reversed(rows):
                layer = self.taps.module(path)
                if isinstance(layer, nn.Linear | nn.Conv2d) and layer.weight.shape[0] == len(self.classes):
                    return path
        raise BadInput("no layer has one row for each class", where=self.name, fix="name it with head=")

    @property
    def head_weights(self) -> tuple[Tensor, Tensor | None]:
        """The head's weight [answers, features] and bias [answers] (or None)."""
        layer = self.taps.module(self.head)
        weight: Any = layer.weight
        bias: Any = getattr(layer, "bias", None)
        return weight.detach().flatten(1), bias.detach() if bias is not None else None


def _plain_ids(input: TokenInput) -> tuple[int, int]:
    """From which id to which (not among them) the tokens of a made-up text are drawn: words, if there are as many."""
    tokenizer = input.tokenizer
    size = tokenizer.get_vocab_size() if hasattr(tokenizer, "get_vocab_size") else len(tokenizer)
    return (5, min(size, 100)) if size > 10 else (0, max(size, 1))


def _shares_memory(kept: Tensor, tensor: Tensor) -> bool:
    # Not by address: while a graph is made, tensors have none.
    return torch._C._is_alias_of(kept, tensor)  # pyright: ignore[reportAttributeAccessIssue]


def _needed(value: _T | None, site: Site) -> _T:
    if value is None:
        raise BadInput(
            "this site can be watched but not edited", where=site.alias, fix="edit a site before or after it"
        )
    return value


def _fits(site: Site, glob: str) -> bool:
    if site.port == "in" and not glob.endswith(".in"):
        return False
    if site.leaf and not glob.endswith("]"):
        return False
    escaped = glob.replace("[", "[[]") if glob.endswith("]") else glob
    return fnmatch.fnmatchcase(site.alias, escaped)
