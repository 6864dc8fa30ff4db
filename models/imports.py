"""What is imported: how much of a file is taken, and why a row of it is refused."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.base import Language, Strict
from models.media import Media

Reason = Literal[
    "too_long",
    "not_utf8",
    "not_json",
    "not_an_object",
    "duplicate_key",
    "not_finite",
    "lone_surrogate",
    "nul",
    "too_deep",
    "field_too_long",
    "not_csv",
    "wrong_columns",
    "cut_off",
]
"""Why a row cannot be read at all."""


class ReadLimits(Strict):
    """How much of a file is taken: what is larger is refused, before it is in memory."""

    max_line_bytes: int = Field(
        default=16 << 20, ge=1024, description="Bytes of a row (a line, an element of a list); a longer one is refused."
    )
    max_field_chars: int = Field(default=1_000_000, ge=1, description="Characters of one text of a row.")
    max_ratio: float = Field(
        default=200,
        ge=2,
        description="A compressed file that unpacks to more than so many times its size is refused; text packs to a "
        "tenth or a twentieth.",
    )
    max_unpacked_bytes: int = Field(
        default=64 << 30, ge=1, description="Bytes that a compressed file may unpack to, at most."
    )


ImportKind = Literal["roles", "personas", "prompts", "systems"]
Layout = Literal["own", "sysbank", "prompts", "personahub"]
Target = Literal[
    "id", "language", "name", "text", "skills", "questions", "tone", "openings", "constraints", "opposites"
]
"""What a column can be: ``text`` is the description of a role, or the persona."""


class ImportSettings(Strict):
    """What is imported, from where, as what, and what is left out."""

    kind: ImportKind = Field(
        default="roles",
        description="roles; personas; prompts: roles of a collection of prompts; systems: roles with constraints.",
    )
    file: str = Field(
        default="", description="JSON lines, a JSON list, CSV, TSV or Parquet; .gz too. By its name and its beginning."
    )
    data: str = Field(default="data", description="Folder of the data, or s3://bucket/prefix.")
    to: str | None = Field(
        default=None, description="The seed file to write; empty: imports/KIND.jsonl in the data folder."
    )
    report: str | None = Field(
        default=None,
        description="What was refused or left out, a row each; CSV if it ends in .csv, else JSON lines; empty: beside "
        "the seed file.",
    )
    layout: Layout | None = Field(default=None, description="Layout of the file; empty: told by its columns.")
    columns: dict[Target, str] = Field(
        default={}, description="The column of the file for each of ours; a.b is the field b of a."
    )
    language: Language | None = Field(
        default=None, description="All rows are in this language; empty: told row by row from the text."
    )
    languages: list[Language] = Field(
        default=["en", "zh"], min_length=1, description="Keep only rows in these languages."
    )
    drop_media: list[Media] = Field(
        default=["image", "video", "audio"],
        description="Leave out roles that make or read these, as the paper does: the factory is about text.",
    )
    near: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="A text that shares so much of its pairs of words (Jaccard) with an earlier one is left out as its "
        "near duplicate; 0: only equal ones are.",
    )
    min_chars: int = Field(default=20, ge=10, description="Characters of a description or persona at least.")
    max_chars: int = Field(default=20_000, ge=20, description="Characters of a description or persona at most.")
    license: str = Field(default="", description="Licence of the file, for the record.")
    limits: ReadLimits = Field(default=ReadLimits(), description="How much of a file is taken.")


class ImportSummary(Strict):
    """What an import came to. Texts of the file stand here only as counts, and in the names of its columns."""

    kind: ImportKind = Field(description="What was imported.")
    file: str = Field(description="From where.")
    sha256: str = Field(description="SHA-256 of the file.")
    license: str = Field(description="Its licence, as given.")
    layout: Layout | None = Field(description="Its layout; null: the columns were given.")
    columns: dict[str, str] = Field(description="The column of the file for each of ours.")
    unused: list[str] = Field(description="Columns that nothing was taken from.")
    rows: int = Field(ge=0, description="Rows of the file; all of them are accounted for below.")
    accepted: int = Field(ge=0, description="Rows that became seeds.")
    languages: dict[str, int] = Field(description="Accepted rows by language.")
    refused: dict[str, int] = Field(description="Rows that could not be used, by reason.")
    duplicates: dict[str, int] = Field(description="Rows left out as duplicates: exact, near.")
    filtered: dict[str, int] = Field(
        description="Rows left out by a filter: image, video, audio, and language/CODE for other languages."
    )
    stand_ins: dict[str, int] = Field(
        description="Seeds that got something general since the file has none: names, questions, tones, openings."
    )
    to: str = Field(description="The seed file.")
    report: str = Field(description="What was refused or left out, a row each.")
    seconds: float = Field(ge=0, description="How long it took.")
    peak_mb: float = Field(ge=0, description="The most memory that the process has had, in MB.")
