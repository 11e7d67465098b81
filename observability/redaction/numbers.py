"""Numbers of persons: cards, national ids, phones."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from .text import Rule, Span, before

_LABELLED = re.compile(
    r"(?<![A-Za-z])(?:isbn|issn|ean|gtin|jan|upc|asin|doi|sku|orcid)(?:-1[03]|コ-ド)?は?(?:\W{0,3}|\W{1,3}\d{3}-)$",
    re.IGNORECASE,
)


def _digits(match: re.Match[str]) -> list[int]:
    return [int(each) for each in match[0] if each.isdecimal()]


def _luhn(digits: Sequence[int]) -> bool:
    doubled = (2 * each - 9 * (each > 4) for each in digits[-2::-2])
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _card(match: re.Match[str]) -> Span | None:
    """A card's number, also where a security code or a date follows it."""
    if _LABELLED.search(before(match)):
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


def _is_cnpj(said: str) -> bool:
    values = [ord(each) - 48 for each in said if each.isalnum()]
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    checks = [_mod11(values[:12], weights[1:]), _mod11(values[:13], weights)]
    return values[12:] == checks and len(set(values)) > 1


def _lettered_cnpj(match: re.Match[str]) -> Span | None:
    start = match.start() - 10
    return (start, match.end()) if _is_cnpj(match.string[start : match.end()]) else None


def _steuer_id(match: re.Match[str]) -> bool:
    digits = _digits(match)
    counts = sorted(digits[:10].count(each) for each in set(digits[:10]))
    product = 10
    for each in digits[:10]:
        product = ((each + product) % 10 or 10) * 2 % 11
    return (
        counts[-1] in (2, 3)
        and counts[:-1].count(1) == len(counts) - 1
        and ((11 - product) % 10 == digits[10])
    )


