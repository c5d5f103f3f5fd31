"""A network that a file records as a list of steps, laid out as the tree of modules that it was recorded from.

What a file of ONNX or torch.export holds is flat: one operation after another. Each says in which modules it ran, so
the modules are built again around runs of consecutive steps: what goes into a run from outside is the module's input,
what is read later is its output. Hooks, sites and edits then work as on any network. Nothing is compiled or evaluated:
a step is a function or a module, and values are looked up by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

_END = 1 << 60  # as if read by a step after all others: what the network answers


class Value(NamedTuple):
    """In a step's arguments: what an earlier step gave, or an input."""

    name: str


class Weight(NamedTuple):
    """In a step's arguments: a parameter or buffer, by its full name."""

    name: str


class Scope(NamedTuple):
    """One module of those in which a step ran.

    Attributes:
        key: one a call: a module that runs twice has two. path: where the module is. kind: its class, if known.
    """

    key: str
    path: str
    kind: str = ""


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        run: what is called. A module is put at `path`, and is a site; a function is none.
        args, kwargs: may hold `Value`s and `Weight`s, also inside lists and tuples.
        outputs: names of what it gives; several are taken from a tuple.
        scopes: the modules in which it ran, outermost first.
        said: what it does, in one line, for the identity of the network.
        floating: numbers of shapes, not activations: done where they are first read.
        gradient: whether gradients are followed here; None: as around it.
    """

    run: Callable[..., Any]
    args: tuple[Any, ...]
    outputs: tuple[str, ...]
    said: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    scopes: tuple[Scope, ...] = ()
    path: str = ""
    floating: bool = False
    gradient: bool | None = None

    def __str__(self) -> str:
        return f"{self.outputs} = {self.said}{_renamed((self.args, dict(self.kwargs)), {})} {self.gradient}"

    def reads(self) -> Iterator[str]:
        """Names of the values that it takes, in order."""
        yield from (item.name for item in _inside((self.args, self.kwargs)) if isinstance(item, Value))


@dataclass(frozen=True)
class Program:
    """A whole network: see `modules`.

    Attributes:
        inputs: names of what it takes. answers: shape of its output: names of values in lists, tuples, dictionaries.
        tensors: parameters and buffers by full name; those that modules among the steps hold are not listed.
    """

    steps: Sequence[Step]
    inputs: tuple[str, ...]
    answers: Any
    tensors: Mapping[str, Tensor]


#: One step that is all that ran in a module, and that module's path: to the torch module that does the same and its
#: only input, or None.
Restore = Callable[[Step, str, Mapping[str, Tensor]], "tuple[nn.Module, Value] | None"]


class Device(NamedTuple):
    """In a step's arguments: the device on which the network is."""


class Held(NamedTuple):
    """A tensor or module found from the root at run time, so that copies and replacements are seen."""

    root: nn.Module
    path: str

    def get(self) -> Any:
        found: Any = self.root
        for name in self.path.split("."):
            found = getattr(found, name)
        return found


class _Here(NamedTuple):
    """The device on which the network is, asked at run time."""

    root: nn.Module

    def get(self) -> torch.device:
        return next((tensor.device for tensor in self.root.parameters()), torch.device("cpu"))


class _Line(NamedTuple):
    """A step as it is run inside its module."""

    run: Callable[..., Any] | Held
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[str, ...]
    forget: tuple[str, ...]
    gradient: bool | None


class Recorded(nn.Module):
    """A module whose forward pass is a list of steps."""

    # Names of their own: a network may call its parts `steps` or `record`.
    _recorded_inputs: tuple[str, ...]
    _recorded_answers: Any
    _recorded_lines: tuple[_Line, ...]
    _recorded_said: str
    _recorded_kind: str

    def _recorded_set(
        self, inputs: Sequence[str], answers: Any, lines: Sequence[_Line], said: str, kind: str = ""
    ) -> None:
        """Say what the forward pass does."""
        self._recorded_inputs, self._recorded_answers = tuple(inputs), answers
        self._recorded_lines, self._recorded_said, self._recorded_kind = tuple(lines), said, kind

    def forward(self, *args: Any) -> Any:
        """What the recorded module gave for these inputs."""
        values = dict(zip(self._recorded_inputs, args, strict=True))
        for line in self._recorded_lines:
            run = line.run.get() if isinstance(line.run, Held) else line.run
            given = [_filled(arg, values) for arg in line.args]
            named = {key: _filled(arg, values) for key, arg in line.kwargs.items()}
            if line.gradient is None:
                result = run(*given, **named)
            else:
                with torch.set_grad_enabled(line.gradient):
                    result = run(*given, **named)
            del given, named
            if len(line.outputs) == 1:
                values[line.outputs[0]] = result
            else:
                values.update(zip(line.outputs, result, strict=False))
            for name in line.forget:
                values.pop(name, None)
        return _filled(self._recorded_answers, values)

    def extra_repr(self) -> str:
        """How many steps, and a digest of what they do: part of the network's identity."""
        if "_recorded_said" not in self.__dict__:
            return ""
        digest = hashlib.sha256(self._recorded_said.encode()).hexdigest()[:16]
        return f"{len(self._recorded_lines)} steps, {digest}"


