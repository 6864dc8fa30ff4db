"""The reference pages, written from the code they describe: ``python -m flows.reference`` (``make docs``)."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pyarrow as pa
from pydantic import BaseModel

from models.arrow import arrow_schema
from models.base import Language
from models.constraints import ALL_CHECKS
from models.evaluation import BenchmarkSettings, EvaluationSettings
from models.imports import ImportSettings
from models.loading import describe_settings
from models.records import TABLES
from models.settings import FactorySettings
from models.training import TrainingSettings

DOCS = Path(__file__).resolve().parent.parent / "docs"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def render_settings() -> str:
    """Every setting with its default and meaning."""
    return "".join(
        [
            "# Settings\n\nWritten from the code by `make docs`.\n\n",
            "## The factory\n\nKeys of `factory.toml`. `RPO_DIALOGUES__TURNS=3` in the environment and ",
            "`--set dialogues.turns=3` on the command line set the same, the last one wins.\n\n",
            _settings_table(FactorySettings),
            "\n## Training\n\nKeys of a file for `rpo train --config FILE`, and of its `--set`; ",
            "[training.md](training.md) explains them.\n\n",
            _settings_table(TrainingSettings),
            "\n## Evaluation\n\nParameters of the flow `evaluation`; `rpo evaluate --help` shows them as options.\n\n",
            _settings_table(EvaluationSettings),
            "\n## Evaluation on a benchmark\n\nParameters of the flow `benchmark`, of `rpo evaluate --benchmark`.\n\n",
            _settings_table(BenchmarkSettings),
            "\n## Import\n\nParameters of the flow `import`; `rpo import roles --help` shows them as options, ",
            "[importing.md](importing.md) explains them.\n\n",
            _settings_table(ImportSettings),
        ]
    )


def _settings_table(model: type[BaseModel]) -> str:
    rows = [
        f"| `{key}` | {f'`{_cell(default)}`' if default else ''} | {_cell(text)} |\n"
        for key, default, text in describe_settings(model)
    ]
    return "| key | default | meaning |\n| --- | --- | --- |\n" + "".join(rows)


def _type_name(kind: pa.DataType) -> str:
    names = {"string": "VARCHAR", "int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN"}
    if pa.types.is_list(kind):
        return _type_name(kind.value_type) + "[]"
    if pa.types.is_struct(kind):
        return "STRUCT(" + ", ".join(f"{item.name} {_type_name(item.type)}" for item in kind) + ")"
    return names[str(kind)]


def render_tables() -> str:
    """Every table with its columns."""
    parts = [
        "# Tables\n\nOne view each in `DATA/catalog.duckdb`: a schema a run, the newest run also in `main`. ",
        "Written from the code by `make docs`.\n",
    ]
    for name, model in TABLES.items():
        summary = (model.__doc__ or "").strip().splitlines()[0]
        parts.append(f"\n## {name}\n\n{summary}\n\n| column | type | meaning |\n| --- | --- | --- |\n")
        for column in arrow_schema(model):
            comment = (column.metadata or {}).get(b"comment", b"").decode()
            parts.append(f"| `{column.name}` | {_type_name(column.type)} | {_cell(comment)} |\n")
    return "".join(parts)


def render_constraints() -> str:
    """Every kind of check, with an example and its reversal in both languages."""
    from models.constraints.examples import EXAMPLES

    parts = [
        "# Constraints\n\nEvery kind of check that code decides, and its exact opposite. ",
        "Written from the code by `make docs`.\n\n| kind | example | reversed |\n| --- | --- | --- |\n",
    ]
    languages: tuple[Language, ...] = get_args(Language)
    for kind in sorted(ALL_CHECKS):
        check = EXAMPLES[kind]
        opposite = check.complement()
        texts = ["<br>".join(_cell(item.describe(language)) for language in languages) for item in (check, opposite)]
        parts.append(f"| `{kind}` | {texts[0]} | {texts[1]} |\n")
    return "".join(parts)


PAGES = {"settings.md": render_settings, "tables.md": render_tables, "constraints.md": render_constraints}


def main() -> None:
    """Write the pages."""
    for name, render in PAGES.items():
        (DOCS / name).write_text(render(), "utf-8")


if __name__ == "__main__":
    main()
