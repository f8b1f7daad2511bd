"""A page where a person is the receiver: python -m emcom_jax.report.play RUN_DIR ...

Answers are appended to human_games.jsonl in the run directory of the setting, before the page goes
on; --analyse tells how well people understood, beside the agents.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# What reads runs takes its time to import, and --help is for people in a hurry: it waits.


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
    from emcom_jax.report.play_server import Server, Session, is_loopback

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
