"""The server of the page where people play: games of several settings, answers to the disk."""

import base64
import contextlib
import hashlib
import ipaddress
import json
import re
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from emcom_jax.report import human_answers, human_games

PARTICIPANT = r'[\w.-]{1,40}'
_LONGEST = 4096  # Bytes of what a page may send.
_LONGEST_WAIT = 10**7  # Seconds.
_PATIENCE = 30  # Seconds that a connection may be silent.


class Refusal(Exception):
    """A request that is not served. status: of HTTP; the message is one sentence for people."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


class Session:
    """Settings that participants play one after the other, each game once.

    What was played is read off the answers on the disk, so nothing is lost with the process.
    """

    def __init__(self, settings: Sequence[human_games.Setting], feedback: bool):
        """feedback: tell people whether they were right, and what was right."""
        self.settings = settings
        self.feedback = feedback

    def next_game(self, participant: str) -> dict[str, Any]:
        """What the page shows next: a game, or 'done'; with how many were played, of how many.

        Raises:
          Refusal: that is no id of a participant.
        """
        _participant(participant)
        left: list[tuple[int, int]] = []
        for number, setting in enumerate(self.settings):
            played = human_answers.played(
                setting.run_dir, setting.digest, self.feedback, participant
            )
            left += [(number, game) for game in range(len(setting.games)) if game not in played]
        total = sum(len(setting.games) for setting in self.settings)
        about = {'played': total - len(left), 'total': total, 'done': not left}
        if not left:
            return about
        number, game = left[0]
        setting = self.settings[number]
        return {
            **about,
            'part': number + 1,
            'parts': len(self.settings),
            'feedback': self.feedback,
            'id': {'setting': number, 'games': setting.digest, 'game': game},
            **human_games.shown(setting.games[game]),
        }

    def answer(self, sent: Any) -> dict[str, Any]:
        """Keeps an answer {'participant', 'setting', 'games', 'game', 'picked', 'seconds'}.

        Returns:
          What the page may tell: 'target' and 'correct' with feedback, else nothing.

        Raises:
          Refusal: it is no answer to a game of this session, or that was answered before.
        """
        if not isinstance(sent, dict):
            raise Refusal(400, 'An answer must be an object of JSON.')
        participant = _participant(sent.get('participant'))
        setting = self.settings[_index(sent, 'setting', len(self.settings))]
        if sent.get('games') != setting.digest:
            raise Refusal(409, 'These games are no longer played here: reload the page.')
        number = _index(sent, 'game', len(setting.games))
        game = setting.games[number]
        picked = _index(sent, 'picked', len(game.candidates))
        seconds = _seconds(sent)
        added = human_answers.add(
            setting.run_dir,
            {
                'participant': participant,
                'games': setting.digest,
                'game': number,
                'of': len(setting.games),
                'feedback': self.feedback,
                'split': setting.split,
                'step': setting.step,
                'row': game.row,
                'candidates': len(game.candidates),
                'target': game.target,
                'picked': picked,
                'correct': picked == game.target,
                'same_class': None if game.same_class is None else game.same_class[picked],
                'agent': game.agent,
                'agent_class': game.agent_class,
                'seconds': round(seconds, 3),
                'answered_at': datetime.now(UTC).isoformat(timespec='seconds'),
            },
        )
        if not added:
            raise Refusal(409, 'This game was answered before, perhaps in another tab.')
        if not self.feedback:
            return {}
        return {'target': game.target, 'correct': picked == game.target}


def _participant(participant: Any) -> str:
    if not isinstance(participant, str) or not re.fullmatch(PARTICIPANT, participant):
        raise Refusal(
            400,
            'A participant id must be of letters, digits, dots, dashes and underscores, not more '
            'than 40.',
        )
    return participant


def _index(sent: dict[str, Any], key: str, size: int) -> int:
    value = sent.get(key)
    if type(value) is not int or not 0 <= value < size:
        raise Refusal(400, f"An answer's {key!r} must be a whole number from 0 to {size - 1}.")
    return value


def _seconds(sent: dict[str, Any]) -> float:
    value = sent.get('seconds')
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 <= value <= _LONGEST_WAIT:
            return float(value)
    raise Refusal(400, f"An answer's 'seconds' must be a number from 0 to {_LONGEST_WAIT}.")


# --- the server -----------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Serves the page, and what it asks for, until it is shut down."""

    daemon_threads = True

    def __init__(self, session: Session, host: str = '127.0.0.1', port: int = 0):
        """port: 0 for any that is free.

        Raises:
          OSError: it cannot listen there.
        """
        self.session = session
        self.host = host
        self.page = Path(__file__).with_name('play.html').read_bytes()
        # Nothing but what is in the page may run in it, style it, or be asked by it.
        parts = {
            f'{kind}-src': f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"
            for kind, tag in (('script', b'script'), ('style', b'style'))
            for text in re.findall(b'<%b>(.*?)</%b>' % (tag, tag), self.page, re.DOTALL)
        }
        parts |= {'img-src': 'data:', 'connect-src': "'self'", 'frame-ancestors': "'none'"}
        parts |= {'default-src': "'none'", 'base-uri': "'none'", 'form-action': "'none'"}
        self.policy = '; '.join(f'{name} {value}' for name, value in parts.items())
        self.address_family = socket.AF_INET6 if ':' in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        host = f'[{self.host}]' if ':' in self.host else self.host
        return f'http://{host}:{self.server_address[1]}/'

    def serves(self, host: str) -> bool:
        """Whether this is a name by which people may reach the server, from the header Host. A page
        of another site can make its own name lead here, but not an address."""
        try:
            name = urlsplit(f'//{host}').hostname or ''
            if name in (self.host, 'localhost'):
                return True
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = _PATIENCE

    def do_GET(self) -> None:
        self._serve(self._get)

    def do_POST(self) -> None:
        self._serve(self._post)

    def _serve(self, respond: Callable[[], tuple[str, bytes]]) -> None:
        status, kind = 200, 'application/json'
        try:
            if not self.server.serves(self.headers.get('Host', '')):
                raise Refusal(403, 'This server is not called so: use the address that it printed.')
            kind, content = respond()
        except Refusal as refusal:
            status, content = refusal.status, _json({'error': str(refusal)})
        except (OSError, ValueError) as error:  # Such as a full disk, or a damaged file.
            print(f'error: {error}', file=sys.stderr)
            status = 500
            content = _json({'error': 'The answers cannot be read or written: tell who runs this.'})
        self.send_response(status)
        self.send_header('Content-Type', f'{kind}; charset=utf-8')
        self.send_header('Content-Length', str(len(content)))
        self.send_header('Content-Security-Policy', self.server.policy)
        self.send_header('X-Content-Type-Options', 'nosniff')
        self.send_header('Referrer-Policy', 'no-referrer')
        self.send_header('Cache-Control', 'no-store')
        with contextlib.suppress(ConnectionError):  # The tab was closed.
            self.end_headers()
            self.wfile.write(content)

    def _get(self) -> tuple[str, bytes]:
        path, _, query = self.path.partition('?')
        if path == '/':
            return 'text/html', self.server.page
        if path == '/game':
            participant = parse_qs(query).get('participant', [''])[0]
            return 'application/json', _json(self.server.session.next_game(participant))
        raise Refusal(404, 'There is nothing here.')

    def _post(self) -> tuple[str, bytes]:
        if self.path != '/answer':
            raise Refusal(404, 'There is nothing here.')
        # A form of another site cannot send JSON, and no script can hide where it is from.
        if self.headers.get('Origin') != f'http://{self.headers["Host"]}':
            raise Refusal(403, 'Answers are taken from the page of this server alone.')
        if self.headers.get_content_type() != 'application/json':
            raise Refusal(415, 'An answer must be sent as application/json.')
        length = self.headers.get('Content-Length', '')
        if not re.fullmatch(r'\d{1,9}', length, re.ASCII):
            raise Refusal(411, 'An answer must say how long it is.')
        if int(length) > _LONGEST:
            raise Refusal(413, f'An answer must not be longer than {_LONGEST} bytes.')
        try:
            sent = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Refusal(400, 'An answer must be an object of JSON.') from None
        return 'application/json', _json(self.server.session.answer(sent))

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: answers are on the disk."""


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()
