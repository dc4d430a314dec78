"""Mirrors the boards of some regions and prints a line whenever one changes.

With --every N it prints each board every N seconds instead, as one line of JSON in the format of
GET /api/odds/{region}.

    pip install -r requirements.txt
    python mirror.py [--url http://127.0.0.1:8080] [--token tb_...] [--regions uk,eu] [--transport polling] [--every 5]
"""

import argparse
import asyncio
import contextlib
import json
import sys

import socketio

# Refusals that are worth another attempt.
TEMPORARY = ("stopping", "too_many_connections", "too_many_filters", "too_many_attempts", "store_unavailable")

parser = argparse.ArgumentParser()
parser.add_argument("--url", default="http://127.0.0.1:8080")
parser.add_argument("--token")
parser.add_argument("--regions")
parser.add_argument("--transport", help="polling or websocket; by default polling, and then an upgrade")
parser.add_argument("--every", type=float)
settings = parser.parse_args()


class Board:
    """The board of a region: its cursor and its events by id, each with its quotes by bookmaker and market."""

    def __init__(self):
        self.cursor, self.events = None, {}
        self.reset()

    def reset(self):
        # The parts of a snapshot, and the number of feeds since a resync was requested, until it is answered.
        self.incoming, self.asked = None, None


boards: dict[str, Board] = {}
# The ids of the alerts that came, in their order.
alerts: dict[str, None] = {}
client = None
pause = 1


def auth():
    """Called at every connect, so that a reconnect sends the current cursors."""
    resume = {region: board.cursor for region, board in boards.items() if board.cursor}
    regions = settings.regions.split(",") if settings.regions else None
    return {"v": 1, "token": settings.token, "regions": regions, "resume": resume, "alerts": next(reversed(alerts), None)}


def apply(events, changes):
    for change in changes:
        if change.get("removed"):
            events.pop(change["id"], None)
            continue
        event = events.setdefault(change["id"], {"quotes": {}})
        event.update({key: value for key, value in change.items() if key != "quotes"})
        for quote in change["quotes"]:
            key = (quote["bookmaker"], quote["market"])
            if quote["outcomes"]:
                event["quotes"][key] = quote
            else:
                event["quotes"].pop(key, None)


async def out_of_step(region, board):
    board.incoming = None
    # While a resync is open, a frame that doesn't fit was sent before the answer.
    if board.asked is None:
        await resync(region, board)


async def resync(region, board):
    board.asked = 0
    await client.emit("resync", {"region": region, "cursor": board.cursor})


async def subscriptions(payload):
    for region in set(boards) - set(payload["regions"]):
        del boards[region]
    for region in payload["regions"]:
        boards.setdefault(region, Board())


async def snapshot(payload):
    board, part = boards.get(payload["region"]), payload.get("part", 1)
    if board is None:
        return
    if part == 1:
        board.incoming, board.asked = {"cursor": payload["cursor"], "part": 0, "events": {}}, None
    incoming = board.incoming
    if incoming is None or incoming["cursor"] != payload["cursor"] or part != incoming["part"] + 1:
        await out_of_step(payload["region"], board)
        return
    apply(incoming["events"], payload["events"])
    incoming["part"] = part
    # The old board stays until the new one is complete.
    if part == payload.get("parts", 1):
        board.cursor, board.events, board.incoming = payload["cursor"], incoming["events"], None
        show(payload["region"], board)


async def odds(payload):
    board = boards.get(payload["region"])
    if board is None:
        return
    if board.cursor != payload["prev"]:
        await out_of_step(payload["region"], board)
        return
    apply(board.events, payload["events"])
    board.cursor, board.asked = payload["cursor"], None
    show(payload["region"], board)


async def feed(payload):
    print(f"{payload['region']}: {payload['state']}, from {payload['source']}", file=sys.stderr)
    board = boards.get(payload["region"])
    if board is None:
        return
    # Over long polling, a frame can be lost, and also a request or its answer.
    if board.asked is None:
        if payload.get("cursor", board.cursor) != board.cursor:
            await out_of_step(payload["region"], board)
        return
    board.asked += 1
    if board.asked == 2:
        await resync(payload["region"], board)


async def connect():
    global pause
    pause = 1
    for board in boards.values():
        board.reset()


async def connect_error(error):
    # A string if the gateway can't be reached, an object if it refused.
    if isinstance(error, dict) and error["message"].split(":")[0] not in TEMPORARY:
        sys.exit(f"not connected: {error['message']}")


async def alert(payload):
    # After a reconnect, one may come again.
    if payload["id"] in alerts:
        return
    alerts[payload["id"]] = None
    parts = (payload.get(key) for key in ("home_team", "away_team", "outcome", "price", "value", "bookmaker"))
    missed = "missed " if payload["missed"] else ""
    print(f"{missed}alert: {payload['kind']}", *filter(None, parts), file=sys.stderr)


async def bye(payload):
    global pause
    print(f"bye: {payload['code']}: {payload['message']}", file=sys.stderr)
    if "retry_after_ms" not in payload:
        sys.exit(1)
    pause = payload["retry_after_ms"] / 1000
    await client.disconnect()


def show(region, board):
    if settings.every is None:
        quotes = sum(len(event["quotes"]) for event in board.events.values())
        print(f"{region} {board.cursor}: {len(board.events)} events, {quotes} quotes", flush=True)


async def print_boards():
    while settings.every is not None:
        await asyncio.sleep(settings.every)
        for region, board in boards.items():
            if board.cursor:
                plain = [{**event, "quotes": list(event["quotes"].values())} for event in board.events.values()]
                print(json.dumps({"region": region, "cursor": board.cursor, "events": plain}), flush=True)


async def main():
    global client, pause
    printing = asyncio.create_task(print_boards())
    while True:
        client = socketio.AsyncClient()
        for handler in (subscriptions, snapshot, odds, feed, alert, connect, connect_error, bye):
            client.on(handler.__name__, handler)
        try:
            # By default the library starts with polling and upgrades to websocket.
            transports = [settings.transport] if settings.transport else None
            await client.connect(settings.url, auth=auth, transports=transports)
            # Returns when the library no longer reconnects by itself.
            await client.wait()
        except Exception as error:
            print(f"not connected: {error!r}", file=sys.stderr)
        with contextlib.suppress(Exception):
            await client.shutdown()
        await asyncio.sleep(pause)
        pause = min(2 * pause, 30)


asyncio.run(main())
