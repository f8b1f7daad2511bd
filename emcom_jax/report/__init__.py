"""Reports: a run directory becomes a page, pictures and a file of messages, without the model.

python -m emcom_jax.report RUN_DIR [RUN_DIR ...]
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def make_report(run_dir: str | Path) -> Path:
    """Writes report.html, pictures/ and messages.jsonl into a run directory, from its files alone.

    What a run does not have (yet) is left out, and the page says so.

    Returns:
      The path of report.html.

    Raises:
      RunDirectoryError: `run_dir` is not a run.
    """
    from emcom_jax.report import page  # Training imports this; matplotlib may wait for its end.

    return page.make(Path(run_dir)).path


def columns_of(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The columns of the table of a summary: its splits, and those of a linear evaluation, by
    source and by the number of images whose labels are known. The noise ladder has its own."""
    apart = ('linear_evaluation', 'noise')
    splits = {k: v for k, v in summary.items() if isinstance(v, dict) and k not in apart}
    linear = summary.get('linear_evaluation', {})

    def place(name: str) -> tuple[str, float]:
        return name.rpartition('@')[0], linear[name]['labelled_images']

    return splits | {name: linear[name] for name in sorted(linear, key=place)}
