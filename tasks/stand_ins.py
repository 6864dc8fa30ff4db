"""What an imported seed gets where its file has none: general questions, tones and openings, drawn by its id."""

from __future__ import annotations

import random
from collections.abc import Sequence

from models.base import Language

DRAWN = 6
"""Questions of a role, and openings of a persona."""

NAMES: dict[Language, str] = {"en": "an assistant", "zh": "一名助手"}

QUESTIONS: dict[Language, Sequence[str]] = {
    "en": (
        "Where should a complete beginner start with this?",
        "Can you explain the most important idea with a short example?",
        "What mistakes do people usually make, and how do I avoid them?",
        "I only have ten minutes today. What is worth doing in that time?",
        "Which two options would you compare, and which one do you recommend?",
        "How can I tell whether I am making progress?",
        "Give me a plan for the coming week, please.",
        "What would you do differently if money were no problem?",
        "Could you check my understanding? I think it is mostly about practice.",
        "What do experts disagree about in your field?",
        "My friend says the opposite of what I read. Who is right?",
        "What should I prepare before we begin?",
        "Tell me something surprising that few people know about this.",
        "How would you explain it to a child of eight?",
        "What is the riskiest part, and what could go wrong?",
        "Can you summarise the essentials for a colleague who missed everything?",
        "Is there a cheaper or simpler way that works almost as well?",
        "What questions should I have asked you first?",
    ),
    "zh": (
        "完全没有基础的人应该从哪里开始？",
        "能不能举个简单的例子，说明最重要的一点？",
        "大家最常犯的错误是什么，怎么避免？",
        "我今天只有十分钟，先做什么最值得？",
        "你会比较哪两种方案，最后推荐哪一种？",
        "怎么判断自己有没有进步？",
        "请帮我安排一下接下来一周的计划。",
        "如果预算不是问题，你会怎么做？",
        "我理解得对吗？我觉得关键在于练习。",
        "在你的领域里，专家们对什么有分歧？",
        "朋友说的和我看到的正好相反，到底谁对？",
        "开始之前我需要准备些什么？",
        "说一件很少有人知道的有趣事情吧。",
        "如果要讲给八岁的孩子听，你会怎么说？",
        "风险最大的是哪一步，可能出什么问题？",
        "能不能给没来的同事总结一下要点？",
        "有没有更便宜或者更简单的办法？",
        "我一开始最应该问你什么？",
    ),
}
TONES: dict[Language, Sequence[str]] = {
    "en": ("friendly, brief", "curious, talkative", "polite, careful", "direct, hurried", "sceptical, dry", "cheerful"),
    "zh": ("友好，简短", "好奇，健谈", "礼貌，谨慎", "直接，赶时间", "怀疑，冷淡", "开朗，随意"),
}  # fmt: skip
OPENINGS: dict[Language, Sequence[str]] = {
    "en": (
        "Hello, I could use your help.",
        "Quick question before I go on.",
        "I have been thinking about this since yesterday.",
        "Maybe you can settle something for me.",
        "I am new to this.",
        "Let me try to put this simply.",
        "Someone told me to ask you.",
        "I have a few minutes.",
    ),
    "zh": (
        "你好，想请你帮个忙。",
        "先问一个小问题。",
        "这件事我从昨天想到现在。",
        "你帮我拿个主意吧。",
        "我是新手。",
        "我尽量说得简单一点。",
        "别人让我来问问你。",
        "我正好有几分钟。",
    ),
}


def draw(pool: Sequence[str], seed_id: str, count: int = DRAWN) -> list[str]:
    """Some of a pool, the same ones for the same id."""
    return random.Random(seed_id).sample(pool, k=count)  # noqa: S311  (draws, not secrets)
