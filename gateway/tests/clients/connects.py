"""Connects TIMES times, one after the other, and prints each connection's first board of each region.

A board is one line of JSON in the format of GET /api/odds/{region}.

    python connects.py URL TOKEN REGIONS TIMES [TRANSPORT]
"""

import asyncio
import json
import sys

import socketio

url, token, regions, times, *transports = sys.argv[1:]


async def connect():
    boards, parts, whole = [], {}, asyncio.Event()
    client = socketio.AsyncClient()

    @client.event
    async def snapshot(payload):
        region, part = payload["region"], payload.get("part", 1)
        if part == 1:
            parts[region] = []
        parts[region].extend(payload["events"])
        if part == payload.get("parts", 1):
            boards.append({"region": region, "cursor": payload["cursor"], "events": parts[region]})
        if len(boards) == len(regions.split(",")):
            whole.set()

    @client.event
    async def connect_error(error):
        print(f"not connected: {error}", file=sys.stderr)

    await client.connect(url, auth={"token": token, "regions": regions.split(",")}, transports=transports or None)
    await whole.wait()
    await client.disconnect()
    return boards


async def main():
    for _ in range(int(times)):
        for board in await connect():
            print(json.dumps(board), flush=True)


asyncio.run(main())
