"""The factory's own exceptions.

Every message says what failed, which record or setting, why, what is safe, and what to type next. Exceptions of
libraries are wrapped where they come in, so a person never has to read a foreign traceback to go on.
"""

from __future__ import annotations


class FactoryError(Exception):
    """Anything the factory reports to its user in one clear message.

    Args:
        what: What failed, with the record, file or setting, and why.
        safe: What is not affected, when that is not obvious.
        next_step: What to change or type now.
    """

    def __init__(self, what: str, *, safe: str = "", next_step: str = "") -> None:
        self.what, self.safe, self.next_step = what, safe, next_step
        super().__init__(" ".join(part for part in (what, safe, next_step) if part))

    def __reduce__(self) -> tuple[object, ...]:
        # Prefect sends exceptions between processes; keyword-only arguments do not survive the default
        return (_rebuild, (type(self), self.what, self.safe, self.next_step))


def _rebuild(cls: type[FactoryError], what: str, safe: str, next_step: str) -> FactoryError:
    return cls(what, safe=safe, next_step=next_step)


class SettingsError(FactoryError):
    """A setting is unknown, missing or out of bounds."""


class SeedError(FactoryError):
    """A line of a seed file is not a role or persona."""


class StorageError(FactoryError):
    """A part, manifest, catalog or cache could not be read or written."""


class ModelServerError(FactoryError):
    """A model server could not be started or did not become healthy."""


class PrefectServerError(FactoryError):
    """Prefect's server or a worker could not be started, or does not answer."""


class AdapterError(FactoryError):
    """A trained adapter cannot be served beside the base model."""


class EndpointError(FactoryError):
    """An endpoint refuses in a way that asking again will not mend (400, 401, 403, 404)."""


class BudgetError(FactoryError):
    """The next call could cost more than is left of the run's budget."""


class StageError(FactoryError):
    """Some batches of a stage failed; the others are stored."""


class HubError(FactoryError):
    """A Hub did not take an export."""


class ImportFileError(FactoryError):
    """A file to import cannot be read at all; that a row of it cannot is no error, but counted."""
