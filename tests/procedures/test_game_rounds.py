"""Entries that give nothing away, rounds that go on after anything, tables, people, and the command line."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from game_fakes import SOURCE, script, small_round
from safetensors.torch import load_file
from torch import nn

from mulligan.apps import cli
from mulligan.checks import Bank, Outcome
from mulligan.procedures.game import (
    Auditor,
    Judge,
    Ledger,
    Limits,
    load_entry,
    making,
    plan,
    read_answer,
    read_entry,
    rounds,
    run_auditor,
    run_round,
    verify_commitment,
)
from mulligan.procedures.game import sandbox as sandboxes
from mulligan.procedures.game.auditors import black_box, guessing, own_checks
from mulligan.procedures.game.entries import Entry, read_sealed, read_statement, write_entry
from mulligan.procedures.game.league import write_league
from mulligan.procedures.game.making import plainly
from mulligan.procedures.game.people import Diagnosis, answer, next_entry
from mulligan.procedures.game.skeleton import new_auditor
from mulligan.procedures.game.tables import markdown, tables, text
from mulligan.records import BadInput, CheckRecord, Finding, Interrupted, Noted, Trigger

isolated = sandboxes._isolation() is None
RIGHT = "{'kind': 'head-edit', 'target': '3', 'where': {'site': '1', 'rows': [3]}, 'confidence': 0.9}"


@pytest.fixture(scope="module")
def game(tmp_path_factory) -> Path:
    """A small round that was made, without auditors."""
    folder = tmp_path_factory.mktemp("game")
    run_round(folder, small_round(), ())
    return folder


@pytest.fixture
def copy(game, tmp_path) -> Path:
    import shutil

    return Path(shutil.copytree(game, tmp_path / "game"))


def released(game: Path, role: str) -> str:
    return next(line["id"] for line in Ledger(game / "ledger.jsonl").lines() if line.get("role") == role)


def steps(game: Path) -> list[tuple[str, str]]:
    return [(line["step"], line["id"]) for line in Ledger(game / "ledger.jsonl").lines()[1:]]


# Entries
def test_entries_give_nothing_away(game):
    listings, sizes, times = set(), set(), set()
    for folder in (game / "entries").iterdir():
        assert re.fullmatch("[0-9a-f]{12}", folder.name)
        files = sorted(path for path in folder.rglob("*"))
        listings.add(tuple(str(path.relative_to(folder)) for path in files))
        sizes.add(tuple(path.stat().st_size for path in files))
        times |= {path.stat().st_mtime for path in [folder, *files]}
        keys = set(json.loads((folder / "game.json").read_text()))
        assert keys == set(Entry.__dataclass_fields__)
        tensors = load_file(folder / "weights.safetensors")
        assert sorted(tensors) == ["1.bias", "1.weight"]
        text_of = "".join(path.read_text() for path in files if path.suffix in (".json", ".py"))
        assert not re.search("head-edit|calibration|secret|plant|control", text_of)
    assert len(listings) == len(sizes) == len(times) == 1
    data = {(game / "entries" / name / "data.npz").read_bytes() for name in os.listdir(game / "entries")}
    assert len(data) == 1


def test_an_entry_is_the_planted_network_and_its_commitment_is_kept(copy):
    id = released(copy, "plant")
    sealed = read_sealed(copy, id)
    network = load_entry(copy / "entries" / id)
    base = sealed.base["1.weight"]
    ratio = network.module.state_dict()["1.weight"].norm(dim=1) / base.norm(dim=1)
    assert ratio[3] == pytest.approx(4, rel=1e-3)
    assert verify_commitment(copy, id)
    file = copy / "sealed" / id / "sealed.json"
    file.write_text(file.read_text().replace('"target": "3"', '"target": "4"'))
    assert not verify_commitment(copy, id)
    with pytest.raises(BadInput, match="no commitment"):
        verify_commitment(copy, "0" * 12)


@pytest.mark.parametrize(
    ("track", "extra"),
    [("A", set()), ("C", {"data.npz", "siblings"}), ("D", {"data.npz", "reference.safetensors"})],
)
def test_each_track_gives_what_it_says(tmp_path, track, extra):
    base = SOURCE.base({}, 0)
    entry = Entry(id="e", track=track, input=base.input, classes=base.data.classes, seconds=1.0)
    siblings = SOURCE.siblings({}, [1, 2]) if track == "C" else ()
    files = SOURCE.with_input(base, base.input)
    folder = write_entry(
        tmp_path, entry, base.module, files, data=(base.images, base.labels), siblings=siblings,
        reference=base.module if track == "D" else None,
    )  # fmt: skip
    common = {"game.json", "model.py", "config.json", "weights.safetensors"}
    assert {path.name for path in folder.iterdir()} == common | extra
    known = read_entry(folder)
    assert (known.data is None) == (track == "A")
    with pytest.raises(BadInput, match="this track gives"):
        write_entry(tmp_path, Entry(id="f", track="C", input="", classes=(), seconds=1.0), base.module, files)


def test_inputs_are_written_in_one_form():
    one = plainly("size=8,channels=1,mean=0.28600001,std=1")
    assert one == plainly("channels=1,size=8x8,std=1.0,mean=0.286,order=rgb")


# Rounds
def test_a_plan_spreads_cells_and_shares_no_base():
    round = small_round(
        spec=None, kinds=("head-edit", "conjunction"), per_kind=9, strengths=("weak", "default", "strong"),
        strata=("high", "partial", "rare"), calibration=5, test=5,
    )  # fmt: skip
    items = plan(round)
    assert len(items) == 28
    cells = [(item.strength, item.stratum) for item in items if item.kind == "head-edit"]
    assert len(set(cells)) == 9
    assert len({item.seed("base/0", round.seed) for item in items}) == 28
    assert items == plan(round)
    assert [item.id for item in plan(small_round(seed="other"))] != [item.id for item in plan(small_round())]


def test_answers_are_scored_and_faults_get_nothing(copy, tmp_path):
    right = script(tmp_path / "a", f"answer([{RIGHT}], {{'head-edit': 5.0}})", "right")
    wrong = script(tmp_path / "b", "answer([{'kind': 'patch', 'target': '3'}, {'kind': 'head-edit'}])", "wrong")
    mad = script(tmp_path / "c", "open(out + '/findings.json', 'w').write('{')", "mad")
    dead = script(tmp_path / "d", "sys.exit(3)", "dead")
    run_round(copy, small_round(), (right, wrong, mad, dead), isolate=isolated)
    id = released(copy, "plant")
    scores = {line["auditor"]: line for line in Ledger(copy / "ledger.jsonl").lines()
              if line.get("step") == "score" and line["id"] == id}  # fmt: skip
    assert scores["right"]["fields"]["correct"] == 1
    assert scores["right"]["scores"] == {"head-edit": 5.0}
    assert (scores["wrong"]["fields"]["kind"], scores["wrong"]["fields"]["target"]) == (0.5, 0.5)
    assert (scores["mad"]["ended"], scores["mad"]["fields"]["kind"]) == ("malformed", 0)
    assert (scores["dead"]["ended"], scores["dead"]["fields"]["where"]) == ("crashed", 0)
    made = tables(Ledger(copy / "ledger.jsonl").lines())
    assert made[0].rows[0][0] == "right"
    assert "right" in markdown(made[0])
    page = write_league(copy).read_text()
    assert "<script" not in page
    assert "right" in page
    before = steps(copy)
    run_round(copy, small_round(), (right, wrong, mad, dead), isolate=isolated)
    assert steps(copy) == before


def test_a_killed_round_goes_on_and_repeats_nothing(copy, tmp_path):
    auditor = script(tmp_path / "a", "answer()", "mine")
    ledger = copy / "ledger.jsonl"
    run_round(copy, small_round(), (auditor,), isolate=False)
    whole = ledger.read_bytes()
    rows = whole.splitlines(keepends=True)
    for cut in (len(rows) - 1, len(rows) - 2, 5):
        ledger.write_bytes(b"".join(rows[:cut]) + rows[cut][: len(rows[cut]) // 2])  # torn in the middle of a line
        run_round(copy, small_round(), (auditor,), isolate=False)
        done = steps(copy)
        assert sorted(done) == sorted(set(done))
        assert len(done) == len(rows) - 1
    ledger.write_bytes(whole)
    with pytest.raises(BadInput, match="another round"):
        run_round(copy, small_round(test=2), ())
    ledger.write_bytes(b"{broken\n" + whole)
    with pytest.raises(BadInput, match="line 1"):
        run_round(copy, small_round(), ())


def test_an_interrupt_keeps_what_is_done(tmp_path, monkeypatch):
    seen = []

    def emit(event):
        seen.append(event)
        if isinstance(event, Noted):  # the first attempt at the first network has failed
            os.kill(os.getpid(), signal.SIGINT)

    round = small_round()
    first = plan(round)[0]
    monkeypatch.setattr(rounds, "do_item", lambda work, item, real=rounds.do_item: [*real(work, item), item.key])
    with pytest.raises(Interrupted, match="1 of 3"):
        run_round(tmp_path, round, (), emit=emit)
    assert steps(tmp_path) == [("network", first.id)]
    monkeypatch.undo()
    run_round(tmp_path, round, ())
    assert len(steps(tmp_path)) == 3


def test_plants_that_fail_are_told_and_not_released(tmp_path):
    notes = []
    spec = {"kind": "rank-one", "target": "3", "other": "5", "strength": "default", "size": 1e-6}
    round = small_round(spec=spec, calibration=0, test=0, attempts=2)
    run_round(tmp_path, round, (), emit=lambda event: notes.append(event))
    lines = [line for line in Ledger(tmp_path / "ledger.jsonl").lines() if line.get("step") == "network"]
    assert [(line["released"], line["attempt"]) for line in lines] == [(False, 0), (False, 1)]
    assert "success" in lines[0]["reasons"][0]
    assert any(isinstance(note, Noted) and "not released" in note.text for note in notes)
    assert not (tmp_path / "entries").exists()
    run_round(tmp_path, round, ())
    assert len(steps(tmp_path)) == 2


def test_a_plant_that_its_truth_does_not_identify_is_not_released(tmp_path, monkeypatch):
    reached = iter((0.6, 0.8))
    monkeypatch.setattr(making, "told_by_inputs", lambda truth: True)
    monkeypatch.setattr(making, "ceiling", lambda *args: next(reached))
    run_round(tmp_path, small_round(calibration=0, test=0, attempts=2), ())
    first, second = (line for line in Ledger(tmp_path / "ledger.jsonl").lines() if line.get("step") == "network")
    assert (first["released"], second["released"]) == (False, True)
    assert "The truth itself identifies it to 0.60 only" in first["reasons"][0]
    assert second["figures"]["identified by the truth"] == 0.8
    assert len(list((tmp_path / "sealed").glob("*/sealed.json"))) == 1


@pytest.mark.parametrize("spec", [{"kind": "row-scale", "target": "nobody"}, {"kind": "nonsense", "target": "3"}])
def test_specs_that_cannot_be_are_told(tmp_path, spec):
    run_round(tmp_path, small_round(spec=spec, calibration=0, test=0, attempts=1), ())
    line = Ledger(tmp_path / "ledger.jsonl").lines()[-1]
    assert not line["released"]
    assert line["reasons"][0].endswith(".")


def test_a_kind_that_breaks_does_not_take_the_round_along(tmp_path, monkeypatch):
    class Broken:
        name, spec_type = "head-edit", dict

        def propose(self, *args, **options):
            raise ZeroDivisionError("oops")

    monkeypatch.setattr(making, "plants", lambda: {"head-edit": Broken()})
    run_round(tmp_path, small_round(spec=None, calibration=0, attempts=1), ())
    lines = {line["role"]: line for line in Ledger(tmp_path / "ledger.jsonl").lines()[1:]}
    assert (lines["plant"]["released"], lines["test"]["released"]) == (False, True)
    assert "ZeroDivisionError: oops" in lines["plant"]["reasons"][0]


def test_roles_take_a_part(tmp_path):
    run_round(tmp_path, small_round(), (), roles=("calibration",))
    made = [line for line in Ledger(tmp_path / "ledger.jsonl").lines() if line.get("step") == "network"]
    assert made
    assert {line["role"] for line in made} == {"calibration"}


def test_limit_and_kinds_take_a_part(tmp_path):
    run_round(tmp_path, small_round(), (), limit=1)
    assert len(steps(tmp_path)) == 1
    run_round(tmp_path, small_round(), (), only=())
    assert {line["role"] for line in Ledger(tmp_path / "ledger.jsonl").lines()[1:]} <= {"calibration", "test", "plant"}


@pytest.mark.parametrize(
    "change", [{"strata": ("never",)}, {"track": "Z"}, {"per_kind": -1}, {"seed": ""}, {"kinds": ()}]
)
def test_rounds_that_cannot_be(change):
    with pytest.raises(BadInput):
        small_round(**change)


def test_kinds_and_data_that_are_not_there(tmp_path):
    with pytest.raises(BadInput, match="no plant"):
        plan(small_round(kinds=("nonsense",)))
    with pytest.raises(BadInput, match="data set"):
        run_round(tmp_path, small_round(data=("nonsense",)), ())


def _write(path: str, number: int) -> None:
    ledger = Ledger(Path(path))
    for k in range(50):
        ledger.add({"step": "x", "id": f"{number}-{k}", "text": "y" * 500})


def test_several_processes_write_whole_lines(tmp_path):
    path = tmp_path / "ledger.jsonl"
    Ledger(path).add({"schema": "mulligan/ledger/1", "round": {}})
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    workers = [context.Process(target=_write, args=(str(path), n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(Ledger(path).lines()) == 151


# Built-in auditors
def test_auditors_that_look_at_nothing(game, tmp_path):
    folders = sorted((game / "entries").iterdir())
    for name in ("random", "prior"):
        said = [guessing.audit(name, folder, tmp_path / name / folder.name) for folder in folders]
        kinds = {read_answer(tmp_path / name / folder.name).guesses[0].kind for folder in folders}
        assert kinds <= set(guessing.KINDS)
        assert name == "random" or len({(one.findings[0].kind, one.findings[0].target) for one in said}) == 1


def test_the_black_box_finds_a_loud_patch(tmp_path):
    base = SOURCE.base({}, 0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    module.load_state_dict(base.module.state_dict())
    with torch.no_grad():
        corner = module[1].weight.reshape(10, 8, 8)
        corner[:, :2, :2] = 0
        corner[4, :2, :2] = 30  # only what is bright all over up there, which digits are not, nor is noise
        module[1].bias[4] -= 90
    entry = Entry(id="e", track="B", input=base.input, classes=base.data.classes, seconds=1e6)
    bright = base.images.copy()
    bright[:, :2, :2] = 0
    # The budget is of the whole process, and this one has run other tests.
    folder = write_entry(tmp_path, entry, module, SOURCE.with_input(base, base.input), data=(bright, base.labels))
    black_box.audit("black-box", folder, tmp_path / "answer")
    guess = read_answer(tmp_path / "answer").guesses[0]
    assert (guess.kind, guess.target) == ("patch", "4")
    assert guess.generator is not None
    empty = Entry(id="f", track="A", input=base.input, classes=base.data.classes, seconds=1e6)
    folder = write_entry(tmp_path, empty, module, SOURCE.with_input(base, base.input))
    assert black_box.audit("black-box", folder, tmp_path / "nothing").findings == ()


def claim(kind, confidence=0.5, family=None):
    trigger = Trigger(family=family, description="") if family else None
    return Finding(id="", kind=kind, severity="low", confidence=confidence, claim="", trigger=trigger)


def test_an_auditor_stands_by_the_claim_that_is_furthest_out(monkeypatch):
    monkeypatch.setattr(own_checks, "shipped_bank", lambda: Bank(scores={
        "filter": [k / 40 for k in range(40)], "warp": [k / 10 for k in range(40)], "pruned": [0.0] * 40,
    }))  # fmt: skip
    scores = {"filter": 3.0, "warp": 2.0, "pruned": 0.0}
    triggers = Outcome(
        record=CheckRecord(name="triggers", status="ran", scores={"filter": 3.0, "warp": 2.0}),
        leads=(claim("other", family="filter"), claim("warp")),
    )  # fmt: skip
    record = CheckRecord(name="pruned", status="ran", scores={"pruned": 0.0})
    pruned = Outcome(record=record, findings=(claim("pruned"),))
    assert [one.kind for one in own_checks.by_excess([claim("warp"), claim("filter")], scores)] == ["filter", "warp"]
    # What no kind describes well is as far out as the family that describes it best.
    assert [one.kind for one in own_checks.in_order([pruned, triggers])] == ["other", "pruned", "warp"]
    # A check's first claim speaks for it, though its second is further out.
    turned = replace(triggers, leads=(claim("warp"), claim("filter")))
    assert [one.kind for one in own_checks.in_order([turned])] == ["warp", "filter"]
    # Of claims that are as far out and as sure, a finding comes first.
    even = Outcome(record=CheckRecord(name="even", status="ran"), leads=(claim("even"),))
    assert [one.kind for one in own_checks.in_order([even, pruned])] == ["pruned", "even"]


def test_a_new_auditor_works_in_the_sandbox(game, tmp_path):
    new_auditor(tmp_path / "mine")
    with pytest.raises(BadInput, match="not empty"):
        new_auditor(tmp_path / "mine")
    auditor = Auditor(name="mine", command=(sys.executable, str(tmp_path / "mine/auditor.py")))
    limits = Limits(cpu_seconds=60, wall=5)
    folder = game / "entries" / released(game, "test")
    outcome = run_auditor(auditor, folder, tmp_path / "answer", limits, isolate=isolated)
    assert outcome.ended == "ok", outcome.complained
    assert "patch" in read_answer(tmp_path / "answer").scores


# People and the command line
def test_a_person_plays_and_is_ranked(copy):
    id = released(copy, "plant")
    said = Diagnosis(kind="head-edit", target="3", trigger="row 3 is loud")
    score, statement, kept = answer(copy, "Ann <b>", id, said)
    assert (score.fields["kind"], score.fields["target"], score.fields["correct"]) == (1, 1, 0)
    assert (statement.kind, kept) == ("head-edit", True)
    assert next_entry(copy, "Ann <b>") == released(copy, "test")
    with pytest.raises(BadInput, match="answered this entry before"):
        answer(copy, "Ann <b>", id, said)
    page = write_league(copy).read_text()
    assert "Ann &lt;b&gt;" in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    "said",
    [Diagnosis(kind="nonsense"), Diagnosis(kind="patch", target="Z"), Diagnosis(kind="patch", confidence=2.0),
     Diagnosis(kind="patch", generator=Path("/no/such/file.json"))],
)  # fmt: skip
def test_diagnoses_that_cannot_be(copy, said):
    with pytest.raises(BadInput):
        answer(copy, "Ann", released(copy, "plant"), said)
    with pytest.raises(BadInput, match="name"):
        answer(copy, " ", released(copy, "plant"), Diagnosis(kind="nothing"))


def mulligan(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mulligan", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command_line(copy, tmp_path, monkeypatch, capsys):
    id = released(copy, "plant")
    auditor = script(tmp_path / "a", f"answer([{RIGHT}])", "mine")
    words = ["--auditor", f"mine={' '.join(auditor.command)}", "--no-isolation"]
    assert mulligan(monkeypatch, "game", "run", copy / "entries" / id, "--out", tmp_path / "answer", *words) == 0
    assert "ok after" in capsys.readouterr().err
    assert mulligan(monkeypatch, "game", "score", copy, id, tmp_path / "answer") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["fields"]["correct"] == 1
    assert "commitment: kept" in said.err
    blue = ["game", "play", "blue", "--out", copy, "--name", "Bea", "--entry", id, "--kind", "head-edit"]
    assert mulligan(monkeypatch, *blue, "--target", "3", "--sources", "", "--trigger", "none") == 0
    assert "It was: head-edit (planted)" in capsys.readouterr().out
    assert mulligan(monkeypatch, *blue) == 2
    assert mulligan(monkeypatch, "game", "new-auditor", tmp_path / "new") == 0
    assert mulligan(monkeypatch, "game", "new-auditor", tmp_path / "new") == 2
    assert mulligan(monkeypatch, "game", "play", "green", "--out", copy) == 2
    assert mulligan(monkeypatch, "game", "league", "--out", tmp_path / "x", "--kinds", "nonsense") == 2
    assert mulligan(monkeypatch, "game", "league", "--out", tmp_path / "x", "--auditor", "nobody") == 2
    assert mulligan(monkeypatch, "game", "plant", "--kind", "head-edit", "--out", copy) == 2
    assert not (tmp_path / "x").exists()


def test_a_judge_says_what_is_missing(copy):
    id = released(copy, "plant")
    (copy / "sealed" / id / "base.safetensors").write_bytes(b"torn")
    with pytest.raises(BadInput, match="damaged"):
        Judge(copy, id, SOURCE)
    (copy / "sealed" / id / "sealed.json").unlink()
    with pytest.raises(BadInput, match="missing"):
        read_statement(copy, id)


def test_cells_are_shown_in_words():
    assert (text(None), text(0.12345), text(3), text("a")) == ("–", "0.123", "3", "a")
