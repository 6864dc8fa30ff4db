"""The same arms on a real model, through the factory's own flows.

    python -m benchmarks.rpo_vs_dpo.real                                  # the embedded model: a smoke test, hours
    python -m benchmarks.rpo_vs_dpo.real --model FOLDER --size gpu        # any Hugging Face model on one GPU
    python -m benchmarks.rpo_vs_dpo.real --model FOLDER --size 8gpu       # ZeRO-3 with offload
    python -m benchmarks.rpo_vs_dpo.real --dry-run                        # every arm to its first step, no measurement

One factory run samples and judges; every arm trains on those responses, RPO and DPO on the same number of rows; base
and arms answer the same held-out dialogues. Killed, the same command goes on: nothing is sampled or trained twice.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from flows.environment import prepare_environment
from models import demo
from models.base import Strict
from models.endpoints import Endpoint, Role, Roles, Serve
from models.evaluation import EvaluationSettings
from models.settings import Constraints, Dialogues, FactorySettings, Seeds
from models.training import EMBEDDED_MODEL, TrainingOptions, TrainingSettings

RUN = "rpo_vs_dpo"

ARMS: dict[str, dict[str, Any]] = {
    "dpo": {"method": "dpo"},
    "sft": {"method": "sft"},
    "kto": {"method": "kto"},
    "rpo_gamma_0": {"method": "rpo", "gamma": 0.0},
    "rpo": {"method": "rpo"},
    "rpo_released": {"method": "rpo", "margin_scale": "released"},
}
"""The arms of the paper's Table 1, and gamma. DPO is first: its rows say how many RPO may have."""


class Size(Strict):
    """How much of everything."""

    factory: FactorySettings
    training: TrainingOptions
    evaluation: EvaluationSettings
    preset: str


_GPU_FACTORY = FactorySettings(
    batch_size=50,
    seeds=Seeds(max_roles=24),
    constraints=Constraints(min_per_system=6, max_per_system=8),
    # every turn, good or bad: the arms are compared on the same responses
    dialogues=Dialogues(per_system=4, turns=3, reference_samples=5, min_score=0),
    roles=Roles(policy=Role(endpoint="policy", max_tokens=512)),
    endpoints={"policy": Endpoint(model="policy", base_url="http://127.0.0.1:8000/v1")},
)
_GPU_EVALUATION = EvaluationSettings(systems=11, samples=4)

SIZES = {
    "smoke": Size(factory=demo.FACTORY, training=demo.TRAINING.training, evaluation=demo.EVALUATION, preset="cpu"),
    "gpu": Size(
        factory=_GPU_FACTORY,
        training=TrainingOptions(global_batch=64, device_batch=4, learning_rate=1e-4),
        evaluation=_GPU_EVALUATION,
        preset="gpu",
    ),
    "8gpu": Size(
        factory=_GPU_FACTORY,
        training=TrainingOptions(global_batch=64, device_batch=1, learning_rate=1e-5, lora_rank=0),
        evaluation=_GPU_EVALUATION,
        preset="zero3_8gpu",
    ),
}


def policy_endpoint(model: str, *, slots: int) -> Endpoint:
    """A server of the factory's own for a model: llama.cpp for a GGUF, transformers for a model folder."""
    if model == EMBEDDED_MODEL:
        return demo.FACTORY.endpoints["demo"]
    if model.endswith(".gguf"):
        return Endpoint(model=Path(model).stem, max_concurrency=8, timeout_s=600, serve=Serve(model_path=model))
    serve = Serve(engine="transformers", model_path=model, slots=slots, context=4096, start_timeout_s=600)
    return Endpoint(model=Path(model).name, max_concurrency=slots, timeout_s=1800, serve=serve)


def run_arms(model: str, size: Size, data: Path, arms: list[str], *, dry_run: bool) -> None:
    """Sample once, train every arm, measure all of them, in one Prefect flow run."""
    from prefect import flow

    from flows.comparison import compare_models
    from flows.evaluation import evaluate
    from flows.factory import factory
    from flows.terminal import show_progress, show_summary
    from flows.terminal_evaluation import show_differences, show_evaluation
    from flows.terminal_training import show_training
    from flows.training import train

    policy = size.factory.roles.policy
    endpoints = {policy.endpoint: policy_endpoint(model, slots=64 if size.preset != "cpu" else 4)}
    settings = size.factory.model_copy(update={"run": RUN, "data": str(data), "endpoints": endpoints})
    evaluation = size.evaluation.model_copy(update={"run": RUN, "data": str(data), "models": ["base", *arms]})

    @flow(name="rpo against dpo", flow_run_name=f"arms on {Path(model).name}")
    def compare_arms() -> None:
        show_summary(factory(settings))
        rows = None
        for arm in arms:
            training = arm_settings(
                arm, model, size, data, rows=rows if arm.startswith("rpo") else None, dry_run=dry_run
            )
            outcome = train(training)
            rows = outcome.record.rows if arm == "dpo" else rows
            show_training(outcome)
        if not dry_run:
            show_evaluation(evaluate(evaluation))
            against = "dpo" if "dpo" in arms else "base"
            others = [name for name in ("base", *arms) if name != against]
            show_differences(compare_models(evaluation, [against, *others]), kinds=False)

    with show_progress():
        compare_arms()


def arm_settings(arm: str, model: str, size: Size, data: Path, *, rows: int | None, dry_run: bool) -> TrainingSettings:
    """How an arm is trained."""
    changes: dict[str, Any] = {"model": model, **ARMS[arm]}
    if dry_run:
        changes |= {"max_steps": 1, "global_batch": 2, "device_batch": 2}
    return TrainingSettings(
        run=RUN,
        data=str(data),
        name=f"{arm}_dry" if dry_run else arm,
        pairs=demo.TRAINING.pairs.model_copy(update={"max_rows": 2 if dry_run else rows}),
        validation_share=0.0 if dry_run else 0.1,
        preset=size.preset,
        training=TrainingOptions.model_validate({**size.training.model_dump(), **changes}),
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=EMBEDDED_MODEL, help="model folder, GGUF file, or embedded (default)")
    parser.add_argument("--size", choices=SIZES, default="smoke", help="how much of everything (default: %(default)s)")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="which arms (default: all)")
    parser.add_argument("--data", type=Path, default=Path("build/rpo_vs_dpo_real"), help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="every arm to its first step, and no measurement")
    given = parser.parse_args()
    prepare_environment(quiet=True)
    run_arms(given.model, SIZES[given.size], given.data, given.arms, dry_run=given.dry_run)


if __name__ == "__main__":
    main()
