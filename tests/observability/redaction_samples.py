"""What redaction is tried with: seeded canaries of every kind, and the slots of ordinary text.

Nothing here is real: names, numbers and keys are drawn, with check digits like theirs.
"""

# ruff: noqa: RUF001

from __future__ import annotations

import base64
import json
import random
import string
import uuid
from collections.abc import Callable, Iterator

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
# The zeros of ASCII, Arabic-Indic, Persian, Devanagari and full-width digits.
ZEROS = (0x30, 0x660, 0x6F0, 0x966, 0xFF10)


def draw(rng: random.Random, letters: str, count: int) -> str:
    return "".join(rng.choices(letters, k=count))


def digits(rng: random.Random, count: int) -> str:
    return draw(rng, string.digits, count)


def token(rng: random.Random, count: int, letters: str = ALNUM) -> str:
    """Like a random token, and surely with a digit and a capital in it."""
    drawn = [*draw(rng, letters, count - 2), rng.choice("23456789"), rng.choice("ABCDEF")]
    rng.shuffle(drawn)
    return "".join(drawn)


def shaped(shape: str, number: str) -> str:
    """The digits of a number in the places that the shape marks with #."""
    each = iter(number)
    return "".join(next(each) if place == "#" else place for place in shape)


# --- Persons ---------------------------------------------------------------------------------


def email(rng: random.Random) -> str:
    local = rng.choice(
        ["anna.{}", "o_{}", "{}+shop", "x-{}", "renée{}", "{}.van.der.berg", "пётр{}"]
    )
    host = rng.choice(
        ["example.com", "mail.example.co.uk", "пример.рф", "müller-{}.de", "a.b.museum"]
    )
    return local.format(draw(rng, string.ascii_lowercase, 6)) + "@" + host.format(rng.randrange(99))


def phone(rng: random.Random) -> tuple[str, str]:
    shape = rng.choice(
        [
            *(
                "+1 415 ### ####",
                "+14155######",
                "(212) 5##-####",
                "415-2##-####",
                "1-800-5##-####",
            ),
            *(
                "+44 20 7### ####",
                "020 7### ####",
                "07### ######",
                "+49 (0)30 ######",
                "0151########",
            ),
            *(
                "030/#######",
                "0049 30 #######",
                "06 ## ## ## ##",
                "0612######",
                "+33.6.##.##.##.##",
            ),
            *("612 ## ## ##", "91 ### ## ##", "+34 612 ### ###", "912 ### ###", "+351 21 ### ####"),
            *(
                "(11) 9####-####",
                "+55 11 9####-####",
                "03-####-####",
                "090-####-####",
                "080########",
            ),
            *("055 ### ####", "+966 55 ### ####", "+20 100 ### ####", "8 (495) ###-##-##"),
            *(
                "+7 912 ###-##-##",
                "+86 138 #### ####",
                "010-####-####",
                "tel. 5######",
                "TEL：03########",
            ),
            *(
                "Phone number: 4########",
                "téléphone : 6########",
                "هاتف: 5########",
                "電話番号は03########",
            ),
        ]
    )
    said = shaped(shape, digits(rng, 15))
    return said, said.lstrip(string.ascii_letters + "é:：.هاتف電話番号は ")


def card(rng: random.Random) -> str:
    prefix, length, shapes = rng.choice(
        [
            ("4", 16, ("#" * 16, "#### #### #### ####", "####-####-####-####")),
            ("5" + rng.choice("12345"), 16, ("#" * 16, "#### #### #### ####")),
            ("2221", 16, ("#### #### #### ####",)),
            ("3" + rng.choice("47"), 15, ("#" * 15, "#### ###### #####")),
            ("36", 14, ("#" * 14, "#### ###### ####")),
            ("6011", 16, ("#" * 16, "#### #### #### ####")),
            ("3528", 16, ("#" * 16,)),
            ("4", 13, ("#" * 13,)),
        ]
    )
    start = prefix + digits(rng, length - len(prefix) - 1)
    number = next(start + last for last in string.digits if luhn_sum(start + last) % 10 == 0)
    return shaped(rng.choice(shapes), number)


def luhn_sum(number: str) -> int:
    total = 0
    for place, each in enumerate(reversed(number)):
        value = int(each) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total


