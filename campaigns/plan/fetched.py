"""Scores in object storage, brought to this machine for as long as a plan is made of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from churn.scored import MANIFEST, read_manifest
from churn.script import InputError
from churn.storage import ObjectStorage


@contextmanager
def at_hand(scores: str) -> Iterator[Path]:
    """The folder of scores; where a URL names it, a copy of the files that its manifest names."""
    if "://" not in scores:
        yield Path(scores)
        return
    names = [MANIFEST, *(str(piece["file"]) for piece in read_manifest(scores)["pieces"])]
    storage = ObjectStorage(scores)
    with TemporaryDirectory() as folder:
        for name in names:
            if Path(name).name != name:
                raise InputError(f"{scores}/{MANIFEST} names {name!r}, no file of its folder; score the files again")
            try:
                storage.ask(storage.fs.get_file, storage.path(name), str(Path(folder, name)))
            except FileNotFoundError:
                raise InputError(f"{scores}/{name} is missing; score the files again") from None
        try:
            yield Path(folder)
        except InputError as error:
            raise InputError(str(error).replace(folder, scores)) from None
