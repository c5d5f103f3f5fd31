"""The auditors that come with Mulligan; each is run as `python -m mulligan.procedures.game.auditors NAME ENTRY OUT`.

    random      a kind, classes and a score drawn at random
    prior       the same answer for every network, whatever it is
    black-box   asks for answers to many changed pictures; looks at no weight and no gradient
    mulligan    all installed checks; `mulligan:seed=1` draws otherwise, `mulligan:without=patch` looks for no patch
                (for measuring what becomes of a kind that nobody thought of)
"""

from ....records import BadInput

#: By name, the module that has `audit(entry folder, out folder) -> Findings`.
BUILT_IN = {"random": "guessing", "prior": "guessing", "black-box": "black_box", "mulligan": "own_checks"}


def parts(name: str) -> tuple[str, dict[str, str]]:
    """The auditor, and its options, of a name such as `mulligan:seed=1,without=patch`.

    Raises:
        BadInput: if there is no such auditor, or it has no such option.
    """
    which, colon, rest = name.partition(":")
    if which not in BUILT_IN:
        raise BadInput("there is no auditor of this name", where=name, fix=f"choose among {', '.join(BUILT_IN)}")
    options: dict[str, str] = {}
    for one in rest.split(",") if colon else ():
        option, _, value = one.partition("=")
        options[option] = value
    known = {"seed", "without"} if which == "mulligan" else set()
    wrong = [option for option in options if option not in known]
    if wrong or not options.get("seed", "0").isdecimal():
        raise BadInput("the auditor has no such option", where=name, fix="give seed=N, without=KIND, or none")
    return which, options


__all__ = ["BUILT_IN", "parts"]