def iban(rng: random.Random) -> str:
    country, body = rng.choice(
        [
            ("DE", digits(rng, 18)),
            ("FR", digits(rng, 10) + draw(rng, string.ascii_uppercase, 11) + digits(rng, 2)),
            ("GB", draw(rng, string.ascii_uppercase, 4) + digits(rng, 14)),
            ("NO", digits(rng, 11)),
            ("ES", digits(rng, 20)),
            ("PT", digits(rng, 21)),
            ("BR", digits(rng, 23) + "C1"),
            ("SA", digits(rng, 20)),
            ("MT", draw(rng, string.ascii_uppercase, 4) + digits(rng, 5) + token(rng, 18).upper()),
        ]
    )
    number = int("".join(str(int(each, 36)) for each in f"{body}{country}00"))
    code = f"{country}{98 - number % 97:02}{body}"
    grouped = " ".join(code[place : place + 4] for place in range(0, len(code), 4))
    return rng.choice([code, grouped, code.lower()])


def ip(rng: random.Random) -> str:
    return rng.choice(
        [
            ".".join(str(rng.randint(1, 254)) for _ in range(4)),
            ":".join(f"{rng.randrange(1, 1 << 16):x}" for _ in range(8)),
            f"2001:db8::{rng.randrange(1 << 12, 1 << 16):x}",
            f"fe80::{rng.randrange(1 << 12, 1 << 16):x}:{rng.randrange(1 << 12, 1 << 16):x}",
            f"::ffff:203.0.113.{rng.randint(1, 254)}",
        ]
    )


def national_id(rng: random.Random) -> tuple[str, str]:
    said = rng.choice([ssn, nino, nir, dni, cpf, cnpj, steuer_id, my_number])(rng)
    return said, said.removeprefix("SSN: ")


def ssn(rng: random.Random) -> str:
    number = f"{rng.randint(1, 665):03}{rng.randint(1, 99):02}{rng.randint(1, 9999):04}"
    return shaped(rng.choice(["###-##-####", "### ## ####", "SSN: #########"]), number)


def nino(rng: random.Random) -> str:
    letters = draw(rng, "ACEHJLMPRSWXY", 2)
    return (
        letters + shaped(rng.choice(["######", " ## ## ## "]), digits(rng, 6)) + rng.choice("ABCD")
    )


def nir(rng: random.Random) -> str:
    place = rng.choice(["75", "13", "2A", "2B", "99"])
    start = f"{rng.choice('12')}{digits(rng, 2)}{rng.randint(1, 12):02}{place}{digits(rng, 6)}"
    number = f"{start}{97 - int(start.replace('2A', '19').replace('2B', '18')) % 97:02}"
    return shaped(rng.choice(["#" * 15, "# ## ## ## ### ### ##"]), number)


def dni(rng: random.Random) -> str:
    letters = "TRWAGMYFPDXBNJZSQVHLCKE"
    if rng.random() < 0.5:
        number = digits(rng, 8)
        return number + rng.choice(["", "-"]) + letters[int(number) % 23]
    kind, number = rng.randrange(3), digits(rng, 7)
    return (
        f"{'XYZ'[kind]}{rng.choice(['', '-'])}{number}{letters[(kind * 10**7 + int(number)) % 23]}"
    )


def weighted(number: str, weights: str) -> str:
    """The number and a check digit modulo 11 with these weights, from the right, over and over."""
    cycle = (weights * 3)[: len(number)]
    pairs = zip(reversed(number), cycle, strict=True)
    rest = sum(int(each) * int(weight, 16) for each, weight in pairs) % 11
    return number + str(0 if rest < 2 else 11 - rest)


def cpf(rng: random.Random) -> str:
    number = weighted(weighted(digits(rng, 9), "23456789ab"), "23456789ab")
    return shaped(rng.choice(["###.###.###-##", "###########"]), number)


def cnpj(rng: random.Random) -> str:
    number = weighted(weighted(digits(rng, 12), "23456789"), "23456789")
    return shaped(rng.choice(["##.###.###/####-##", "##############"]), number)


def steuer_id(rng: random.Random) -> str:
    body = rng.sample(string.digits, 9)
    body.append(body[0])
    rng.shuffle(body)
    while body[0] == "0":
        rng.shuffle(body)
    start = "".join(body)
    product = 10
    for each in start:
        rest = (int(each) + product) % 10
        product = (rest or 10) * 2 % 11
    return shaped(rng.choice(["###########", "## ### ### ###"]), f"{start}{(11 - product) % 10}")


def my_number(rng: random.Random) -> str:
    number = weighted(digits(rng, 11), "234567")
    return shaped(rng.choice(["############", "#### #### ####", "####-####-####"]), number)


# --- Secrets ---------------------------------------------------------------------------------


