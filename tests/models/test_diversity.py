"""How varied texts are."""

from __future__ import annotations

import random

import pytest

from models.diversity import MOST_CHARACTERS, compression_ratio, measure_diversity


def test_openings_and_trigrams_of_english_texts() -> None:
    texts = ["Could you tell me more?", "could you TELL him less", "Well: could you tell me more", ""]
    found = measure_diversity("queries", "en", texts, texts=9)
    assert (found.texts, found.measured) == (9, 4)
    # "could you tell" twice, "well could you", nothing
    assert found.distinct_openings == 3 / 4
    # could-you-tell, you-tell-me, tell-me-more; could-you-tell, you-tell-him, tell-him-less; and with "well" 4 of which
    # one is new
    assert found.distinct_trigrams == 6 / 10


def test_chinese_is_counted_in_characters() -> None:
    texts = ["请问，今天的天气如何？", "请问今天的天空如何", "请问今天天气"]
    found = measure_diversity("queries", "zh", texts, texts=3)
    assert found.distinct_openings == 2 / 3
    assert found.distinct_trigrams is not None and found.distinct_trigrams < 1


def test_texts_without_trigrams() -> None:
    assert measure_diversity("responses", "en", ["", "Yes."], texts=2).distinct_trigrams is None


def test_only_the_beginning_of_a_text_counts() -> None:
    long = "word " * MOST_CHARACTERS
    assert measure_diversity("queries", "en", [long], texts=1) == measure_diversity(
        "queries", "en", [long[:MOST_CHARACTERS]], texts=1
    )


def test_a_text_that_comes_again_far_away_is_seen() -> None:
    rng = random.Random(1)
    texts = ["".join(rng.choices("abcdefghijklmnop", k=MOST_CHARACTERS)) for _ in range(200)]
    once, twice = compression_ratio(texts), compression_ratio([*texts, *texts])
    # 100 kB apart: gzip would not know it again
    assert twice == pytest.approx(2 * once, rel=0.05)


def test_the_same_again_and_again_is_less_varied() -> None:
    rng = random.Random(2)
    words = ["tea", "river", "maps", "why", "please", "seven", "quiet", "train", "lamp", "how"]
    varied = [" ".join(rng.choices(words, k=12)) for _ in range(50)]
    few = varied[:5] * 10
    one, other = (measure_diversity("queries", "en", texts, texts=50) for texts in (varied, few))
    assert one.distinct_openings > 0.9 and other.distinct_openings <= 0.1
    assert one.distinct_trigrams is not None and other.distinct_trigrams is not None
    assert one.distinct_trigrams > other.distinct_trigrams
    assert one.compression_ratio < other.compression_ratio / 2
