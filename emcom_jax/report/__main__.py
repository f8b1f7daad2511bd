"""Makes the reports of runs again, from their files: python -m emcom_jax.report RUN_DIR ..."""

import argparse
import sys
from collections.abc import Sequence

from emcom_jax.report import page
from emcom_jax.runtime.run_directory import RunDirectoryError


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 if a folder is no run (the others are reported on)."""
    parser = argparse.ArgumentParser(
        prog='python -m emcom_jax.report',
        description='Writes report.html, pictures/ and messages.jsonl into run directories.',
    )
    parser.add_argument('run_dirs', nargs='+', metavar='RUN_DIR', help='such as runs/lewis')
    status = 0
    for run_dir in parser.parse_args(argv).run_dirs:
        try:
            report = page.make(run_dir)
        except (RunDirectoryError, OSError) as error:
            print(f'error: {error}', file=sys.stderr)
            status = 2
            continue
        print(report.path)
        for sentence in report.missing:
            print(f'  {sentence}', file=sys.stderr)
    return status


if __name__ == '__main__':
    sys.exit(main())