def _my_number(match: re.Match[str]) -> bool:
    digits = _digits(match)
    return _mod11(digits[:11], (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) == digits[11]


def _id(shape: str, holds: Callable[[re.Match[str]], bool] = bool) -> Rule:
    """A national id; the shape begins behind its first character."""

    def check(match: re.Match[str]) -> Span | None:
        return match.span() if holds(match) and not _LABELLED.search(before(match)) else None

    first, rest = shape.split("|", 1)
    pattern = rf"{first}(?<!\w{first})(?<!\d[.,/-]{first})(?:{rest})(?!\w|[.,/-]\d)"
    return Rule("[id]", re.compile(pattern, re.ASCII), check)


_NATIONAL_IDS = (
    _id(r"\d|\d\d(?:-\d\d-| \d\d )\d{4}", _ssn),
    _id(r"[A-CEGHJ-PR-TW-Z]|(?<!B)[A-CEGHJ-NPR-TW-Z] ?\d\d ?\d\d ?\d\d ?[A-D]"),
    _id(r"[1-478]|(?: ?\d\d){2} ?(?:\d\d|2[AB])(?: ?\d{3}){2} ?\d\d", _nir),
    _id(r"\d|(?:\d{7}|\d\.?\d{3}\.?\d{3})(?:[ -]?[A-Z]|-?[a-z])", _dni),
    _id(r"[X-Zx-z]|[ -]?\d{7}(?:[ -]?[A-Z]|-?[a-z])", _dni),
    _id(r"\d|\d\d\.?\d{3}\.?\d{3}[-/]?\d\d", _cpf),
    _id(r"\d|\d\.?\d{3}\.?\d{3}/?\d{4}-?\d\d", lambda match: _is_cnpj(match[0])),
    _id(r"[1-9]|\d ?\d{3} ?\d{3} ?\d{3}", _steuer_id),
    _id(r"\d|(?<!\d[ -].)\d{3}([ -]?)\d{4}\1\d{4}(?![ -]?\d)", _my_number),
)

_SSN_WORD = re.compile(
    r"(?<![A-Za-z])(?:ssn|social security(?: number| no\.?)?)\W{0,3}(?:is )?$", re.IGNORECASE
)
_LONG_NUMBER = re.compile(r"\d(?:[ ./()-]{0,3}[0-9]){5,}+")
_DATE = re.compile(r"\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d\d(?![./-]\d))(?!\d)|\d{4}-\d\d-\d\d(?!\d)")
_PHONE_WORD = re.compile(
    r"(?:(?<![A-Za-z\xc0-\u06ff])(?:tel|tél|phone|telephone|telefon|telefono|teléfono|téléphone|telefone|fax"
    r"|mobile?|móvil|telemóvel|celular|cell|handy|whatsapp|numéro de tél|тел|телефон|هاتف|الهاتف"
    r"|جوال|رقم)|電話|携帯|电话|手机|전화)(?:[^\W\d_]{0,8}[^\w\n]{1,3}){0,2}[^\W\d_]{0,3}[^\w\n]{0,3}$",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"[+(\d](?<!\w.)(?<!\d[.,-].)(?:"
    r"(?<=\+) ?\(?\d(?:[ ./()-]{0,3}\d){7,14}"  # international
    r"|(?<=0)0 ?[1-9]\d{0,2}[ ./()-]{1,2}\d(?:[ ./()-]{0,2}\d){5,11}"
    r"|(?<=0)[1-9]\d{8,10}"  # with a trunk 0: written as one, in groups, with an area in brackets
    r"|(?<=0)[1-9](?!\d{11})(?:[ ./()-]{0,2}\d){7,10}"
    r"|(?<=\()0[1-9]\d{0,4}\)[ /-]{0,2}\d(?:[ .-]?\d){4,8}"
    r"|(?<=[2-9])\d\d[ .-][2-9]\d\d[ .-]\d{4}"  # North America
    r"|(?<=\()[2-9]\d\d\)[ -]?[2-9]\d\d[ .-]\d{4}"
    r"|(?<=1)[ .-]\(?[2-9]\d\d\)?[ .-]{1,2}\d{3}[ .-]\d{4}"
    r"|(?<=8)[ -]?\(?[3-9]\d\d\)?[ -]\d{3}[ -]\d\d[ -]\d\d"  # Russia
    r"|(?<=\()[1-9]\d\) ?9?\d{4}[ -]\d{4}|(?<=9)\d{4}-\d{4}"  # Brazil
    r"|(?<=[1-9])[1-9] 9\d{4}[ -]\d{4}"
    r"|(?<=[6-9])\d\d(?: \d\d){3}|(?<=[89])\d \d{3} \d\d \d\d"  # Spain, Portugal
    r"|(?<=[6-9])(?<!\d .)\d\d(?: \d{3}){2}(?! ?(?:[€$£¥%]|[Ee][Uu][Rr]|[Mm]ill))"
    r"|(?<=2)[12] \d{3} \d{4}"
    r")(?!\w|[./-]\d)",
    re.ASCII,
)
_NUMBER = re.compile(r"\d(?<!\w.)(?:[ ./()-]{0,2}\d){5,14}(?!\d)", re.ASCII)


def _phone(match: re.Match[str]) -> Span | None:
    if _DATE.match(match[0]) or _LABELLED.search(before(match)):
        return None
    return match.span()


def _said_phone(match: re.Match[str]) -> Span | None:
    """Any number that is said to be one."""
    if _DATE.match(match[0]) or not _PHONE_WORD.search(before(match)):
        return None
    return match.span()


def _said_ssn(match: re.Match[str]) -> Span | None:
    return match.span() if _SSN_WORD.search(before(match)) else None


def near_numbers(folded: str) -> list[Span]:
    """Where long numbers are, and what is around them; dates are none."""
    windows: list[Span] = []
    for match in _LONG_NUMBER.finditer(folded):
        if len(match[0]) > 13 or not _DATE.match(match[0]):
            start, end = max(0, match.start() - 40), match.end() + 40
            if windows and start <= windows[-1][1]:
                start = windows.pop()[0]
            windows.append((start, end))
    return windows


# Since 2026 a CNPJ may have letters, and no long number.
LETTERED = Rule(
    "[id]",
    re.compile(
        r"/(?<=[0-9A-Z]{2}\.[0-9A-Z]{3}\.[0-9A-Z]{3}/)(?<!\w.{11})[0-9A-Z]{4}-\d\d(?!\w)", re.ASCII
    ),
    _lettered_cnpj,
    ("/",),
)
# They are looked for around long numbers only.
NUMBERS = (
    Rule(
        "[card]",
        re.compile(
            r"[2-6](?<!\d.)(?:\d{3}([ ./-]?)\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?(?:[ /]\d{1,4}){0,2}"
            r"|(?<=3)[0-9]\d\d([ ./-]?)\d{6}\2\d{4,5}|(?<=4)\d{12}|\d{12,18})(?!\d)"
        ),
        _card,
    ),
    *_NATIONAL_IDS,
    Rule(
        "[id]",
        re.compile(r"\d(?<!\w.)\d{8}(?!\w)", re.ASCII),
        _said_ssn,
    ),
    Rule("[phone]", _PHONE, _phone),
    Rule("[phone]", _NUMBER, _said_phone),
)
