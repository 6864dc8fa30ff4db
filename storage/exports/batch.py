"""The export rows of one responses part: where pairs are chosen, and the tables that are made of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from models.records import Audit, Judgment, PartRef, Response
from models.settings import Export
from storage.exports.rows import ExportRow, baseline_rows, best_response_row, preference_row, unpaired_rows
from storage.pair_rows import read_pair_rows, read_turns
from storage.parts import PartStore

Table = Literal["rpo", "dpo", "kto", "sft"]
"""What rows say, whatever file they are written to: pairs of RPO, and the baselines of the same responses."""


class ExportBatch:
    """The rows of one responses part.

    Their order is that of dialogues, turns and samples: it does not depend on the order of rows in the parts.

    A run that drops refined responses from its pairs drops them from SFT too: the baselines are made of the same
    responses as the pairs, or a comparison with them would measure the critic.
    """

    def __init__(
        self,
        store: PartStore,
        audit_part: PartRef,
        judgments: Mapping[str, PartRef],
        export: Export,
        *,
        drops_refined: bool,
        without: Collection[str] = (),
    ) -> None:
        inputs = {ref.dataset: ref for ref in store.inputs(audit_part)}
        responses = inputs["responses"]
        passed = {audit.pair_id for audit in store.read(audit_part, Audit) if audit.passed}
        self.untriggered = export.untriggered
        found = sorted(
            read_pair_rows(store, inputs["pairs"], responses, inputs["reversals"]),
            key=lambda row: (row.pair.dialogue_id, row.pair.turn, row.chosen.sample, row.rejected.sample),
        )
        self.all_pairs = [row for row in found if row.pair.pair_id not in without]
        self.flagged = len(found) - len(self.all_pairs)
        self.pairs = [row for row in self.all_pairs if row.pair.pair_id in passed]
        self.dropped = len(self.all_pairs) - len(self.pairs)
        self.turns = read_turns(store, responses)
        self.responses: dict[tuple[str, int], list[Response]] = defaultdict(list)
        self.scores: Counter[str] = Counter()
        unscored = set()
        for verdict in store.read(judgments[responses.key], Judgment):
            self.scores[verdict.response_id] += verdict.verdict == "followed"
            if verdict.verdict == "unscored":
                unscored.add(verdict.response_id)
        for response in store.read(responses, Response):
            if response.response_id not in unscored and not (drops_refined and response.origin == "refined"):
                self.responses[response.dialogue_id, response.turn].append(response)

    def rows(self, table: Table) -> Iterator[ExportRow]:
        """The rows of a table."""
        match table:
            case "rpo":
                yield from (preference_row(row, self.untriggered) for row in self.pairs)
            case "dpo":
                yield from baseline_rows(self.all_pairs, self.scores, self.untriggered)
            case "kto":
                yield from unpaired_rows(baseline_rows(self.all_pairs, self.scores, self.untriggered))
            case "sft":
                for key, responses in sorted(self.responses.items()):
                    if self.turns[key].turn.triggered_ids:
                        yield best_response_row(self.turns[key], responses, self.scores, self.untriggered)
