"""The evaluation: base and trained models on dialogues that training has not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from prefect import flow

from flows.candidates import Candidate, find_candidates
from flows.factory import RUNNER
from flows.held_out import draw_held_out, hold_out_roles, reverse_systems
from flows.report.publishing import publish_report
from flows.run import Part, Run, open_run
from flows.scores import earlier_models, finish_evaluation, keep_models
from flows.stages import expand_users, judge_responses, play_dialogues, read_personas, sample_responses
from models.errors import SettingsError
from models.evaluation import EvaluatedModel, EvaluationSettings, EvaluationSummary
from models.loading import validate_settings
from models.runner import Runner
from models.settings import FactorySettings
from storage.manifests import Manifest, load
from storage.roots import data_root
from storage.rounds import find_chain
from tasks.llm.gateways import close_gateway


@flow(name="evaluation", flow_run_name="evaluate {settings.run}", task_runner=RUNNER)
def evaluate(settings: EvaluationSettings) -> EvaluationSummary:
    """CSR, ISR and SSR of base and trained models on held-out dialogues, in both polarities (paper, section 4).

    Every model answers after the same history, which the base model wrote: SysBench's ground-truth setting.

    Args:
        settings: Which models, on what.
    """
    earlier = earlier_models(settings)
    trained = load_trained(settings)
    held_out = held_out_settings(settings, trained)
    candidates, left_out = find_candidates(settings.models, settings.run, held_out)
    with open_run(held_out, evaluates=settings.run) as run:
        roles, personas = hold_out_roles(run, settings, trained), read_personas(run)
        systems, users = draw_held_out(run, roles, trained), expand_users(run, personas)
        twins = reverse_systems(run, systems, trained)
        turns = [
            *play_dialogues(run, roles, systems, personas, users),
            *play_dialogues(run, roles, twins, personas, users),
        ]
        run.collect(systems, twins, users, turns)
        answered = [answer_and_judge(run, candidate, turns) for candidate in candidates]
        models = keep_models(run, earlier, answered)
        summary = finish_evaluation(run, settings, trained, models, left_out)
    publish_report(settings.data, settings.run)
    return summary


def answer_and_judge(run: Run, candidate: Candidate, turns: Sequence[Part]) -> EvaluatedModel:
    """One model's responses to all turns, judged. Models take turns: one server at a time is in memory."""
    asked = dataclasses.replace(run, settings=candidate.as_policy(run.settings))
    if asked.settings != run.settings:
        close_gateway()
    responses = sample_responses(asked, turns)
    _, judgments = asked.collect(responses, judge_responses(asked, responses))
    endpoint = candidate.endpoint
    return EvaluatedModel(label=candidate.label, model=endpoint.model, identity=endpoint.identity, judgments=judgments)


def load_trained(settings: EvaluationSettings) -> Manifest:
    """The factory run that the models were trained on.

    Raises:
        StorageError: There is no such run.
        SettingsError: It is an evaluation, or not complete: nobody knows yet what it will have seen.
    """
    root = data_root(settings.data)
    manifest = load(root, settings.run)
    if manifest.is_evaluation:
        raise SettingsError(
            f"{settings.run!r} is an evaluation, not a factory run.",
            safe="Nothing was started.",
            next_step=f"Type: rpo evaluate --run {manifest.evaluates or 'RUN'}",
        )
    if manifest.status != "complete":
        raise SettingsError(
            f"The run {settings.run!r} is {manifest.status}, not complete: what it has seen is not known yet.",
            safe="Nothing was started.",
            next_step="Run the same `rpo run` or `rpo demo` again; it goes on where it stopped.",
        )
    # a later round's policy has seen what the rounds before it were trained on
    seen = {part: None for run in find_chain(root, manifest) for part in run.parts}
    return manifest.model_copy(update={"parts": list(seen)})


def held_out_settings(settings: EvaluationSettings, trained: Manifest) -> FactorySettings:
    """The settings of the factory run, for its held-out twin: other draws, the base model pinned as responder.

    Every dialogue is played to its end, however well the base follows, so that all models are measured on all turns;
    and nobody refines: a model is measured by its own answers.
    """
    given = validate_settings(trained.settings, source=f"the manifest of run {trained.run}")
    turns = settings.turns or given.dialogues.turns
    dialogues = given.dialogues.model_copy(update={"per_system": 1, "turns": turns, "min_score": 0.0})
    return given.model_copy(
        update={
            "run": settings.evaluation,
            "data": settings.data,
            "seed": given.seed + 1 if settings.seed is None else settings.seed,
            "samples": settings.samples or given.samples,
            "dialogues": dialogues,
            "endpoints": {**given.endpoints, **settings.endpoints},
            # models take turns: one server at a time is in memory, of this process
            "runner": Runner(),
            "roles": given.roles.model_copy(update={"responder": given.role("responder"), "critic": None}),
        }
    )
