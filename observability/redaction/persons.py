"""Addresses of persons and machines: e-mail, IP, IBAN."""

from __future__ import annotations

import ipaddress
import re
import string

from .text import Rule, Span, before

# In scripts that set no space between words (or, as Korean, glue particles to them) an address
# ends where its ASCII does; only what is left after that may be an address in such a script.
_WORD = r"[^\W\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff]"


def _email(word: str) -> Rule:
    local_part = re.compile(rf"(?:{word}|[.+-]){{1,256}}")

    def check(match: re.Match[str]) -> Span | None:
        local = local_part.match(before(match, 256)[::-1])
        return (match.start() - local.end(), match.end()) if local else None

    label = rf"(?:{word}|-)"
    domain = rf"@(?:{label}{{1,63}}\.){{1,8}}(?!\d){label}{{2,63}}(?<![\d_-])"
    return Rule("[email]", re.compile(domain), check, ("@",))


_NOBODY = ("127.0.0.1", "0.0.0.0", "255.255.255.255", "::1", "::")  # noqa: S104
_VERSION = re.compile(
    r"(?:(?<![A-Za-z])v|version|versión|versão|fassung|release|build|firmware|バ-ジョン|版本|إصدار)"
    r"[.:]? {0,2}$",
    re.IGNORECASE,
)


def _ipv4(match: re.Match[str]) -> Span | None:
    """1.2.3.4, of four single digits, is a section's number rather than an address."""
    if len(match[0]) == 7 or not _is_ip(match[0]) or _VERSION.search(before(match)):
        return None
    return match.span()


def _ipv6(match: re.Match[str]) -> Span | None:
    """The match begins with the first colon."""
    ahead = before(match)
    first = ahead[len(ahead.rstrip(string.hexdigits)) :][-5:]
    rest = ahead[: len(ahead) - len(first)]
    said = first + match[0]
    if len(first) > 4 or (rest[-1:] in (":", "_", ".") and rest[-3:].lower() != "v6:"):
        return None
    if rest[-1:].isascii() and rest[-1:].isalnum():
        return None
    code = 0 < len(first) < 3 and said.count(":") < 7  # a::b
    return (match.start() - len(first), match.end()) if _is_ip(said) and not code else None


def _is_ip(said: str) -> bool:
    try:
        ipaddress.ip_address(said)
    except ValueError:
        return False
    return said not in _NOBODY


_IPS = (
    Rule(
        "[ip]",
        re.compile(
            r":(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?:\.\d{1,3}){0,3}(?![\w:])"
            r"|:(?=:[0-9A-Fa-f])(?::[0-9A-Fa-f]{1,4}){1,7}(?:\.\d{1,3}){0,3}(?![\w:])",
            re.ASCII,
        ),
        _ipv6,
        (":",),
    ),
    Rule(
        "[ip]",
        re.compile(r"\d(?<![\w.].)\d{0,2}(?:\.\d{1,3}){3}(?!\w|\.\d)", re.ASCII),
        _ipv4,
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


PERSONS = (
    _email(_WORD),
    _email(r"\w"),
    *_IPS,
    Rule(
        "[iban]",
        re.compile(r"\d(?<=[A-Za-z]{2}\d)(?<![A-Za-z0-9]...)\d(?:[ .-]?[A-Za-z0-9]){11,30}"),
        _iban,
    ),
)
