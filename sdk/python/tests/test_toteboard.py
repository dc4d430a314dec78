"""Tests of the package as a user has it: installed into an empty environment, against a running program.

`cargo xtask test` runs them. SDK is the package's folder in the checkout, TOTEBOARD_URL and TOTEBOARD_TOKEN are those of a
program that has run for half a minute, and TOTEBOARD_PRODUCER is a token with the scope `produce`.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from datetime import UTC, datetime
from pathlib import Path

from toteboard import BoardDigest, Toteboard, ToteboardError

URL, TOKEN = os.environ["TOTEBOARD_URL"], os.environ["TOTEBOARD_TOKEN"]
REGIONS = ["us", "uk", "eu", "au"]


def plain(events):
    """A board's content in a form that can be compared."""
    names = ("id", "sport_key", "sport_title", "commence_time", "home_team", "away_team")
    of = lambda event, name: event[name] if isinstance(event, dict) else getattr(event, name)
    quotes = lambda event: event["quotes"] if isinstance(event, dict) else event.quotes.values()
    key = lambda quote: (quote["bookmaker"], quote["market"])
    return {of(event, "id"): ([of(event, name) for name in names], sorted(quotes(event), key=key)) for event in events}


class Proxy:
    """Cuts all connections now and then, or changes a price in the first frame of this name."""

    def __init__(self, flips=None):
        self.writers, self.flips = set(), flips

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.relay, "127.0.0.1", 0)
        self.cutting = asyncio.create_task(asyncio.sleep(0) if self.flips else self.cut())
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_):
        self.cutting.cancel()
        self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()

    async def cut(self):
        while True:
            await asyncio.sleep(2.5)
            for writer in list(self.writers):
                writer.transport.abort()

    async def relay(self, reader, writer):
        host, port = URL.removeprefix("http://").split(":")
        back_in, there_out = await asyncio.open_connection(host, int(port))
        self.writers.add(writer)

        async def pump(source, sink):
            try:
                while data := await source.read(65_536):
                    sink.write(self.flipped(data) if source is back_in else data)
                    await sink.drain()
            except OSError:
                pass
            finally:
                sink.close()

        await asyncio.gather(pump(reader, there_out), pump(back_in, writer))
        self.writers.discard(writer)


    def flipped(self, data):
        begin = data.find(b'42["%s"' % self.flips.encode()) if self.flips else -1
        at = data.find(b'"price":', begin) + 8
        if begin < 0 or at < 8:
            return data
        self.flips = None
        return data[:at] + (b"2" if data[at : at + 1] == b"1" else b"1") + data[at + 1 :]


