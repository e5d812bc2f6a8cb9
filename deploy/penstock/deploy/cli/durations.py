"""Times, ages and sizes as people read them."""


def seconds_text(seconds: float) -> str:
    """`0.3 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 days`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


def age_text(seconds: float) -> str:
    """How long ago: `just now`, `12 s ago`, `3 days ago`."""
    return "just now" if seconds < 1 else f"{seconds_text(float(round(seconds)) if seconds >= 10 else seconds)} ago"


def size_text(count: int) -> str:
    """`812 B`, `3.1 KiB`, `2.0 GiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def elapsed_seconds(started_at: int | None, ended_at: int | None, now: int) -> float | None:
    """Seconds between two instants in microseconds; None before the start."""
    if started_at is None:
        return None
    return max(0.0, ((ended_at if ended_at is not None else now) - started_at) / 1_000_000)
