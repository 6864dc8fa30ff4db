"""The SQL of the index: what can be filtered of a pair in one row, texts in lower case, and the part of every row.

The views ``paired``, ``responded``, ``judged``, ``played``, ``authored``, ``opposed`` and ``audited`` are the parts of
the run with the name of their file. ``pair_sql.VERDICTS`` makes ``verdicts`` of ``judged``.
"""

from __future__ import annotations

from typing import Final

from storage.pair_sql import DIFFERING

VIEWS: Final = {
    "paired": "pairs",
    "responded": "responses",
    "judged": "judgments",
    "played": "turns",
    "authored": "systems",
    "opposed": "reversals",
    "audited": "audits",
}
"""Datasets by the view of their parts."""

WITH_PART: Final = "* EXCLUDE (filename), parse_filename(filename, true) AS part"
"""The columns of such a view."""

SYSTEMS = """
CREATE TABLE systems AS
SELECT system_id, role_id, name, part, list_transform(constraints, lambda c: c.kind) AS kinds,
       (SELECT any_value(part) FROM opposed WHERE opposed.system_id = authored.system_id) AS reversed_part
FROM authored
"""

TURNS = """
CREATE TABLE turns AS
SELECT (row_number() OVER (ORDER BY dialogue_id, turn) - 1)::UINTEGER AS number,
       dialogue_id, turn::UINTEGER AS turn, system_id, part, lower(query) AS text
FROM played SEMI JOIN paired USING (dialogue_id, turn)
ORDER BY number
"""

# which constraints, as bits, a judge has decided of a response
JUDGES = """
CREATE TEMP TABLE judges AS
SELECT response_id, any_value(part) AS judged_part, list({judge: judge, mask: mask} ORDER BY judge) AS judges
FROM (
    SELECT response_id, judge, any_value(part) AS part, bit_or(1::UBIGINT << position) AS mask
    FROM judged GROUP BY response_id, judge
) GROUP BY response_id
"""

RESPONSES = """
CREATE TABLE responses AS
SELECT (row_number() OVER (ORDER BY dialogue_id, turn, sample, response_id) - 1)::UINTEGER AS number,
       response_id, part, judged_part, followed, violated, exempt, judges, lower(text) AS text
FROM responded JOIN verdicts USING (response_id) JOIN judges USING (response_id)
ORDER BY number
"""

# in the order in which a person reads: a dialogue after the other, its turns, its samples
PAIRS = f"""
CREATE TABLE pairs AS
WITH joined AS (
    SELECT pair_id, t.number AS turn_number, c.number AS chosen, r.number AS rejected, paired.turn::UINTEGER AS turn,
           margin::UINTEGER AS margin, noise_case::UINTEGER AS noise_case, s.role_id AS role, s.kinds,
           c.judges AS chosen_judges, r.judges AS rejected_judges, {DIFFERING} AS differing,
           reversed_ids, audits.passed AS proven
    FROM paired JOIN turns t USING (dialogue_id, turn) JOIN systems s USING (system_id)
    JOIN responses c ON c.response_id = chosen_id JOIN responses r ON r.response_id = rejected_id
    LEFT JOIN audited audits USING (pair_id)
)
SELECT (row_number() OVER (ORDER BY turn_number, chosen, rejected) - 1)::UINTEGER AS place,
       pair_id, turn_number, chosen, rejected, turn, margin, noise_case, role, reversed_ids, proven,
       list_distinct(list_transform(
           list_filter(range(len(kinds)), lambda i: differing & (1::UBIGINT << i) <> 0), lambda i: kinds[i + 1]
       )) AS kinds,
       list_distinct(list_transform(
           list_filter(list_concat(chosen_judges, rejected_judges), lambda j: j.mask & differing <> 0),
           lambda j: j.judge
       )) AS judges
FROM joined ORDER BY place
"""

CHOICES = """
CREATE TABLE choices AS
SELECT 'role' AS filter, role AS value, any_value(name) AS label, count(*) AS pairs
FROM pairs JOIN (
    SELECT role_id AS role, coalesce(any_value(nullif(name, '')), role_id) AS name FROM systems GROUP BY role_id
) USING (role)
GROUP BY role
UNION ALL SELECT 'kind', kind, kind, count(*) FROM (SELECT unnest(kinds) AS kind FROM pairs) GROUP BY kind
UNION ALL SELECT 'judge', judge, judge, count(*) FROM (SELECT unnest(judges) AS judge FROM pairs) GROUP BY judge
UNION ALL SELECT 'margin', margin::VARCHAR, margin::VARCHAR, count(*) FROM pairs GROUP BY margin
UNION ALL SELECT 'case', noise_case::VARCHAR, noise_case::VARCHAR, count(*) FROM pairs GROUP BY noise_case
UNION ALL SELECT 'turn', turn::VARCHAR, turn::VARCHAR, count(*) FROM pairs GROUP BY turn
"""

CONDITIONS: Final = {
    "role": "role = $role",
    "kind": "list_contains(kinds, $kind)",
    "judge": "list_contains(judges, $judge)",
    "margin": "margin = $margin",
    "case": "noise_case = $case",
    "turn": "turn = $turn",
    "text": "(turn_number IN (SELECT number FROM turns WHERE contains(text, lower($text))) "
    "OR chosen IN (FROM texts) OR rejected IN (FROM texts))",
    "flagged": "pair_id IN (SELECT unnest($flagged))",
}
"""What a filter asks of a pair."""

# evaluated once for both sides of the pairs
TEXTS = "WITH texts AS MATERIALIZED (SELECT number FROM responses WHERE contains(text, lower($text)))"

PAIR = """
SELECT p.pair_id, p.place, p.margin, p.noise_case, p.proven, p.reversed_ids, t.dialogue_id, t.turn,
       t.part AS turns_part, s.part AS systems_part, s.system_id,
       s.reversed_part AS reversals_part, c.response_id AS chosen_id, c.part AS chosen_part,
       c.judged_part AS chosen_judged, r.response_id AS rejected_id, r.part AS rejected_part,
       r.judged_part AS rejected_judged
FROM pairs p JOIN turns t ON t.number = p.turn_number JOIN systems s USING (system_id)
JOIN responses c ON c.number = p.chosen JOIN responses r ON r.number = p.rejected
WHERE p.place = $place
"""
