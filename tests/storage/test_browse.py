"""The index of pairs: made once, of the parts that the run has, in a folder and in a store."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from models.errors import StorageError
from models.records import Pair
from storage.browse import PairFilters, open_index, read_pair
from storage.browse.index import index_path
from storage.catalog import query
from storage.flags import flag_now, read_flag, read_flags, remove_flag, write_flag
from storage.garbage import look_for_garbage
from storage.manifests import load, save
from storage.parts import PartStore
from storage.roots import Root, data_root, machine_dir
from tests.browsed import RUN, make_browsed
from tests.s3_store import BUCKET, environment, start_store
from tests.storage.stores import save_run, write_metrics


def look_at(root: Root, pairs: list[Pair], *, every: int = 1) -> None:
    """Every pair of the run, or one in so many, is found and shown once, in the order of a reader."""
    store = PartStore(root)
    index = open_index(store, load(root, RUN))
    try:
        matches = index.find(PairFilters())
        views = [read_pair(index, store, RUN, place) for place in matches.places[::every]]
    finally:
        index.close()
    by_id = {pair.pair_id: pair for pair in pairs}
    assert len(matches.places) == len(pairs)
    assert len({view.pair_id for view in views} & set(by_id)) == -(-len(pairs) // every)
    read = [(view.dialogue_id, view.turn, view.chosen.sample, view.rejected.sample) for view in views]
    assert read == sorted(read)
    for view in views:
        assert [c.constraint_id for c in view.constraints if c.original] == by_id[view.pair_id].reversed_ids
        assert sum(constraint.differs for constraint in view.constraints) == view.margin
        # what the pair claims: under the rewritten prompt the chosen response violates nothing
        assert "violated" not in {constraint.chosen.verdict for constraint in view.constraints if constraint.chosen}


def test_every_pair_of_a_folder(tmp_path: Path) -> None:
    look_at(tmp_path, make_browsed(tmp_path))


def test_the_index_is_made_once_and_anew_for_other_parts(tmp_path: Path) -> None:
    make_browsed(tmp_path)
    store, manifest = PartStore(tmp_path), load(tmp_path, RUN)
    first = index_path(store, manifest)
    held = open_index(store, manifest)
    stamp = first.stat().st_mtime_ns
    # a second process may look while the first one does
    open_index(store, manifest).close()
    assert first.stat().st_mtime_ns == stamp
    without_audits = [ref for ref in manifest.parts if ref.dataset != "audits"]
    save(tmp_path, manifest.model_copy(update={"parts": without_audits}))
    other = open_index(store, load(tmp_path, RUN))
    assert [path.name for path in first.parent.iterdir()] == [index_path(store, load(tmp_path, RUN)).name]
    write_flag(tmp_path, flag_now("a-b", RUN))
    garbage = look_for_garbage(tmp_path, grace_hours=0)
    assert (garbage.left_alone, {total.what for total in garbage.freed}) == ([], {"audits"})
    assert read_pair(other, store, RUN, 0).proven is None
    assert read_pair(held, store, RUN, 0).proven is True
    other.close()
    held.close()


def test_numbers_of_matches(tmp_path: Path) -> None:
    pairs = make_browsed(tmp_path)
    store = PartStore(tmp_path)
    index = open_index(store, load(tmp_path, RUN))
    second_turns = index.find(PairFilters(turn=2))
    assert second_turns is index.find(PairFilters(turn=2))
    places = list(second_turns.places)
    assert len(places) == sum(pair.turn == 2 for pair in pairs)
    assert second_turns.at(1) == places[0]
    assert second_turns.at(0) is second_turns.at(len(places) + 1) is None
    for number, place in enumerate(places, start=1):
        assert second_turns.number(place) == number
        assert second_turns.after(place) == second_turns.at(number + 1)
        assert second_turns.before(place) == second_turns.at(number - 1)
    # from a pair that does not match
    assert second_turns.after(places[0] - 1) == places[0]
    assert second_turns.before(places[0]) is None
    flagged = pairs[0].pair_id
    assert [index.place_of(flagged)] == list(index.find(PairFilters(flagged="yes"), [flagged]).places)
    assert len(index.find(PairFilters(flagged="no"), [flagged]).places) == len(pairs) - 1
    assert index.place_of("nobody") is None
    index.close()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    save_run(tmp_path, "bare", write_metrics(tmp_path, "m"))
    with pytest.raises(StorageError, match="no pairs yet"):
        open_index(PartStore(tmp_path), load(tmp_path, "bare"))
    make_browsed(tmp_path)
    store, manifest = PartStore(tmp_path), load(tmp_path, RUN)
    (judgments,) = manifest.parts_of("judgments")
    content = store.path(judgments).read_bytes()
    store.path(judgments).write_bytes(content[:100])
    with pytest.raises(StorageError, match=judgments.key):
        open_index(store, manifest)
    assert not list(index_path(store, manifest).parent.glob("*"))
    store.path(judgments).write_bytes(content)
    index = open_index(store, manifest)
    store.path(judgments).unlink()
    with pytest.raises(StorageError, match="missing"):
        read_pair(index, store, RUN, 0)
    index.close()


def test_pairs_and_flags_in_a_store(tmp_path: Path) -> None:
    with start_store() as server, environment({**server.env, "XDG_CACHE_HOME": str(tmp_path)}):
        root = data_root(f"s3://{BUCKET}/{secrets.token_hex(4)}/data")
        pairs = make_browsed(root)
        look_at(root, pairs, every=20)
        assert list((machine_dir(root) / "browse").glob(f"{RUN}-*.duckdb"))
        assert query(root, "FROM flags").rows == []
        write_flag(root, flag_now(pairs[0].pair_id, RUN, "why"))
        assert set(read_flags(root)) == {pairs[0].pair_id}
        assert query(root, "SELECT pair_id, note FROM flags").rows == [(pairs[0].pair_id, "why")]
        remove_flag(root, pairs[0].pair_id)
        remove_flag(root, pairs[0].pair_id)
        assert read_flag(root, pairs[0].pair_id) is None
        assert query(root, "FROM flags").rows == []
