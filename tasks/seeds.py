"""Seed files: role descriptions and personas, refused at the door if a line is not one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from models.base import Language
from models.errors import SeedError
from models.records import PersonaSeed, RoleSeed

Seed = TypeVar("Seed", RoleSeed, PersonaSeed)

ROOT = Path(__file__).resolve().parent.parent

# enough to mend a file by, few enough to read
SHOWN = 5


def seed_path(path: str) -> Path:
    """A seed file: relative to the current folder, or else one that the factory ships."""
    shipped = ROOT / path
    return shipped if not Path(path).exists() and shipped.exists() else Path(path)


def read_seeds(path: Path, model: type[Seed], languages: list[Language]) -> list[Seed]:
    """The seeds of a JSON-lines file in the given languages, in the order of the file.

    Args:
        path: The file.
        model: RoleSeed or PersonaSeed; its first field is the id.
        languages: Seeds in other languages are left out.

    Raises:
        SeedError: The file cannot be read, or lines are broken: each is named with its number and field.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SeedError(
            f"The seed file {path} cannot be read: {why}.", next_step="Give another one, or mend this one."
        ) from error
    lines = text.removesuffix("\n").split("\n")  # not splitlines: a text may hold U+2028
    id_field = next(iter(model.model_fields))
    seeds: list[Seed] = []
    lines_by_id: dict[str, int] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            seed = model.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(step) for step in first["loc"])
            problems.append(f"line {number}: {field + ': ' if field else ''}{first['msg']}")
            continue
        seed_id: str = getattr(seed, id_field)
        if seed_id in lines_by_id:
            problems.append(
                f"line {number}: {id_field} {json.dumps(seed_id)} stands on line {lines_by_id[seed_id]} too"
            )
            continue
        lines_by_id[seed_id] = number
        seeds.append(seed)
    if problems:
        more = f" (and {len(problems) - SHOWN} more)" if len(problems) > SHOWN else ""
        raise SeedError(
            f"{len(problems)} of {len(lines)} lines of {path} are not usable: "
            + "; ".join(problems[:SHOWN])
            + more
            + ".",
            safe="Nothing was started.",
            next_step="Mend or remove these lines and run again.",
        )
    chosen = [seed for seed in seeds if seed.language in languages]
    if not chosen:
        raise SeedError(f"{path} has no seeds in {', '.join(languages)}.", next_step="See seeds.languages.")
    return chosen