class RecordedSequence(Recorded, nn.Sequential):  # type: ignore[override]
    """The same for a module whose members are numbered, so that its members are known as blocks."""


def kind_of(module: Recorded) -> str:
    """The class of the module that was recorded; "" if the file does not say."""
    return module.__dict__.get("_recorded_kind", "")


def modules(program: Program, restore: Restore | None = None) -> nn.Module:
    """The program as a tree of modules.

    Args:
        restore: makes torch's own module of a module that was one step.
    """
    answered = {item.name for item in _inside(program.answers) if isinstance(item, Value)}
    steps = [replace(step, floating=step.floating and not answered & set(step.outputs)) for step in program.steps]
    steps = _sunk(steps)
    steps = _closed(steps)
    return _Builder(replace(program, steps=steps), restore).build()


def _sunk(steps: list[Step]) -> list[Step]:
    """Floating steps moved to directly before their first reader, and into its module; unread ones left out."""
    first: dict[str, int] = {}
    placed: dict[int, list[Step]] = {}
    scopes: dict[int, tuple[Scope, ...]] = {}
    for index in range(len(steps) - 1, -1, -1):
        step = steps[index]
        if not step.floating:
            home = index
            scopes[index] = step.scopes
        else:
            readers = [first[name] for name in step.outputs if name in first]
            if not readers:
                continue
            home = min(readers)
            placed.setdefault(home, []).append(replace(step, scopes=scopes[home]))
        for name in step.reads():
            first[name] = min(first.get(name, home), home)
    sunk: list[Step] = []
    for index, step in enumerate(steps):
        if not step.floating:
            sunk += reversed(placed.get(index, []))
            sunk.append(step)
    return sunk


def _closed(steps: list[Step]) -> list[Step]:
    """Scopes whose steps are not one after another are taken away: such a module cannot be run as one."""
    while True:
        broken: set[str] = set()
        ended: set[str] = set()
        running: tuple[str, ...] = ()
        for step in steps:
            keys = tuple(scope.key for scope in step.scopes)
            broken |= {key for key in keys if key in ended}
            ended |= {key for key in running if key not in keys}
            running = keys
        if not broken:
            return steps
        steps = [
            replace(step, scopes=tuple(scope for scope in step.scopes if scope.key not in broken)) for step in steps
        ]


