"""The client of a Toteboard gateway."""

from ._board import Board, Event
from ._client import Toteboard
from ._digest import BoardDigest
from ._errors import ToteboardError
from ._freshness import Freshness
from ._history import History
from ._stream import Stream
from ._types import Filter, Outcome, Quote, Region

__all__ = ["Board", "BoardDigest", "Event", "Filter", "Freshness", "History", "Outcome", "Quote", "Region", "Stream", "Toteboard", "ToteboardError"]
