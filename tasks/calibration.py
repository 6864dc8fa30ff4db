"""Calibration: the judge model is asked what code knows, so that it can be measured against the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from models.agreement import ALL, JudgeAgreement, summarise_agreement
from models.base import Language, digest
from models.records import Calibration, Constraint, PartRef
from models.settings import Judging
from tasks.batch import Batch, stage_task
from tasks.judging import TriggeredCase, decide, read_cases
from tasks.voting import ask_judge

_DIGITS = 12

KindOf = tuple[str, Language]
"""A kind of constraint in a language: what a judge is trusted with, or not."""


@stage_task(produces="calibrations", version=2)
def calibrate_judge(batch: Batch, responses: PartRef) -> Iterator[Calibration]:
    """Ask the judge about a share of the triggered constraints that have a check: one call a response with any."""
    share = batch.settings.judging.calibration_share
    drawn = [
        (case, constraints) for case in read_cases(batch, responses) if (constraints := draw_constraints(case, share))
    ]
    answers = ask_judge(batch, [case.ask_about(constraints) for case, constraints in drawn])
    for (case, constraints), opinions in zip(drawn, answers, strict=True):
        for constraint, opinion in zip(constraints, opinions, strict=True):
            yield Calibration(
                response_id=case.response.response_id,
                constraint_id=constraint.constraint_id,
                kind=constraint.kind,
                language=case.system.language,
                by_code=decide(constraint, case.response.text, case.query),
                by_judge=opinion.verdict,
                reason=opinion.reason,
                judge=opinion.judge,
            )


def draw_constraints(case: TriggeredCase, share: float) -> list[Constraint]:
    """The triggered constraints of a response that have a check and on which the judge is measured."""
    return [
        constraint
        for _, constraint in case.triggered
        if constraint.check is not None and is_drawn(case.response.response_id, constraint.constraint_id, share)
    ]


def is_drawn(response_id: str, constraint_id: str, share: float) -> bool:
    """Whether the judge is asked about a constraint of a response: of all, ``share``, the same ones every time."""
    place = int(digest(["calibration", response_id, constraint_id], length=_DIGITS), 16)
    return place < share * float(16**_DIGITS)


def tally_calibrations(calibrations: Iterable[Calibration]) -> list[JudgeAgreement]:
    """The judge measured on some calibrations; see ``summarise_agreement``."""
    counts = Counter((row.kind, row.language, row.by_code, row.by_judge) for row in calibrations)
    return summarise_agreement((*cell, count) for cell, count in counts.items())


def find_poor_kinds(kinds: Collection[KindOf], measured: Iterable[JudgeAgreement], rules: Judging) -> list[KindOf]:
    """The kinds of constraint whose verdicts by the judge are not to be believed.

    A kind is held to its own calibrations where there are ``min_calibrations``. A kind without a check can have none,
    and is held to those of all kinds in its language; where these are too few as well, the judge is believed.

    Args:
        kinds: The kinds that the judge decides.
        measured: The judge against the checks, by kind and language and as a whole.
        rules: The gate; without ``min_kappa`` it is open.
    """
    if rules.min_kappa is None:
        return []
    known = {(item.kind, item.language): item for item in measured if item.n >= rules.min_calibrations}
    poor = []
    for kind, language in sorted(kinds):
        evidence = known.get((kind, language)) or known.get((ALL, language))
        # without a kappa both say one and the same thing every time, which is nothing to shut out
        if evidence is not None and evidence.kappa is not None and evidence.kappa < rules.min_kappa:
            poor.append((kind, language))
    return poor
