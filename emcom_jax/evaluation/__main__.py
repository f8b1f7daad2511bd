"""Cross-play of runs: python -m emcom_jax.evaluation --runs runs/a runs/b. See --help."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

DESCRIPTION = """\
Cross-play: lets every speaker with every listener of the given runs play on a split, greedily, with
the agents of each run's best checkpoint. Agents of different runs, and of different replicas of one
run, have never met: they are strangers. The runs must have played the same game with messages of
one kind (vocabulary, length) on the same data; sizes and kinds of networks may differ.
"""

EPILOG = """\
With --input_noise or --channel_noise everything is played twice, without noise and with it, and the
relative drop of accuracy is stated (robustness; Chaabouni et al. 2022).

With --data agents play on data that they have never seen (zero-shot transfer), which must have as
many features. They see them as they saw their own: standardised, if they were, by the means and
deviations of their own training split.

Examples:
    python -m emcom_jax.evaluation --runs runs/a runs/b --input_noise 0.5
    python -m emcom_jax.evaluation --runs runs/imagenet --data byol_celeb_a2
    python -m emcom_jax.evaluation --runs runs/a runs/b --split ood --out runs/a_with_b
"""


class _Parser(argparse.ArgumentParser):
    """One sentence for a mistake, as everywhere in the house."""

    def error(self, message: str) -> Any:
        print(f'error: {message} (--help explains)', file=sys.stderr)
        sys.exit(2)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 after a mistake of the user."""
    options = _parse(argv)
    # Imported after the options are read, so that --help and a mistake answer at once.
    from emcom_jax.evaluation.command import run
    from emcom_jax.runtime.run_directory import RunDirectoryError

    try:
        run(options)
    except (RunDirectoryError, ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog='python -m emcom_jax.evaluation',
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add('--runs', nargs='+', required=True, metavar='RUN_DIR', help='run directories, one or more')
    add('--split', default='test', help='split to play on (default: test)')
    add(
        '--input_noise',
        type=float,
        metavar='DEVIATIONS',
        help='Gaussian noise of what agents see, for each its own, in standard deviations of each '
        'feature',
    )
    add('--channel_noise', type=float, metavar='RATE', help='rate at which symbols are replaced')
    add('--data', metavar='NAME', help='play on this dataset instead of that of the runs')
    add('--data_path', metavar='PATH', help='where the data lie, if not where the runs found them')
    add(
        '--num_candidates',
        type=int,
        nargs='+',
        metavar='C',
        help='numbers of candidates (default: those of the runs)',
    )
    add(
        '--seed',
        type=int,
        default=42,
        help='of candidates and noise (default: 42, that of the first replica of a recipe)',
    )
    add(
        '--out',
        default='runs/cross_play',
        metavar='DIR',
        help='where to write cross_play.{json,npz,png} (default: runs/cross_play)',
    )
    return parser.parse_args(argv)


if __name__ == '__main__':
    sys.exit(main())
