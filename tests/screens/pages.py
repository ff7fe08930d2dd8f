"""What the pages show: which blocks there are to run, and whether what was printed fits them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.docs_commands import PAGES, Block, Documented, blocks

MARK = re.compile(r"<!-- run: (\w+) -->\n?$")

ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TOKEN = r"sk-llmp-[\w-]{43}"
CHANGES = (
    (rf"{ID}\.\S+\.\d+\.(\d{{6}})", r"<writer>.\1"),
    (rf"({ID}\s+)\d+(?=\s+(?:serving|ended)\b)", r"\1<pid>"),
    (ID, "<id>"),
    (rf"{TOKEN}|sk-llmp-\w+\.\.\.", "<token>"),
    (r"sk-llmp-[\w-]{6}(?![\w-])", "<prefix>"),
    (r"os:\S+@\S+", "<actor>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r"\d{4}-\d\d-\d\d", "<day>"),
    (r"\[\d\d:\d\d:\d\d\.\d+\]", "<clock>"),
    (r"\d+ ms\b", "<ms>"),
    (r"\d+ s ago\b", "<ago>"),
    (r"(?<=segments, )\d+(?= bytes)|(?<=log has )[\d,]+(?= bytes)", "<bytes>"),
    (r"http://127\.0\.0\.1:\d+", "<address>"),
    (r"(?<=\?token=)[0-9a-f]+|(?<=\?token=)\.\.\.", "<password>"),
    (r"chatcmpl-\w+|req_\w+|resp_\w+", "<api id>"),
    (r"\b[0-9a-f]{8,64}\b|\b[0-9a-f]{4}…", "<hex>"),
    (r"(?<=genai-prices/)[\d.]+", "<version>"),
    (r"-{3,}|─+", "<rule>"),
    (r"\s+", " "),
)
"""What differs from run to run."""


@dataclass(frozen=True, slots=True)
class Screen:
    """A command that was run, and what it printed."""

    command: Documented
    printed: str
    code: int = 0

    @property
    def fits(self) -> bool:
        """Tell whether the page shows what was printed; a page that shows nothing shows nothing wrong."""
        shown = [
            line
            for line in self.command.output.splitlines()
            if not line.startswith(("Making .venv", "Installing "))
        ]
        return not any(line.strip() for line in shown) or matches(shown, self.printed.splitlines())


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Tell whether lines are those that a page shows."""
    lines = [line for line in map(normal, shown) if line]
    pattern = "".join(r"(?:.*\n)*" if line == "..." else f"{_any(line)}\n" for line in lines)
    return bool(re.fullmatch(pattern, "".join(f"{normal(line)}\n" for line in printed if normal(line))))


def _any(line: str) -> str:
    return ".*".join(re.escape(part) for part in re.split(r"\.\.\.|…", line))


def normal(line: str) -> str:
    for pattern, name in CHANGES:
        line = re.sub(pattern, name, line)
    return line.strip()


def marked() -> dict[str, list[Block]]:
    """Return the blocks to run, by world, in the order of the pages."""
    found: dict[str, list[Block]] = {}
    for page in PAGES:
        for block in blocks(page):
            if mark := MARK.search(block.before):
                found.setdefault(mark[1], []).append(block)
    return found


def rewrite(screens: Iterable[Screen]) -> list[str]:
    """Write what is printed now into the pages where it does not fit. Returns the places."""
    changed = []
    for screen in sorted(screens, key=lambda screen: screen.command.line, reverse=True):  # lines above stay
        if screen.fits:
            continue
        page = next(page for page in PAGES if page.name == screen.command.page)
        lines = page.read_text("utf-8").splitlines(keepends=True)
        above, below = "".join(lines[: screen.command.line - 1]), "".join(lines[screen.command.line - 1 :])
        end = below.index(screen.command.text) + len(screen.command.text)
        after = below[end:].replace(screen.command.output, screen.printed, 1)
        page.write_text(f"{above}{below[:end]}{after}", "utf-8")
        changed.append(screen.command.place)
    return changed
