"""The documentation against the code: its Python blocks run, and what it names exists."""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer.main

from mulligan.apps.cli import app
from mulligan.records import CheckRecord, Finding, Findings, Quantity

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: The pages for users; the design notes show no code.
PAGES = sorted(DOCS.glob("*.md"))
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>file|not run): (?P<what>.*?) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)
#: Options on the pages that belong to programs other than ours: Sphinx, pip, Ray, and the examples' own.
FOREIGN = {"--fail-on-warning", "--no-deps", "--head", "--address", "--to", "--execute"}  # of other programs


def of_examples() -> set[str]:
    """The options of the scripts in examples/, which pages name as well."""
    texts = [path.read_text(encoding="utf-8") for path in (DOCS.parent / "examples").glob("*.py")]
    return {m[1] for text in texts for m in re.finditer(r"add_argument\(\"(--[a-z-]+)\"", text)}


def blocks(page: Path, *languages: str) -> list[re.Match[str]]:
    return [m for m in BLOCK.finditer(page.read_text(encoding="utf-8")) if m["language"] in languages]


def commands() -> dict[str, set[str]]:
    """The options of each command."""
    group = typer.main.get_command(app)
    return {
        name: {option for option in _words(command) if option.startswith("--")}
        for name, command in group.commands.items()
    }


def _words(command: typer.core.TyperCommand) -> list[str]:
    # Of a group of commands, such as `mulligan game`, those of all its commands.
    parts = [command, *getattr(command, "commands", {}).values()]
    options = [option for part in parts for option in part.params]
    return [word for option in options for word in (*option.opts, *option.secondary_opts)]


