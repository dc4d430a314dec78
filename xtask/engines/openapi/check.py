"""Compares what /api/openapi.json says with what a running server does, by made-up requests.

    python check.py http://127.0.0.1:8080 demo PASSWORD

Once as a program with a token, once as a person with a session.
"""

import http.cookiejar
import json
import subprocess
import sys
import urllib.request

url, name, password = sys.argv[1:]
jar = http.cookiejar.CookieJar()
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))


def post(path, body):
    headers = {"content-type": "application/json", "origin": url}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)
    return json.load(browser.open(request, timeout=30))


def check(who, *options):
    print(f"as {who}", flush=True)
    # A good password can't be described by a pattern, and where two ways to sign in are open, a wrong
    # cookie beside a right token is no fault.
    left_out = "ignored_auth,positive_data_acceptance"
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/openapi.json", *options]
    command += ["--checks", "all", "--exclude-checks", left_out, "--max-examples", "25", "--no-color"]
    command += ["--continue-on-failure", "--warnings", "off", "--request-timeout", "30"]
    subprocess.run(command, check=True, timeout=600)


post("/api/login", {"name": name, "password": password})
token = post("/api/tokens", {"name": "check"})["token"]
check("a program", "--header", f"Authorization: Bearer {token}")

cookie = "; ".join(f"{it.name}={it.value}" for it in jar)
# Signing in and out would end the session that the rest is asked with.
without = [option for path in ("/api/login", "/api/logout", "/api/register") for option in ("--exclude-path", path)]
check("a person", "--header", f"Cookie: {cookie}", "--header", f"Origin: {url}", *without)
