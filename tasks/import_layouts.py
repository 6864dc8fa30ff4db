"""Which column of a file is what: the layouts that are known, and how one is told by the columns of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from models.errors import SettingsError
from models.imports import ImportKind, ImportSettings, Layout, Target

Columns = Mapping[Target, Sequence[str]]
"""The columns that hold each of ours: of several, the first that a row has."""


class KnownLayout(NamedTuple):
    """A layout that files are found in."""

    markers: Sequence[frozenset[str]]
    """A file that has all columns of one of these is in this layout."""
    columns: Columns


_PROFILE = "structure_system_prompt"
LAYOUTS: dict[ImportKind, dict[Layout, KnownLayout]] = {
    "roles": {
        "own": KnownLayout(
            [frozenset({"role_id", "description"})],
            {
                "id": ["role_id"],
                "language": ["language"],
                "name": ["name"],
                "text": ["description"],
                "skills": ["skills"],
                "questions": ["questions"],
            },
        ),
        "sysbank": KnownLayout(
            [frozenset({_PROFILE}), frozenset({"gptId", "system_prompt"})],
            {
                "id": ["gptId"],
                "name": [f"{_PROFILE}.名称", "name"],
                "text": [f"{_PROFILE}.描述", "desription", "system_prompt"],  # their spelling
                "skills": [f"{_PROFILE}.技能"],
            },
        ),
        "prompts": KnownLayout(
            [frozenset({name, "prompt"}) for name in ("act", "name", "title")],
            {"id": ["id"], "name": ["act", "name", "title"], "text": ["prompt"]},
        ),
        "personahub": KnownLayout([frozenset({"persona"})], {"text": ["persona"]}),
    },
    "personas": {
        "own": KnownLayout(
            [frozenset({"persona_id", "persona"})],
            {
                "id": ["persona_id"],
                "language": ["language"],
                "text": ["persona"],
                "tone": ["tone"],
                "openings": ["openings"],
            },
        ),
        "personahub": KnownLayout([frozenset({"persona"})], {"text": ["persona"]}),
    },
}
_OWN, _SYSBANK = LAYOUTS["roles"]["own"], LAYOUTS["roles"]["sysbank"]
LAYOUTS["prompts"] = {"prompts": LAYOUTS["roles"]["prompts"]}
LAYOUTS["systems"] = {
    "own": KnownLayout([frozenset({"role_id", "constraints"})], {**_OWN.columns, "constraints": ["constraints"]}),
    "sysbank": KnownLayout(
        [frozenset({_PROFILE})],
        {**_SYSBANK.columns, "constraints": [f"{_PROFILE}.约束"], "opposites": ["reverse_cons_map"]},
    ),
}


def choose_columns(settings: ImportSettings, found: Iterable[str]) -> tuple[Layout | None, Columns]:
    """The layout of a file, and which column is what.

    Args:
        settings: The import.
        found: The columns of the first rows.

    Raises:
        SettingsError: No layout has such columns, or several; or a column that was given is not there.
    """
    names = list(found)
    known = LAYOUTS[settings.kind]
    layout = settings.layout
    if layout is not None and layout not in known:
        raise SettingsError(
            f"--layout {layout} is none of {settings.kind}: {', '.join(known)}.", safe="Nothing was written."
        )
    if layout is None:
        matching = [name for name, item in known.items() if any(marker <= set(names) for marker in item.markers)]
        # our own files have the columns of others too
        layout = "own" if "own" in matching else matching[0] if len(matching) == 1 else None
        if layout is None and "text" not in settings.columns:
            raise _unclear(settings, names, matching)
    missing = [column for column in settings.columns.values() if not {column, column.partition(".")[0]} & set(names)]
    if missing:
        raise SettingsError(
            f"--map names the column {missing[0]!r}; the first rows of {settings.file} have: {_list(names)}.",
            safe="Nothing was written.",
        )
    columns = dict(known[layout].columns) if layout else {}
    return layout, columns | {target: [column] for target, column in settings.columns.items()}


def _unclear(settings: ImportSettings, names: Sequence[str], matching: Sequence[str]) -> SettingsError:
    what = "is in several layouts: " + ", ".join(matching) if matching else "is in no layout that is known"
    mend = f"Say which with --layout {'|'.join(matching)}" if matching else "Say which column is what"
    return SettingsError(
        f"{settings.file} {what}; the columns of its first rows: {_list(names)}.",
        safe="Nothing was written.",
        next_step=f"{mend}, such as --map text=COLUMN --map name=COLUMN ({', '.join(get_args(Target))}).",
    )


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def pick(values: Mapping[str, Any], columns: Sequence[str]) -> Any:
    """What a row has in the first of some columns that is not empty; None: in none of them."""
    for column in columns:
        value = values.get(column)
        if value is None and "." in column:
            outer, _, inner = column.partition(".")
            parent = values.get(outer)
            value = parent.get(inner) if isinstance(parent, dict) else None
        if value not in (None, "", [], {}):
            return value
    return None
