"""Reads a region's board from Kafka, exactly. docs/kafka.md explains it.

It prints a line for each step whose board is verified.
"""

import argparse
import json
import sys
from datetime import datetime

import xxhash
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

STEP_KEY = b"~step"
# No leader writes a term that is so much later, in milliseconds.
CENTURY = 100 * 365 * 24 * 3_600 * 1_000


class Number(float):
    """A number that remembers how it is written."""

    def __init__(self, text):
        self.text = text


def canonical(outcomes):
    """Outcomes as the producer wrote them: without spaces, and with the same digits."""
    written = lambda value: value.text if isinstance(value, Number) else json.dumps(value, ensure_ascii=False)
    fields = lambda outcome: ",".join(f'"{name}":{written(value)}' for name, value in outcome.items())
    return "[" + ",".join("{" + fields(outcome) + "}" for outcome in outcomes) + "]"


def number_of(*parts):
    """The XXH3-128 of some parts, each with its length in front."""
    parts = [part if isinstance(part, bytes) else part.encode() for part in parts]
    return xxhash.xxh3_128_intdigest(b"".join(len(part).to_bytes(8, "little") + part for part in parts))


def millis(time):
    """A time as eight bytes."""
    moment = datetime.fromisoformat(time)
    return (int(moment.timestamp()) * 1000 + moment.microsecond // 1000).to_bytes(8, "little", signed=True)


def digest_of(event):
    """The sum of the numbers of an event's details and quotes."""
    teams = event.get("home_team"), event.get("away_team")
    of_teams = (bytes(team is not None for team in teams), *(team or "" for team in teams))
    begins = millis(event["commence_time"])
    total = number_of("event", event["id"], event["sport_key"], event["sport_title"], begins, *of_teams)
    for bookmaker in event["bookmakers"]:
        for market in bookmaker["markets"]:
            if market["outcomes"]:
                keys, since = (event["id"], bookmaker["key"], market["key"]), millis(market["last_update"])
                total += number_of("quote", *keys, since, canonical(market["outcomes"]))
    return total


class Board:
    """The events of a region, by their ids, and the digest of all."""

    def __init__(self):
        self.events, self.digests, self.digest = {}, {}, 0

    def set(self, id, value):
        """Replaces an event, or removes it if there is no value."""
        self.digest -= self.digests.pop(id, 0)
        self.events.pop(id, None)
        if value is not None:
            self.events[id] = json.loads(value, parse_float=Number, parse_int=Number)["event"]
            self.digests[id] = digest_of(self.events[id])
        self.digest = (self.digest + self.digests.get(id, 0)) % (1 << 128)


class Reader:
    """Turns the records of all partitions into steps, and steps into a board."""

    def __init__(self, partitions):
        self.board, self.waiting, self.markers = Board(), {}, {}
        # Behind a fence or a marker, a partition's records of this step and of earlier ones don't count.
        self.over = [(0, 0, 0)] * partitions

    def read(self, partition, headers, key, value):
        """Takes a record. Returns the step and its marker, once the step is on the board."""
        if int(headers["v"]) > 1 or (key.startswith(b"~") and key != STEP_KEY):
            return None
        term, tie = headers["term"].split(b".")
        step = (int(term), int(tie), int(headers["step"]))
        if step[0] > self.over[partition][0] + CENTURY or step[2] > self.over[partition][2] + (1 << 42):
            return None
        is_late = step <= self.over[partition]
        self.over[partition] = max(self.over[partition], step if key == STEP_KEY else (*step[:2], 0))
        if is_late:
            return None
        if key != STEP_KEY:
            self.waiting.setdefault(step, []).append((key.decode(), value))
            return None
        self.markers.setdefault(step, set()).add(partition)
        if len(self.markers[step]) < len(self.over):
            return None
        self.markers = {later: where for later, where in self.markers.items() if later > step}
        # Step 0 is a fence: what came before it waits for the term's first step.
        if step[2] == 0:
            return None
        for earlier in sorted(it for it in self.waiting if it <= step):
            for event, image in self.waiting.pop(earlier):
                self.board.set(event, image)
        return step, json.loads(value)


def follow(topic, settings):
    """Yields each verified step with its marker and the board. Starts over if a board does not match its digest."""
    settings |= {"group.id": "none", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer(settings)
    partitions = len(consumer.list_topics(topic, timeout=30).topics[topic].partitions) or sys.exit(f"no {topic}")
    while True:
        consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(partitions)])
        reader, at_end, newest = Reader(partitions), set(), None
        # The first reading may end in the middle of a step: then the next one decides.
        may_differ = True
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if not message.error():
                record = message.partition(), dict(message.headers()), message.key(), message.value()
                newest = reader.read(*record) or newest
            elif message.error().code() == KafkaError._PARTITION_EOF:
                at_end.add(message.partition())
            # Compaction has removed parts of old steps, so boards are right from the end on.
            if newest is None or len(at_end) < partitions:
                continue
            (step, marker), newest = newest, None
            if f"{reader.board.digest:032x}" == marker["digest"]:
                yield step, marker, reader.board
            elif not may_differ:
                print(f"the board of {step} does not match its digest: starting over", file=sys.stderr)
                break
            may_differ = False


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--brokers", default="127.0.0.1:9092")
    options.add_argument("--region", required=True)
    options.add_argument("--property", action="append", default=[], metavar="NAME=VALUE", help="of librdkafka")
    given = options.parse_args()
    settings = {"bootstrap.servers": given.brokers, **dict(it.split("=", 1) for it in given.property)}
    for (term, tie, step), marker, board in follow(f"odds.{given.region}", settings):
        print(f"{term}.{tie}/{step} at {marker['at']}: {marker['state']}, {len(board.events)} events", flush=True)
