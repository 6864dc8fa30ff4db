"""The SQL of the pairs: from judgments to verdict vectors, from those to pairs.

``responded``, ``judged``, ``reversed`` and ``authored`` are views of the parts; every table below is made
from the one before.
"""

# The constraints of the kinds on which the judge is not believed. A judgment with a split of votes is a model's.
DISTRUSTED = """
CREATE TEMP TABLE distrusted AS
SELECT constraint_id
FROM (SELECT language, unnest(constraints, recursive := true) FROM authored) JOIN poor USING (kind, language)
"""

DISBELIEVED = "split IS NOT NULL AND constraint_id IN (SELECT constraint_id FROM distrusted)"

BELIEVED = f"""
CREATE TEMP VIEW judged AS
SELECT * REPLACE (if({DISBELIEVED}, 'unscored', verdict) AS verdict) FROM all_judged
"""

# responses that are left out for this alone
POOR_JUDGE = f"""
SELECT count(*) FROM (
    SELECT response_id FROM all_judged SEMI JOIN responded USING (response_id) GROUP BY response_id
    HAVING bool_or({DISBELIEVED}) AND NOT bool_or(verdict = 'unscored')
)
"""

AS_SAMPLED = "CREATE TEMP VIEW responded AS SELECT * FROM all_responded WHERE origin <> 'refined'"

# Turns and dialogues by number, in the order of the output: two million responses carry eight bytes, not two strings
TURNS = """
CREATE TEMP TABLE turns AS
SELECT dialogue_id, turn, row_number() OVER (ORDER BY dialogue_id, turn)::UINTEGER AS turn_number,
       dense_rank() OVER (ORDER BY dialogue_id)::UINTEGER AS dialogue
FROM (SELECT DISTINCT dialogue_id, turn FROM responded)
"""

# A dialogue has one system prompt, so a position in it is one constraint: ids are looked up for the pairs that need
# them, and no list of ids is held for every response.
CONSTRAINTS = """
CREATE TEMP TABLE constraints AS
SELECT dialogue_id, list({{position: position, constraint_id: constraint_id}} ORDER BY position) AS constraints,
       bit_or(if({reversible}, 0, 1::UBIGINT << position)) AS irreversible,
       count(*) <> count(DISTINCT position) AS ambiguous
FROM (SELECT DISTINCT dialogue_id, position, constraint_id FROM judged WHERE verdict = 'violated')
GROUP BY dialogue_id
"""

# if(...) inside the aggregate: a FILTER clause on each took half as long again
VERDICTS = """
CREATE TEMP TABLE verdicts AS
SELECT response_id,
       bit_or(if(verdict = 'followed', 1::UBIGINT << position, 0)) AS followed,
       bit_or(if(verdict = 'violated', 1::UBIGINT << position, 0)) AS violated,
       bit_or(if(verdict = 'not_applicable', 1::UBIGINT << position, 0)) AS exempt,
       bool_or(verdict = 'unscored') AS unscored
FROM judged GROUP BY response_id
"""

# A 64-bit hash and the length stand for the text: two of at most a few dozen texts of one turn would have to collide,
# and the texts themselves never have to be held.
CANDIDATES = """
CREATE TEMP TABLE candidates AS
SELECT response_id, turn_number, dialogue, sample::UINTEGER AS sample, hash(text) AS text_hash,
       strlen(text)::UINTEGER AS text_length, followed, violated, exempt, unscored
FROM responded JOIN turns USING (dialogue_id, turn) LEFT JOIN verdicts USING (response_id)
"""

RESPONSES = """
SELECT count(*), count(*) FILTER (unscored IS NULL), count(*) FILTER (unscored),
       count(*) FILTER (NOT unscored AND followed & violated <> 0)
FROM candidates
"""

DISTINCT_TEXTS = """
CREATE TEMP TABLE distinct_texts AS
SELECT * EXCLUDE (text_hash, text_length, unscored) FROM candidates WHERE NOT unscored AND followed & violated = 0
QUALIFY row_number() OVER (PARTITION BY turn_number, text_hash, text_length ORDER BY sample, response_id) = 1
"""

