"""Generates Python and TypeScript clients from /api/openapi.json, and reads a running server's boards with them.

    python clients.py http://127.0.0.1:8080 TOKEN FOLDER

The code is written to the folder. The TypeScript client is compiled beside this file, where its packages are.
"""

import importlib
import json
import pathlib
import subprocess
import sys
import urllib.request

import openapi_spec_validator

url, token, folder = sys.argv[1:]
folder = pathlib.Path(folder)
document = json.load(urllib.request.urlopen(f"{url}/api/openapi.json", timeout=30))
openapi_spec_validator.validate(document)
file = folder / "openapi.json"
file.write_text(json.dumps(document))


def run(*command, **options):
    subprocess.run([str(word) for word in command], check=True, timeout=300, **options)


settings = folder / "openapi-python-client.yaml"
# The generator has no name for lines of JSON; they are a text to it.
settings.write_text("post_hooks: []\ncontent_type_overrides:\n  application/x-ndjson: text/plain\n")
package = folder / "toteboard_client"
command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", file, "--output-path", package]
run(*command, "--meta", "none", "--overwrite", "--config", settings, "--fail-on-warning")
run(sys.executable, "-m", "compileall", "-q", package)
sys.path.insert(0, str(folder))
importlib.invalidate_caches()
generated = importlib.import_module("toteboard_client")
odds = {name: importlib.import_module(f"toteboard_client.api.odds.{name}") for name in ("regions", "board")}
client = generated.AuthenticatedClient(base_url=url, token=token)
for feed in odds["regions"].sync(client=client):
    board = odds["board"].sync(feed.region, client=client)
    prices = [outcome.price for event in board.events for quote in event.quotes for outcome in quote.outcomes]
    print(f"{feed.region}: {feed.state}, {len(board.events)} events, {len(prices)} prices")
    assert prices and all(price > 1 for price in prices)

packages = pathlib.Path(__file__).parent / "typescript"
run("npx", "--no-install", "openapi-typescript", file.resolve(), "--output", "generated.ts", cwd=packages)
run("npx", "--no-install", "tsc", cwd=packages)
run("node", "out/client.js", url, token, cwd=packages)
