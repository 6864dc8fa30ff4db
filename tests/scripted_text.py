"""Natural-looking text from a random generator: sentences, lists, numbers, capitals, emoji, English and Chinese."""

import random

_SUBJECTS = (
    "the harbour master", "a patient teacher", "our neighbour", "the old clock", "a small committee", "the river",
    "every visitor", "the night train", "my sister", "the archive", "a careful plan", "the second draft",
)  # fmt: skip
_VERBS = (
    "keeps", "explains", "follows", "repairs", "remembers", "changes", "opens", "measures", "describes", "crosses",
    "prepares", "answers",
)  # fmt: skip
_OBJECTS = (
    "the quiet garden", "a long letter", "the broken bridge", "three simple rules", "the market", "an early morning",
    "a useful example", "the whole story", "the last question", "a warm meal", "the map", "its own shadow",
)  # fmt: skip
_ENDS = ("before winter", "without hurry", "for the first time", "in the end", "with great care", "as agreed", "again")
_OPENERS = ("However,", "First,", "In short,", "Of course,", "For example,", "Meanwhile,", "Finally,", "Yes,")
_CAPITALS = ("IMPORTANT", "NOTE", "ALWAYS", "NEVER", "OK")
_ZH_SUBJECTS = (
    "老师",
    "这座城市",
    "我的朋友",
    "清晨的市场",
    "一份计划",
    "河边的孩子",
    "图书馆",
    "那位医生",
    "新的方法",
)
_ZH_VERBS = ("说明了", "改变了", "记录着", "准备好", "带来", "需要", "修好了", "介绍了")
_ZH_OBJECTS = (
    "三个简单的步骤",
    "安静的花园",
    "一封长信",
    "健康的早餐",
    "整个故事",
    "有用的例子",
    "最后的问题",
    "旧地图",
)
_ZH_OPENERS = ("首先，", "其次，", "不过，", "例如，", "总之，", "当然，")
_DEMANDS = ("Mention", "Describe", "Leave out", "Begin with", "Compare", "Praise", "Name", "Ask about", "End with")
_MANNERS = ("in one sentence", "twice", "as a question", "without any number", "before anything else", "in detail")
_ZH_DEMANDS = ("请提到", "请描述", "不要说起", "请先说", "请比较", "请称赞", "请问起", "最后说到")
_ZH_MANNERS = ("，只用一句话", "，说两次", "，用问句", "，不带数字", "，说得详细些", "，放在最前面")
_EMOJI = ("😀", "🌿", "🎉", "✅", "🚀", "☕")


def write_text(rng: random.Random, *, chinese: bool) -> str:
    """One to six sentences, as prose or with a list, decided by the generator alone."""
    sentences = [(_chinese if chinese else _english)(rng) for _ in range(rng.randint(1, 6))]
    if rng.random() < 0.25 and len(sentences) > 1:
        mark = rng.choice(("- {}", "* {}", "{n}. {}"))
        body = "\n".join(mark.format(sentence, n=i) for i, sentence in enumerate(sentences[1:], 1))
        text = f"{sentences[0]}\n\n{body}"
    elif rng.random() < 0.3 and len(sentences) > 2:
        text = " ".join(sentences[:2]) + "\n\n" + " ".join(sentences[2:])
    else:
        text = ("" if chinese else " ").join(sentences)
    if rng.random() < 0.15:
        title = _pick_title(rng, chinese)
        text = f"{title}\n\n{text}"
    if rng.random() < 0.2:
        text += " " + rng.choice(_EMOJI)
    if rng.random() < 0.1:
        text += "\n\nP.S. " + (_chinese if chinese else _english)(rng)
    return text


def write_sentence(rng: random.Random, *, chinese: bool) -> str:
    """One sentence."""
    return (_chinese if chinese else _english)(rng)


def write_phrase(rng: random.Random, *, chinese: bool) -> str:
    """A thing, in a few words."""
    return rng.choice(_ZH_OBJECTS if chinese else _OBJECTS)


def write_demand(rng: random.Random, *, chinese: bool) -> str:
    """What can be asked of a response, in one sentence that no two of a profile are likely to share."""
    thing = write_phrase(rng, chinese=chinese)
    if chinese:
        return f"{rng.choice(_ZH_DEMANDS)}{thing}{rng.choice(_ZH_MANNERS)}。"
    return f"{rng.choice(_DEMANDS)} {thing} {rng.choice(_MANNERS)}."


def _pick_title(rng: random.Random, chinese: bool) -> str:
    title = rng.choice(_ZH_OBJECTS) if chinese else rng.choice(_OBJECTS).title()
    return rng.choice((f"# {title}", f"**{title}**", f"<<{title}>>"))


def _english(rng: random.Random) -> str:
    words = [rng.choice(_SUBJECTS), rng.choice(_VERBS), rng.choice(_OBJECTS)]
    if rng.random() < 0.4:
        words.append(rng.choice(_ENDS))
    if rng.random() < 0.2:
        words.append(f"at {rng.randint(1, 12)}:{rng.randint(0, 59):02d}")
    if rng.random() < 0.15:
        words.append(f"({rng.randint(2, 2000)} times)")
    if rng.random() < 0.1:
        words.insert(0, rng.choice(_CAPITALS) + ":")
    elif rng.random() < 0.25:
        words.insert(0, rng.choice(_OPENERS))
    text = " ".join(words)
    if rng.random() < 0.2:
        text += ", and " + " ".join((rng.choice(_SUBJECTS), rng.choice(_VERBS), rng.choice(_OBJECTS)))
    if rng.random() < 0.08:
        text = f'"{text}"'
    return text[0].upper() + text[1:] + rng.choice((".", ".", ".", ".", "!", "?", "..."))


def _chinese(rng: random.Random) -> str:
    text = rng.choice(_ZH_SUBJECTS) + rng.choice(_ZH_VERBS) + rng.choice(_ZH_OBJECTS)
    if rng.random() < 0.3:
        text = rng.choice(_ZH_OPENERS) + text
    if rng.random() < 0.3:
        text += "，" + rng.choice(_ZH_SUBJECTS) + rng.choice(_ZH_VERBS) + rng.choice(_ZH_OBJECTS)
    if rng.random() < 0.15:
        text += f"，共{rng.randint(2, 99)}次"
    return text + rng.choice(("。", "。", "。", "！", "？"))