def importing_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python files in `folder` can be imported, and are forgotten after the test."""
    monkeypatch.syspath_prepend(str(folder))
    for page in PAGES:
        for block in blocks(page, "python"):
            if block["mark"] == "file":
                # Set first, so that the end of the test takes away what the test imports.
                monkeypatch.setitem(sys.modules, Path(block["what"]).stem, None)  # type: ignore[arg-type]
                del sys.modules[Path(block["what"]).stem]


def test_every_fence_is_seen() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(r"^```\w", text, re.M)) == len(list(BLOCK.finditer(text))), page.name


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.stem)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one namespace, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    importing_from(tmp_path, monkeypatch)
    namespace: dict[str, object] = {"__name__": f"docs_{page.stem}"}
    text = page.read_text(encoding="utf-8")
    for block in blocks(page, "python"):
        line = text[: block.start("code")].count("\n")
        code = compile("\n" * line + block["code"], str(page), "exec")
        if block["mark"] == "file":
            (tmp_path / block["what"]).write_text(block["code"], encoding="utf-8")
        if block["mark"] is None:
            exec(code, namespace)


def test_the_factory_of_the_quickstart_loads(tmp_path: Path) -> None:
    import mulligan

    (block,) = (b for b in blocks(DOCS / "quickstart.md", "python") if b["mark"] == "file")
    (tmp_path / block["what"]).write_text(block["code"], encoding="utf-8")
    network = mulligan.load(f"{tmp_path / block['what']}:factory")
    assert network.task == "classification"
    assert network.head_weights[0].shape[0] == 3
    assert network.sites("*")


def test_the_check_of_the_guide_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mulligan.checks import checks

    page = DOCS / "add-a-check.md"
    (source,) = (b for b in blocks(page, "python") if b["mark"] == "file")
    (toml,) = blocks(page, "toml")
    points = tomllib.loads(toml["code"])["project"]["entry-points"]
    (tmp_path / source["what"]).write_text(source["code"], encoding="utf-8")
    info = tmp_path / "guide-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guide\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in found.items()) for group, found in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    importing_from(tmp_path, monkeypatch)
    (check,) = checks(["forgotten-class"])
    assert check.name == "forgotten-class"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_have_the_options_shown(page: Path) -> None:
    known = commands()
    text = page.read_text(encoding="utf-8")
    shown = [b["code"].replace("\\\n", " ") for b in blocks(page, "sh", "yaml")]
    shown += re.findall(r"`(mulligan [^`]+)`", text)
    for line in (line for code in shown for line in code.splitlines() if "mulligan " in line):
        words = shlex.split(line[line.index("mulligan ") :].split("||")[0], comments=True)
        if words[1] in ("MODEL", "*") or words[1].endswith(".py"):
            continue
        assert words[1] in known, line
        options = {word.partition("=")[0] for word in words[2:] if word.startswith("--")}
        assert options <= known[words[1]], line


def test_every_option_mentioned_exists() -> None:
    every = set.union(*commands().values()) | FOREIGN | of_examples() | {"--out", "--budget"}
    for page in [*PAGES, *DOCS.glob("design/*.md")]:
        text = page.read_text(encoding="utf-8")
        mentioned = {m[1] for m in re.finditer(r"(?<![\w-])(--[a-z][a-z-]*[a-z])", text)}
        assert mentioned <= every, (page.name, mentioned - every)


def test_every_option_of_the_audit_is_explained() -> None:
    told = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("quickstart.md", "limits.md"))
    missing = {option for option in commands()["audit"] if option not in told}
    assert not missing - {"--help"}


def test_the_settings_file_shown_has_keys_that_exist() -> None:
    known = commands()
    (block,) = blocks(DOCS / "quickstart.md", "toml")
    for command, table in tomllib.loads(block["code"]).items():
        assert {f"--{key}" for key in table} <= known[command]


def test_every_field_of_the_findings_is_explained() -> None:
    text = (DOCS / "report.md").read_text(encoding="utf-8")
    for record in (Findings, Finding, CheckRecord, Quantity):
        for field in dataclasses.fields(record):
            assert f"`{field.name}`" in text, (record.__name__, field.name)


def test_the_checks_are_those_installed() -> None:
    text = (DOCS / "checks.md").read_text(encoding="utf-8")
    shown = re.findall(r"^## (.+)$", text, re.M)
    ours = {p.name for p in entry_points(group="mulligan.checks") if p.value.startswith("mulligan.")}
    assert set(shown) == ours


def test_no_page_names_a_machine() -> None:
    for page in DOCS.rglob("*.md"):
        assert not re.search(r"(?<![\w.])/(?:root|home|work|tmp|Users)/", page.read_text(encoding="utf-8")), page.name


def test_figures_in_the_text_are_those_of_the_code() -> None:
    from mulligan.checks import head_edit, preprocessing
    from mulligan.checks.conjunction import check, claims, measuring, power, sources
    from mulligan.evidence import EXCESS, FEWEST_SOURCES
    from mulligan.procedures.audit.audit import MOST_OUTPUTS, MOST_TOKENS, TWIN_EXAMPLES

    checks, concepts, design, audit, limits = (
        " ".join((DOCS / name).read_text(encoding="utf-8").split())
        for name in ("checks.md", "concepts.md", "design/checks.md", "design/audit.md", "limits.md")
    )
    assert check.MOST_CLAIMS + check.OVERLAID_CLAIMS <= 20  # the contract's
    for text, sentence in (
        (checks, f"at most {check.MOST_CLAIMS} claims are frozen, and {check.OVERLAID_CLAIMS} on pictures"),
        (concepts, f"fewer than {FEWEST_SOURCES} sources"),
        (concepts, f"at most {EXCESS} more often"),
        (concepts, f"at least {claims.DEFECT_MARGIN} of the margin"),
        (checks, f"up to {sources.MOST_GROUPS} groups of classes"),
        (checks, f"Above {sources.MOST_CLASSES} classes"),
        (checks, f"up to {measuring.MOST_PAIRS} pairs"),
        (checks, f"shows in {check.TARGET_EFFECT} of composites"),
        (checks, f"less often than {head_edit.ALPHA}, over"),
        (checks, f"At most {head_edit.MOST_ROWS} rows"),
        (checks, f"fewer than {head_edit.FEWEST_ROWS} rows"),
        (checks, f"up to {head_edit.MOST_PAIRED:,} rows"),
        (checks, f"up to {head_edit.PLACEBO_ROWS} rows that do not"),
        (checks, f"fewer than {head_edit.MANY_ROWS} rows"),
        (checks, f"a factor of {head_edit.TARGET_EFFECT:g}."),
        (checks, f"factors from {head_edit.FACTORS[0]:g} to {head_edit.FACTORS[-1]:g}"),
        (checks, f"at least {preprocessing.RATIO} times"),
        (checks, f"Up to {preprocessing.MOST_SEARCH} examples"),
        (checks, f"Up to {preprocessing.MOST_TEST:,} labelled"),
        (checks, f"a loss of {preprocessing.TARGET_EFFECT} of the answers"),
        (limits, f"the first {MOST_TOKENS} tokens"),
        (audit, f"up to {TWIN_EXAMPLES} examples"),
        (audit, f"at most {MOST_OUTPUTS} outputs"),
        (design, f"at {power.CLARITY} of the genuine margin"),
    ):
        assert sentence.lower() in text.lower(), sentence