def key(rng: random.Random) -> tuple[str, str]:
    wide = ALNUM + "_-"
    said = rng.choice(
        [
            lambda: "sk-" + token(rng, 48),
            lambda: "sk-proj-" + token(rng, 120, wide),
            lambda: "sk-ant-api03-" + token(rng, 93, wide) + "AA",
            lambda: rng.choice(["ghp_", "gho_", "ghs_"]) + token(rng, 36),
            lambda: f"github_pat_{token(rng, 22)}_{token(rng, 59)}",
            lambda: "glpat-" + token(rng, 20),
            lambda: rng.choice(["AKIA", "ASIA"]) + draw(rng, string.ascii_uppercase + "234567", 16),
            lambda: token(rng, 40, ALNUM + "/+"),
            lambda: "AIza" + token(rng, 35),
            lambda: "ya29." + token(rng, 60, wide),
            lambda: f"xox{rng.choice('bpa')}-{digits(rng, 12)}-{digits(rng, 12)}-{token(rng, 24)}",
            lambda: (
                "https://hooks.slack.com/services/"
                f"T{token(rng, 9)}/B{token(rng, 9)}/{token(rng, 24)}"
            ),
            lambda: rng.choice(["sk_live_", "rk_live_", "sk_test_"]) + token(rng, 24),
            lambda: f"SG.{token(rng, 22)}.{token(rng, 43)}",
            lambda: "SK" + draw(rng, HEX, 32),
            lambda: "npm_" + token(rng, 36),
            lambda: "pypi-AgEIcHlwaS5vcmc" + token(rng, 100, wide),
            lambda: "hf_" + token(rng, 34),
            lambda: f"{token(rng, 3)}8Q~{token(rng, 34)}",
            lambda: token(rng, 86, ALNUM + "/+") + "==",
            lambda: token(rng, 52) + "JQQJ99" + token(rng, 26),
            lambda: f"{digits(rng, 10)}:AA{token(rng, 33)}",
            lambda: draw(rng, HEX, 32) + "-us12",
        ]
    )()
    return said, said.rpartition("services/")[2]


def jwt(rng: random.Random) -> str:
    claims = json.dumps(
        {"sub": digits(rng, 10), "name": draw(rng, string.ascii_letters, 12)}
    ).encode()
    header = json.dumps({"alg": "HS256", "typ": "JWT"}).encode()
    parts = [base64.urlsafe_b64encode(each).decode().rstrip("=") for each in (header, claims)]
    return ".".join([*parts, token(rng, 43)])


