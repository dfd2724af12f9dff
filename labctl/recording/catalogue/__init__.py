"""Which runs a folder holds, found by what their files say. The files are the truth; what is kept beside is a cache."""

from labctl.recording.catalogue.entries import Entry
from labctl.recording.catalogue.folder import Catalogue
from labctl.recording.catalogue.query import Query
from labctl.recording.catalogue.resolving import resolve_run
from labctl.recording.catalogue.tags import Tags, read_tags, tag_run

__all__ = ["Catalogue", "Entry", "Query", "Tags", "read_tags", "resolve_run", "tag_run"]
