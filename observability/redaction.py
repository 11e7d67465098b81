"""Personal data and secrets out of texts: what names a person or opens a door becomes a label.

Pure functions without settings. A text is read in a folded copy, in which the digits of all scripts
are ASCII and nothing hides a character (JSON and URL escapes, invisible marks); the labels go into
the text as it came, so that all else stays as it was.

Every pattern takes linear time: a repeat is bounded, or possessive and entered once per place.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

MAX_DEPTH = 32
TOO_DEEP = "[too deep]"
"""What stands for a value that is nested deeper than ``MAX_DEPTH``."""

Span = tuple[int, int]
Shifts = tuple[list[int], list[int]]


class Rule(NamedTuple):
    """A shape, and the label of what has it; without a label it is something to leave alone."""

    label: str
    pattern: re.Pattern[str]
    check: Callable[[re.Match[str]], Span | None] = re.Match.span
    """What is to be masked; None: it only looks so."""
    marks: tuple[str, ...] = ("",)
    """One of them is in every text that has a match: spares the search in most others."""


def redact(text: str) -> str:
    """The text with labels such as ``[email]`` in place of personal data and secrets.

    It wants the whole text: of what was streamed in pieces, redact what they make when joined.
    What is redacted already stays as it is.
    """
    folded, shifts = _fold(text)
    masks: list[tuple[int, int, str]] = []
    for rule in _RULES:
        if any(mark in folded for mark in rule.marks):
            folded = _apply(rule, folded, masks)
    return _masked(text, masks, shifts) if masks else text


def redact_value(value: Any, depth: int = 0) -> Any:
    """A JSON-like value with its texts redacted, and the value of a key such as ``password``
    masked whole. A whole number that looks like a card or an id becomes a label.

    Keys are redacted too; of two that become the same the later one stays.
    """
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**40:
        redacted = redact(str(value))
        return redacted if redacted.startswith("[") else value
    if not isinstance(value, dict | list | tuple):
        return value
    if depth >= MAX_DEPTH:
        return TOO_DEEP
    if isinstance(value, dict):
        return {
            redact(key) if isinstance(key, str) else key: _redact_entry(key, each, depth + 1)
            for key, each in value.items()
        }
    return [redact_value(each, depth + 1) for each in value]


def _redact_entry(key: Any, value: Any, depth: int) -> Any:
    # A switch or an empty value keeps no secret, and tells that there was none.
    if isinstance(key, str) and value not in (None, "") and not isinstance(value, bool):
        name = key.lower()
        for label, names in _NAMES.items():
            if name.endswith(names):
                return label
    return redact_value(value, depth)


def _apply(rule: Rule, folded: str, masks: list[tuple[int, int, str]]) -> str:
    """Note what has the rule's shape, and blank it, so that no later rule sees it."""
    pieces: list[str] = []
    done = position = 0
    while match := rule.pattern.search(folded, position):
        span = rule.check(match)
        if span is None:
            position = match.start() + 1
            continue
        start, end = max(span[0], done), span[1]
        pieces += (folded[done:start], _BLANK * (end - start))
        done = position = end
        if rule.label:
            masks.append((start, end, rule.label))
    return "".join((*pieces, folded[done:])) if pieces else folded


def _masked(text: str, masks: list[tuple[int, int, str]], shifts: Shifts) -> str:
    pieces: list[str] = []
    done = 0
    for start, end, label in sorted(masks):
        first, last = _unfolded(start, shifts), _unfolded(end, shifts)
        if first >= done:
            pieces += (text[done:first], label)
        done = max(done, last)
    return "".join((*pieces, text[done:]))


# --- Folding ---------------------------------------------------------------------------------

_BLANK = "\0"
_PLAIN = {
    **{chr(code): str(int(chr(code))) for code in range(0x80, 0x10000) if chr(code).isdecimal()},
    **{chr(0x1D7CE + step): str(step % 10) for step in range(50)},  # mathematical digits
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full width
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u30fc\ufe58\ufe63", "-"),
    **dict.fromkeys(("\xa0", "\u202f", "\u205f", "\u3000", *map(chr, range(0x2000, 0x200B))), " "),
    **dict.fromkeys(("\xad", "\u061c", "\u180e", "\u2060", "\ufeff"), ""),
    **dict.fromkeys(map(chr, (*range(0x200B, 0x2010), *range(0x202A, 0x202F))), ""),
    **dict.fromkeys(map(chr, range(0x2066, 0x206A)), ""),
}
_FOLDABLE = re.compile(
    rf"[{''.join(map(re.escape, _PLAIN))}\\%]"
    r"(?:(?<=\\)(?:[nrt]|u[0-9a-fA-F]{4})|(?<=%)[2-7][0-9a-fA-F])?"
)


