"""Tests a running server against its /api/openapi.json, with generated requests.

    python check.py http://127.0.0.1:8080 demo PASSWORD FOLDER

Runs once as a program with a token, and once as a person with a session. Before that, generated clients read the
server's boards; their code is written to the folder.
"""

import http.cookiejar
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

url, name, password, folder = sys.argv[1:]
jar = http.cookiejar.CookieJar()
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))


def post(path, body):
    headers = {"content-type": "application/json", "origin": url}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)
    return json.load(browser.open(request, timeout=30))


def check(who, scheme, secret, *options):
    print(f"as {who}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        settings = pathlib.Path(folder, "schemathesis.toml")
        settings.write_text(f"[auth.openapi.{scheme}]\n{secret}\n")
        # A valid password can't be described by a pattern. Where two ways to sign in are allowed, a request without one
        # of them is valid.
        left_out = "ignored_auth,positive_data_acceptance"
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", settings, "run"]
        command += [f"{url}/api/openapi.json", "--checks", "all", "--exclude-checks", left_out, "--no-color"]
        command += ["--max-examples", "25", "--continue-on-failure", "--warnings", "off", "--request-timeout", "30"]
        return subprocess.run([*command, *options], timeout=600).returncode


def is_there(region):
    try:
        return browser.open(f"{url}/api/odds/{region}", timeout=30).status == 200
    except urllib.error.HTTPError as error:
        if error.code != 503:
            raise
        return False


post("/api/login", {"name": name, "password": password})
token = post("/api/tokens", {"name": "check", "password": password})["token"]
session = next(it.value for it in jar)
# Until it has read a board, the server correctly refuses to serve it.
until = time.monotonic() + 60
while not all(is_there(region) for region in ("us", "uk", "eu", "au")):
    if time.monotonic() > until:
        sys.exit("the server has not read all boards within a minute")
    time.sleep(0.2)
clients = pathlib.Path(__file__).with_name("clients.py")
subprocess.run([sys.executable, clients, url, token, folder], check=True, timeout=600)
wrong = check("a program", "token", f'bearer = "{token}"')
# Signing in and out would end the session that the other requests use.
without = [option for path in ("/api/login", "/api/logout", "/api/register", "/api/sessions/{id}") for option in ("--exclude-path", path)]
wrong += check("a person", "session", f'api_key = "{session}"', "--header", f"Origin: {url}", *without)
sys.exit(1 if wrong else 0)
