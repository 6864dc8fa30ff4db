"""The dataset card of an export: a README.md for people, with the YAML that the Hub and ``datasets`` read.

It says the same on every machine: no time, no folder, no address. What models or files brought in is escaped or fenced.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

from models.agreement import ALL
from models.markdown import escape, fence, table
from models.summary import NOISE_CASES
from models.version import VERSION
from storage.exports.batch import Table
from storage.exports.provenance import Provenance
from storage.exports.sinks import SPLITS, Sink

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)
_LARGEST = "1B<n<10B"
_TAGS = ["rpo", "dpo", "preference", "instruction-following", "synthetic", "rpo-factory"]
_WHAT: dict[Table, str] = {
    "rpo": "pairs of RPO under rewritten prompts, with their margin",
    "dpo": "baseline: pairs of the same responses under the original prompts, the one that follows more is chosen",
    "kto": "baseline: the responses of `dpo`, each with a label",
    "sft": "baseline: the response of each turn that follows most, under the original prompt",
}
# https://aclanthology.org/2025.findings-acl.1064
_PAPER = """@inproceedings{huang-etal-2025-reverse,
  title = "Reverse Preference Optimization for Complex Instruction Following",
  author = "Huang, Xiang and Lin, Ting-En and Fang, Feiteng and Wu, Yuchuan and Li, Hangyu and Qu, Yuzhong and Huang, Fei and Li, Yongbin",
  booktitle = "Findings of the Association for Computational Linguistics: ACL 2025",
  month = jul,
  year = "2025",
  address = "Vienna, Austria",
  publisher = "Association for Computational Linguistics",
  url = "https://aclanthology.org/2025.findings-acl.1064/",
  doi = "10.18653/v1/2025.findings-acl.1064",
  pages = "20700--20723"
}"""  # noqa: E501
_SOFTWARE = f"""@misc{{rpo-factory,
  title = "rpo-factory: a data factory and trainer for Reverse Preference Optimization",
  note = "Version {VERSION}, Apache-2.0"
}}"""


def render_card(traced: Provenance, sinks: Sequence[Sink]) -> str:
    """The card.

    Args:
        traced: What the export was made of.
        sinks: What was written.
    """
    parts = [
        f"---\n{_front_matter(traced, sinks)}---",
        f"# Pairs of the run {escape(traced.run)}",
        _introduce(traced),
        *_show_files(sinks),
        *_show_source(traced),
        *_show_pairs(traced),
        *_show_judge(traced),
        *_show_making(traced),
        *_show_example(traced),
        *_show_limits(traced),
        "## Citation\n\nThe method:",
        fence(_PAPER, "bibtex"),
        "The program that made this dataset:",
        fence(_SOFTWARE, "bibtex"),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(traced: Provenance, sinks: Sequence[Sink]) -> str:
    import yaml  # type: ignore[import-untyped]

    front: dict[str, Any] = {
        "license": traced.license,
        "language": list(traced.languages),
        "pretty_name": f"RPO pairs of the run {traced.run}",
        "size_categories": [next((name for limit, name in _SIZES if traced.pairs < limit), _LARGEST)],
        "task_categories": ["text-generation"],
        "tags": _TAGS,
        "annotations_creators": ["machine-generated"],
        "configs": _configs(sinks),
    }
    text: str = yaml.safe_dump(
        {key: value for key, value in front.items() if value}, sort_keys=False, allow_unicode=True, width=1000
    )
    return text


def _configs(sinks: Sequence[Sink]) -> list[dict[str, Any]]:
    """What ``load_dataset`` finds: each table with rows, as Parquet where it is there.

    LLaMA-Factory's file holds what `rpo` does, in columns of its own.
    """
    configs: list[dict[str, Any]] = []
    for name in get_args(Table):
        of_table = [sink for sink in sinks if sink.table == name and sink.format != "llamafactory"]
        best = next((sink for sink in of_table if sink.format == "parquet"), next(iter(of_table), None))
        files = [
            {"split": split, "path": best.pattern.format(split=split)} for split in SPLITS if best and best.rows[split]
        ]
        if files:
            configs.append({"config_name": name, **({} if configs else {"default": True}), "data_files": files})
    return configs


def _introduce(traced: Provenance) -> str:
    return (
        f"{traced.pairs:,} preference pairs for Reverse Preference Optimization (RPO), and baselines from the same "
        "responses. A pair's prompt demands the opposite of what the chosen response failed to do, so that the chosen "
        "response follows every constraint of its prompt; the rejected one violates exactly `margin` of them. Made by "
        f"rpo-factory {VERSION}; queries, histories and responses were "
        f"{'imported' if traced.imported else 'written by models'}."
    )


def _show_files(sinks: Sequence[Sink]) -> list[str]:
    rows = [
        (
            f"`{sink.pattern.format(split='*')}`",
            "as `rpo`, for LLaMA-Factory" if sink.format == "llamafactory" else _WHAT[sink.table],
            *(f"{sink.rows[split]:,}" for split in SPLITS),
        )
        for sink in sinks
    ]
    return [
        "## Files",
        table(("files", "what", *SPLITS), rows),
        "The splits share no dialogue. Every row has the constraints of its prompt with their checks, as JSON: it can "
        "be audited without the factory.",
    ]


def _show_source(traced: Provenance) -> list[str]:
    if all(seed.shipped for seed in traced.seeds):
        license_ = "Apache-2.0, those that rpo-factory ships"
    else:
        license_ = escape(traced.seeds_license or "not stated (setting `seeds.license`)")
    rows = [(seed.what, f"{escape(seed.name)}, {seed.rows:,} used") for seed in traced.seeds]
    counts = traced.counts
    return [
        "## Where it comes from",
        table(("seeds", "file"), [*rows, ("license of the seeds", license_)]),
        f"Of these came {counts['systems']:,} system prompts, {counts['dialogues']:,} dialogues with "
        f"{counts['turns']:,} turns, {counts['responses']:,} responses and {counts['judgments']:,} verdicts "
        f"({counts['unscored']:,} of them unreadable: their responses make no pair), and {counts['pairs']:,} pairs.",
        table(
            ("what", "written or decided by", "how many"),
            [(escape(item.what), escape(item.by), f"{item.rows:,}") for item in traced.written],
        ),
        *([f"The policy is the one that the training run {escape(traced.policy)} made."] if traced.policy else []),
        *_show_left_out(traced),
    ]


def _show_left_out(traced: Provenance) -> list[str]:
    ended = [(escape(reason), "dialogues that ended early", f"{count:,}") for reason, count in traced.ended.items()]
    rows = [(escape(reason), escape(what), f"{count:,}") for reason, what, count in traced.excluded]
    return [table(("left out", "what", "how many"), [*ended, *rows])] if ended or rows else []


def _show_pairs(traced: Provenance) -> list[str]:
    counts = traced.counts
    cases = [(case, text, f"{traced.noise_cases.get(case, 0):,}") for case, text in NOISE_CASES.items()]
    kinds = {item.kind: item for item in traced.satisfaction}
    shares = []
    for kind in sorted(kinds.keys() | traced.reversed_kinds.keys()):
        item = kinds.get(kind)
        share = f"{item.followed / item.scored:.0%}" if item and item.scored else ""
        judged = f"{item.scored:,}" if item else "0"
        shares.append((escape(kind), judged, share, f"{traced.reversed_kinds.get(kind, 0):,}"))
    if traced.imported and traced.imported.verdicts:
        truth, deciders = "the imported verdicts", "Every verdict was imported."
    else:
        truth = "their texts"
        deciders = (
            f"In {traced.judged:,} of the pairs a constraint is decided by the judge model, the others by code alone."
        )
    return [
        "## The pairs",
        f"Audit: {counts['audited'] - counts['audit_failed']:,} of {counts['audited']:,} pairs were proven from "
        f"{truth}; {traced.dropped:,} that failed and {traced.flagged:,} that a person flagged are left out. "
        f"{deciders}",
        table(("language", "pairs"), [(name, f"{count:,}") for name, count in traced.languages.items()]),
        table(("margin", "pairs"), [(margin, f"{count:,}") for margin, count in traced.margins.items()]),
        "What plain DPO would have made of the same two responses (the noise cases of the paper's Figure 1):",
        table(("case", "what it would be", "pairs"), cases),
        "Constraints by kind:",
        table(("kind", "verdicts", "followed", "reversed in pairs"), shares),
    ]


def _show_judge(traced: Provenance) -> list[str]:
    if traced.imported and traced.imported.verdicts:
        return ["## The judge", "The verdicts were imported: how well they agree with the checks was not measured."]
    if not traced.calibration:
        return ["## The judge", "No judge model was measured: constraints were decided by code, or nobody asked it."]

    def show(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    rows = [
        (
            *(escape(item.kind), escape(item.language), f"{item.n:,}", f"{item.unscored:,}"),
            *(show(value) for value in (item.agreement, item.kappa, item.false_positive, item.false_negative)),
        )
        for item in traced.calibration
    ]
    head = ("kind", "language", "n", "unreadable", "agreement", "kappa", "false positive", "false negative")
    return [
        "## The judge",
        "The judge model was asked about constraints that code decides, and is held to them (Cohen's kappa; false "
        f"positive: violated, and called followed). `{ALL}` is every kind, or every language.",
        table(head, rows),
    ]


def _show_making(traced: Provenance) -> list[str]:
    return [
        "## How it was made",
        "The settings that decide what is in it; addresses, keys and folders are not part of it.",
        fence(json.dumps(traced.settings, indent=1, ensure_ascii=False, sort_keys=True), "json"),
    ]


def _show_example(traced: Provenance) -> list[str]:
    blocks = [part for name, text in traced.example.items() for part in (f"{name}:", fence(text))]
    return ["## One pair, its texts cut", *blocks] if blocks else []


def _show_limits(traced: Provenance) -> list[str]:
    points = [
        "Texts were written by models: they can be wrong, biased or harmful, and were not filtered for that.",
        "The audit proves that constraints are followed and violated as the rows say, not that a response is good.",
        "Prompts demand the opposite of what people ask for, on purpose: they are for training, not examples of "
        "prompts.",
        "The terms of the models that wrote the texts may restrict their use.",
    ]
    if traced.judged:
        points.append(
            "What no check decides rests on a judge model, which errs. The table above, where there is one, says how "
            "often it did on constraints that code decides, which are others."
        )
    if traced.license == "unknown":
        points.append("Under which license it may be used its publisher has not said (setting `export.license`).")
    return ["## Limits", "\n".join(f"- {point}" for point in points)]
