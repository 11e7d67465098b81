"""What happened on a site in ninety days: made up, seeded, and much like the real thing.

No database here: each function gives the rows of one table as tuples of texts, numbers and None,
which is what both databases take in bulk.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

DAYS = 90
MODELS = {"gpt-5-mini": 80, "gpt-5": 15, "gpt-5-nano": 4.9, "o9-experiment": 0.1}
LOCALES = {"en": 60, "de": 15, "fr": 8, "es": 8, "pt-BR": 5, "ja": 3, "ar": 0.95, "cy": 0.05}
OPERATIONS = {
    "threads.create": 20,
    "threads.add_user_message": 76,
    "threads.retry_after_item": 3,
    "threads.custom_action": 0.95,
    "threads.add_client_tool_output": 0.05,
}
STATUSES = {"completed": 95.4, "failed": 1.9, "interrupted": 0.1, "cancelled": 2.6}
ERROR_CODES = {"model_error": 70, "rate_limited": 20, "timeout": 9.9, "guardrail": 0.1}
FEEDBACKS = {"": 96.5, "positive": 2.5, "negative": 1}
COMMON_WORD = "dibaba"
"""In about every twentieth turn, by the seed."""
RARE_WORD = "quetzalcoatlus"
"""In the prompts of RARE_TURNS turns, however many there are."""
RARE_TURNS = 10
TURNS_PER_THREAD = 5
TURNS_PER_SESSION = 8
SYLLABLES = [a + b for a, b in zip("bcdfghjklmnprstvwxyz", "aeiouaeiouaeiouaeiou", strict=True)]
PROMPT_SENTENCES = (1, 3)
RESPONSE_SENTENCES = (5, 12)


@dataclass
class Chat:
    """A thread that goes on."""

    thread_id: str
    session_id: str
    visitor: int
    locale: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """One turn as all tables tell it; ids count from 1 in the order of time."""

    number: int
    started_at: datetime
    turn: tuple[Any, ...]
    messages: list[tuple[Any, ...]]
    spans: str
    trace_id: str
    owner_key: str
    user_id: int | None
    session_id: str
    thread_id: str
    item_id: str
    feedback: str


def moment(at: datetime) -> str:
    """In UTC, as SQLite's backend of Django writes it and as PostgreSQL reads it."""
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


