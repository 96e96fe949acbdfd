"""Numbers and names as text, the same on every page."""


def duration(seconds: float) -> str:
    """A time to read: '40 s', '2 min 5 s', '1 h 10 min'."""
    total = max(1, round(seconds))
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min" + (f" {total % 60} s" if total % 60 else "")
    return f"{total // 3600} h" + (f" {total % 3600 // 60} min" if total % 3600 // 60 else "")