USABLE = """
CREATE TEMP TABLE usable AS
SELECT * EXCLUDE (sample) FROM distinct_texts
QUALIFY row_number() OVER (PARTITION BY turn_number, followed, violated ORDER BY sample, response_id) = 1
"""

# The row id of this table is a response's place in the order of the output. Pairs are two places, and Arrow fetches
# the strings by them: sorting and copying the strings of every pair in SQL took three times as long.
NUMBERED = """
CREATE TEMP TABLE numbered AS
WITH sizes AS (
    SELECT dialogue, turn_number, count(*) AS n FROM usable GROUP BY dialogue, turn_number
), blocks AS (
    SELECT dialogue, (sum(sum(n * (n - 1))) OVER (ORDER BY dialogue) // $block)::UINTEGER AS block
    FROM sizes GROUP BY dialogue
), limits AS (
    SELECT DISTINCT dialogue, irreversible FROM turns JOIN constraints USING (dialogue_id)
)
SELECT block, usable.*, violated & coalesce(irreversible, 0) = 0 AS reversible
FROM usable JOIN blocks USING (dialogue) LEFT JOIN limits USING (dialogue)
ORDER BY turn_number, response_id
"""

# Figure 1 of the paper; what is not applicable is not violated, so that the better one violates fewer
NOISE_CASE = """
CASE WHEN bit_count(c.violated) = bit_count(r.violated) THEN if(c.followed & r.followed = 0, 1, 2)
     WHEN c.violated & r.violated = c.violated THEN if(c.violated = 0, 6, 5)
     WHEN c.violated & r.violated = r.violated THEN if(r.violated = 0, 6, 5)
     ELSE if(c.followed & r.followed = 0, 3, 4) END
"""

# What the rejected violates of the prompt in which the violations of the chosen are reversed. A reversed constraint
# that does not apply to the rejected is not violated by it: that is why the two directions may differ.
DIFFERING = "((c.violated & r.followed) | ((c.followed | c.exempt) & r.violated))"

DIRECTED = f"""
SELECT c.turn_number, c.rowid AS chosen, r.rowid AS rejected, bit_count({DIFFERING})::BIGINT AS margin,
       ({NOISE_CASE})::BIGINT AS noise_case{{more}}
FROM numbered c JOIN numbered r USING (turn_number)
WHERE c.block = the_block() AND r.block = the_block() AND c.reversible
  AND {DIFFERING} <> 0 AND bit_count({DIFFERING}) >= min_margin()
"""

CAPPED = f"""
SELECT *, row_number() OVER (PARTITION BY dialogue ORDER BY margin DESC, pair_id) AS of_dialogue FROM (
    SELECT *, row_number() OVER (PARTITION BY turn_number ORDER BY margin DESC, pair_id) AS of_turn
    FROM ({DIRECTED.format(more=", c.dialogue, c.response_id || '-' || r.response_id AS pair_id")})
    QUALIFY of_turn <= max_per_turn()
) QUALIFY of_dialogue <= max_per_dialogue()
"""

BLOCK = """
SELECT numbered.rowid AS place, response_id, dialogue_id, turn,
       list_transform(
           list_filter(coalesce(constraints, []), lambda c: violated & (1::UBIGINT << c.position) <> 0),
           lambda c: c.constraint_id) AS violated_ids
FROM numbered JOIN turns USING (turn_number) LEFT JOIN constraints USING (dialogue_id)
WHERE block = the_block() ORDER BY place
"""

LEFT_OUT = f"""
SELECT count(*), count(*) FILTER (bit_count({DIFFERING}) < min_margin()),
       count(*) FILTER (bit_count({DIFFERING}) >= min_margin() AND NOT c.reversible)
FROM numbered c JOIN numbered r USING (turn_number) WHERE {DIFFERING} <> 0
"""
