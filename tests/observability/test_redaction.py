"""Personal data and secrets are masked, and nothing else is; no text makes it slow."""

# ruff: noqa: RUF001

from __future__ import annotations

import json
import random
import time
from collections import Counter

import pytest

from observability.redaction import MAX_DEPTH, TOO_DEEP, redact, redact_value

from .ordinary_sentences import SENTENCES
from .redaction_samples import SURROUNDINGS, canaries, filled

LABELS = ("email", "phone", "card", "iban", "ip", "id", "key", "token", "private key", "password")
SEED = 20261122


def leaks(secret: str, redacted: str) -> bool:
    """Whether so much as six characters of the secret are left."""
    return any(secret[place : place + 6] in redacted for place in range(max(1, len(secret) - 5)))


def test_no_canary_of_two_thousand_is_left(capsys):
    found = [(*each, redact(each[1])) for each in canaries(SEED, 2000)]
    left = [each for each in found if leaks(each[2], each[3])]
    kinds = Counter(each[0] for each in found)
    with capsys.disabled():
        print(f"\nredaction: {len(left)} of {len(found)} canaries left ({len(kinds)} kinds)")  # noqa: T201
    assert not left, left[:10]


def test_what_surrounds_a_canary_stays():
    """Else a mask over everything would do."""
    for surrounding in SURROUNDINGS:
        for said, label in (("anna@example.com", "email"), ("4111 1111 1111 1111", "card")):
            before, after = surrounding.format("\0").split("\0", 1)
            expected = before + f"[{label}]" + after.replace("\0", f"[{label}]")
            assert redact(before + said + after.replace("\0", said)) == expected


def test_ordinary_text_of_seven_languages_is_left_alone(capsys):
    rng = random.Random(SEED)  # noqa: S311
    sentences = [
        (language, filled(sentence, rng))
        for language, lines in SENTENCES.items()
        for sentence in lines.strip().splitlines()
        for _ in range(10)
    ]
    wrong = [(language, said, redact(said)) for language, said in sentences if redact(said) != said]
    shares = Counter(language for language, _ in sentences)
    with capsys.disabled():
        by_language = ", ".join(
            f"{language} {sum(each[0] == language for each in wrong)}/{count}"
            for language, count in shares.items()
        )
        print(f"\nredaction: {len(wrong) / len(sentences):.2%} false masks ({by_language})")  # noqa: T201
    assert len(sentences) > 2000
    assert len(wrong) <= 0.01 * len(sentences), wrong[:20]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Write to anna.b+c@mail.example.co.uk.", "Write to [email]."),
        ("?to=anna%40example.com&x=1", "?to=[email]&x=1"),
        ("電話は０９０－１２３４－５６７８です", "電話は[phone]です"),
        ("card 4111 1111 1111 1111 123", "card [card] 123"),
        ("12 4111111111111111 12/29", "12 [card] 12/29"),
        ("GB29 NWBK 6016 1331 9268 19 BIC", "[iban] BIC"),
        ("from 203.0.113.9:8080 to 2001:db8::1", "from [ip]:8080 to [ip]"),
        ("CPF 529.982.247-25", "CPF [id]"),
        ("CNPJ 11.222.333/0001-81", "CNPJ [id]"),
        ("CNPJ 12.ABC.345/01DE-35", "CNPJ [id]"),
        ("card_4111111111111111", "card_[card]"),
        ("password1=hunter2&password2=hunter2", "password1=[password]&password2=[password]"),
        ("Steuer-ID 86095742719, 65 929 970 489", "Steuer-ID [id], [id]"),
        ("DNI 12345678Z, NIE X1234567L", "DNI [id], NIE [id]"),
        ("My Number 1234 5678 9018", "My Number [id]"),
        ("NIR 2 69 05 49 588 157 80", "NIR [id]"),
        ("NINO AB 12 34 56 C and SSN 078-05-1120", "NINO [id] and SSN [id]"),
        ("redis://:hunter2@host:6379/0", "redis://:[password]@host:6379/0"),
        ("postgres://me:p@ss:w@host/db", "postgres://me:[password]@host/db"),
        ('{"password": "a b\\"c", "x": 1}', '{"password": "[password]", "x": 1}'),
        ('"{\\"apiKey\\": \\"abc def\\"}"', '"{\\"apiKey\\": \\"[key]\\"}"'),
        ("Cookie: a=b; c=d\nHost: x", "Cookie: [token]\nHost: x"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [token]"),
        ("4111\u200b1111\u200b1111\u200b1111!", "[card]!"),
        ("say:\\n4111111111111111\\nok", "say:\\n[card]\\nok"),
        ("\\u0664111 1111 1111 1111", "[card]"),
    ],
)
def test_only_what_is_to_be_hidden_is_masked(said, expected):
    assert redact(said) == expected


