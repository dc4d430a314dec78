"""Compares what /api/openapi.json says with what a running server does, by made-up requests.

    python check.py http://127.0.0.1:8080 demo PASSWORD FOLDER

Once as a program with a token, once as a person with a session. Before that, generated clients read its boards: what
they are made of goes into the folder.
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
        # A good password can't be described by a pattern, and where two ways to sign in are open, the one
        # that is left out is no fault.
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
# Until the boards are read, they are refused, and rightly.
until = time.monotonic() + 60
while not all(is_there(region) for region in ("us", "uk", "eu", "au")):
    if time.monotonic() > until:
        sys.exit("the boards are not read within a minute")
    time.sleep(0.2)
clients = pathlib.Path(__file__).with_name("clients.py")
subprocess.run([sys.executable, clients, url, token, folder], check=True, timeout=600)
wrong = check("a program", "token", f'bearer = "{token}"')
# Signing in and out would end the session that the rest is asked with.
without = [option for path in ("/api/login", "/api/logout", "/api/register", "/api/sessions/{id}") for option in ("--exclude-path", path)]
wrong += check("a person", "session", f'api_key = "{session}"', "--header", f"Origin: {url}", *without)
sys.exit(1 if wrong else 0)
