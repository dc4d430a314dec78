"""Reads a region's board from Kafka, and prints a line for each verified step. docs/kafka.md explains it."""

import argparse
import json
import sys
import time
from datetime import datetime

import xxhash
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

STEP = "~step"
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


def millis(text):
    """A time as eight bytes."""
    moment = datetime.fromisoformat(text)
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


def record(headers, key, value):
    """What a record is about, its step, and its marker, or the event with its digest. A removal has neither."""
    term, tie = headers["term"].split(b".")
    value = value and json.loads(value, parse_float=Number, parse_int=Number)
    if int(headers["v"]) > 1 or (key == STEP) != key.startswith("~") or (key == STEP and not value):
        raise ValueError("a record of a later version")
    if value and key != STEP:
        value = value["event"], digest_of(value["event"])
    return key, (int(term), int(tie), int(headers["step"])), value


class Reader:
    """Turns the records of all partitions into steps, and steps into a board: events with their digests."""

    def __init__(self, partitions):
        self.events, self.digest, self.waiting, self.markers = {}, 0, {}, {}
        # Behind a fence or a marker, a partition's records of this step and of earlier ones don't count.
        self.over = [(0, 0, 0)] * partitions

    def read(self, partition, headers, key, value):
        """Takes a record. Returns the step and its marker, once the step is on the board."""
        try:
            id, step, value = record(dict(headers), key.decode(), value)
        except (AttributeError, KeyError, TypeError, ValueError):
            # What can't be read does not count.
            return None
        over = self.over[partition]
        if step[0] > over[0] + CENTURY or step[2] > (over[2] if step[:2] == over[:2] else 0) + (1 << 42):
            return None
        self.over[partition] = max(over, step if id == STEP else (*step[:2], 0))
        if step <= over:
            return None
        if id != STEP:
            self.waiting.setdefault(step, []).append((id, value))
            return None
        self.markers.setdefault(step, set()).add(partition)
        if len(self.markers[step]) < len(self.over):
            return None
        self.markers = {later: where for later, where in self.markers.items() if later > step}
        # Step 0 is a fence: what came before it waits for the term's first step.
        if step[2] == 0:
            return None
        for earlier in sorted(it for it in self.waiting if it <= step):
            for event, new in self.waiting.pop(earlier):
                _, before = self.events.pop(event, (None, 0))
                self.digest = (self.digest - before + (new[1] if new else 0)) % (1 << 128)
                if new:
                    self.events[event] = new
        return step, value


def follow(topic, settings):
    """Yields each verified step with its marker and the board. Starts over if the board does not match its digest."""
    settings |= {"group.id": "none", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer({**settings, "auto.offset.reset": "error"})
    while True:
        partitions = len(consumer.list_topics(topic, timeout=30).topics[topic].partitions) or sys.exit(f"no {topic}")
        consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(partitions)])
        reader, at_end, newest = Reader(partitions), set(), None
        # The first reading may end in the middle of a step: then the next one decides.
        may_differ = True
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if not message.error():
                newest = reader.read(message.partition(), message.headers(), message.key(), message.value()) or newest
            elif message.error().code() == KafkaError._PARTITION_EOF:
                at_end.add(message.partition())
            elif message.error().code() == KafkaError._AUTO_OFFSET_RESET:
                break
            # Compaction has removed parts of old steps, so boards are right from the end on.
            if newest is None or len(at_end) < partitions:
                continue
            (step, marker), newest = newest, None
            if f"{reader.digest:032x}" == marker["digest"]:
                yield step, marker, reader.events
            elif not may_differ:
                break
            may_differ = False
        print("what was read does not match its digest: starting over", file=sys.stderr)
        time.sleep(5)


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--brokers", default="127.0.0.1:9092")
    options.add_argument("--region", required=True)
    options.add_argument("--property", action="append", default=[], metavar="NAME=VALUE", help="of librdkafka")
    given = options.parse_args()
    settings = {"bootstrap.servers": given.brokers, **dict(it.split("=", 1) for it in given.property)}
    for (term, tie, step), marker, events in follow(f"odds.{given.region}", settings):
        print(f"{term}.{tie}/{step} at {marker['at']}: {marker['state']}, {len(events)} events", flush=True)
