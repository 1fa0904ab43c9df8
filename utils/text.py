"""Text for people: one line, whatever it came from."""


def one_line(text: object, limit: int = 300) -> str:
    """What a file says, or an error about it, fit to be printed: one line, nothing but printable characters, cut."""
    line = " ".join(str(text)[: 2 * limit].split())
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def encodable(text: str) -> str:
    """Return a text that UTF-8 can hold: bytes of file names that are not UTF-8 become escapes such as \\udcff."""
    return text.encode("utf-8", "backslashreplace").decode()
