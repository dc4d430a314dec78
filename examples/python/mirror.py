"""Mirrors the boards of some regions and says a line whenever one changes.

With --seconds it ends after so many, and prints the boards as JSON.

    python mirror.py [--url http://127.0.0.1:8080] [--token tb_...] [--regions uk,eu] [--seconds 5]
"""

import argparse
import asyncio
import json
import sys

import socketio

parser = argparse.ArgumentParser()
parser.add_argument("--url", default="http://127.0.0.1:8080")
parser.add_argument("--token")
parser.add_argument("--regions")
parser.add_argument("--transport", default="websocket")
parser.add_argument("--seconds", type=float)
settings = parser.parse_args()

boards: dict[str, dict] = {}
client = socketio.AsyncClient()


def auth():
    """Called at every connect, so that a reconnect sends today's cursors."""
    resume = {region: board["cursor"] for region, board in boards.items() if board["cursor"]}
    said = {"v": 1, "resume": resume}
    if settings.token:
        said["token"] = settings.token
    if settings.regions:
        said["regions"] = settings.regions.split(",")
    return said


def apply(board, changes):
    for change in changes:
        if change.get("removed"):
            board["events"].pop(change["id"], None)
            continue
        event = board["events"].setdefault(change["id"], {"quotes": {}})
        event.update({key: value for key, value in change.items() if key not in ("id", "quotes")})
        for quote in change["quotes"]:
            key = (quote["bookmaker"], quote["market"])
            if quote["outcomes"]:
                event["quotes"][key] = quote
            else:
                event["quotes"].pop(key, None)


@client.on("subscriptions")
async def subscriptions(said):
    for region in set(boards) - set(said["regions"]):
        del boards[region]


@client.on("snapshot")
async def snapshot(said):
    if said.get("part", 1) == 1:
        boards[said["region"]] = {"cursor": None, "events": {}, "asked": False}
    board = boards[said["region"]]
    apply(board, said["events"])
    if said.get("part", 1) == said.get("parts", 1):
        board["cursor"] = said["cursor"]
    show(said["region"])


@client.on("odds")
async def odds(said):
    board = boards.get(said["region"])
    if board is None or board["cursor"] != said["prev"]:
        if board is None or not board["asked"]:
            request = {"region": said["region"]}
            if board is not None:
                board["asked"] = True
                request["cursor"] = board["cursor"]
            await client.emit("resync", request)
        return
    board["asked"] = False
    apply(board, said["events"])
    board["cursor"] = said["cursor"]
    show(said["region"])


@client.on("feed")
async def feed(said):
    print(f"{said['region']}: {said['state']}, from {said['source']}", file=sys.stderr)


@client.on("bye")
async def bye(said):
    print(f"sent away: {said['code']}: {said['message']}", file=sys.stderr)


def show(region):
    if settings.seconds is None:
        board = boards[region]
        quotes = sum(len(event["quotes"]) for event in board["events"].values())
        print(f"{region} {board['cursor']}: {len(board['events'])} events, {quotes} quotes", flush=True)


async def main():
    try:
        await client.connect(settings.url, auth=auth, transports=[settings.transport])
    except socketio.exceptions.ConnectionError as error:
        sys.exit(f"not connected: {error}")
    if settings.seconds is None:
        await client.wait()
        return
    await asyncio.sleep(settings.seconds)
    plain = {
        region: {id: {**event, "quotes": list(event["quotes"].values())} for id, event in board["events"].items()}
        for region, board in boards.items()
    }
    print(json.dumps(plain))
    await client.disconnect()


asyncio.run(main())
