"""A real headless Chromium, driven through WebDriver by Debian's chromedriver: plain HTTP."""

import base64
import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ENTER, RIGHT, DOWN = '\ue007', '\ue014', '\ue015'  # As WebDriver writes keys.
_ELEMENT = 'element-6066-11e4-a52e-4f735466cecf'  # By this name it refers to elements.
_OPTIONS = ('--headless=new', '--no-sandbox', '--disable-dev-shm-usage', '--window-size=1100,760')


class Browser:
    """One tab; what it waits for is there within 20 s, or the driver complains."""

    def __init__(self, port: int, session: str):
        self._port, self._session = port, session

    def ask(self, method: str, path: str, sent: Any = None) -> Any:
        return _ask(self._port, method, f'/session/{self._session}{path}', sent)

    def open(self, url: str) -> None:
        self.ask('POST', '/url', {'url': url})

    def run(self, script: str) -> Any:
        return self.ask('POST', '/execute/sync', {'script': script, 'args': []})

    def wait(self, condition: str) -> None:
        """Until an expression of JavaScript is true."""
        script = (
            'const done = arguments[0];'
            f'(function look() {{ ({condition}) ? done() : setTimeout(look, 20); }})();'
        )
        self.ask('POST', '/execute/async', {'script': script, 'args': []})

    def type(self, keys: str) -> None:
        """Presses keys wherever the focus is."""
        focused = self.ask('GET', '/element/active')[_ELEMENT]
        self.ask('POST', f'/element/{focused}/value', {'text': keys})

    def click(self, selector: str) -> None:
        found = self.ask('POST', '/element', {'using': 'css selector', 'value': selector})
        self.ask('POST', f'/element/{found[_ELEMENT]}/click', {})

    def another_tab(self) -> None:
        """Opens a tab, and closes the one that was there."""
        tab = self.ask('POST', '/window/new', {'type': 'tab'})['handle']
        self.ask('DELETE', '/window')
        self.ask('POST', '/window', {'handle': tab})

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask('GET', '/screenshot')))


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """profile: a folder for what it remembers."""
    names = ('chromedriver', 'chromium')
    driver, program = map(shutil.which, names)
    assert driver and program, 'apt-get install chromium chromium-driver'
    process = subprocess.Popen([driver, '--port=0'], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = (re.search(r'successfully on port (\d+)', line) for line in process.stdout)
        port = next(int(found[1]) for found in said if found)
        options = {'binary': program, 'args': [*_OPTIONS, f'--user-data-dir={profile}']}
        wanted = {'goog:chromeOptions': options, 'timeouts': {'script': 20_000, 'pageLoad': 20_000}}
        made = _ask(port, 'POST', '/session', {'capabilities': {'alwaysMatch': wanted}})
        browser = Browser(port, made['sessionId'])
        try:
            yield browser
        finally:
            browser.ask('DELETE', '')
    finally:
        process.terminate()
        process.communicate()


def _ask(port: int, method: str, path: str, sent: Any = None) -> Any:
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    try:
        body = None if sent is None else json.dumps(sent)
        connection.request(method, path, body, {'Content-Type': 'application/json'})
        response = connection.getresponse()
        value = json.loads(response.read())['value']
        assert response.status == 200, value
        return value
    finally:
        connection.close()