def private_key(rng: random.Random) -> str:
    kind = rng.choice(["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
    lines = "\n".join(token(rng, 64, ALNUM + "+/") for _ in range(6))
    end = rng.choice([f"\n-----END {kind}PRIVATE KEY-----", ""])
    whole = f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}{end}"
    return rng.choice([whole, whole.replace("\n", "\\n")])


def secret_word(rng: random.Random) -> str:
    return "Zq" + draw(rng, ALNUM + "!#%*+-_.", 8) + rng.choice(string.digits)


def url_password(rng: random.Random) -> tuple[str, str]:
    word = secret_word(rng).replace("#", "!").replace("%", "!")
    return f"{rng.choice(['postgres', 'https', 'amqp'])}://app:{word}@db.internal:5432/x", word


def assignment(rng: random.Random) -> tuple[str, str]:
    word = secret_word(rng).replace("%", "!")
    shape = rng.choice(
        [
            *("password={}", "password: {}", "DB_PASSWORD={}", "api_key: {}", '"apiKey": "{}"'),
            *("password is set: password={}", "'client_secret': '{}'", '{{\\"token\\": \\"{}\\"}}'),
            *("?access_token={}&x=1", "Passwort: {}", "contraseña: {}", "senha={}", "пароль: {}"),
            *("mot de passe : {}", "كلمة المرور: {}", "パスワード：{}", "X-Api-Key: {}"),
            *('password="{} and more"', "Authorization: {}", "Cookie: session={}; theme=dark"),
        ]
    )
    return shape.format(word), word


def header(rng: random.Random) -> tuple[str, str]:
    bearer = token(rng, 40, ALNUM + "-._")
    pair = f"{draw(rng, string.ascii_lowercase, 6)}:{secret_word(rng)}"
    basic = base64.b64encode(pair.encode()).decode().rstrip("=")
    return rng.choice(
        [
            (f"Bearer {bearer}", bearer),
            (f"Authorization: Bearer {bearer}", bearer),
            (f"authorization: Basic {basic}", basic),
            (f"curl -H 'Authorization: bearer {bearer}'", bearer),
            (f"Basic {basic}", basic),
        ]
    )


KINDS: tuple[Callable[[random.Random], str | tuple[str, str]], ...] = (
    *(phone, card, national_id, email, iban, ip, key, jwt, private_key),
    *(url_password, assignment, header),
)
IN_OTHER_DIGITS = (phone, card, national_id)

SURROUNDINGS = (
    *(
        "{}",
        "{} is mine.",
        "Please use {}",
        "It is {}, thanks!",
        "({})",
        "«{}»",
        "“{}”",
        "see:\n{}\nok",
    ),
    *(
        "Это {} и всё.",
        "Мои данные: {}",
        "{} — вот он",
        "вот: {}; спасибо",
        "رقمي هو {} شكرا",
        "{}، من فضلك",
    ),
    *(
        "البيانات: {}.",
        "私のは{}です。",
        "「{}」を使って",
        "これは {} です",
        "我的是{}，谢谢",
        "{}。",
        "제 것은 {} 입니다",
    ),
    *(
        "Mein Eintrag lautet {} – danke",
        "¿Es {} correcto?",
        "C’est {} !",
        "| a | {} | b |",
        "- {}\n- x",
    ),
    *(
        "\u200e{}\u200e",
        '{{"note": "mine:\\n{}\\nend"}}',
        "line one\r\n{}",
        "\t{}\t",
        "*{}*",
        "`{}`",
    ),
)


def canaries(seed: int, count: int) -> Iterator[tuple[str, str, str]]:
    """So many of ``(kind, text, secret)``, the secret somewhere in the text."""
    rng = random.Random(seed)  # noqa: S311
    for turn in range(count):
        kind = KINDS[turn % len(KINDS)]
        made = kind(rng)
        said, secret = (made, made) if isinstance(made, str) else made
        if kind in IN_OTHER_DIGITS and rng.random() < 0.3:
            zero = rng.choice(ZEROS)
            table = {0x30 + each: zero + each for each in range(10)}
            said, secret = said.translate(table), secret.translate(table)
        yield kind.__name__, rng.choice(SURROUNDINGS).format(said), secret


# --- Ordinary text ---------------------------------------------------------------------------


def filled(sentence: str, rng: random.Random) -> str:
    """The sentence with numbers of the day in its slots."""
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1990, 2030)
    hour, minute = rng.randint(0, 23), rng.randint(0, 59)
    isbn = "978" + digits(rng, 9)
    check = -sum(int(each) * (1 + 2 * (place % 2)) for place, each in enumerate(isbn)) % 10
    return sentence.format(
        n=rng.randint(2, 99),
        big=rng.randint(1000, 99_999),
        huge=rng.randint(10**6, 10**9),
        comma=f"{rng.randint(10**4, 10**9):,}",
        dots=f"{rng.randint(10**4, 10**8):,}".replace(",", "."),
        spaced=f"{rng.randint(10**4, 10**8):,}".replace(",", "\u202f"),
        price=f"{rng.randint(1, 2999)}.{rng.randint(0, 99):02}",
        preis=f"{rng.randint(1, 2999)},{rng.randint(0, 99):02}",
        iso=f"{year}-{month:02}-{day:02}",
        dotted=f"{day:02}.{month:02}.{year}",
        slashed=f"{day:02}/{month:02}/{year}",
        stamp=f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{rng.randint(0, 59):02}Z",
        ms=rng.randint(10**12, 2 * 10**12),
        time=f"{hour:02}:{minute:02}",
        seconds=f"{hour:02}:{minute:02}:{rng.randint(0, 59):02}",
        year=year,
        order=rng.choice(["#{}", "A-{}", "{}", "2026-{}"]).format(rng.randint(10**5, 10**9)),
        version=f"{rng.randint(0, 19)}.{rng.randint(0, 40)}.{rng.randint(0, 99)}",
        build="v" + ".".join(str(rng.randint(0, most)) for most in (19, 40, 99, 9)),
        isbn=rng.choice(["{}-{}-{}-{}-{}", "{}{}{}{}{}"]).format(
            isbn[:3], isbn[3], isbn[4:6], isbn[6:], check
        ),
        uuid=uuid.UUID(int=rng.getrandbits(128)),
        hash=draw(rng, HEX, rng.choice([7, 12, 32, 40, 64])),
        thread=f"{rng.choice(['thr', 'msg', 'atc', 'trace', 'resp'])}_{draw(rng, HEX, 32)}",
        decimal=f"{rng.randint(0, 99)}.{digits(rng, 7)}",
        percent=rng.randint(1, 100),
    )
