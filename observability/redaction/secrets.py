"""Secrets: those that show what they are, and those that are said to be one."""

from __future__ import annotations

import base64
import binascii
import re
import string
from collections.abc import Callable
from itertools import pairwise

from .text import Rule, Span, fold

_PREFIXES = {
    # What follows a vendor's prefix, and how much of it at least.
    r"[A-Za-z0-9]{16,}+": "AKIA ASIA ABIA ACCA sk_live_ sk_test_ rk_live_ rk_test_",
    r"[A-Za-z0-9]{24,}+": "ghp_ gho_ ghu_ ghs_ ghr_ hf_ npm_ whsec_ r8_ ntn_ sbp_ dapi NRAK-",
    r"[A-Za-z0-9]{32,}+": "gsk_ pplx- xai- key- lin_api_ shpat_ shpca_ shppa_ shpss_ dop_v1_",
    r"[A-Za-z0-9-]{10,}+": "xoxa- xoxb- xoxc- xoxd- xoxe- xoxe. xoxo- xoxp- xoxr- xoxs- xapp-",
    r"[A-Za-z0-9_-]{16,}+(?:\.[A-Za-z0-9_-]++)*+": (
        "sk- ek_ github_pat_ glpat- glptt- gldt- glrt- glcbt- glsoat- glft- glimt- glagent- gloas-"
        " AIza ya29. GOCSPX- SG. hvs. hvb. dp.pt. dp.st. pypi-AgE tvly- pcsk_ glsa_ glc_ sntrys_"
        " sntryu_ ATATT3 PMAK- figd_ lsv2_ sq0atp- sq0csp- AGE-SECRET-KEY-"
    ),
}


def _key(prefix: str, rest: str) -> Rule:
    """What begins like a vendor's key, and is not made of small letters only, as a name may be."""
    start = re.escape(prefix)
    pattern = rf"{start}(?<![A-Za-z0-9]{start})(?=[a-z_.-]{{0,60}}+[A-Z0-9]){rest}"
    return Rule("[key]", re.compile(pattern), marks=(prefix.lower(),))


def _turns(text: str) -> int:
    """How often a text changes between capitals, small letters and digits: words do it rarely."""
    kinds = [(each.isupper(), each.isdigit()) for each in text]
    return sum(one != other for one, other in pairwise(kinds))


def _random(match: re.Match[str]) -> Span | None:
    return match.span() if _turns(match[0]) >= 14 else None


def _from(before: int) -> Callable[[re.Match[str]], Span]:
    """The match and so many characters in front of it, which it has looked at."""
    return lambda match: (match.start() - before, match.end())


def _group(match: re.Match[str]) -> Span:
    return match.span(1)


def _bearer(match: re.Match[str]) -> Span | None:
    return match.span(1) if _turns(match[1][:60]) >= 5 else None


def _basic(match: re.Match[str]) -> Span | None:
    """Only what decodes to ``user:password``: "basic" is a word as well."""
    value = match[1].rstrip("=")
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return match.span(1) if ":" in decoded and decoded.isprintable() else None


_MARKED = (
    Rule(
        "[private key]",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:"
            r"(?:[^-]|-(?!----))*+-----END [A-Z0-9 ]{0,40}-----"
            # Without its end. Of JSON in JSON the ends of lines are escaped twice.
            r"|(?:(?:\s|\\{1,4}[nr]?){0,8}[A-Za-z0-9+/=]{16,}+)*+)"
        ),
        marks=("-----begin ",),
    ),
    Rule("[password]", re.compile(r"://[^\s/:@]*+:([^\s/\0]+)@"), _group, ("://",)),
    *(_key(prefix, rest) for rest, prefixes in _PREFIXES.items() for prefix in prefixes.split()),
    Rule(
        "[token]",
        re.compile(r"eyJ(?<![A-Za-z0-9]eyJ)[A-Za-z0-9_+/=-]{16,}+(?:\.[A-Za-z0-9_-]*+){0,4}"),
        marks=("eyj",),
    ),
    # Twilio, Mailchimp, Telegram.
    Rule(
        "[key]", re.compile(r"S(?<!\wS)K[0-9a-f]{32}(?!\w)", re.ASCII), marks=("sk",), unbroken=34
    ),
    Rule(
        "[key]", re.compile(r"A(?<!\wA)C[0-9a-f]{32}(?!\w)", re.ASCII), marks=("ac",), unbroken=34
    ),
    Rule("[key]", re.compile(r"-us(?<=[0-9a-f]{32}-us)\d{1,2}"), _from(32), ("-us",)),
    Rule("[key]", re.compile(r":AA(?<=\d{8}:AA)[\w-]{30,}+", re.ASCII), _from(10), (":aa",)),
    # Azure: the secret of an application, the key of an AI service.
    Rule("[key]", re.compile(r"\dQ~(?<=[\w.~-]{3}\dQ~)[\w.~-]{30,}+", re.ASCII), _from(3), ("q~",)),
    Rule(
        "[key]",
        re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{40,60}JQQJ99[A-Za-z0-9]{20,}+"),
        marks=("jqqj99",),
    ),
    Rule(
        "[key]",
        re.compile(
            r"(?:hooks\.slack\.com/(?:services|workflows)/|discord(?:app)?\.com/api/webhooks/)"
            r"([^\s\"'<>)]++)"
        ),
        _group,
        ("hooks.slack.com", "/api/webhooks/"),
    ),
    Rule(
        "[token]",
        re.compile(r"[Bb](?:earer|EARER)\s{1,4}([A-Za-z0-9._~+/=-]{12,}+)"),
        _bearer,
        ("bearer",),
    ),
    Rule(
        "[token]",
        re.compile(r"[Bb](?:asic|ASIC)\s{1,4}([A-Za-z0-9+/]{6,}+=*+)"),
        _basic,
        ("basic",),
    ),
)