def _fold(text: str) -> tuple[str, Shifts]:
    """The folded text, and where it lost characters: places in it, and how many until there."""
    places: list[int] = []
    lost: list[int] = []
    if text.isascii() and "\\" not in text and "%" not in text:
        return text, (places, lost)

    def plain(match: re.Match[str]) -> str:
        piece = match[0]
        if len(piece) == 2:
            folded = " "  # \\n, \\r, \\t
        else:
            character = chr(int(piece.lstrip("\\u%"), 16)) if len(piece) > 2 else piece
            folded = _PLAIN.get(character, character)
        if len(piece) != len(folded):
            lost.append(len(piece) - len(folded) + (lost[-1] if lost else 0))
            places.append(match.end() - lost[-1])
        return folded

    return _FOLDABLE.sub(plain, text), (places, lost)


def _unfolded(place: int, shifts: Shifts) -> int:
    places, lost = shifts
    before = bisect_right(places, place)
    return place + (lost[before - 1] if before else 0)


# --- Secrets that show what they are ---------------------------------------------------------

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
    return Rule("[key]", re.compile(pattern), marks=(prefix,))


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


_SECRETS = (
    Rule(
        "[private key]",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:"
            r"(?:[^-]|-(?!----))*+-----END [A-Z0-9 ]{0,40}-----"
            r"|(?:\s{0,8}[A-Za-z0-9+/=]{16,}+)*+)"
        ),
        marks=("-----BEGIN ",),
    ),
    Rule("[password]", re.compile(r"://[^\s/:@]*+:([^\s/\0]+)@"), _group, ("://",)),
    *(_key(prefix, rest) for rest, prefixes in _PREFIXES.items() for prefix in prefixes.split()),
    Rule(
        "[token]",
        re.compile(r"eyJ(?<![A-Za-z0-9]eyJ)[A-Za-z0-9_+/=-]{16,}+(?:\.[A-Za-z0-9_-]*+){0,4}"),
        marks=("eyJ",),
    ),
    # Twilio, Mailchimp, Telegram.
    Rule("[key]", re.compile(r"S(?<!\wS)K[0-9a-f]{32}(?!\w)"), marks=("SK",)),
    Rule("[key]", re.compile(r"A(?<!\wA)C[0-9a-f]{32}(?!\w)"), marks=("AC",)),
    Rule("[key]", re.compile(r"-us(?<=[0-9a-f]{32}-us)\d{1,2}"), _from(32), ("-us",)),
    Rule("[key]", re.compile(r":AA(?<=\d{8}:AA)[\w-]{30,}+", re.ASCII), _from(10), (":AA",)),
    # Azure: the secret of an application, the key of an AI service.
    Rule("[key]", re.compile(r"\dQ~(?<=[\w.~-]{3}\dQ~)[\w.~-]{30,}+", re.ASCII), _from(3), ("Q~",)),
    Rule(
        "[key]",
        re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{40,60}JQQJ99[A-Za-z0-9]{20,}+"),
        marks=("JQQJ99",),
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
    # AWS's secrets (40) and the keys of Azure's storage (86 and ==) have no mark but their length.
    Rule(
        "[key]",
        re.compile(
            r"[A-Za-z0-9/+](?<![\w/+.-].)"
            r"(?:[A-Za-z0-9/+]{85}==|[A-Za-z0-9/+]{39}(?![\w/+=-]))",
            re.ASCII,
        ),
        _random,
    ),
    Rule(
        "[token]",
        re.compile(r"[Bb](?:earer|EARER)\s{1,4}([A-Za-z0-9._~+/=-]{12,}+)"),
        _bearer,
        ("earer", "EARER"),
    ),
    Rule(
        "[token]",
        re.compile(r"[Bb](?:asic|ASIC)\s{1,4}([A-Za-z0-9+/]{6,}+=*+)"),
        _basic,
        ("asic", "ASIC"),
    ),
)

