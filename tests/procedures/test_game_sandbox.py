"""Auditors that misbehave: each ends in an outcome, and nothing of it reaches the referee."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest
from game_fakes import FEW, script

from mulligan.procedures.game import Auditor, Limits, Outcome, run_auditor
from mulligan.procedures.game import sandbox as sandboxes
from mulligan.procedures.game.auditors import parts
from mulligan.records import BadInput

pytestmark = pytest.mark.skipif(sandboxes._isolation() is not None, reason="this system cannot isolate")


@pytest.fixture
def game(tmp_path: Path) -> Path:
    for name in ("mine", "other"):
        folder = tmp_path / "game" / "entries" / name
        folder.mkdir(parents=True)
        (folder / "game.json").write_text(f"secret of {name}")
    return tmp_path / "game"


def audited(game: Path, code: str, limits: Limits = FEW, **options) -> Outcome:
    auditor = script(game.parent / "auditor", code)
    return run_auditor(
        auditor, game / "entries/mine", game.parent / "out", limits, baits=[game / "entries/other"], hidden=[game],
        **options,
    )  # fmt: skip


def test_an_honest_auditor_answers(game):
    outcome = audited(game, "print(open(entry + '/game.json').read()); answer()")
    assert (outcome.ended, outcome.printed.strip(), outcome.isolated) == ("ok", "secret of mine", True)
    assert (game.parent / "out/findings.json").is_file()
    assert outcome.cpu_seconds > 0


@pytest.mark.parametrize("caught", [False, True])
def test_reading_another_entry_is_noticed_even_if_the_error_is_caught(game, caught):
    path = game / "entries/other/game.json"
    outcome = audited(game, f"text = open({str(path)!r}).read(); print(repr(text)); {'answer()' if caught else ''}")
    assert outcome.ended == "read outside"
    assert "secret" not in outcome.printed
    beside = "print(open(os.path.join(os.path.dirname(entry), 'other', 'game.json')).read()); answer()"
    assert audited(game, beside).ended == "read outside"


def test_the_rest_of_the_machine_is_not_there(game, tmp_path):
    (tmp_path / "private").write_text("private")
    home = Path.home()
    outcome = audited(
        game,
        f"print([p for p in ({str(tmp_path / 'private')!r}, {str(home / '.bashrc')!r}, '/etc/shadow', '/proc/kcore')"
        " if os.path.exists(p) and p != '/proc/kcore']);"
        "print(len([p for p in os.listdir('/proc') if p.isdigit()])); answer()",
    )
    assert outcome.printed.split() == ["[]", "2"]  # itself and the namespace's first process


def test_there_is_no_network(game):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        outcome = audited(game, f"import socket; socket.create_connection(('127.0.0.1', {port}), 1); answer()")
    assert outcome.ended == "crashed"


def test_cpu_seconds_are_those_of_all_processes(game):
    fork = "os.fork(); os.fork()\nwhile True: pass"
    limits = Limits(cpu_seconds=1, wall=60)
    outcome = audited(game, fork, limits)
    assert outcome.ended == "over budget"
    assert outcome.cpu_seconds < 3
    forgotten = (  # children whose time is added to nobody's
        "import signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True:\n"
        "    if os.fork() == 0:\n        while time.process_time() < 0.3: pass\n        os._exit(0)\n"
        "    time.sleep(0.2)\n"
    )
    assert audited(game, forgotten, limits).ended == "over budget"


@pytest.mark.parametrize(
    "code",
    [
        "f = open(out + '/big', 'wb')\nwhile True: f.write(bytes(1 << 20))",
        "for i in range(100): open(out + f'/{i}', 'wb').write(b'1' * (10 << 20))",
        "answer()\nwhile True: os.fork()",
    ],
    ids=["one file", "many files", "forks"],
)
def test_more_than_allowed_ends_over_budget_or_in_a_crash(game, code):
    outcome = audited(game, code)
    assert outcome.ended in ("over budget", "crashed")
    kept = sum(path.stat().st_size for path in (game.parent / "out").rglob("*"))
    assert kept <= FEW.disk


def test_memory_is_bounded(game):
    limits = Limits(cpu_seconds=5, wall=20, memory=200 << 20)
    greedy = audited(game, "held = [b'1' * (50 << 20) for _ in range(20)]; answer()", limits)
    assert greedy.ended in ("crashed", "over budget")


def test_a_hanging_auditor_is_ended_with_all_that_it_started(game):
    code = "os.fork() or os.setsid()\nimport time\ntime.sleep(1000)"
    outcome = audited(game, code, Limits(cpu_seconds=1, wall=1.5))
    assert outcome.ended == "hung"
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in commands if str(game.parent / "auditor") in command]


def test_an_entry_cannot_be_deleted(game):
    outcome = audited(game, "import shutil; shutil.rmtree(entry)")
    assert outcome.ended == "crashed"
    assert (game / "entries/mine/game.json").read_text() == "secret of mine"


def test_without_isolation_limits_still_hold_and_changes_of_the_entry_are_seen(game):
    outcome = audited(game, "answer()", isolate=False)
    assert (outcome.ended, outcome.isolated) == ("ok", False)
    spin = audited(game, "while True: pass", Limits(cpu_seconds=1, wall=60), isolate=False)
    assert spin.ended == "over budget"
    assert audited(game, "import shutil; shutil.rmtree(entry); answer()", isolate=False).ended == "crashed"
    assert (game / "entries/mine/game.json").exists()


def test_what_is_printed_is_capped_and_missing_commands_crash(game):
    outcome = audited(game, "print('x' * 10_000_000); answer()")
    assert outcome.ended == "ok"
    assert len(outcome.printed) == sandboxes.MOST_PRINTED
    nobody = Auditor(name="nobody", command=("/no/such/program",))
    missing = run_auditor(nobody, game / "entries/mine", game.parent / "out", FEW)
    assert missing.ended == "crashed"
    assert "cannot be started" in missing.complained


def test_links_are_not_brought_out(game):
    audited(game, "os.symlink('/etc/passwd', out + '/findings.json'); os.mkfifo(out + '/pipe')")
    assert not (game.parent / "out/findings.json").exists()


def test_where_auditors_cannot_be_isolated_it_is_refused(game, monkeypatch):
    monkeypatch.setattr(sandboxes, "_isolation", lambda: "darwin has no namespaces")
    with pytest.raises(BadInput, match="--no-isolation"):
        audited(game, "answer()")
    assert audited(game, "answer()", isolate=False).ended == "ok"


@pytest.mark.parametrize(
    "text",
    ["nobody", "=command", "name=", "name='unclosed", "mulligan:speed=1", "mulligan:seed=x", "prior:seed=1"],
)
def test_auditors_that_cannot_be(text):
    with pytest.raises(BadInput):
        Auditor.parse(text)


def test_auditors_are_read_from_the_command_line():
    parsed = Auditor.parse("mine=python 'my auditor.py'")
    assert (parsed.name, parsed.command) == ("mine", ("python", "my auditor.py"))
    assert Auditor.parse("prior").command[-1] == "prior"
    assert Auditor.parse("mulligan:seed=2").command[-1] == "mulligan:seed=2"
    assert parts("mulligan:seed=2,without=patch") == ("mulligan", {"seed": "2", "without": "patch"})
