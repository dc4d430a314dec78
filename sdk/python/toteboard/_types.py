"""The payloads of the protocol. Later versions may add fields."""

from typing import Literal, NotRequired, TypedDict

Region = Literal["us", "uk", "eu", "au"]


class Outcome(TypedDict):
    name: str
    price: float
    point: NotRequired[float]
    description: NotRequired[str]


class Quote(TypedDict):
    """A bookmaker's prices of a market. `last_update` is the time since which the bookmaker has had them."""

    bookmaker: str
    market: str
    last_update: str
    outcomes: list[Outcome]


class Filter(TypedDict, total=False):
    """What narrows a stream. An absent list lets everything through."""

    sports: list[str]
    events: list[str]
    bookmakers: list[str]
    markets: list[str]