class _Builder:
    """Lays one program out."""

    def __init__(self, program: Program, restore: Restore | None) -> None:
        self.program, self.restore = program, restore
        self.steps = program.steps
        self.last_read: dict[str, int] = {}
        for index, step in enumerate(self.steps):
            self.last_read.update(dict.fromkeys(step.reads(), index))
        self.last_read.update({item.name: _END for item in _inside(program.answers) if isinstance(item, Value)})
        self.kinds = {scope.path: scope.kind for step in self.steps for scope in step.scopes}
        paths = {
            *self.kinds,
            *(step.path for step in self.steps),
            *(name.rpartition(".")[0] for name in program.tensors),
        }
        self.children: dict[str, set[str]] = {}
        for path in sorted(paths):
            while path:
                parent, _, name = path.rpartition(".")
                self.children.setdefault(parent, set()).add(name)
                path = parent
        self.root = Recorded()
        self.made: dict[str, str] = {}  # what a module does, by its path
        self.calls: dict[str, int] = {}

    def build(self) -> nn.Module:
        for name, tensor in self.program.tensors.items():
            owner, _, own = name.rpartition(".")
            holder = self._module(owner)
            if isinstance(tensor, nn.Parameter):
                holder.register_parameter(own, tensor)
            else:
                holder.register_buffer(own, tensor)
        lines, said = self._lines(0, len(self.steps), 0)
        answers = self.program.answers
        self.root._recorded_set(self.program.inputs, answers, lines, f"{said}\n{self.program.inputs} -> {answers}")
        return self.root

    def _module(self, path: str) -> nn.Module:
        """The module at `path`, made if it is not there: a list if its members are numbers."""
        module = self.root
        at = ""
        for name in path.split(".") if path else ():
            at = f"{at}.{name}".lstrip(".")
            if name not in module._modules:
                module.add_module(name, self._empty(at))
            module = module._modules[name]
            assert module is not None
        return module

    def _empty(self, path: str) -> nn.Module:
        kind = self.kinds.get(path)
        numbered = all(name.isdigit() for name in self.children.get(path, {""}))
        if kind is None:
            return nn.ModuleList() if numbered else nn.Module()
        return RecordedSequence() if numbered or kind.endswith(".Sequential") else Recorded()

    def _lines(self, begin: int, end: int, depth: int) -> tuple[list[_Line], str]:
        """The lines for steps [begin, end), which share their first `depth` scopes, and what they do."""
        lines: list[_Line] = []
        said: list[str] = []
        at = begin
        while at < end:
            scopes = self.steps[at].scopes
            if len(scopes) > depth:
                until = at + 1
                while until < end and self.steps[until].scopes[depth : depth + 1] == (scopes[depth],):
                    until += 1
                run, args, outputs, what = self._call(at, until, depth)
                kwargs, gradient = {}, None
            else:
                step, until = self.steps[at], at + 1
                run, args, outputs, what = self._single(step), step.args, step.outputs, f"{step}"
                kwargs, gradient = step.kwargs, step.gradient
            given = tuple(self._resolved(arg) for arg in args)
            named = {key: self._resolved(arg) for key, arg in kwargs.items()}
            reads = {item.name for item in _inside((args, kwargs)) if isinstance(item, Value)}
            over = tuple(name for name in (*reads, *outputs) if self.last_read.get(name, -1) < until)
            lines.append(_Line(run, given, named, outputs, over, gradient))
            said.append(what)
            at = until
        return lines, "\n".join(said)

    def _single(self, step: Step) -> Callable[..., Any] | Held:
        if not isinstance(step.run, nn.Module):
            return step.run
        self._put(step.path, step.run)
        return Held(self.root, step.path)

    def _put(self, path: str, module: nn.Module) -> None:
        owner, _, name = path.rpartition(".")
        self._module(owner).add_module(name, module)

    def _call(self, begin: int, end: int, depth: int) -> tuple[Held, tuple[Any, ...], tuple[str, ...], str]:
        """A module for steps [begin, end): it, what it is given, what it gives."""
        inside = self.steps[begin:end]
        path = inside[0].scopes[depth].path
        made = {name for step in inside for name in step.outputs}
        inputs = list(dict.fromkeys(name for step in inside for name in step.reads() if name not in made))
        outputs = tuple(name for name in dict.fromkeys(n for step in inside for n in step.outputs)
                        if self.last_read.get(name, -1) >= end)  # fmt: skip
        # Two calls of a shared module do the same to values of other names.
        names = {name: f"in{number}" for number, name in enumerate(inputs)}
        what = "\n".join(_told(step, names) for step in inside) + f" -> {[names[name] for name in outputs]}"
        call = self.calls.get(path, 0)
        self.calls[path] = call + 1
        if call and self.made.get(path) != what:
            path = f"{path}_call{call}"
            self.kinds.setdefault(path, "")
        taken = tuple(Value(name) for name in inputs)
        if self.made.get(path) != what:
            self.made[path] = what
            restored = self._restored(inside, path, depth)
            if restored is None:
                answers = Value(outputs[0]) if len(outputs) == 1 else tuple(Value(name) for name in outputs)
                lines, _ = self._lines(begin, end, depth + 1)
                module = self._module(path)
                assert isinstance(module, Recorded)
                kind = inside[0].scopes[depth].kind.rpartition(".")[2]
                module._recorded_set(inputs, answers, lines, what, kind)
        return Held(self.root, path), taken, outputs, f"{path}({inputs}) -> {outputs}"

    def _restored(self, inside: Sequence[Step], path: str, depth: int) -> nn.Module | None:
        if self.restore is None or len(inside) != 1 or len(inside[0].scopes) != depth + 1:
            return None
        found = self.restore(inside[0], path, self.program.tensors)
        if found is None:
            return None
        module, taken = found
        assert list(inside[0].reads()) == [taken.name]
        before = self._module(path)  # holds what the program names there
        if before._modules:
            return None
        for name, tensor in before._buffers.items():
            if name not in module._buffers:
                module.register_buffer(name, tensor)
        self._put(path, module)
        return module

    def _resolved(self, arg: Any) -> Any:
        if isinstance(arg, Weight):
            return Held(self.root, arg.name)
        if isinstance(arg, Device):
            return _Here(self.root)
        if isinstance(arg, Value):
            return arg
        if isinstance(arg, tuple | list):
            return type(arg)(self._resolved(item) for item in arg)
        return arg


def _told(step: Step, names: dict[str, str]) -> str:
    """What a step does, with its values numbered instead of named where `names` is kept."""
    for name in step.outputs:
        names.setdefault(name, f"v{len(names)}")
    given = _renamed((step.args, dict(step.kwargs)), names)
    return f"{[names[name] for name in step.outputs]} = {step.said}{given} {step.gradient}"


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Value):
        return names.get(value.name, value.name)
    if isinstance(value, Weight | Device):
        return repr(value)
    if isinstance(value, dict):
        return {key: _renamed(item, names) for key, item in sorted(value.items())}
    if isinstance(value, tuple | list):
        return [_renamed(item, names) for item in value]
    return str(value)


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, Value | Weight):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _inside(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _inside(item)


def _filled(arg: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(arg, Value):
        return values[arg.name]
    if isinstance(arg, Held | _Here):
        return arg.get()
    if isinstance(arg, tuple | list):
        return type(arg)(_filled(item, values) for item in arg)
    if isinstance(arg, dict):
        return {key: _filled(item, values) for key, item in arg.items()}
    return arg