# --- Secrets that are said to be one ---------------------------------------------------------


def _folded_names(*names: str) -> tuple[str, ...]:
    return tuple(_fold(name)[0] for name in names)


_NAMES = {
    "[password]": _folded_names(
        *("password", "passwd", "passphrase", "passcode", "pwd", "passwort", "kennwort"),
        *("mot de passe", "contraseña", "senha", "palavra-passe", "пароль", "كلمة المرور"),
        *("كلمة السر", "パスワード", "暗証番号", "密码", "비밀번호"),
    ),
    "[key]": _folded_names(
        *("api_key", "api-key", "api key", "apikey", "apiキー", "api-schlüssel", "clé api"),
        *("secret", "secret_key", "secret-key", "secret key", "secretkey", "credentials"),
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
    r"|\$[{(]|\$[A-Z_]{3,}\b|[{<\[(]|\*{3}|\0))"
)
_QUOTED = r"""\\{1,3}"(?:[^"\\\n]|\\[^"\n])++|"(?:[^"\\\n]|\\.)++|'(?:[^'\\\n]|\\.)++"""
_BARE = r"(?:[^\s\"'<>&,;)}\]\0\u3000-\u9fff\uac00-\ud7af]|[,;)}\]](?![\s\"'),;}\]]|$)){3,}+"
_SCHEME = r"(?i:(?:bearer|basic|digest|token|apikey|negotiate)\s{1,3})?"
# Behind a colon and a space, a plain word with another behind it is prose: "Password: at least 8".
_VALUE = re.compile(rf"({_SCHEME}){_STAND_IN}(?:{_QUOTED}|(?!(?<=:\s)[^\W\d_]{{1,40}} ){_BARE})")
_SMALL_NUMBER = re.compile(r"\d{1,7}(?![^\s.,;)}\]])")
_COOKIE = re.compile(r"[\w.-]{1,64}=[^\s;\"']*+(?:;\s?[\w.-]{1,64}(?:=[^\s;\"']*+)?){0,60}")


def _said(label: str) -> Callable[[re.Match[str]], Span | None]:
    names = _NAMES[label]

    def value(match: re.Match[str]) -> Span | None:
        text, place = match.string, match.end()
        before = text[max(0, match.start() - 24) : match.start()].rstrip(" \t\"'\\").lower()
        if not before.endswith(names):
            return None
        if before.endswith("cookie"):
            found = _COOKIE.match(text, place)
            return found.span() if found else None
        found = _VALUE.match(text, place)
        if found is None or (label != "[password]" and _SMALL_NUMBER.match(text, place)):
            return None
        opening = found[0][len(found[1]) :]
        skipped = len(opening) - len(opening.lstrip("\\\"'"))
        return found.end(1) + skipped, found.end()

    return value


_ASSIGNMENTS = tuple(
    Rule(label, re.compile(r"[:=](?:[=>]{1,2})?\s{0,3}"), _said(label), (":", "=")) for label in _NAMES
)

# --- What is no secret -----------------------------------------------------------------------

# UUIDs, ids such as thr_… and msg_…, hashes: long runs of digits in them are no card and no phone.
_IDS = (
    Rule("", re.compile(r"-(?<=[0-9a-fA-F]{8}-)[0-9a-fA-F]{4}-[0-9a-fA-F-]{22}"), _from(8), ("-",)),
    Rule("", re.compile(r"_(?<=[a-z]_)[0-9a-f]{8,64}(?![0-9A-Za-z])"), marks=("_",)),
    Rule("", re.compile(r"[0-9a-f](?<!\w.)(?=\d{0,40}[a-f])[0-9a-f]{31,128}+(?!\w)", re.ASCII)),
)

# --- Persons and machines --------------------------------------------------------------------

# Scripts with spaces between their words: in the others an address ends where its ASCII does.
_LETTERS = "0-9A-Za-z\xaa-\xd6\xd8-\xf6\xf8-\u0dff\u1e00-\u1fff"
_EMAILS = (
    Rule(
        "[email]",
        re.compile(
            rf"[{_LETTERS}_](?<![{_LETTERS}_.+-].)[{_LETTERS}_.+-]*+"
            rf"@(?:[{_LETTERS}-]{{1,63}}\.){{1,8}}[{_LETTERS}-]{{2,63}}(?<![0-9-])"
        ),
        marks=("@",),
    ),
    Rule(
        "[email]",
        re.compile(r"[\w](?<![\w.+-].)[\w.+-]*+@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}"),
        marks=("@",),
    ),
)

_NOBODY = ("127.0.0.1", "0.0.0.0", "255.255.255.255", "::1", "::")  # noqa: S104: not bound to
_VERSION = re.compile(
    r"(?:\bv|version|versión|versão|release|build|firmware|バ-ジョン|版本|الإصدار|إصدار|§|section"
    r"|chapter|abschnitt|kapitel|chapitre|capítulo|sección|seção)\.? {0,2}$",
    re.IGNORECASE,
)


def _before(match: re.Match[str], characters: int = 24) -> str:
    return match.string[max(0, match.start() - characters) : match.start()]


def _ip(match: re.Match[str]) -> Span | None:
    said = match[0]
    try:
        ipaddress.ip_address(said)
    except ValueError:
        return None
    groups = said.split(":")
    if said in _NOBODY or (len(groups) > 1 and len(groups) < 8 and 0 < len(groups[0]) < 3):
        return None  # "a::b" is code.
    return None if _VERSION.search(_before(match)) else match.span()


_IPS = (
    Rule(
        "[ip]",
        re.compile(
            r":(?<![0-9A-Za-z]:)(?=:[0-9A-Fa-f])(?::[0-9A-Fa-f]{1,4}){1,7}(?:\.\d{1,3}){0,3}(?![\w:])"
            r"|[0-9A-Fa-f](?<!\w.)(?<![0-9A-Fa-f]:.)[0-9A-Fa-f]{0,3}(?::[0-9A-Fa-f]{0,4}){2,7}"
            r"(?:\.\d{1,3}){0,3}(?![\w:])",
            re.ASCII,
        ),
        _ip,
        ("::", ":"),
    ),
    Rule(
        "[ip]",
        re.compile(r"\d(?<![\w.].)\d{0,2}(?:\.\d{1,3}){3}(?!\w|\.\d)", re.ASCII),
        _ip,
        (".",),
    ),
)

_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ DZ ES MD PK RO SA SE SK TN VG",
        25: "AO CV GW LY MZ PT ST",
        26: "IS TR",
        27: "BI CF CG CM DJ FR GA GR IT MC MR SM",
        28: "AL AZ BF BJ BY CI CY DO GT HN HU LB MA MG ML NE NI PL SN SV TD TG",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}