class Exactness(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.toteboard = await self.enterAsyncContext(Toteboard(URL, TOKEN))

    async def compare(self, board):
        """Compares a board with what was recorded at its cursor, once that can be read."""
        cursor, shown = board.cursor, plain(board.events.values())
        shown = {id: (details, [{**quote} for quote in quotes]) for id, (details, quotes) in shown.items()}
        for _ in range(50):
            try:
                recorded = await self.toteboard.history.board(board.region, cursor=cursor)
                break
            except ToteboardError as error:
                self.assertEqual(error.code, "not_recorded")
                await asyncio.sleep(0.2)
        self.assertEqual(shown, plain(recorded["events"]), cursor)

    async def test_boards_are_exact_also_after_a_connection_that_breaks_again_and_again(self):
        compared = 0
        async with Proxy() as url, Toteboard(url, TOKEN) as unreliable:
            streams = [unreliable.stream(REGIONS, transports=it) for it in (None, ["polling"], ["websocket"])]
            changes = [0, 0, 0]
            for n, stream in enumerate(streams):
                stream.on("change", lambda *_, n=n: changes.__setitem__(n, changes[n] + 1))
                stream.start()
            for round in range(1, 5):
                async with asyncio.timeout(60):
                    while min(changes) < 6 * round:
                        await asyncio.sleep(0.1)
                for stream in streams:
                    for region in stream.regions:
                        if board := stream.board(region):
                            await self.compare(board)
                            compared += 1
            for stream in streams:
                await stream.close()
        self.assertGreater(compared, 30)

    async def test_digests_are_those_of_the_protocols_examples(self):
        document = (Path(os.environ["SDK"]) / "../../PROTOCOL.md").read_text()
        digest = BoardDigest()
        for example in json.loads(re.search(r"```json\n(.*?)```", document, re.DOTALL)[1]):
            digest.apply(example["events"])
            self.assertEqual(digest.value, example["digest"])

    async def test_a_price_that_is_changed_on_its_way_is_noticed(self):
        for event in ("odds", "snapshot"):
            async with Proxy(event) as url, Toteboard(url, TOKEN) as changed:
                stream = changed.stream(["uk"], transports=["websocket"], first_by_http=event == "odds")
                noticed, whole, troubles = asyncio.Event(), asyncio.get_running_loop().create_future(), []
                stream.on("trouble", lambda error: (troubles.append(error.code), noticed.set()))
                stream.start()
                await asyncio.wait_for(noticed.wait(), 60)
                self.assertEqual((troubles, stream.board("uk")), (["wrong_digest"], None))
                stream.on("board", lambda board: whole.done() or whole.set_result(board))
                await self.compare(await asyncio.wait_for(whole, 60))
                self.assertEqual(troubles, ["wrong_digest"])
                await stream.close()

    async def test_a_filter_narrows_a_stream_exactly(self):
        filter = {"markets": ["h2h"], "bookmakers": ["betfair_ex_uk", "williamhill"]}
        async with self.toteboard.stream(["uk"], filter=filter) as stream:
            quotes = [quote for event in stream.board("uk").events.values() for quote in event.quotes]
            self.assertTrue(quotes)
            self.assertTrue(all(market == "h2h" and it in filter["bookmakers"] for it, market in quotes))
            whole = asyncio.get_running_loop().create_future()
            stream.on("board", lambda board: whole.done() or whole.set_result(board))
            await stream.filter({"markets": ["totals"]})
            board = await asyncio.wait_for(whole, 20)
            self.assertTrue(all(market == "totals" for event in board.events.values() for _, market in event.quotes))
            with self.assertRaises(ToteboardError) as caught:
                await stream.filter({"markets": ["a b"]})
            self.assertEqual(caught.exception.code, "invalid_filter")

    async def test_prices_are_live_while_the_gateway_says_so(self):
        stream = self.toteboard.stream(["uk"])
        async with stream:
            event = next(iter(stream.board("uk").events))
            self.assertTrue(stream.is_live("uk", event))
            self.assertFalse(stream.is_live("uk", "nothing") or stream.is_live("us", event))
            self.assertLess(abs((stream.freshness.now("uk") - datetime.now(UTC)).total_seconds()), 5)
        self.assertFalse(stream.is_live("uk", event))

    async def test_subscriptions_can_be_changed(self):
        async with self.toteboard.stream(["uk"]) as stream:
            whole = asyncio.get_running_loop().create_future()
            stream.on("board", lambda board: whole.done() or whole.set_result(board.region))
            await stream.subscribe(["eu"])
            self.assertEqual(await asyncio.wait_for(whole, 20), "eu")
            self.assertEqual((stream.regions, stream.board("uk")), (["eu"], None))

    async def test_refusals_say_what_to_do(self):
        async def refused(code, awaitable):
            with self.assertRaises(ToteboardError) as caught:
                await awaitable
            self.assertEqual(caught.exception.code, code)
            self.assertGreater(len(caught.exception.advice), 10)

        async with Toteboard(URL, "tb_wrong") as stranger, Toteboard("http://127.0.0.1:1", TOKEN) as nobody:
            await refused("unauthenticated", stranger.stream(["uk"]).ready())
            await refused("unauthenticated", stranger.stream(["uk"], first_by_http=False).ready())
            await refused("bad_auth", self.toteboard.stream(["uk"], max_rate=-1, first_by_http=False).ready())
            await refused("invalid", self.toteboard.history.board("uk", at="noon"))
            await refused("unreachable", nobody.feeds())
        with self.assertRaises(ValueError):
            await self.toteboard.history.board("uk", at=datetime(2026, 1, 1))

    async def test_a_transaction_is_produced_once_however_often_it_is_asked_for(self):
        async with Toteboard(URL, os.environ["TOTEBOARD_PRODUCER"]) as producer:
            transaction = ("sdk-python-1", "t-python-1", "2 tickets")
            first = await producer.produce(*transaction, email="anna@example.com")
            again = await producer.produce(*transaction, email="anna@example.com")
            self.assertEqual((again["partition"], again["offset"]), (first["partition"], first["offset"]))
        with self.assertRaises(ToteboardError) as caught:
            await self.toteboard.produce(*transaction, email="anna@example.com")
        self.assertEqual(caught.exception.status, 403)

    async def test_a_rules_alert_comes_to_a_stream_once(self):
        async with self.toteboard.stream(["uk"]) as stream:
            came = asyncio.Queue()
            stream.on("alert", came.put_nowait)
            events = [it for it in stream.board("uk").events.values() if it.home_team and any(market == "h2h" for _, market in it.quotes)]
            for event in events[:5]:
                await self.toteboard.add_rule(
                    kind="price", event=event.id, market="h2h", outcome=event.home_team, at_least=1.01, regions=["uk"]
                )
            alert = await asyncio.wait_for(came.get(), 30)
            self.assertEqual(alert["kind"], "price")
        for rule in await self.toteboard.rules():
            await self.toteboard.remove_rule(rule["id"])


class Document(unittest.TestCase):
    def test_the_documents_examples_run(self):
        text = (Path(os.environ["SDK"]) / "README.md").read_text()
        snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        self.assertGreaterEqual(len(snippets), 5)
        for snippet in snippets:
            with self.subTest(snippet[:400]), tempfile.NamedTemporaryFile("w", suffix=".py") as file:
                file.write(snippet)
                file.flush()
                done = subprocess.run([sys.executable, file.name], capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertTrue(done.stdout)


if __name__ == "__main__":
    unittest.main()
