"""Run only what comes after a site: many edits of one place for the price of the rest of the network.

Modules that had finished when the site's tensor passed are not run again. Their outputs are replaced by tensors of NaN
that take no memory; where the rest of the network does read one (a skip connection), the answer turns to NaN in a
rehearsal, and that one is held instead. So it works for any module whose other work between modules is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from ..records import BadInput, Site
from .leaves import leaves, like, nan_like, swap
from .network import Answer, Inputs, Mask, Network

Values = Shaped[Tensor, "many *value"]
_Call = tuple[str, int]


@dataclass(frozen=True)
class Held:
    """One batch as it stood at the site: the input, the site's tensor, and the earlier outputs that the tail reads.

    Attributes:
        value: the site's tensor, batch first. logits: the network's answer on the unedited batch.
    """

    x: Inputs
    mask: Mask | None
    value: Values
    logits: Answer
    outputs: dict[_Call, Any]

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
            raise BadInput(
                "the tail starts at a module's input or output",
                where=self.site.alias,
                fix="choose the port that the part is read from",
            )
        self.skipped = self._skipped()
        self.needed: frozenset[_Call] = frozenset(self.skipped)
        overwritten = self.network.dry_run.overwritten
        self._overwritten = {(written.path, written.call) for written in overwritten if written.port == "out"}
        self._learn()

    def _skipped(self) -> list[_Call]:
        """Calls that end before the site's tensor passes, the outermost ones, in order."""
        order = self.network.dry_run.order
        ends = (self.site.path, self.site.call, self.site.port == "out")
        when = next(i for i, step in enumerate(order) if (step.path, step.call, step.leaving) == ends)
        marks: list[int] = []
        done: list[_Call] = []
        for step in order[: when + 1]:
            if not step.leaving:
                marks.append(len(done))
            else:
                # What ended inside this call is covered by it.
                done = [*done[: marks.pop()], (step.path, step.call)]
        return done

    def _learn(self) -> None:
        """Find which skipped outputs the tail reads: the fewest that leave a rehearsal without NaN."""
        x, mask = self.network.dry_run.x, self.network.dry_run.mask
        with torch.no_grad():
            # With one example more, what is as long as the batch is told from what only happens to be.
            longer = self.hold(_again(x), _again(mask) if mask is not None else None)
            held = self.hold(x, mask)
            self._of_batch = {
                (call, leaf)
                for call, output in held.outputs.items()
                for (leaf, one), (_, other) in zip(leaves(output), leaves(longer.outputs[call]), strict=True)
                if one.dim() and one.shape[0] == len(held) and other.shape[0] == len(longer)
            }
            for candidate in [frozenset(), frozenset(self.skipped[-1:])]:
                if self._agrees(held, candidate):
                    return
            needed = frozenset(self.skipped)
            for call in self.skipped:
                if self._agrees(held, needed - {call}):
                    needed -= {call}
            if not self._agrees(held, needed):
                raise BadInput(
                    "running only the tail does not give the network's own answer here",
                    where=self.site.alias,
                    fix="choose another site",
                )

    def _agrees(self, held: Held, needed: frozenset[_Call]) -> bool:
        self.needed = needed
        out = self._run(held, held.value, 1)
        size = float(held.logits.abs().max())
        return bool(torch.isfinite(out).all()) and torch.allclose(out, held.logits, rtol=1e-4, atol=1e-5 * size)

    def hold(self, x: Inputs, mask: Mask | None = None) -> Held:
        """Run the whole network once and keep what the tail needs.

        Raises:
            BadInput: if the network's answer is not finite.
        """
        wanted = set(self.skipped)
        kept: dict[_Call, Any] = {}

        def run(call: _Call, forward: Callable[[], Any]) -> Any:
            output = forward()
            if call in wanted:
                # What is not needed later is kept as its shape alone.
                kept[call] = like(output, Tensor.clone if call in self.needed else nan_like)
            return output

        with self._around({path for path, _ in wanted}, run), self.network.watching(self.site, copy=True) as watched:
            logits = self.network.logits(x, mask)
        return Held(x, mask, watched[self.site], logits, kept)

    def __call__(self, held: Held, values: Values) -> Answer:
        """The answers if `values` had passed the site.

        Args:
            held: what `hold` gave.
            values: [repeats * batch, ...], the held batch's tensor in `repeats` versions, one whole batch after
                another.

        Returns:
            [repeats * batch, ...] logits.

        Raises:
            BadInput: if `values` is no whole number of such batches.
        """
        repeats, rest = divmod(values.shape[0], len(held))
        if rest or not repeats or values.shape[1:] != held.value.shape[1:]:
            raise BadInput(
                f"values have shape {tuple(values.shape)}, the held batch {tuple(held.value.shape)}",
                where=self.site.alias,
                fix="pass whole batches of that shape",
            )
        return self._run(held, values, repeats)

    def _run(self, held: Held, values: Tensor, repeats: int) -> Tensor:
        outputs = {call: self._repeated(call, output, repeats) for call, output in held.outputs.items()}

        def run(call: _Call, forward: Callable[[], Any]) -> Any:
            return outputs[call] if call in outputs else forward()

        x = _repeat(held.x, repeats)
        mask = _repeat(held.mask, repeats) if held.mask is not None else None
        # A copy, since an operation in place would otherwise change the caller's tensor.
        put = {self.site: lambda tensor, site: values.clone()}
        with self._around({path for path, _ in outputs}, run), self.network.editing(put):
            return self.network.logits_unchecked(x, mask)

    def _repeated(self, call: _Call, output: Any, repeats: int) -> Any:
        """A skipped call's output for `repeats` batches, NaN where the tail does not look."""
        for leaf, tensor in list(leaves(output)):
            new = tensor
            if (call, leaf) in self._of_batch:
                batch = tensor.shape[0] * repeats
                new = _repeat(tensor, repeats) if call in self.needed else nan_like(tensor, batch)
            elif call not in self.needed:
                new = nan_like(tensor)
            if call in self._overwritten:
                # The tail writes into it (`out += identity`): it needs memory of its own, and the held one must stay.
                new = new.clone(memory_format=torch.contiguous_format)
            output = swap(output, leaf, new)
        return output

    @contextmanager
    def _around(self, paths: set[str], run: Callable[[_Call, Callable[[], Any]], Any]) -> Iterator[None]:
        """Within the block, `run(call, forward)` stands for the forward of the modules at `paths`.

        Hooks act on what it gives, so edits of earlier sites that are in force act on a held output as on a fresh one.
        """
        counts = dict.fromkeys(paths, 0)

        def stand_in(path: str, original: Callable[..., Any]) -> Callable[..., Any]:
            def forward(*args: Any, **kwargs: Any) -> Any:
                call = (path, counts[path])
                counts[path] += 1
                return run(call, lambda: original(*args, **kwargs))

            return forward

        with ExitStack() as stack:
            for path in paths:
                module = self.network.taps.module(path)
                stack.callback(_restore, module, dict(module.__dict__))
                module.__dict__["forward"] = stand_in(path, module.forward)
            yield


def _restore(module: nn.Module, before: Mapping[str, Any]) -> None:
    """Give a module back its own forward, or the one that someone else had put there."""
    module.__dict__.pop("forward", None)
    if "forward" in before:
        module.__dict__["forward"] = before["forward"]


def _repeat(tensor: Tensor, times: int) -> Tensor:
    return tensor.repeat(times, *[1] * (tensor.dim() - 1)) if times > 1 else tensor


def _again(tensor: Tensor) -> Tensor:
    """A batch with its first example once more at the end."""
    return torch.cat([tensor, tensor[:1]])
