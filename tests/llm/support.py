import random

from tasks.llm.calls import ChatRequest
from tests.scripted_text import write_text


def chats(n: int, *, samples: int = 1, start: int = 0) -> list[ChatRequest]:
    """Different requests, the same ones at every call."""
    texts = [f"{i}: {write_text(random.Random(i), chinese=i % 2 == 1)}" for i in range(start, start + n)]
    return [ChatRequest([{"role": "user", "content": text}], samples) for text in texts]
