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


def with_columns(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary whose dicts are the columns of a table: those of a linear evaluation, too, by
    source and by the number of images whose labels are known."""
    rest = dict(summary)
    columns = rest.pop('linear_evaluation', {})

    def place(name: str) -> tuple[str, float]:
        return name.rpartition('@')[0], columns[name]['labelled_images']

    return rest | {name: columns[name] for name in sorted(columns, key=place)}
