"""Follows streams until the digests of TOTEBOARD_FRAMES frames have been compared with their boards, a million unless set.
Fails if one of them is wrong."""

import asyncio
import os
import sys
import time
from collections import Counter

from toteboard import Stream, Toteboard

WANTED = int(os.environ.get("TOTEBOARD_FRAMES", "1000000"))
STREAMS = 60


async def main() -> bool:
    troubles: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    async with Toteboard(os.environ["TOTEBOARD_URL"], os.environ["TOTEBOARD_TOKEN"]) as toteboard:
        streams: list[Stream] = []
        for _ in range(STREAMS):
            stream = toteboard.stream(["us", "uk", "eu", "au"], filter={"markets": ["h2h"]})
            streams.append(stream)
            stream.on("change", lambda *_: frames.update(["change"]))
            stream.on("board", lambda *_: frames.update(["board"]))
            stream.on("trouble", lambda error: troubles.update([error.code]))
            # One after the other: many whole boards at once keep this program from all else for long.
            await stream.ready()
        checked = lambda: sum(stream.checked for stream in streams)
        began = time.monotonic()
        while checked() < WANTED:
            before = checked()
            await asyncio.sleep(10)
            if checked() == before:
                raise RuntimeError(f"no frame has come for ten seconds, after {before}")
            print(f"{checked()} frames after {time.monotonic() - began:.0f} s", flush=True)
        for stream in streams:
            await stream.close()
    # The first boards by HTTP have no digest.
    seconds = round(time.monotonic() - began)
    wrong = troubles["wrong_digest"]
    print(f"{checked()} of {frames.total()} frames were checked in {seconds} s, {wrong} wrong; troubles: {dict(troubles)}")
    return wrong == 0


sys.exit(0 if asyncio.run(main()) else 1)
