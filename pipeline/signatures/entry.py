"""A valid rule document and where it stands."""

from dataclasses import dataclass

from pipeline.documents import Document
from pipeline.signatures.models import Block, Filter, Signature


@dataclass(frozen=True, slots=True)
class Entry:
    """A validated document. `slug` is the folder name of a signature, None for what is not one."""

    model: Signature | Block | Filter
    document: Document
    slug: str | None = None

    @property
    def name(self) -> str:
        """What others call it: the folder of a signature, else its name or id; its place where nobody can."""
        line, _ = self.document.where(())
        return self.slug or self.model.name or self.model.id or f"{self.document.path}:{line}"
