"""Looking at the pairs of a run one at a time: an index made once, found by filters, shown from the parts."""

from storage.browse.filters import PairFilters
from storage.browse.index import PairIndex, open_index
from storage.browse.view import PairView, read_pair

__all__ = ["PairFilters", "PairIndex", "PairView", "open_index", "read_pair"]