def _folded_names(*names: str) -> tuple[str, ...]:
    return tuple(fold(name)[0] for name in names)


NAMES = {
    "[password]": _folded_names(
        *("password", "passwd", "passphrase", "passcode", "pwd", "passwort", "kennwort"),
        *("mot de passe", "contraseña", "senha", "palavra-passe", "пароль", "كلمة المرور"),
        *("كلمة السر", "パスワード", "暗証番号", "密码", "비밀번호"),
    ),
    "[key]": _folded_names(
        *("api_key", "api-key", "api key", "apikey", "apiキー", "api-schlüssel", "clé api"),
        *("secret", "secret_key", "secret-key", "secret key", "secretkey"),
        *("access_key", "access-key", "access key", "accesskey", "access_key_id"),
        *("private_key", "private-key", "privatekey", "accountkey", "clave api", "chave de api"),
    ),
    "[token]": ("token", "jwt", "authorization", "cookie", "cookies", "&sig", "?sig"),
}
# What stands in code, or has been masked, instead of a secret.
_STAND_IN = (
    r"(?!\\{0,3}[\"']?(?:"
    r"(?i:str|string|none|null|nil|true|false|undefined|optional|required|any)"
    r"(?:[\"',;)\]}|=\[\n]|$| [=|#])"
    r"|(?i:os|env|process|settings|self|config|request|args|secrets)[.(\[]"
    r"|\$[{(]|\$[A-Z_]{3,}\b|[{<\[(]|\*{3}|\.\.\.|…|\0))"
)
_QUOTED = r"""\\{1,3}"(?:[^"\\\n]|\\[^"\n])++|"(?:[^"\\\n]|\\.)++|'(?:[^'\\\n]|\\.)++"""
_BARE = r"(?:[^\s\"'<>&,;)}\]\0\u3000-\u9fff\uac00-\ud7af]|[,;)}\]](?![\s\"'),;}\]]|$)){3,}+"
_SCHEME = r"(?i:(?:bearer|basic|digest|token|apikey|negotiate)\s{1,3})?"
_CALL = r"(?![a-z_.]{3,60}\()"
_VALUE = re.compile(rf"({_SCHEME}){_STAND_IN}(?:{_QUOTED}|{_CALL}{_BARE})")
# Behind a colon and a space a plain word is prose: "Password: at least 8", "one token: a word".
_PROSE = {
    "[password]": re.compile(r"[^\W\d_]{1,40} "),
    "[key]": re.compile(r"[^\W\d_](?:[^\W\d_]|-){0,40}(?:[\s)`\]}]|[,;.:!?](?:\s|$)|$)"),
}
_PROSE["[token]"] = _PROSE["[key]"]
_SMALL_NUMBER = re.compile(r"\d{1,7}(?![^\s.,;)}\]])")
_COOKIE = re.compile(r"[\w.-]{1,64}=[^\s;\"']*+(?:;\s?[\w.-]{1,64}(?:=[^\s;\"']*+)?){0,60}")


_MARKS_AND_DIGITS = " \t\"'\\" + string.digits


def _said(label: str) -> Callable[[re.Match[str]], Span | None]:
    names = NAMES[label]

    def value(match: re.Match[str]) -> Span | None:
        text, place = match.string, match.end()
        before = text[max(0, match.start() - 24) : match.start()].rstrip(_MARKS_AND_DIGITS).lower()
        if not before.endswith(names):
            return None
        if before.endswith("cookie"):
            found = _COOKIE.match(text, place)
            return found.span() if found else None
        if match[0][-1].isspace() and _PROSE[label].match(text, place):
            return None
        if label != "[password]" and _SMALL_NUMBER.match(text, place):
            return None
        found = _VALUE.match(text, place)
        if found is None:
            return None
        opening = found[0][len(found[1]) :]
        skipped = len(opening) - len(opening.lstrip("\\\"'"))
        return found.end(1) + skipped, found.end()

    return value


_ASSIGNMENTS = tuple(
    Rule(label, re.compile(r"[:=](?:[=>]{1,2})?\s{0,3}"), _said(label), names)
    for label, names in NAMES.items()
)

# UUIDs, ids such as thr_… and msg_…, hashes: long runs of digits in them are no card and no phone.
_IDS = (
    Rule("", re.compile(r"-(?<=[0-9a-fA-F]{8}-)[0-9a-fA-F]{4}-[0-9a-fA-F-]{22}"), _from(8), ("-",)),
    Rule(
        "",
        re.compile(r"_(?<=[a-z]_)(?:(?=\d{0,40}[a-f])[0-9a-f]{8,64}|\d{32})(?!\w)"),
        marks=("_",),
    ),
    Rule(
        "",
        re.compile(r"[0-9a-f](?<!\w.)(?=\d{0,40}[a-f])[0-9a-f]{31,128}+(?!\w)", re.ASCII),
        unbroken=32,
    ),
)
# AWS's secrets (40) and the keys of Azure's storage (86 and ==) have no mark but their length.
_UNMARKED = Rule(
    "[key]",
    re.compile(
        r"[A-Za-z0-9/+](?<![\w/+.-].)(?:[A-Za-z0-9/+]{85}==|[A-Za-z0-9/+]{39}(?![\w/+=-]))",
        re.ASCII,
    ),
    _random,
    unbroken=40,
)

SECRETS = (*_MARKED, *_ASSIGNMENTS, *_IDS, _UNMARKED)