def _iban(match: re.Match[str]) -> Span | None:
    start = match.start() - 2
    said = match.string[start : match.end()].upper()
    length = _IBAN_LENGTHS.get(said[:2], 0)
    places = [place for place, each in enumerate(said) if each.isalnum()][:length]
    if not length or len(places) < length:
        return None
    code = "".join(said[place] for place in places)
    if int("".join(str(int(each, 36)) for each in code[4:] + code[:4])) % 97 != 1:
        return None
    return start, start + places[-1] + 1


_LABELLED = re.compile(
    r"\b(?:isbn|issn|ean|gtin|jan|upc|asin|doi|sku|orcid)(?:-1[03]|コ-ド)?(?:\W{0,3}|\W{1,3}\d{3}-)$",
    re.IGNORECASE,
)


def _digits(match: re.Match[str]) -> list[int]:
    return [int(each) for each in match[0] if each.isdecimal()]


def _luhn(digits: Sequence[int]) -> bool:
    doubled = (2 * each - 9 * (each > 4) for each in digits[-2::-2])
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _card(match: re.Match[str]) -> Span | None:
    """A card's number, also where a security code or a date follows it."""
    if _LABELLED.search(_before(match)):
        return None
    places = [place for place, each in enumerate(match[0]) if each.isdecimal()]
    digits = _digits(match)
    for count in range(len(digits), 12, -1):
        whole = count == len(digits) or places[count] - places[count - 1] > 1
        if whole and _luhn(digits[:count]):
            return match.start(), match.start() + places[count - 1] + 1
    return None