@pytest.mark.parametrize(
    "said",
    [
        *("4111 1111 1111 1112", "GB28 NWBK 6016 1331 9268 19", "529.982.247-24", "12345678A"),
        *("86095742718", "1234 5678 9012", "269054958815781", "11.222.333/0001-80"),
        *("000-12-3456", "256.1.1.1", "10:30:45", "a::b", "127.0.0.1", "git@host", "hotel 12"),
    ],
)
def test_a_wrong_check_digit_or_shape_is_no_secret(said):
    assert redact(said) == said


@pytest.mark.parametrize(
    "said",
    [
        "550e8400-e29b-41d4-a716-446655440000",
        "12345678-1234-1234-1234-123456789012",
        "thr_41111111111111111111111111111111",
        "msg_0123456789abcdef0123456789abcdef",
        "4111111111111111a111111111111111111111aa",
        "d41d8cd98f00b204e9800998ecf8427e",
    ],
)
def test_ids_and_hashes_are_no_secrets(said):
    assert redact(f"see {said}, please") == f"see {said}, please"


def test_what_is_redacted_stays_as_it_is():
    once = [redact(said) for _, said, _ in canaries(SEED + 1, 400)]
    assert [redact(each) for each in once] == once


def test_a_canary_that_was_streamed_in_pieces_is_masked_when_joined():
    secret = "write to anna@example.com or 4111 1111 1111 1111"
    deltas = [secret[place : place + 3] for place in range(0, len(secret), 3)]
    assert redact("".join(deltas)) == "write to [email] or [card]"


def test_structures_are_redacted_through_and_through():
    value = {
        "to": ["anna@example.com", {"card": 4111111111111111, "note": "hi", "n": 17, "ok": True}],
        "userPassword": {"old": "a", "new": "b"},
        "api_key": 12,
        "headers": {"Set-Cookie": "a=b", "Authorization": "x", "X-Id": "thr_0a1b2c3d"},
        "max_tokens": 4096,
        "password": None,
        "anna@example.com": 1.5,
    }
    before = json.dumps(value)
    assert redact_value(value) == {
        "to": ["[email]", {"card": "[card]", "note": "hi", "n": 17, "ok": True}],
        "userPassword": "[password]",
        "api_key": "[key]",
        "headers": {"Set-Cookie": "[token]", "Authorization": "[token]", "X-Id": "thr_0a1b2c3d"},
        "max_tokens": 4096,
        "password": None,
        "[email]": 1.5,
    }
    assert json.dumps(value) == before


def test_what_is_nested_too_deep_is_left_out():
    value: object = "anna@example.com"
    for _ in range(5000):
        value = [value]
    redacted = redact_value(value)
    for _ in range(MAX_DEPTH):
        redacted = redacted[0]
    assert redacted == TOO_DEEP


# Each nearly matches, everywhere.
HOSTILE = {
    "letters": "a",
    "digits": "1",
    "spaced digits": "4 ",
    "cards": "4111 1111 1111 1112 ",
    "unspaced cards": "4111111111111112.",
    "local parts": "a.b@",
    "domains": "a@b.c1.",
    "at signs": "@",
    "ibans": "DE88 3704 0044 0532 0130 00 ",
    "iban starts": "DE88",
    "colons": "a:",
    "ipv6": "2001:db8:",
    "ipv4": "1.1.1.",
    "pluses": "+1 ",
    "phones": "0(1) ",
    "jwt": "eyJ.",
    "jwt starts": "eyJa",
    "jwt parts": "-eyJaaaaaaaaaaaaaaaa.",
    "vendor keys": "sk-",
    "sendgrid": "SG.aaaaaaaaaaaaaaaaaaaaaa",
    "dotted keys": "sk-.A",
    "pem": "-----BEGIN PRIVATE KEY-----",
    "pem body": "-----BEGIN PRIVATE KEY----- a-",
    "urls": "://a:b",
    "url users": "://a",
    "passwords": "password:",
    "assigned": "password=a b ",
    "stand-ins": "password=os.",
    "prose": "password: is ",
    "quotes": 'token:"\\',
    "cookies": "cookie:a=;",
    "bearer": "bearer ",
    "basic": "basic abcdefgh ",
    "base64": "aA1/",
    "hex": "0123456789abcdef",
    "uuids": "01234567-0123-",
    "azure": "1Q~",
    "azure keys": "aJQQJ99",
    "telegram": "12345678:AA",
    "escapes": "\\u0661",
    "percent": "%40",
    "invisible": "1\u200b",
    "full width": "\uff11",
    "phone words": "tel: ",
    "underscores": "a_0",
}


@pytest.mark.parametrize("piece", HOSTILE.values(), ids=HOSTILE)
def test_near_matches_take_time_in_proportion(piece):
    """Eight times the text: eight times the time, and not sixty-four times."""
    short, long = ((piece * (size // len(piece) + 1))[:size] for size in (32_768, 262_144))
    assert took(long) < 20 * max(took(short), 0.005)


def took(text: str) -> float:
    start = time.process_time()
    redact(text)
    return time.process_time() - start
