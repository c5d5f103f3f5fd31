"""The auditors that come with Mulligan; each is run as `python -m mulligan.procedures.game.auditors NAME ENTRY OUT`.

    random      a kind, classes and a score drawn at random
    prior       the same answer for every network, whatever it is
    black-box   asks for answers to many changed pictures; looks at no weight and no gradient
    mulligan    all installed checks
"""

#: By name, the module that has `audit(entry folder, out folder) -> Findings`.
BUILT_IN = {"random": "guessing", "prior": "guessing", "black-box": "black_box", "mulligan": "own_checks"}

__all__ = ["BUILT_IN"]
