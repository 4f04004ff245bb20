"""The model card: what a person should know before using a model, written from its manifest."""

from __future__ import annotations

from .model import Manifest


def write_card(manifest: Manifest) -> str:
    """The card of a model, as Markdown."""
    codes = sum(entry["source"] == "code" for entry in manifest.prototypes)
    lines = [
        f"# {manifest.name}",
        "",
        f"A classifier-free segmentation model of CFSegmenter, version {manifest.version}, made on {manifest.created}.",
        f"It knows {len(manifest.structures)} structures in {len(manifest.protocols)} kinds of scan.",
        "",
        f"**Licence of the weights:** {manifest.licence}",
        "",
    ]
    return "\n".join(lines) + f"\nPrototypes: {codes} code directions.\n"
