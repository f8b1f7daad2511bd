"""Tries a claim: python -m benchmarks.reproductions CLAIM [--out runs/reproductions]

Makes the runs (the same command again goes on where it was stopped), writes CLAIM.png and CLAIM.md
into --out, and prints the numbers.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.reproductions import (
    candidates,
    drawing,
    generations,
    imitation,
    kl,
    partitioned,
    strangers,
    strokes,
    talk_attention,
    talk_bits,
    talk_length,
    vision,
    worlds,
)
from emcom_jax.sweep import SweepError, run_all

CLAIMS = {
    'kl': kl.CLAIM,
    'candidates': candidates.CLAIM,
    'imitation': imitation.CLAIM,
    'partitioned': partitioned.CLAIM,
    'generations': generations.CLAIM,
    'worlds': worlds.CLAIM,
    'vision': vision.CLAIM,
    'drawing': drawing.CLAIM,
    'strokes': strokes.CLAIM,
    'strangers': strangers.CLAIM,
    'talk_length': talk_length.CLAIM,
    'talk_bits': talk_bits.CLAIM,
    'talk_attention': talk_attention.CLAIM,
}


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.reproductions')
    parser.add_argument('claim', choices=CLAIMS)
    parser.add_argument('--out', type=Path, default=Path('runs/reproductions'))
    options = parser.parse_args()
    claim, root = CLAIMS[options.claim], options.out / options.claim
    started = time.time()
    try:
        run_all(claim.runs(root))
    except SweepError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    for out, flags in claim.crossed(root).items():
        if not (out / 'cross_play.json').exists():
            command = [sys.executable, '-m', 'emcom_jax.evaluation', *flags, f'--out={out}']
            subprocess.run(command, check=True)
    figure, text = claim.conclude(root)
    figure.savefig(options.out / f'{options.claim}.png', dpi=130)
    (options.out / f'{options.claim}.md').write_text(text + '\n')
    print(f'\n{text}\n\n{time.time() - started:.0f} s; figure: {options.out}/{options.claim}.png')
    return 0


if __name__ == '__main__':
    sys.exit(main())
