"""An audit in prose: the verdict, the findings with their evidence, how hard it looked, and how it was made."""

from __future__ import annotations

from markupsafe import Markup

from ...pages import environment
from ...phrases import LIMITS, budget_of, captions, command_of, flat, other_figures, shades
from ...pictures import Pictures
from ...reading import Stored
from ...text import visible
from ...wording import decide, how_hard, who_can_tell
from ..addresses import Addresses
from ..book import Book
from ..prose import Entry, Prose


def prose(stored: Stored, pre: str, run: int, book: Book, network: int) -> Prose:
    """What an audit says; `pre` begins each of its anchors, `run` and `network` are its numbers in the book."""
    findings, description = stored.findings, stored.description
    extra, extra_left = other_figures(description)
    decision = decide(findings, stored.fail_on)
    told = {
        "findings": findings, "description": description, "manifest": stored.manifest, "decision": decision,
        "how_hard": how_hard(findings), "who_can_tell": who_can_tell(findings),
        "budget": budget_of(stored.manifest), "pictures": Pictures(stored, pre=pre), "captions": captions,
        "shades": shades,
        "extra": extra, "extra_left": extra_left, "config": tuple(flat(stored.manifest.get("config"))),
        "command": command_of(stored.manifest), "coverage": tuple(flat(findings.coverage)),
        "input": tuple(flat(findings.network.input)), "limit": LIMITS, "pre": pre, "run": run,
        "to": Addresses(book, network, run),
    }  # fmt: skip
    page = environment()
    before = Markup(page.get_template("parts/audit_before.html.j2").render(told))
    after = Markup(page.get_template("parts/audit_after.html.j2").render(told))
    shown = tuple(
        Entry(href=f"#{pre}finding-{number}", text=finding.id, note=finding.kind)
        for number, finding in enumerate(findings.findings[:12], 1)
    )
    return Prose(
        before=before,
        after=after,
        contents_before=(
            Entry(href=f"#{pre}findings", text="Findings", count=len(findings.findings), inner=shown),
            Entry(href=f"#{pre}leads", text="Leads", count=len(findings.leads)),
            Entry(href=f"#{pre}checks", text="Checks", count=len(findings.checks)),
            Entry(href=f"#{pre}illusions", text="Illusions", count=len(description.illusions)),
        ),
        contents_after=(
            Entry(href=f"#{pre}inventory", text="Site by site", count=len(description.inventory)),
            Entry(href=f"#{pre}behaviour", text="Behaviour"),
            Entry(href=f"#{pre}network", text="The network"),
            Entry(href=f"#{pre}coverage", text="Coverage"),
            Entry(href=f"#{pre}reproduce", text="How to reproduce"),
            Entry(href=f"#{pre}reading", text="How to read this"),
        ),
        title=f"{decision.word}: audit of {visible(findings.network.name, 200)}",
    )
