"""The estimate before a run: the factory on a few roles, for real, and what the whole run will then come to.

The sample is a run of its own, and its calls are calls of the whole run: their answers are found there again.
"""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.chain import Chain
from flows.factory import RUNNER
from flows.finish import finish_run
from flows.run import open_run
from models.base import digest
from models.estimate import Expected, RunEstimate
from models.markdown import table
from models.settings import FactorySettings
from storage.manifests import load
from storage.parts import PartStore
from storage.roots import data_root
from storage.sampled import read_sample
from storage.shared_calls import read_spending
from tasks.extrapolation import count_seeds, extrapolate

LONGEST_NAME = 48
_SUFFIX = "_estimate"


@flow(name="estimate", flow_run_name="estimate {settings.run}", task_runner=RUNNER)
def estimate(settings: FactorySettings, roles: int = 2) -> RunEstimate:
    """What a run will come to, from a sample of its roles that is made for real.

    Args:
        settings: Those of the run.
        roles: Roles of each language in the sample.
    """
    sizes = count_seeds(settings)
    sample = sample_settings(settings, roles)
    with open_run(sample, estimates=settings.run) as run:
        Chain(run).make("audit_pairs")
        finish_run(run)
    store = PartStore(data_root(settings.data))
    sampled, spent = read_sample(store, load(store.place, sample.run)), read_spending(store.place)
    estimated = extrapolate(settings, sampled, sizes, spent=spent.get(settings.run, 0.0))
    create_markdown_artifact(
        key=f"estimate-{settings.run.replace('_', '-')}",
        markdown=render_markdown(estimated),
        description=f"What the run {settings.run} will come to",
    )
    return estimated


def sample_settings(settings: FactorySettings, roles: int) -> FactorySettings:
    """The settings of the sample: the first roles of each language, and the users that they meet in the whole run.

    Systems meet users by their place, so that the first personas are enough, and a user is the same one in both runs.
    One seed a part: what a part's calls come to is then what one role comes to.
    """
    seeds, personas = settings.seeds, roles * settings.dialogues.per_system
    first = seeds.model_copy(
        update={
            "max_roles": min(roles, seeds.max_roles or roles),
            "max_personas": min(personas, seeds.max_personas or personas),
        }
    )
    return settings.model_copy(update={"run": name_sample(settings.run), "batch_size": 1, "seeds": first})


def name_sample(run: str) -> str:
    """The name of a run's sample; of a long name its hash, so that no two runs share a sample."""
    if len(run) + len(_SUFFIX) <= LONGEST_NAME:
        return f"{run}{_SUFFIX}"
    short = digest(run, length=8)
    return f"{run[: LONGEST_NAME - len(_SUFFIX) - len(short) - 1]}_{short}{_SUFFIX}"


def format_expected(expected: Expected | None, *, digits: int = 0) -> str:
    """A total with its interval, as people write them; the total alone where there is no spread or none is known."""
    if expected is None:
        return ""
    value, low, high = expected.value, expected.low, expected.high
    if low is None or high is None or low == high:
        return f"{value:,.{digits}f}"
    return f"{value:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def render_markdown(estimated: RunEstimate) -> str:
    """The estimate as the Prefect UI shows it."""
    rows = [
        (
            *(item.stage, item.role, item.model),
            *(format_expected(total) for total in (item.calls, item.tokens_in, item.tokens_out)),
            format_expected(item.cost, digits=4),
        )
        for item in estimated.stages
    ]
    cost, pairs = format_expected(estimated.cost, digits=4) or "unknown", format_expected(estimated.pairs)
    return "\n\n".join(
        [
            f"# Estimate of run {estimated.run}",
            table(("stage", "role", "model", "calls", "tokens in", "tokens out", "cost"), rows),
            f"Cost: {cost}. Pairs: {pairs}.",
            "Intervals are 90 % t-intervals over the sampled roles of each language.",
        ]
    )
