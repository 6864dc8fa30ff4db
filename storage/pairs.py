"""Preference pairs in SQL: every two responses to a turn that differ, in both directions.

A verdict vector is three bit masks a response: the constraints that it follows, those that it violates, and those that
do not apply to it. Two responses differ where one violates what the other follows, or what does not apply to the chosen
one. One pass over the judgments makes the masks; the pairs themselves are a self-join on the turn, cut into blocks of
whole dialogues so that memory does not grow with their number.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pyarrow as pa
from pydantic import Field

from models.base import Language, Strict
from models.errors import StorageError
from models.records import PartRef
from models.settings import Pairs
from storage import pair_sql
from storage.duck import connect
from storage.encoding import missing_part
from storage.migrated import current_files
from storage.parts import PartStore
from storage.roots import machine_dir

if TYPE_CHECKING:
    import duckdb  # imported where it is used, as in storage.catalog

# directed pairs of a block of whole dialogues, before rules and caps
_BLOCK_PAIRS: Final = 200_000
# more pairs than any dialogue can have
_NO_CAP: Final = 2**62


class PairCounts(Strict):
    """What became of the responses and of the directed pairs."""

    responses: int = Field(ge=0, description="Responses of the given parts.")
    refined: int = Field(ge=0, description="Left out: responses that the critic rewrote, where they are dropped.")
    unjudged: int = Field(ge=0, description="Left out: responses without any judgment.")
    unscored: int = Field(ge=0, description="Left out: responses with an unscored verdict.")
    poor_judge: int = Field(ge=0, description="Left out: responses with a verdict of a judge that is not believed.")
    contradicted: int = Field(ge=0, description="Left out: responses judged both followed and violated in one place.")
    same_text: int = Field(ge=0, description="Left out: the text of an earlier usable sample of the turn.")
    same_verdicts: int = Field(ge=0, description="Left out: the verdicts of an earlier usable sample of the turn.")
    usable: int = Field(ge=0, description="Responses that pairs are built from.")
    turns: int = Field(ge=0, description="Turns with a usable response.")
    turns_with_pairs: int = Field(ge=0, description="Turns that a pair was built from.")
    directed: int = Field(ge=0, description="Directed pairs of usable responses that differ.")
    below_margin: int = Field(ge=0, description="Left out: directed pairs with too small a margin.")
    irreversible: int = Field(
        ge=0, description="Left out: directed pairs whose chosen violates a constraint without a verified reversal."
    )
    capped: int = Field(ge=0, description="Left out: directed pairs beyond the cap of their turn or dialogue.")
    pairs: int = Field(ge=0, description="Directed pairs that were written.")
    by_margin: dict[int, int] = Field(description="Written pairs by margin.")
    by_noise_case: dict[int, int] = Field(description="Written pairs by noise case.")


@dataclass(frozen=True)
class Distrust:
    """Kinds of constraint, by language, on which the judge model is not believed.

    Its verdicts on them count as unscored; those of code are not affected.
    """

    kinds: Sequence[tuple[str, Language]]
    systems: Sequence[PartRef]
    """Where the constraints stand."""
    calibrations: Sequence[PartRef]
    """What the judge was measured on."""


class BuiltPairs(Strict):
    """The finished part and its counts."""

    part: PartRef
    counts: PairCounts


def build_pairs(
    store: PartStore,
    key: str,
    *,
    judgments: Sequence[PartRef],
    responses: Sequence[PartRef],
    reversals: Sequence[PartRef] | None = None,
    rules: Pairs | None = None,
    distrust: Distrust | None = None,
    memory_limit: str = "640MB",
) -> BuiltPairs:
    """Build the pairs of a run as one part, ordered by dialogue, turn, chosen and rejected.

    A response makes no pairs when it has no judgment or an unscored one. Equal texts of a turn are one response, then
    equal verdict vectors are one; the lowest sample (then id) stays. A directed pair reverses the constraints that its
    chosen violates; when one of them has no verified reversal that direction is impossible. The caps keep the largest
    margins first, ties by ``pair_id``: first of a turn, then of a dialogue.

    Args:
        store: Where the parts are and the pairs go.
        key: Key of the new part.
        judgments: Judgments of the run.
        responses: The responses that they judge.
        reversals: Reversals of the run; None: every constraint can be reversed.
        rules: Smallest margin, caps, and whether refined responses are dropped; None: every pair.
        distrust: Verdicts that are not to be believed; None: all are.
        memory_limit: What DuckDB may use before it spills to the machine's ``tmp``.

    Raises:
        StorageError: A part is missing or damaged, or the disk is full.
    """
    import duckdb

    inputs = [*judgments, *responses, *(reversals or [])]
    if distrust is not None:
        inputs += [*distrust.systems, *distrust.calibrations]
    missing = next((ref for ref in inputs if not store.exists(ref)), None)
    if missing is not None:
        raise missing_part(store.address(missing))
    # concurrent builds must not share a spill folder: DuckDB deletes what it finds there
    scratch = machine_dir(store.place) / "tmp"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch, prefix="pairs-") as spill, connect(store.place) as db:
            db.execute("SET memory_limit = ?", [memory_limit])
            db.execute("SET temp_directory = ?", [spill])
            # every order that matters is spelled out
            db.execute("SET preserve_insertion_order = false")
            rules = rules or Pairs()
            refined = _load_responded(db, store, responses, rules)
            counts = _load(db, store, judgments, reversals, distrust)
            counts |= {"responses": counts["responses"] + refined, "refined": refined}
            builder = _Builder(db, rules, counts)
            part = store.write_table("pairs", key, _one_ahead(builder.batches()), inputs=inputs)
            return BuiltPairs(part=part, counts=builder.counts())
    except duckdb.Error as error:
        raise StorageError(
            f"Pairs could not be built from {len(judgments)} parts of judgments: {error}.",
            safe="No part of pairs was written; judgments and responses are not affected.",
            next_step="Delete a part that the message names, or free space under "
            f"{scratch}, and run the same command again.",
        ) from error
    except OSError as error:
        raise StorageError(
            f"Pairs need scratch space under {scratch}: {error}.",
            safe="No part of pairs was written; judgments and responses are not affected.",
            next_step="Free space or mend the folder, and run the same command again.",
        ) from error


def _load_responded(db: duckdb.DuckDBPyConnection, store: PartStore, responses: Sequence[PartRef], rules: Pairs) -> int:
    """Make the view ``responded``; returns how many refined responses it leaves out."""
    store.ensure_schemas()
    if rules.refined == "keep":
        _read(db, store, "responded", "responses", responses)
        return 0
    _read(db, store, "all_responded", "responses", responses)
    db.execute(pair_sql.AS_SAMPLED)
    (refined,) = _row(db, "SELECT count(*) FROM all_responded WHERE origin = 'refined'")
    return refined


def _load(
    db: duckdb.DuckDBPyConnection,
    store: PartStore,
    judgments: Sequence[PartRef],
    reversals: Sequence[PartRef] | None,
    distrust: Distrust | None,
) -> dict[str, int]:
    """Fill ``numbered``, the usable ones of ``responded``, cut into blocks, and count the others."""
    poor_judge = _load_judged(db, store, judgments, distrust)
    reversible = "true"
    if reversals is not None:
        _read(db, store, "reversed", "reversals", reversals)
        reversible = "constraint_id IN (SELECT constraint_id FROM reversed WHERE verified)"
    db.execute(pair_sql.TURNS)
    db.execute(pair_sql.CONSTRAINTS.format(reversible=reversible))
    _refuse_mixed_systems(db)
    # each table goes as soon as the next one stands: what is held is what is spilled
    db.execute(pair_sql.VERDICTS)
    db.execute(pair_sql.CANDIDATES)
    db.execute("DROP TABLE verdicts")
    judged = _row(db, pair_sql.RESPONSES)
    counts = dict(zip(("responses", "unjudged", "unscored", "contradicted"), judged, strict=True))
    counts["unscored"] -= poor_judge
    counts["poor_judge"] = poor_judge
    db.execute(pair_sql.DISTINCT_TEXTS)
    db.execute("DROP TABLE candidates")
    (texts,) = _row(db, "SELECT count(*) FROM distinct_texts")
    db.execute(pair_sql.USABLE)
    db.execute("DROP TABLE distinct_texts")
    # row ids follow the ORDER BY only when the order of insertion is kept
    db.execute("SET preserve_insertion_order = true")
    db.execute(pair_sql.NUMBERED, {"block": _BLOCK_PAIRS})
    db.execute("DROP TABLE usable")
    counts["usable"], counts["turns"] = _row(db, "SELECT count(*), count(DISTINCT turn_number) FROM numbered")
    counts["same_text"] = judged[0] - sum(judged[1:]) - texts
    counts["same_verdicts"] = texts - counts["usable"]
    return counts


def _load_judged(
    db: duckdb.DuckDBPyConnection, store: PartStore, judgments: Sequence[PartRef], distrust: Distrust | None
) -> int:
    """Make the view ``judged``; returns how many responses a judge that is not believed leaves out."""
    if distrust is None or not distrust.kinds:
        _read(db, store, "judged", "judgments", judgments)
        return 0
    _read(db, store, "all_judged", "judgments", judgments)
    _read(db, store, "authored", "systems", distrust.systems)
    kinds, languages = zip(*distrust.kinds, strict=True)
    db.from_arrow(pa.table({"kind": kinds, "language": languages})).create("poor")
    db.execute(pair_sql.DISTRUSTED)
    db.execute(pair_sql.BELIEVED)
    (poor_judge,) = _row(db, pair_sql.POOR_JUDGE)
    return poor_judge


def _refuse_mixed_systems(db: duckdb.DuckDBPyConnection) -> None:
    mixed = db.execute("SELECT min(dialogue_id) FROM constraints WHERE ambiguous").fetchone()
    if mixed is not None and mixed[0] is not None:
        raise StorageError(
            f"Pairs could not be built: dialogue {mixed[0]} has two constraints in one position of its system prompt.",
            safe="No part of pairs was written; judgments and responses are not affected.",
            next_step="These judgments come from different system prompts: give the parts of one run only.",
        )


def _read(db: duckdb.DuckDBPyConnection, store: PartStore, view: str, dataset: str, refs: Sequence[PartRef]) -> None:
    files = [store.schema_address(dataset), *current_files(store, refs)]
    db.read_parquet(files, union_by_name=True).create_view(view)


def _one_ahead(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same batches, the next one made on another thread while the caller writes this one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="pairs") as pool:
        upcoming = pool.submit(next, batches, None)
        while (batch := upcoming.result()) is not None:
            upcoming = pool.submit(next, batches, None)
            yield batch


class _Builder:
    """Streams the pairs and counts them as they pass."""

    def __init__(self, db: duckdb.DuckDBPyConnection, rules: Pairs, responses: dict[str, int]) -> None:
        self._db, self._rules, self._responses = db, rules, responses
        caps = {"max_per_turn": rules.max_per_turn, "max_per_dialogue": rules.max_per_dialogue}
        for name, cap in {"min_margin": rules.min_margin, **caps}.items():
            db.execute(f"CREATE TEMP MACRO {name}() AS {cap or _NO_CAP:d}")
        self._margins: Counter[int] = Counter()
        self._noise: Counter[int] = Counter()
        self._turns = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The pairs in order, a block of dialogues at a time."""
        rules = self._rules
        select = pair_sql.DIRECTED.format(more="")
        if rules.max_per_turn is not None or rules.max_per_dialogue is not None:
            select = pair_sql.CAPPED
        query = f"SELECT turn_number, chosen, rejected, margin, noise_case FROM ({select}) ORDER BY chosen, rejected"
        for (block,) in self._db.execute("SELECT DISTINCT block FROM numbered ORDER BY block").fetchall():
            # Macros, not parameters: with parameters the Python client holds the result twice
            self._db.execute(f"CREATE OR REPLACE TEMP MACRO the_block() AS {block:d}")
            responses = self._db.sql(pair_sql.BLOCK).to_arrow_table().combine_chunks()
            places = self._db.sql(query).to_arrow_table().combine_chunks()
            self._count(places)
            yield from _pairs(responses, places).to_batches()

    def _count(self, places: pa.Table) -> None:
        import pyarrow.compute as pc

        # a turn lies in one block, so its pairs are counted as one here
        self._turns += len(pc.unique(places["turn_number"]))
        for column, counter in (("margin", self._margins), ("noise_case", self._noise)):
            for item in pc.value_counts(places[column]).to_pylist():
                counter[item["values"]] += item["counts"]

    def counts(self) -> PairCounts:
        """What became of everything; complete once the batches are consumed."""
        directed, below, irreversible = _row(self._db, pair_sql.LEFT_OUT)
        pairs = self._margins.total()
        return PairCounts(
            **self._responses,
            turns_with_pairs=self._turns,
            directed=directed,
            below_margin=below,
            irreversible=irreversible,
            capped=directed - below - irreversible - pairs,
            pairs=pairs,
            by_margin=dict(sorted(self._margins.items())),
            by_noise_case=dict(sorted(self._noise.items())),
        )


def _pairs(responses: pa.Table, places: pa.Table) -> pa.Table:
    """The columns of ``Pair`` for the places of chosen and rejected among the responses of a block."""
    import pyarrow.compute as pc

    first = responses["place"][0]
    chosen = responses.drop_columns(["place"]).take(pc.subtract(places["chosen"], first))
    rejected_id = responses["response_id"].take(pc.subtract(places["rejected"], first))
    return pa.table(
        {
            "pair_id": pc.binary_join_element_wise(chosen["response_id"], rejected_id, "-"),
            "dialogue_id": chosen["dialogue_id"],
            "turn": chosen["turn"],
            "chosen_id": chosen["response_id"],
            "rejected_id": rejected_id,
            "reversed_ids": chosen["violated_ids"],
            "margin": places["margin"],
            "noise_case": places["noise_case"],
        }
    )


def _row(db: duckdb.DuckDBPyConnection, query: str) -> tuple[int, ...]:
    # all: a result that is not read to its end keeps the connection from reading the next part
    rows = db.execute(query).fetchall()
    return rows[0] if rows else ()
