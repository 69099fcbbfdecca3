"""What a configuration says of whoever writes the rows of a source; the settings of such a source begin with it."""

from pydantic import BaseModel, ConfigDict

from pipeline.model.stream import Stream


class Writer(BaseModel):
    """Fields of `Stream`; None: not known beforehand."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    envelope: str | None = None
    format: str | None = None
    node: str | None = None
    namespace: str | None = None
    pod: str | None = None
    app: str | None = None
    container: str | None = None
    process: str | None = None

    def stream(self, name: str, **seen: str) -> Stream:
        """A stream of this writer. What is seen of it counts more than what the configuration says."""
        said = self.model_dump(include=set(Writer.model_fields), exclude_none=True)
        return Stream(**{"id": name, **said, **seen})
