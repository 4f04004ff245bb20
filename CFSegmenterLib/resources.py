"""Where the files that travel with the library are found."""

from __future__ import annotations

from pathlib import Path

from .errors import UserError

_PACKAGE = Path(__file__).resolve().parent


def resource_path(*parts: str) -> Path:
    """Return the path of a packaged file or folder, for example `resource_path("structures.json")`.

    A source checkout and an editable install keep them in `Resources`, beside the package; an installed wheel
    keeps them in `resources`, inside it. Without `parts` the folder itself is returned.

    Raises:
        UserError: neither folder has the file.
    """
    for folder in resource_folders():
        path = folder.joinpath(*parts)
        if path.exists():
            return path
    wanted = "/".join(parts) or "the resources folder"
    raise UserError(
        f"{wanted} is missing from this installation of CFSegmenter, so it is incomplete: "
        "install the package again, or take a complete copy of the source code."
    )


def resource_folders() -> tuple[Path, Path]:
    """Return the two folders that may hold resources: of an installed wheel, then of a source checkout."""
    # The wheel's own folder comes first: what lies beside an installed package belongs to others.
    return _PACKAGE / "resources", _PACKAGE.parent / "Resources"