class History:
    """``turns`` turns of the last DAYS days before ``until``, the oldest first."""

    def __init__(self, turns: int, *, users: int, until: datetime, seed: int = 5) -> None:
        self.turns = turns
        self.users = users
        self.until = until.astimezone(UTC)
        self.random = random.Random(seed)  # noqa: S311 (to look the same every time)
        self._sentences = self._written(max(2_000, min(50_000, turns // 10)))
        self._chats: list[Chat] = []
        self._pickers = {
            id(weights): (list(weights), list(accumulate(weights.values())))
            for weights in (MODELS, LOCALES, OPERATIONS, STATUSES, ERROR_CODES, FEEDBACKS)
        }

    def events(self) -> Iterator[Event]:
        step = timedelta(days=DAYS) / self.turns
        first = self.until - timedelta(days=DAYS)
        rare_every = max(1, self.turns // RARE_TURNS)
        for number in range(1, self.turns + 1):
            # A little earlier than its place, never later than now.
            started_at = first + step * (number - self.random.random())
            yield self._event(number, started_at, has_rare_word=number % rare_every == 0)

    def _event(self, number: int, started_at: datetime, *, has_rare_word: bool) -> Event:
        pick, rng = self._pick, self.random
        chat = self._chat()
        status = pick(STATUSES)
        is_new = number > self.turns - 3
        if is_new:
            status = "running"
        prompt = self._text(*PROMPT_SENTENCES)
        if has_rare_word:
            prompt = f"{prompt} {RARE_WORD}"
        thought = self._text(1, 2)
        answers = [self._text(*RESPONSE_SENTENCES), self._text(1, 2)]
        if status in {"failed", "interrupted", "running"}:
            answers = []
        ttft = min(600_000, int(rng.lognormvariate(6.7, 0.6)))
        duration = min(3_000_000, int(rng.lognormvariate(8.2, 0.8)))
        total = ttft + duration
        ended_at = None if is_new else started_at + timedelta(milliseconds=total)
        trace_id = f"{rng.getrandbits(128):032x}"
        item_ids = [f"msg_{rng.getrandbits(128):032x}" for _ in range(4)]
        is_guest = chat.visitor > self.users
        user_id = None if is_guest else chat.visitor
        owner_key = f"guest:{chat.visitor}" if is_guest else f"user:{chat.visitor}"
        tokens_in, tokens_out = rng.randrange(800, 6_000), len(answers) * rng.randrange(80, 400)
        feedback = pick(FEEDBACKS)
        is_error = status == "failed"
        at = moment(started_at)
        end = moment(ended_at) if ended_at else None
        has_text = bool(answers)
        turn = (
            number,
            trace_id,
            user_id,
            owner_key,
            "",
            chat.session_id,
            chat.thread_id,
            f"{rng.getrandbits(128):032x}",
            pick(OPERATIONS),
            chat.locale,
            pick(MODELS),
            status,
            pick(ERROR_CODES) if is_error else "",
            "The model could not be reached." if is_error else "",
            prompt,
            "\n\n".join(answers),
            at,
            end,
            moment(started_at + timedelta(hours=1)) if is_new else None,
            None,
            None,
            ttft // 2 if has_text else None,
            ttft if has_text else None,
            duration if has_text else None,
            None if is_new else total,
            ttft + 60 if has_text and number % 3 == 0 else None,
            duration + 9 if has_text and number % 3 == 0 else None,
            tokens_in,
            tokens_in // 2,
            tokens_out,
            tokens_out // 4,
            f"{tokens_in * 25e-8 + tokens_out * 2e-6:.6f}",
            feedback,
        )
        lines = [("prompt", prompt)]
        if not is_new:
            lines += [("thought", thought), *(("response", answer) for answer in answers)]
        messages = [
            (number, position, kind, item_ids[position], text, at)
            for position, (kind, text) in enumerate(lines)
        ]
        return Event(
            number=number,
            started_at=started_at,
            turn=turn,
            messages=messages,
            spans=_spans(total, ttft, is_error=is_error, prompt=prompt),
            trace_id=trace_id,
            owner_key=owner_key,
            user_id=user_id,
            session_id=chat.session_id,
            thread_id=chat.thread_id,
            item_id=item_ids[-1],
            feedback=feedback if has_text else "",
        )

    def _chat(self) -> Chat:
        """One of those that go on at this time, or a new one."""
        rng = self.random
        if len(self._chats) < 50:
            self._chats.append(self._new_chat())
            return self._chats[-1]
        place = rng.randrange(len(self._chats))
        chat = self._chats[place]
        if rng.random() < 1 / TURNS_PER_THREAD:
            self._chats[place] = self._new_chat(chat)
        return chat

    def _new_chat(self, before: Chat | None = None) -> Chat:
        rng = self.random
        thread_id = f"thr_{rng.getrandbits(128):032x}"
        if before and rng.random() > TURNS_PER_THREAD / TURNS_PER_SESSION:
            return Chat(thread_id, before.session_id, before.visitor, before.locale)
        # A few come all the time, most hardly ever; a quarter are guests, each for one session.
        if rng.random() < 0.25:
            visitor = self.users + 1 + rng.randrange(10**9)
        else:
            visitor = 1 + int(self.users * rng.random() ** 2)
        session = f"{rng.getrandbits(128):032x}"
        session_id = "-".join((session[:8], session[8:12], session[12:16], session[16:20]))
        return Chat(thread_id, f"{session_id}-{session[20:]}", visitor, self._pick(LOCALES))

    def _pick(self, weights: dict[str, Any]) -> str:
        values, sums = self._pickers[id(weights)]
        return self.random.choices(values, cum_weights=sums)[0]

    def _text(self, at_least: int, at_most: int) -> str:
        rng = self.random
        how_many = at_least + int((at_most - at_least + 1) * rng.random())
        return " ".join(rng.choices(self._sentences, k=how_many))

    def _written(self, how_many: int) -> list[str]:
        """Sentences of words whose frequencies fall as in a language."""
        rng = self.random
        words = ["the", "and", "order", "delivery", "invoice", "please", "thanks"]
        while len(words) < 20_000:
            words.append("".join(rng.choices(SYLLABLES, k=rng.choice((1, 2, 2, 3, 3, 4)))))
        sums = list(accumulate(1 / math.pow(rank, 0.9) for rank in range(1, len(words) + 1)))
        return [
            " ".join(rng.choices(words, cum_weights=sums, k=rng.randrange(8, 16))).capitalize()
            + "."
            for _ in range(how_many)
        ]


def _spans(total: int, ttft: int, *, is_error: bool, prompt: str) -> str:
    """Six steps, as :mod:`observability.span_log` has them."""
    asked = json.dumps({"query": prompt[:60]})
    steps: list[dict[str, Any]] = [
        {"id": "request", "parent_id": "", "kind": "request", "name": "threads.add_user_message"},
        {"id": "s1", "parent_id": "request", "kind": "store", "name": "load_thread_items"},
        {"id": "s2", "parent_id": "request", "kind": "agent", "name": "Assistant"},
        {"id": "s3", "parent_id": "s2", "kind": "model", "name": "gpt-5-mini"},
        {"id": "s4", "parent_id": "s2", "kind": "tool", "name": "look_up"},
        {"id": "s5", "parent_id": "s2", "kind": "model", "name": "gpt-5-mini"},
    ]
    shares = ((0, 1), (0.01, 0.01), (0.03, 0.96), (0.04, 0.3), (0.35, 0.1), (0.46, 0.5))
    for step, (start, length) in zip(steps, shares, strict=True):
        step["start_ms"] = round(total * start, 1)
        step["duration_ms"] = round(total * length, 1)
    steps[3]["attributes"] = {"input_tokens": ttft % 4_000, "output_tokens": total % 300}
    steps[4]["attributes"] = {"input": asked, "output": '{"found": 3, "state": "on its way"}'}
    if is_error:
        where = "tools.py:12 in look_up"
        steps[4]["error"] = {"type": "LookupError", "message": "no such order", "where": where}
    return json.dumps(steps)
