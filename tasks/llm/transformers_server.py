"""Any Hugging Face model in a process of its own: ``python -m tasks.llm.transformers_server --model FOLDER``.

For models that are no GGUF, where there is no vLLM: requests that ask for the same sampling are decoded together, as
many as there are slots. Slow and plain. (``transformers serve`` would not do: in 5.23 it samples only where the
model's own generation_config says so, and with continuous batching every request gets the temperature of the first.)

It prints its address and ends with its parent as ``tasks.llm.llama_server`` does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from aiohttp import web

from tasks.llm.llama_server import open_standard_output, read_options
from tasks.training.model import find_source, load_policy, load_tokenizer

GATHER_S = 0.02
"""How long the first request of a batch waits for others."""


@dataclass(frozen=True)
class Sampling:
    """What requests must share to be decoded together."""

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True)
class Job:
    """A request in the queue."""

    prompt: list[int]
    n: int
    seed: int
    sampling: Sampling
    answer: asyncio.Future[list[list[int]]]


class Decoder:
    """A model, and the queue of what it is asked."""

    def __init__(self, options: argparse.Namespace) -> None:
        source = find_source(options.model)
        self.slots, self.context = options.slots, options.context
        self.tokenizer = load_tokenizer(source)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = load_policy(source, bf16=device == "cuda").to(device).eval()
        if options.lora:
            from peft import PeftModel

            self.model = PeftModel.from_pretrained(self.model, options.lora).merge_and_unload()
        ends = self.model.generation_config.eos_token_id
        self.ends = sorted({self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None})
        self.waiting: list[Job] = []
        self.arrived = asyncio.Event()

    async def run(self) -> None:
        """Decodes what is in the queue, for ever."""
        while True:
            await self.arrived.wait()
            await asyncio.sleep(GATHER_S)
            jobs = self._take()
            try:
                rows = await asyncio.to_thread(self._decode, jobs)
            except Exception as error:
                for job in jobs:
                    job.answer.set_exception(web.HTTPInternalServerError(text=f"{type(error).__name__}: {error}"))
                continue
            for job in jobs:
                job.answer.set_result([next(rows) for _ in range(job.n)])

    def _take(self) -> list[Job]:
        """The oldest request and those that go with it, as long as there are slots."""
        taken: list[Job] = []
        for job in list(self.waiting):
            if job.sampling == self.waiting[0].sampling and sum(other.n for other in taken) + job.n <= self.slots:
                taken.append(job)
        self.waiting = [job for job in self.waiting if job not in taken]
        if not self.waiting:
            self.arrived.clear()
        return taken

    def _decode(self, jobs: list[Job]) -> Iterator[list[int]]:
        """The new tokens of each sample, in the order of the jobs."""
        prompts = [job.prompt for job in jobs for _ in range(job.n)]
        longest = max(map(len, prompts))
        pad = self.ends[0] if self.ends else 0
        tokens = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        sampling = jobs[0].sampling
        warm = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        torch.manual_seed(jobs[0].seed)
        with torch.inference_mode():
            made = self.model.generate(
                input_ids=tokens.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                max_new_tokens=sampling.max_tokens,
                eos_token_id=self.ends or None,
                pad_token_id=pad,
                **(warm if sampling.temperature > 0 else {"do_sample": False}),
            )
        return iter(made[:, longest:].tolist())

    async def chat(self, request: web.Request) -> web.Response:
        """An OpenAI chat completion."""
        body = await request.json()
        prompt = self.tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, return_dict=False)
        sampling = Sampling(float(body["temperature"]), float(body["top_p"]), int(body["max_tokens"]))
        n = int(body.get("n") or 1)
        problem = ""
        if len(prompt) + sampling.max_tokens > self.context:
            problem = (
                f"{len(prompt)} prompt tokens and {sampling.max_tokens} to write exceed the context {self.context}"
            )
        elif n > self.slots:
            problem = f"n = {n} exceeds the {self.slots} slots"
        elif body.get("response_format"):
            problem = "response_format is not supported"  # whoever asks then puts the schema into the prompt
        if problem:
            return web.json_response({"error": {"message": problem}}, status=400)
        answer = asyncio.get_running_loop().create_future()
        self.waiting.append(Job(list(prompt), n, int(body.get("seed") or 0), sampling, answer))
        self.arrived.set()
        cut = [self._cut(row) for row in await answer]
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": self.tokenizer.decode(tokens, skip_special_tokens=True)},
                "finish_reason": reason,
            }
            for index, (tokens, reason) in enumerate(cut)
        ]
        usage = {"prompt_tokens": len(prompt), "completion_tokens": sum(len(tokens) for tokens, _ in cut)}
        return web.json_response({"object": "chat.completion", "choices": choices, "usage": usage})

    def _cut(self, row: list[int]) -> tuple[list[int], str]:
        end = next((place for place, token in enumerate(row) if token in self.ends), None)
        return (row, "length") if end is None else (row[:end], "stop")


async def serve(options: argparse.Namespace, out: Any) -> None:
    """Serves until the process is ended."""
    decoder = Decoder(options)
    decoding = asyncio.create_task(decoder.run())
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/chat/completions", decoder.chat)
    models = {"object": "list", "data": [{"id": options.alias, "object": "model"}]}

    async def list_models(_: web.Request) -> web.Response:
        return web.json_response(models)

    app.router.add_get("/v1/models", list_models)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port).start()
    print(
        json.dumps({"address": f"http://127.0.0.1:{runner.addresses[0][1]}", "pid": os.getpid()}), file=out, flush=True
    )
    out.close()
    with contextlib.suppress(asyncio.CancelledError):
        await decoding


def main() -> None:
    """Serves until standard input is closed or the parent is gone."""
    options = read_options()
    torch.set_num_threads(options.threads or max(1, len(os.sched_getaffinity(0)) - 1))
    asyncio.run(serve(options, open_standard_output()))


if __name__ == "__main__":
    main()
