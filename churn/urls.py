"""URLs of databases, built by the library that parses them: a folder's name may hold ? and %."""

from pathlib import Path


def sqlite_url(path: Path) -> str:
    """The SQLAlchemy URL of an SQLite file."""
    from sqlalchemy import URL  # a fifth of a second, which most commands do without

    return URL.create("sqlite", database=str(path)).render_as_string()
