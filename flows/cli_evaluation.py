"""The commands ``rpo evaluate`` and ``rpo compare``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from cyclopts import Parameter
from pydantic import BaseModel, ValidationError

from flows.cli_options import Data, Json
from flows.environment import prepare_environment
from flows.stopping import stoppable
from models.benchmarks import BenchmarkName
from models.endpoints import Endpoint
from models.errors import SettingsError
from models.evaluation import BenchmarkSettings, EvaluationSettings
from models.loading import SETTINGS_FILE, load_settings

Given = TypeVar("Given", bound=BaseModel)


def evaluate(
    *,
    run: Annotated[
        str | None, Parameter(help="The factory run that the models were trained on; without: demo.")
    ] = None,
    model: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="`base`, the name of a training run, or LABEL=endpoint:NAME for a model that you serve; may be given "
            "several times. Without: base and every finished training run of the factory run.",
        ),
    ] = None,
    systems: Annotated[
        int | None, Parameter(help="Held-out roles of each language at most, each has a twin; without: 8.")
    ] = None,
    turns: Annotated[int | None, Parameter(help="Turns of a dialogue; without: as in the run.")] = None,
    samples: Annotated[int | None, Parameter(help="Responses a turn; without: as in the run.")] = None,
    roles: Annotated[
        Path | None, Parameter(help="File of roles to hold out; without: the run's own, beyond those it used.")
    ] = None,
    seed: Annotated[int | None, Parameter(help="Seed of the held-out draws; without: the run's plus one.")] = None,
    name: Annotated[
        str | None, Parameter(help="Name of the evaluation; without: RUN_eval, with --benchmark RUN_ifeval or ifeval.")
    ] = None,
    config: Annotated[
        Path | None, Parameter(help="Settings file with further endpoints; without it factory.toml, if it is there.")
    ] = None,
    data: Data = "data",
    benchmark: Annotated[
        BenchmarkName | None, Parameter(help="Measure on a public benchmark instead of held-out dialogues.")
    ] = None,
    file: Annotated[
        Path | None, Parameter(help="With --benchmark: its data, as published; ifeval's prompts are here already.")
    ] = None,
    limit: Annotated[int | None, Parameter(help="With --benchmark: only the first so many dialogues.")] = None,
    history: Annotated[
        Literal["own", "gt"] | None,
        Parameter(
            help="With --benchmark: dialogues go on from the model's own answers (without: so), or from those that it "
            "gives."
        ),
    ] = None,
    temperature: Annotated[float | None, Parameter(help="With --benchmark: sampling temperature; without: 0.")] = None,
    max_tokens: Annotated[
        int | None, Parameter(help="With --benchmark: tokens of an answer at most; without: 1024.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure models: on held-out dialogues (roles, constraint texts and queries training has not seen) or a benchmark.

    Again with more models or after a new training, it makes only what is missing. On a benchmark, base is the policy
    of --run, or without it that of the settings file, or the embedded model.
    """
    common = _typed(run=run, data=data, models=model, name=name, seed=seed)
    held_out = _typed(systems=systems, turns=turns, samples=samples, roles=roles and str(roles))
    asked = _typed(
        file=file and str(file), limit=limit, history=history, temperature=temperature, max_tokens=max_tokens
    )
    if benchmark is not None:
        _refuse(held_out, "of held-out dialogues, not of a benchmark", "Leave them out, or leave --benchmark out.")
        run_benchmark(_benchmark_settings(config, {"benchmark": benchmark, **common, **asked}), as_json)
    else:
        _refuse(asked, "of a benchmark, and no --benchmark is given", "Leave them out, or add --benchmark ifeval.")
        given = {**common, **held_out, "endpoints": _endpoints(config)}
        run_evaluation(_validated(EvaluationSettings, given), as_json)


def _typed(**options: object) -> dict[str, object]:
    """The options that were typed; what was not is as the settings have it."""
    return {name: value for name, value in options.items() if value is not None}


def _refuse(options: Mapping[str, object], whose: str, next_step: str) -> None:
    if options:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in options)
        raise SettingsError(f"{names}: {whose}.", safe="Nothing was started.", next_step=next_step)


