"""A page where a person is the receiver: python -m emcom_jax.report.play RUN_DIR ...

Answers are appended to human_games.jsonl in the run directory of the setting, before the page goes
on; --analyse tells how well people understood, beside the agents.
"""

import argparse
import base64
import hashlib
import ipaddress
import json
import math
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:  # What loads games takes its time, and --help is for people in a hurry.
    from emcom_jax.report.human_games import Setting

PARTICIPANT = r'\w[\w.-]{0,39}'
_LONGEST = 4096  # Bytes of what a page may send.
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

    def __init__(self, settings: 'Sequence[Setting]', feedback: bool):
        """feedback: tell people whether they were right, and what was right."""
        self.settings = settings
        self.feedback = feedback

    def next_game(self, participant: str) -> dict[str, Any]:
        """What the page shows next: a game, or 'done'; with how many were played, of how many.

        Raises:
          Refusal: that is no id of a participant.
        """
        from emcom_jax.report import human_answers, human_games

        _check_participant(participant)
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
        from emcom_jax.report import human_answers

        if not isinstance(sent, dict):
            raise Refusal(400, 'An answer must be an object of JSON.')
        participant = sent.get('participant')
        _check_participant(participant)
        setting = self.settings[_index(sent, 'setting', len(self.settings))]
        if sent.get('games') != setting.digest:
            raise Refusal(409, 'These games are no longer played here: reload the page.')
        number = _index(sent, 'game', len(setting.games))
        game = setting.games[number]
        picked = _index(sent, 'picked', len(game.candidates))
        seconds = sent.get('seconds')
        if type(seconds) not in (int, float) or not 0 <= seconds < math.inf:
            raise Refusal(400, "An answer's 'seconds' must be a number that is not negative.")
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
                'seconds': round(float(seconds), 3),
                'answered_at': datetime.now(UTC).isoformat(timespec='seconds'),
            },
        )
        if not added:
            raise Refusal(409, 'This game was answered before, perhaps in another tab.')
        if not self.feedback:
            return {}
        return {'target': game.target, 'correct': picked == game.target}


def _check_participant(participant: Any) -> None:
    if not isinstance(participant, str) or not re.fullmatch(PARTICIPANT, participant):
        raise Refusal(
            400,
            'A participant id must be of letters, digits, dots, dashes and underscores, 40 at most.',
        )


def _index(sent: dict[str, Any], key: str, size: int) -> int:
    value = sent.get(key)
    if type(value) is not int or not 0 <= value < size:
        raise Refusal(400, f"An answer's {key!r} must be a whole number from 0 to {size - 1}.")
    return value


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
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f'http://{self.host}:{self.server_address[1]}/'

    def serves(self, host: str) -> bool:
        """Whether this is a name by which people may reach the server, from the header Host. A page
        of another site can make its own name lead here, but not an address."""
        name = urlsplit(f'//{host}').hostname
        if name in (self.host, 'localhost'):
            return True
        try:
            address = ipaddress.ip_address(name or '')
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

    def _serve(self, respond: Any) -> None:
        try:
            host = self.headers.get('Host', '')
            try:
                known = self.server.serves(host)
            except ValueError:  # No name or address at all.
                known = False
            if not known:
                raise Refusal(403, 'This server is not called so: use the address that it printed.')
            status, kind, content = 200, *respond()
        except Refusal as refusal:
            status, kind, content = (
                refusal.status,
                'application/json',
                _json({'error': f'{refusal}'}),
            )
        except (OSError, ValueError) as error:  # Such as a full disk, or a damaged file.
            print(f'error: {error}', file=sys.stderr)
            status, kind = 500, 'application/json'
            content = _json({'error': 'The answers cannot be read or written; tell who runs this.'})
        self.send_response(status)
        self.send_header('Content-Type', f'{kind}; charset=utf-8')
        self.send_header('Content-Length', str(len(content)))
        self.send_header('Content-Security-Policy', self.server.policy)
        self.send_header('X-Content-Type-Options', 'nosniff')
        self.send_header('Referrer-Policy', 'no-referrer')
        self.send_header('Cache-Control', 'no-store')
        self.end_headers()
        self.wfile.write(content)

    def _get(self) -> tuple[str, bytes]:
        asked = urlsplit(self.path)
        if asked.path == '/':
            return 'text/html', self.server.page
        if asked.path == '/game':
            participant = parse_qs(asked.query).get('participant', [''])[0]
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


# --- the command ----------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 where something is not as it should be."""
    parser = argparse.ArgumentParser(
        prog='python -m emcom_jax.report.play',
        description='People as receivers: serves a page with messages of runs and candidates to '
        'pick from, or tells how well people understood. Answers go to human_games.jsonl in the '
        'run directories. Who comes again with the same participant id goes on.',
    )
    parser.add_argument('run_dirs', nargs='+', metavar='RUN_DIR', help='such as runs/sketching')
    parser.add_argument('--analyse', action='store_true', help='tell how well people understood')
    parser.add_argument('--games', type=int, default=30, help='of each run (default: 30)')
    parser.add_argument('--seed', type=int, default=0, help='of the draw of games (default: 0)')
    parser.add_argument('--split', default='test', help='of the records (default: test)')
    parser.add_argument('--feedback', action='store_true', help='tell people what was right')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='another address to listen at; others than this machine may then play, and read what '
        'they play with (default: 127.0.0.1)',
    )
    parser.add_argument('--port', type=int, default=8000, help='0 for any (default: 8000)')
    flags = parser.parse_args(argv)
    for name, low, high in (('games', 1, 10**6), ('seed', 0, 2**63), ('port', 0, 65535)):
        value = getattr(flags, name)
        if not low <= value <= high:
            parser.error(f'--{name} must be from {low} to {high}, got {value}')
    run_dirs = [Path(run_dir) for run_dir in flags.run_dirs]
    if len({path.resolve() for path in run_dirs}) < len(run_dirs):
        parser.error('a run directory is named twice')

    from emcom_jax.runtime.run_directory import RunDirectoryError

    try:
        return _analyse(run_dirs) if flags.analyse else _play(run_dirs, flags)
    except (RunDirectoryError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2


def _analyse(run_dirs: Sequence[Path]) -> int:
    from emcom_jax.report import human_answers
    from emcom_jax.runtime.files import write_json

    found = []
    for run_dir in run_dirs:
        settings = human_answers.analyse(human_answers.read(run_dir))
        if not settings:
            raise ValueError(f'nobody has played the games of {run_dir}: serve them first')
        write_json(run_dir / human_answers.ANALYSIS, settings)
        found.append((run_dir.resolve().name, settings))
    print(human_answers.table(found))
    return 0


def _play(run_dirs: Sequence[Path], flags: argparse.Namespace) -> int:
    from emcom_jax.report import human_answers, human_games

    settings = [
        human_games.load(run_dir, flags.split, flags.games, flags.seed) for run_dir in run_dirs
    ]
    for setting in settings:
        human_answers.read(setting.run_dir)  # If it is damaged, say so before people come.
        if len(setting.games) < flags.games:
            print(f'{setting.run_dir} has {len(setting.games)} games, not {flags.games}.')
    try:
        server = Server(Session(settings, flags.feedback), flags.host, flags.port)
    except OSError as error:
        raise OSError(
            f'cannot listen at {flags.host}, port {flags.port} ({error.strerror}): choose another '
            '--host or --port'
        ) from None
    with server:
        if not is_loopback(flags.host):
            print('Everybody who can reach this machine can play.')
        print(
            f'Open {server.url} in a browser; Ctrl+C ends this, and no answer is lost.', flush=True
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == '__main__':
    sys.exit(main())
