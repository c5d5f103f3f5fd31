"""Run only what comes after a site: many edits of one place for the price of the rest of the network.

Modules that had finished when the site's tensor passed are not run again. Their outputs are replaced by tensors of NaN
that take no memory; where the rest of the network does read one (a skip connection), the answer turns to NaN in a
rehearsal, and that one is held instead. So it works for any module whose other work between modules is cheap.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..records import BadInput, Site
from .leaves import like, nan_like
from .network import Network


@dataclass(frozen=True)
class Held:
    """One batch as it stood at the site: the input, the site's tensor, and the earlier outputs that the tail reads.

    Attributes:
        value: the site's tensor, batch first. logits: the network's answer on the unedited batch.
    """

    x: Tensor
    mask: Tensor | None
    value: Tensor
    logits: Tensor
    outputs: dict[tuple[str, int], Any]

    def __len__(self) -> int:
        return self.x.shape[0]


class Tail:
    """The part of `network` after `site` (a port of a module, not a part).

    Raises:
        BadInput: if the site is a part, or a rehearsal does not give the same answer as the whole network.
    """

    def __init__(self, network: Network, site: Site | str) -> None:
        self.network, self.site = network, network.site(site)
        if self.site.part:
            raise BadInput("the tail starts at a module's input or output", where=self.site.alias, fix="choose the port that the part is read from")
        self.skipped = self._skipped()
        self.needed: frozenset[tuple[str, int]] = frozenset(self.skipped)
        self._learn()

    def _skipped(self) -> list[tuple[str, int]]:
        """Calls that end before the site's tensor passes, the outermost ones, in order."""
        order = self.network.dry_run.order
        leaving = self.site.port == "out"
        when = next(i for i, s in enumerate(order) if (s.path, s.call, s.leaving) == (self.site.path, self.site.call, leaving))
        marks: list[int] = []
        done: list[tuple[str, int]] = []
        for step in order[: when + 1]:
            if not step.leaving:
                marks.append(len(done))
            else:
                # What ended inside this call is covered by it.
                done = [*done[: marks.pop()], (step.path, step.call)]
        return done

    def _learn(self) -> None:
        """Find which skipped outputs the tail reads: the fewest that leave a rehearsal without NaN."""
        x, mask = self.network.example()
        with torch.no_grad():
            held = self.hold(x, mask)
            needed: set[tuple[str, int]] = set()
            for candidate in [frozenset(), frozenset(self.skipped[-1:])]:
                if self._agrees(held, candidate):
                    needed = set(candidate)
                    break
            else:
                needed = set(self.skipped)
                for call in self.skipped:
                    if self._agrees(held, frozenset(needed - {call})):
                        needed.discard(call)
            self.needed = frozenset(needed)
            if not self._agrees(held, self.needed):
                raise BadInput("running only the tail does not give the network's own answer here", where=self.site.alias, fix="choose another site")

    def _agrees(self, held: Held, needed: frozenset[tuple[str, int]]) -> bool:
        self.needed = needed
        out = self._run(held, held.value, 1)
        return bool(torch.isfinite(out).all()) and torch.allclose(out, held.logits, rtol=1e-4, atol=1e-5 * float(held.logits.abs().max()))

    def hold(self, x: Tensor, mask: Tensor | None = None) -> Held:
        """Run the whole network once and keep what the tail needs."""
        kept: dict[tuple[str, int], Any] = {}
        handles: list[Any] = []
        counts: dict[str, int] = {}
        wanted = set(self.skipped)
        for path in {path for path, _ in wanted}:

            def after(module: nn.Module, args: Any, output: Any, path: str = path) -> None:
                call = counts.get(path, 0)
                counts[path] = call + 1
                if (path, call) in wanted:
                    # What is not needed later is kept as its shape alone.
                    keep = (path, call) in self.needed
                    kept[(path, call)] = like(output, (lambda t: t.clone()) if keep else (lambda t: nan_like(t, t.shape[0])))

            handles.append(self.network.taps.module(path).register_forward_hook(after))
        try:
            with self.network.watching(self.site, copy=True) as watched:
                logits = self.network.logits(x, mask)
            return Held(x, mask, watched[self.site], logits, kept)
        finally:
            for handle in handles:
                handle.remove()

    def __call__(self, held: Held, values: Tensor) -> Tensor:
        """The answers if `values` had passed the site.

        Args:
            values: [repeats * batch, ...], the held batch's tensor in `repeats` versions, whole batches one after another.

        Returns:
            [repeats * batch, ...] logits.
        """
        repeats, rest = divmod(values.shape[0], len(held))
        if rest or values.shape[1:] != held.value.shape[1:]:
            raise BadInput(f"values have shape {tuple(values.shape)}, the held batch {tuple(held.value.shape)}", where=self.site.alias, fix="pass whole batches of that shape")
        return self._run(held, values, repeats)

    def _run(self, held: Held, values: Tensor, repeats: int) -> Tensor:
        network, site = self.network, self.site

        def repeated(tensor: Tensor) -> Tensor:
            if tensor.dim() == 0 or tensor.shape[0] != len(held):
                return tensor
            return tensor.repeat(repeats, *[1] * (tensor.dim() - 1)) if repeats > 1 else tensor

        own = (site.path, site.call) if site.port == "out" else None
        outputs: dict[tuple[str, int], Any] = {}
        for call, output in held.outputs.items():
            if call in self.needed or call == own:
                outputs[call] = like(output, repeated)
            else:
                outputs[call] = like(output, lambda t: nan_like(t, t.shape[0] * repeats if t.dim() and t.shape[0] == len(held) else (t.shape[0] if t.dim() else 1)))
        x = held.x.repeat(repeats, *[1] * (held.x.dim() - 1)) if repeats > 1 else held.x
        mask = held.mask.repeat(repeats, *[1] * (held.mask.dim() - 1)) if held.mask is not None and repeats > 1 else held.mask
        with self._skipping(outputs), network.editing({site: lambda tensor, site: values}):
            return network.logits_unchecked(x, mask)

    @contextmanager
    def _skipping(self, outputs: dict[tuple[str, int], Any]) -> Iterator[None]:
        """Within the block, the calls in `outputs` return what is given instead of running."""
        paths = {path for path, _ in outputs}
        counts: dict[str, int] = dict.fromkeys(paths, 0)
        changed: list[nn.Module] = []
        try:
            for path in paths:
                module = self.network.taps.module(path)
                original = module.forward

                def forward(*args: Any, path: str = path, original: Any = original, **kwargs: Any) -> Any:
                    call = counts[path]
                    counts[path] = call + 1
                    return outputs[(path, call)] if (path, call) in outputs else original(*args, **kwargs)

                if "forward" in module.__dict__:
                    raise BadInput("this module's forward was replaced by someone else", where=path, fix="undo that first")
                module.__dict__["forward"] = forward
                changed.append(module)
            yield
        finally:
            for module in changed:
                module.__dict__.pop("forward", None)

