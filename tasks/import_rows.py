"""A row of a file as a seed, or why it is none."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from models.base import digest
from models.imports import ImportSettings
from models.languages import guess_language
from models.records import MAX_CONSTRAINTS, PersonaSeed, RoleSeed, SeedConstraint
from storage.imports.rows import as_number
from tasks import stand_ins
from tasks.import_layouts import Columns, pick

MAX_ID_CHARS = MAX_NAME_CHARS = 200
_LANGUAGE_CODE = re.compile("[a-z]{2,3}")
_LIST_SEPARATOR = re.compile(r"[\n;；|]+")
_LANGUAGES = {"english": "en", "英文": "en", "英语": "en", "chinese": "zh", "中文": "zh", "汉语": "zh"}


class RowError(Exception):
    """A row that cannot be a seed.

    Args:
        reason: One word, to count by.
        field: Which of ours is to blame.
        what: Why, in words.
    """

    def __init__(self, reason: str, field: str, what: str) -> None:
        self.reason, self.field, self.what = reason, field, what
        super().__init__(what)


class OtherLanguageError(Exception):
    """A row in a language that is not kept; its code."""


class Made(NamedTuple):
    """A seed that was made of a row."""

    seed: RoleSeed | PersonaSeed
    given_id: str
    """The id that its row has; empty: it is the hash of its content."""
    stand_ins: list[str]
    """What is general in it since its row has none."""


class Reader:
    """Makes seeds of rows."""

    def __init__(self, settings: ImportSettings, columns: Columns) -> None:
        self._settings, self._columns = settings, columns
        self._stand_ins: list[str] = []

    def read(self, values: Mapping[str, Any]) -> Made:
        """The seed in a row.

        Raises:
            RowError: It is none.
            OtherLanguageError: It is in a language that is not kept.
        """
        self._stand_ins = []
        text = self._text(values, "text")
        settings = self._settings
        if len(text) < settings.min_chars:
            what = f"{len(text)} characters; at least {settings.min_chars}" if text else "there is none"
            raise RowError("too_short" if text else "missing", "text", what)
        language = self._language(values, text)
        if language not in settings.languages:
            raise OtherLanguageError(language or "unknown")
        given = self._id(values)
        shared = {"language": language}
        if settings.kind == "personas":
            row_id = given or f"persona_{digest([text], length=16)}"
            fields = {"persona_id": row_id, "persona": text, **self._persona(values, row_id, language)}
            return Made(_validated(PersonaSeed, shared | fields), given, self._stand_ins)
        name = " ".join(self._text(values, "name").split())
        if len(name) > MAX_NAME_CHARS:
            raise RowError("text_too_long", "name", f"{len(name):,} characters; at most {MAX_NAME_CHARS}")
        constraints = self._constraints(values) if settings.kind == "systems" else []
        origin = [name, text, *(item.text for item in constraints)]
        row_id = given or f"role_{digest(origin, length=16)}"
        fields = {"role_id": row_id, "description": text, **self._role(values, row_id, language, name)}
        return Made(_validated(RoleSeed, shared | fields | {"constraints": constraints}), given, self._stand_ins)

    def _role(self, values: Mapping[str, Any], row_id: str, language: Any, name: str) -> dict[str, Any]:
        if not name:
            self._stand_ins.append("names")
        questions = self._list(values, "questions")
        if len(questions) < 3:
            self._stand_ins.append("questions")
            questions += stand_ins.draw(stand_ins.QUESTIONS[language], row_id)
        return {
            "name": name or stand_ins.NAMES[language],
            "skills": self._list(values, "skills"),
            "questions": questions,
        }

    def _persona(self, values: Mapping[str, Any], row_id: str, language: Any) -> dict[str, Any]:
        tone, openings = self._text(values, "tone"), self._list(values, "openings")
        if not tone:
            self._stand_ins.append("tones")
            [tone] = stand_ins.draw(stand_ins.TONES[language], row_id, 1)
        if len(openings) < 3:
            self._stand_ins.append("openings")
            openings += stand_ins.draw(stand_ins.OPENINGS[language], row_id)
        return {"tone": tone, "openings": openings}

    def _text(self, values: Mapping[str, Any], target: Any) -> str:
        value = pick(values, self._columns.get(target, ()))
        if value is None:
            return ""
        if not isinstance(value, str):
            raise RowError("not_text", target, f"a {type(value).__name__}, not a text")
        return self._bounded(value.replace("\r\n", "\n").replace("\r", "\n").strip(), target)

    def _bounded(self, text: str, target: str) -> str:
        most = self._settings.max_chars
        if len(text) > most:
            raise RowError("text_too_long", target, f"{len(text):,} characters; at most {most:,}")
        return text

    def _id(self, values: Mapping[str, Any]) -> str:
        value = pick(values, self._columns.get("id", ()))
        if value is None:
            return ""
        text = ""
        if isinstance(value, str):
            text = value.strip()
        elif (number := as_number(value)) is not None:
            text = str(number)
        if not text or len(text) > MAX_ID_CHARS or not text.isprintable():
            raise RowError(
                "bad_id", "id", f"an id is a whole number or a printable text of up to {MAX_ID_CHARS} characters"
            )
        return text

    def _language(self, values: Mapping[str, Any], text: str) -> str:
        if self._settings.language is not None:
            return self._settings.language
        given = self._text(values, "language").casefold()
        code = re.split(r"[-_]", given)[0]
        if _LANGUAGE_CODE.fullmatch(code):
            return code
        return _LANGUAGES.get(given) or guess_language(text)

    def _list(self, values: Mapping[str, Any], target: Any) -> list[str]:
        value = pick(values, self._columns.get(target, ()))
        if value is None:
            return []
        if isinstance(value, str):
            value = _split(value)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise RowError("not_texts", target, "not a list of texts")
        return [self._bounded(item.strip(), target) for item in value if item.strip()]

    def _constraints(self, values: Mapping[str, Any]) -> list[SeedConstraint]:
        value = pick(values, self._columns.get("constraints", ()))
        if isinstance(value, str):
            value = _split(value)
        if not isinstance(value, list) or not value:
            raise RowError("missing", "constraints", "there are none")
        if len(value) > MAX_CONSTRAINTS:
            raise RowError("too_many", "constraints", f"{len(value)} constraints; at most {MAX_CONSTRAINTS}")
        opposites = self._opposites(values)
        found: dict[str, SeedConstraint] = {}
        for item in value:
            given = {"text": item} if isinstance(item, str) else item
            constraint = _validated(SeedConstraint, given)
            text = self._bounded(" ".join(constraint.text.split()), "constraints")
            opposite = constraint.opposite or opposites.get(text, "")
            if not text:
                raise RowError("missing", "constraints", "one is empty")
            found.setdefault(text, constraint.model_copy(update={"text": text, "opposite": opposite}))
        return list(found.values())

    def _opposites(self, values: Mapping[str, Any]) -> dict[str, str]:
        """SysBank's map of reversals: by constraint."""
        value = pick(values, self._columns.get("opposites", ()))
        pairs = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
        texts = [(item.get("original_cons"), item.get("reverse_cons")) for item in pairs]
        return {
            " ".join(one.split()): " ".join(other.split())
            for one, other in texts
            if isinstance(one, str) and isinstance(other, str)
        }


def _split(text: str) -> list[Any]:
    """The entries of a list in a cell: JSON, or separated by line breaks, semicolons or bars."""
    if text.lstrip().startswith("["):
        try:
            value = json.loads(text)
            json.dumps(value, ensure_ascii=False).encode()  # half characters may hide behind escapes
        except (ValueError, RecursionError):
            pass
        else:
            if isinstance(value, list):
                return value
    return [item for item in _LIST_SEPARATOR.split(text) if item.strip()]


def _validated(model: Any, fields: Any) -> Any:
    try:
        return model.model_validate(fields)
    except RecursionError as error:
        raise RowError("too_deep", "constraints", "brackets within brackets, too many") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise RowError("invalid", place[:80] or "constraints", first["msg"][:200]) from error