def _mod11(digits: Sequence[int], weights: Sequence[int]) -> int:
    rest = sum(each * weight for each, weight in zip(digits, weights, strict=False)) % 11
    return 0 if rest < 2 else 11 - rest


def _ssn(match: re.Match[str]) -> bool:
    area, group, serial = match[0][:3], match[0][4:6], match[0][7:]
    return area not in ("000", "666") and group != "00" and serial != "0000"


def _nir(match: re.Match[str]) -> bool:
    number = match[0].replace(" ", "").replace("2A", "19").replace("2B", "18")
    return 97 - int(number[:13]) % 97 == int(number[13:])


def _dni(match: re.Match[str]) -> bool:
    plain = re.sub(r"[ .-]", "", match[0]).upper()
    number = plain[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == plain[-1]


def _cpf(match: re.Match[str]) -> bool:
    digits = _digits(match)
    weights = range(11, 1, -1)
    checks = [_mod11(digits, weights[1:]), _mod11(digits, weights)]
    return digits[9:] == checks and len(set(digits)) > 1


def _cnpj(match: re.Match[str]) -> bool:
    """Since 2026 with capitals too."""
    values = [ord(each) - 48 for each in match[0] if each.isalnum()]
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    checks = [_mod11(values[:12], weights[1:]), _mod11(values[:13], weights)]
    return values[12:] == checks and len(set(values)) > 1


def _steuer_id(match: re.Match[str]) -> bool:
    digits = _digits(match)
    counts = sorted(digits[:10].count(each) for each in set(digits[:10]))
    product = 10
    for each in digits[:10]:
        product = ((each + product) % 10 or 10) * 2 % 11
    return counts[-1] in (2, 3) and counts[:-1].count(1) == len(counts) - 1 and (
        (11 - product) % 10 == digits[10]
    )


def _my_number(match: re.Match[str]) -> bool:
    digits = _digits(match)
    return _mod11(digits[:11], (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) == digits[11]


def _id(shape: str, holds: Callable[[re.Match[str]], bool] = bool) -> Rule:
    """A national id; the shape begins behind its first character."""

    def check(match: re.Match[str]) -> Span | None:
        return match.span() if holds(match) and not _LABELLED.search(_before(match)) else None

    first, rest = shape.split("|", 1)
    pattern = rf"{first}(?<!\w{first})(?<!\d[.,/-]{first})(?:{rest})(?!\w|[.,/-]\d)"
    return Rule("[id]", re.compile(pattern, re.ASCII), check)


_NATIONAL_IDS = (
    _id(r"\d|\d\d(?:-\d\d-| \d\d )\d{4}", _ssn),
    _id(r"[A-CEGHJ-PR-TW-Z]|(?<!B)[A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]"),
    _id(r"[1-478]|(?: ?\d\d){2} ?(?:\d\d|2[AB])(?: ?\d{3}){2} ?\d\d", _nir),
    _id(r"\d|(?:\d{7}|\d\.?\d{3}\.?\d{3})[ -]?[A-Za-z]", _dni),
    _id(r"[X-Zx-z]|[ -]?\d{7}[ -]?[A-Za-z]", _dni),
    _id(r"\d|\d\d\.?\d{3}\.?\d{3}[-/]?\d\d", _cpf),
    _id(r"[0-9A-Z]|[0-9A-Z](?:\.?[0-9A-Z]{3}){2}/?[0-9A-Z]{4}-?\d\d", _cnpj),
    _id(r"[1-9]|\d ?\d{3} ?\d{3} ?\d{3}", _steuer_id),
    _id(r"\d|(?<!\d[ -].)\d{3}([ -]?)\d{4}\1\d{4}(?![ -]?\d)", _my_number),
)

_SSN_WORD = re.compile(r"\b(?:ssn|social security(?: number| no\.?)?)\W{0,3}(?:is )?$", re.IGNORECASE)
_DATE = re.compile(r"\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d\d(?![./-]\d))(?!\d)|\d{4}-\d\d-\d\d(?!\d)")
_PHONE_WORD = re.compile(
    r"(?:(?<![^\W_])(?:tel|tél|phone|telephone|telefon|telefono|teléfono|téléphone|telefone|fax"
    r"|mobile?|móvil|telemóvel|celular|cell|handy|whatsapp|numéro de tél|тел|телефон|هاتف|الهاتف"
    r"|جوال|رقم)|電話|携帯|电话|手机|전화)(?:[^\W\d_]{0,8}[^\w\n]{1,3}){0,2}[^\W\d_]{0,3}[^\w\n]{0,3}$",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"[+(\d](?<!\w.)(?<!\d[.,-].)(?:"
    r"(?<=\+) ?\(?\d(?:[ ./()-]{0,3}\d){7,14}"  # international
    r"|(?<=0)0 ?[1-9]\d{0,2}[ ./()-]{1,2}\d(?:[ ./()-]{0,2}\d){5,11}"
    r"|(?<=0)[1-9]\d{8,9}"  # with a trunk 0: written as one, in groups, with an area in brackets
    r"|(?<=0)[1-9](?!\d{8})(?:[ ./()-]{0,2}\d){7,10}"
    r"|(?<=\()0[1-9]\d{0,4}\)[ /-]{0,2}\d(?:[ .-]?\d){4,8}"
    r"|(?<=[2-9])\d\d[ .-][2-9]\d\d[ .-]\d{4}"  # North America
    r"|(?<=\()[2-9]\d\d\)[ -]?[2-9]\d\d[ .-]\d{4}"
    r"|(?<=1)[ .-]\(?[2-9]\d\d\)?[ .-]{1,2}\d{3}[ .-]\d{4}"
    r"|(?<=8)[ -]?\(?[3-9]\d\d\)?[ -]\d{3}[ -]\d\d[ -]\d\d"  # Russia
    r"|(?<=\()[1-9]\d\) ?9?\d{4}[ -]\d{4}|(?<=9)\d{4}-\d{4}|(?<=[1-9])[1-9] 9\d{4}[ -]\d{4}"  # Brazil
    r"|(?<=[6-9])\d\d(?: \d\d){3}|(?<=[89])\d \d{3} \d\d \d\d"  # Spain, Portugal
    r"|(?<=[6-9])(?<!\d .)\d\d(?: \d{3}){2}(?! ?(?:[€$£¥%]|[Ee][Uu][Rr]|[Mm]ill))"
    r"|(?<=2)[12] \d{3} \d{4}"
    r")(?!\w|[./-]\d)",
    re.ASCII,
)
_NUMBER = re.compile(r"\d(?<!\w.)(?:[ ./()-]{0,2}\d){5,14}(?!\d)", re.ASCII)


def _phone(match: re.Match[str]) -> Span | None:
    if _DATE.match(match[0]) or _LABELLED.search(_before(match)):
        return None
    return match.span()


def _said_phone(match: re.Match[str]) -> Span | None:
    """Any number that is said to be one."""
    if _DATE.match(match[0]) or not _PHONE_WORD.search(_before(match)):
        return None
    return match.span()


def _said_ssn(match: re.Match[str]) -> Span | None:
    return match.span() if _SSN_WORD.search(_before(match)) else None


_RULES = (
    *_SECRETS,
    *_ASSIGNMENTS,
    *_IDS,
    *_EMAILS,
    *_IPS,
    Rule(
        "[iban]",
        re.compile(
            r"\d(?<=[A-Za-z]{2}\d)(?<![A-Za-z0-9]...)\d(?:[ .-]?[A-Za-z0-9]){11,30}"
        ),
        _iban,
    ),
    Rule(
        "[card]",
        re.compile(
            r"[2-6](?<![\d_].)(?:\d{3}([ ./-]?)\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?(?:[ /]\d{1,4}){0,2}"
            r"|(?<=3)[0-9]\d\d([ ./-]?)\d{6}\2\d{4,5}|(?<=4)\d{12}|\d{12,18})(?!\d)"
        ),
        _card,
    ),
    *_NATIONAL_IDS,
    Rule("[id]", re.compile(r"\d(?<!\w.)\d{8}(?!\w)", re.ASCII), _said_ssn),
    Rule("[phone]", _PHONE, _phone),
    Rule("[phone]", _NUMBER, _said_phone),
)
