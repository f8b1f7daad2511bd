"""One run: its directory, checkpoints and writers, and how an experiment is carried through."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxline import train as jaxline_train
from jaxline.experiment import AbstractExperiment
from ml_collections import ConfigDict

from emcom_jax import estimates
from emcom_jax.metrics import noise, records
from emcom_jax.report import columns_of, make_report
from emcom_jax.runtime import flags, pod
from emcom_jax.runtime.checkpoints import Checkpointer
from emcom_jax.runtime.devices import prepare_jaxline
from emcom_jax.runtime.files import write_arrays, write_json
from emcom_jax.runtime.preemption import Preemption
from emcom_jax.runtime.progress import Progress
from emcom_jax.runtime.run_directory import RunDirectory, open_run
from emcom_jax.runtime.writers import Writer
from emcom_jax.types import EvalRecord, Source


class Preempted(Exception):
    """Training was asked to stop, and has saved."""

    def __init__(self, signal: str, step: int):
        """signal: its name, such as 'SIGTERM'."""
        self.signal = signal
        super().__init__(f'stopped by {signal} at step {step}; the same command goes on from there')


class Run:
    """What an experiment needs of the outside world while it trains or evaluates."""

    def __init__(self, config: ConfigDict, directory: RunDirectory, mode: str):
        self.directory = directory
        self._config = config
        # Of the processes of a pod, the first one writes.
        self._writes = mode == 'train' and pod.is_chief()
        self.writer = None
        if self._writes:
            self.writer = Writer(directory.metrics, directory.tensorboard)
        self.checkpointer = Checkpointer(
            directory.checkpoints,
            max_to_keep=config.max_checkpoints_to_keep,
            read_only=mode != 'train',
        )

    def begin(self, step: int) -> None:
        """Goes on from `step`: what was written after it will be written again."""
        if self.writer is not None:
            self.writer.cut_back(step)

    def log(self, step: int, split: str, values: dict[str, Any]) -> None:
        """Writes the values of an evaluation."""
        if self.writer is not None:
            self.writer.write(step, split, values)

    @contextmanager
    def watch(self, step: int) -> Iterator[tuple[Progress, Preemption]]:
        """Shows progress and listens for signals while training goes on from `step`."""
        config = self._config
        updates = config.population.pairs_per_step * config.replicas
        progress = Progress(config.training_steps, step, updates_per_step=updates)
        with Preemption() as preemption, progress:
            yield progress, preemption

    def describe(self, source: Source) -> None:
        """Writes source.json: what a report must know of the data to show them."""
        if self._writes:
            about = {
                'name': source.name,
                'image_shape': source.image_shape,
                'num_values': source.num_values,
            }
            write_json(self.directory.path / 'source.json', about)

    def keep_record(self, record: EvalRecord, replica: int) -> None:
        """Saves a record for metrics and reports; the last one of training stays, and a one-off
        evaluation makes only one that is missing. Of drawings, some of each validation stay."""
        path = self.directory.record(record.split, self._number(replica))
        if self._writes or (pod.is_chief() and not path.exists()):
            path.parent.mkdir(exist_ok=True)
            records.save(record, path)
        if self._writes and record.games and record.split == 'valid' and replica == 0:
            rows, picked = record.games['rows'], record.games['picked']
            drawn = record.messages[:, rows]
            self.directory.sketches.mkdir(exist_ok=True)
            path = self.directory.sketches / f'{record.step}.npz'
            self.keep_arrays(path, messages=drawn, picked=picked)

    def keep_untrained(self) -> None:
        """Keeps the validation records, for good, as those of untrained speakers."""
        if self._writes:
            for replica in range(self._config.replicas):
                untrained = self.directory.record('untrained', self._number(replica))
                records.save(self.read_record('valid', replica), untrained)

    def read_record(self, split: str, replica: int) -> EvalRecord:
        """The record of the last evaluation on a split."""
        return records.load(self.directory.record(split, self._number(replica)))

    def keep_arrays(self, path: Path, **arrays: np.ndarray) -> None:
        """Writes arrays [...] by name to a .npz file, whole or not at all."""
        if self._writes:
            write_arrays(path, arrays)

    def _number(self, replica: int) -> int | None:
        """By which the files of a replica are told apart, if there are several."""
        return replica if self._config.replicas > 1 else None


def train(experiment_class: type[AbstractExperiment], config: ConfigDict, run: Run) -> dict:
    """Trains under jaxline, from the newest checkpoint if there is one; then evaluates the best.

    Returns the summary, which is also in the run directory.
    """
    made = []

    def make(mode: str, init_rng: Any, config: ConfigDict) -> AbstractExperiment:
        made.append(experiment_class(mode, init_rng, config, run))
        return made[0]

    prepare_jaxline()
    jaxline_train.train(make, flags.to_jaxline(config), run.checkpointer, run.writer)
    state = run.checkpointer.get_experiment_state('latest')
    step, experiment = state.global_step, made[0]
    stopped = experiment.stopped
    # All that was trained is saved; from here on the experiment holds the best agents.
    pod.wait('saved')
    run.checkpointer.restore('best')
    summary = {'step': step, 'best_step': state.global_step, 'stopped': stopped}
    with Preemption() as preemption:
        for split in experiment.splits:
            summary[split] = experiment.evaluate_on(split, state.global_step)
            if signal := preemption.asked():
                raise Preempted(signal, step)
            if split not in ('train', 'valid'):  # Lines of these are of training.
                run.log(state.global_step, split, summary[split])
    pod.wait('evaluated')  # It may read records.
    summary |= experiment.conclude()
    if run.writer is not None:
        summary['wall_s'] = round(run.writer.seconds(), 1)
    return summary


def evaluate(
    experiment_class: type[AbstractExperiment], config: ConfigDict, run: Run, mode: str
) -> dict:
    """Evaluates the best checkpoint (else the latest) of a run; `mode` is eval_<split>."""
    values: dict[str, Any] = {}

    class Keep:
        """Takes the values that jaxline hands to its writer."""

        def write_scalars(self, global_step: int, scalars: dict) -> None:
            values.update(step=global_step, **{mode.removeprefix('eval_'): scalars})
            if pod.is_chief():
                how = config.evaluation.to_dict()
                run.directory.add_evaluation(values | {'evaluation': how})

    def make(mode: str, init_rng: Any, config: ConfigDict) -> AbstractExperiment:
        return experiment_class(mode, init_rng, config, run)

    if not run.checkpointer.can_be_restored():
        raise ValueError(f'{run.directory} has no checkpoint to evaluate: train it first')
    prepare_jaxline()
    jaxline_train.evaluate(make, flags.to_jaxline(config), run.checkpointer, Keep(), mode)
    return values


class Probe(Protocol):
    """An experiment that trains no agents: it begins again wherever it was stopped."""

    def __init__(self, config: ConfigDict): ...

    def conclude(self) -> dict[str, Any]:
        """Does it; returns the summary, with the seconds that it took as `wall_s`."""
        ...


def start(
    experiment_class: type[AbstractExperiment] | type[Probe],
    config: ConfigDict,
    config_path: str,
    mode: str,
) -> None:
    """Does what one command line asks for, and prints what came of it."""
    chief = pod.is_chief()
    trains = issubclass(experiment_class, AbstractExperiment)
    if mode != 'train' and not trains:
        raise ValueError(
            f'--jaxline_mode={mode} means nothing for experiment={config.experiment!r}, which '
            'evaluates as it is: leave it out'
        )
    directory = open_run(config, config_path, train=mode == 'train', chief=chief)
    pod.wait('opened')
    if mode != 'train':
        show(evaluate(experiment_class, config, Run(config, directory, mode), mode))
        return
    if directory.is_finished(config.training_steps):
        summary = directory.read_summary() or {}
        show(summary)
        if chief and not (directory.path / 'report.html').exists():
            make_report(directory.path)
        more = 'raise --config.training_steps to go on, or '
        if summary.get('stopped'):
            more = f'it stopped early, as {summary["stopped"]}; to train anew, '
        print(f'{directory} is finished; {more}choose another --config.run_dir')
        return
    if trains:
        summary = train(experiment_class, config, Run(config, directory, mode))
    else:
        summary = experiment_class(config).conclude()
    if chief:
        directory.write_summary(summary)
        show(summary)
        page = make_report(directory.path)
        print(f'{summary["wall_s"]:.0f} s on {os.cpu_count()} CPU cores')
        print(f'run directory: {directory}\nreport:        {page}')


_BOUNDS = ('accuracy_chance', 'accuracy_ceiling')  # They have columns of their own.
# Beside the accuracies under interventions, these say little more: the report has them.
_ONLY_IN_REPORT = ('guess_change', 'accuracy_intact', 'intervention_examples')


def show(summary: dict[str, Any]) -> None:
    """Prints the single values of each split as a table, intervals beside what they belong to."""
    splits = columns_of(summary)
    # Splits of different sizes have different numbers of candidates.
    names = [
        name
        for name, value in {k: v for split in splits.values() for k, v in split.items()}.items()
        if not isinstance(value, list)
        and estimates.split_name(name)[1] == ''
        and not name.startswith((*_ONLY_IN_REPORT, *_BOUNDS))
    ]
    bounds = {name: _bounds(splits, name) for name in names}
    bounded = any(map(any, bounds.values()))
    step = summary.get('best_step', summary['step'])
    width = max(map(len, names))
    limits = '  chance  ceiling' if bounded else ''
    print(f'\n{f"step {step}":{width}}{limits}' + ''.join(f'  {split:>22}' for split in splits))
    for name in names:
        cells = ['  {:>6}  {:>7}'.format(*bounds[name])] if bounded else []
        cells += [f'  {estimates.text(values, name):>22}' for values in splits.values()]
        print(f'{name:{width}}' + ''.join(cells))
    print()
    if 'noise' in summary:
        _show_noise(summary['noise'])


def _show_noise(values: dict[str, Any]) -> None:
    """Prints what agents make of images that mean nothing: a line for each rung of the ladder."""
    rungs, counts = noise.rungs(values)
    titles = [f'{what}@{count}' for count in counts for what in ('accuracy', 'ratio')]
    print(f'{"noise":16}' + ''.join(f'  {title:>22}' for title in titles))
    for rung in rungs:
        names = [f'{what}_{rung}@{count}' for count in counts for what in ('accuracy', 'ratio')]
        cells = [estimates.text(values, name) if name in values else '' for name in names]
        print(f'{rung:16}' + ''.join(f'  {cell:>22}' for cell in cells))
    print(f'{"chance":16}' + ''.join(f'  {1 / count:>22.3f}  {"":22}' for count in counts))
    print(f'{noise.RATIO}\n')


def _bounds(splits: dict[str, dict[str, Any]], name: str) -> tuple[str, str]:
    """Chance and ceiling of an accuracy, where they are known."""
    kind, _, count = name.partition('@')
    known = {key: value for split in splits.values() for key, value in split.items()}
    if kind != 'accuracy' or f'accuracy_chance@{count}' not in known:
        return '', ''
    chance, ceiling = (known[f'{bound}@{count}'] for bound in _BOUNDS)
    return f'{chance:.3f}', f'{ceiling:.3f}'