def run_evaluation(settings: EvaluationSettings, as_json: bool) -> None:
    """Measure models on held-out dialogues in this process and show what it came to."""
    prepare_environment(quiet=True)
    # imported here: Prefect takes seconds, and a wrong option need not wait for it
    from flows.evaluation import evaluate as evaluate_flow
    from flows.terminal import show_progress
    from flows.terminal_evaluation import show_evaluation

    with stoppable(), show_progress():
        summary = evaluate_flow(settings)
    if as_json:
        print(summary.model_dump_json())
    else:
        show_evaluation(summary)


def run_benchmark(settings: BenchmarkSettings, as_json: bool) -> None:
    """Measure models on a benchmark in this process and show what it came to."""
    prepare_environment(quiet=True)
    from flows.benchmark import evaluate_benchmark
    from flows.terminal import show_progress
    from flows.terminal_benchmark import show_benchmark

    with stoppable(), show_progress():
        summary = evaluate_benchmark(settings)
    if as_json:
        print(summary.model_dump_json())
    else:
        show_benchmark(summary)


def compare(
    first: str,
    second: str,
    /,
    *others: str,
    run: Annotated[
        str | None, Parameter(help="The factory run that the models were trained on; without: demo.")
    ] = None,
    name: Annotated[
        str | None, Parameter(help="Name of the evaluation; without: RUN_eval, with --benchmark RUN_ifeval or ifeval.")
    ] = None,
    benchmark: Annotated[BenchmarkName | None, Parameter(help="Compare on a public benchmark.")] = None,
    history: Annotated[
        Literal["own", "gt"], Parameter(help="With --benchmark: the history that the models were measured with.")
    ] = "own",
    scored: Annotated[
        bool, Parameter(negative="", help="FIRST, SECOND, ... are files that `rpo score ifeval --rows` has written.")
    ] = False,
    data: Data = "data",
    as_json: Json = False,
) -> None:
    """How much models differ, by metric and kind, with intervals and the p-value of a paired test. No calls.

    On held-out dialogues, on a benchmark that they were measured on, or in files that are scored.

    Args:
        first: The model (or file) that the others are compared with, such as `base`.
        second: A model, as `rpo evaluate` shows it.
        others: Further models.
        run: The factory run.
        name: The evaluation.
        benchmark: The benchmark.
        history: The history.
        scored: Compare files.
        data: Folder of the data.
        as_json: A JSON list with an object a difference.
    """
    from flows.comparison import compare_files, compare_models
    from flows.terminal import err
    from flows.terminal_evaluation import show_differences

    if scored:
        differences, common, left_out = compare_files([Path(file) for file in (first, second, *others)])
        if left_out:
            err.print(f"Compared on the {common} keys that all files have; {left_out} others are left out.")
    else:
        on = {"benchmark": benchmark, "history": history} if benchmark is not None else {}
        model: type[BenchmarkSettings | EvaluationSettings] = BenchmarkSettings if on else EvaluationSettings
        given = {"run": run or (None if on else "demo"), "data": data, "name": name, **on}
        differences = compare_models(_validated(model, given), [first, second, *others])
    if as_json:
        print(json.dumps([item.model_dump() for item in differences]))
    else:
        show_differences(differences, kinds=True)


def _benchmark_settings(config: Path | None, given: Mapping[str, object]) -> BenchmarkSettings:
    """What is given, with the endpoints, the policy and the judge of a settings file or of the environment."""
    values = dict(given)
    if config is not None or Path(SETTINGS_FILE).is_file():
        settings = load_settings(config, environ=os.environ)
        values |= {"endpoints": settings.endpoints, "judge": settings.roles.judge}
        if "judging" in settings.model_fields_set:
            values["judging"] = settings.judging
        if "run" not in given:
            values["policy"] = settings.roles.policy.endpoint
    return _validated(BenchmarkSettings, values)


def _endpoints(config: Path | None) -> dict[str, Endpoint]:
    """Endpoints that a settings file or the environment names; those of the run are known without."""
    if config is None and not Path(SETTINGS_FILE).is_file():
        return {}
    settings = load_settings(config, environ=os.environ)
    return settings.endpoints if "endpoints" in settings.model_fields_set else {}


def _validated(model: type[Given], given: Mapping[str, object]) -> Given:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems = "; ".join(f"--{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
        raise SettingsError(
            f"{problems}.", safe="Nothing was started.", next_step="`rpo evaluate --help` lists the options."
        ) from error
