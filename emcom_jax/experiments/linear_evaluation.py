"""Linear evaluation: what a linear classifier can read off what the trunk of a run sees.

Dessì et al. 2021, section 4.4; Chen et al. 2020 (SimCLR), section 2.3 and appendix B.8.
"""

import itertools
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import config as config_lib
from emcom_jax import data
from emcom_jax.agents.vision import make_trunk
from emcom_jax.architectures import combinations
from emcom_jax.config import one_of, require
from emcom_jax.data.bank import make_bank
from emcom_jax.data.batches import look_at
from emcom_jax.data.decoding import Images
from emcom_jax.evaluation.setting import Setting
from emcom_jax.experiments import linear_classifier
from emcom_jax.experiments.labels import SPLITS, Task, amount_in_words, choose_labelled, make_task
from emcom_jax.experiments.linear_classifier import Classifier
from emcom_jax.experiments.trunks import read_trunks
from emcom_jax.metrics import over_replicas
from emcom_jax.metrics.accuracy import with_interval
from emcom_jax.metrics.ranking import among_first, average_precision
from emcom_jax.runtime.run_directory import RunDirectory
from emcom_jax.tables import look_up
from emcom_jax.types import Agent, Array, Bank, Sight, Source, Split

Judged = dict[str, Any]  # Numbers by name, with intervals as `metrics.with_interval` has them.
_RESAMPLES = 200  # Of the test split, for the interval of a mean average precision.


class LinearEvaluation:
    """Fits linear classifiers to the features of a run's trunk, which stays as it is; to those of a
    random trunk of the same architecture, as it is before it learns; and to pixels.

    Images are seen without augmentation, batch norm goes by its running averages, and features are
    standardised by their moments over the training split. The classifiers learn from train; valid
    decides how strong their L2 penalty is (with few labels, too); on test they are judged.
    """

    def __init__(self, config: ConfigDict):
        """Reads the trunks of the run, and the data.

        Raises:
          RunDirectoryError, ValueError, OSError: there is no run or no data to do this with.
        """
        self._options = options = config.linear_evaluation
        self._config = config
        setting = Setting(RunDirectory(config.from_run).load_config())
        whose, trunks = options.trunk, setting.game.trunks
        if trunks == 'none':
            raise ValueError(f'from_run={config.from_run!r} has no trunk: its agents see features')
        has = ('shared',) if trunks == 'shared' else ('speaker', 'listener')
        sentence = f'is not of {config.from_run}: it {one_of(*has)}'
        require(config, 'linear_evaluation.trunk', whose in has, sentence)
        self._best_step, self._trunks = read_trunks(config.from_run, setting, whose)
        role = 'speaker' if whose == 'shared' else whose
        group = combinations(setting.config)[0][0][role].trunk
        self._network = hk.transform_with_state(lambda x: make_trunk(group)(x, False).pooled)
        self._see = jax.jit(self._features)
        # Images of any source are shifted and scaled as the run's own.
        train = setting.source.splits['train']
        one = Split(_rows(train, 0, 1), {})
        self._sight = make_bank(one, 'float32', setting.standard).sight
        self._tasks = {title: make_task(title, source) for title, source in self._load(setting)}
        for title, task in self._tasks.items():
            single = task.labels['train'].ndim == 1 or not options.per_class
            sentence = f'means nothing for {title}, whose images have several classes: leave it out'
            require(config, 'linear_evaluation.per_class', single, sentence)

    @classmethod
    def resolve(cls, config: ConfigDict) -> ConfigDict:
        """Checks the config; names the trunk and the data that it leaves to the run."""
        require(config, 'from_run', config.from_run is not None, 'must name a run directory')
        source = RunDirectory(config.from_run).load_config()
        _check(config)
        resolved = ConfigDict(config.to_dict())
        options = resolved.linear_evaluation
        if options.trunk == 'auto':
            options.trunk = 'shared' if source.game.shared_trunk else 'speaker'
        options.data = options.data or (source.data.name,)
        return resolved.lock()

    def conclude(self) -> dict[str, Any]:
        """Does it, and returns the summary: `linear_evaluation` has a column for each source and
        share of labels, with the values of all features. `step`: of the optimiser of the classifier
        that took the most; `best_step`: that of the trunk."""
        begun = time.time()
        self._steps, self._converged = 0, True
        columns: dict[str, Judged] = {}
        for title, task in self._tasks.items():
            columns |= self._columns(title, task)
        return {
            'step': self._steps,
            'stopped': 'all classifiers that were chosen converged' if self._converged else '',
            'best_step': self._best_step,
            'wall_s': round(time.time() - begun, 1),
            'linear_evaluation': columns,
        }

    # --- what is seen ---

    def _load(self, setting: Setting) -> Iterator[tuple[str, Source]]:
        """The name of each source, with a number from the second of a name on, and the source."""
        own = setting.config.data
        seen: list[str] = []
        for entry in self._options.data:
            changes = {'name': entry} if isinstance(entry, str) else entry
            group = ConfigDict((own if changes['name'] == own.name else _fresh(own)).to_dict())
            group.update({key: value for key, value in changes.items()})
            same = group.to_dict() == own.to_dict()
            source = setting.source if same else data.load(group)
            if len(source.splits['train'].inputs.shape) != 4:
                raise ValueError(f'linear_evaluation.data: {source.name} has features, not images')
            seen.append(source.name)
            count = seen.count(source.name)
            yield source.name + (f' {count}' if count > 1 else ''), source

    def _features(self, trunk: Agent, sight: Sight) -> Array:
        rows = jnp.arange(sight.inputs.shape[0])
        batch = look_at(Bank(sight, {}), rows, rows, jax.random.key(0), 0.0)
        features, _ = self._network.apply(*trunk, None, batch.speaker_inputs)
        return features

    def _views(self, source: Source) -> Iterator[tuple[str, list[dict[str, np.ndarray]]]]:
        """By name, for each replica, the features [N, D] of each split, standardised."""
        replicas = range(len(jax.tree.leaves(self._trunks)[0]))
        trunks = [jax.tree.map(lambda leaf, r=r: leaf[r], self._trunks) for r in replicas]
        yield 'trunk', [self._seen_by(trunk, source) for trunk in trunks]
        image = jnp.zeros((1, *source.splits['train'].inputs.shape[1:]))
        init = jax.jit(lambda key: Agent(*self._network.init(key, image)))
        keys = (jax.random.key(self._config.random_seed + r) for r in replicas)
        yield 'random_trunk', [self._seen_by(init(key), source) for key in keys]
        if self._options.pixels:
            small = jax.jit(partial(_small, side=self._options.pixels))
            yield 'pixels', [self._in_chunks(small, source)] * len(trunks)

    def _seen_by(self, trunk: Agent, source: Source) -> dict[str, np.ndarray]:
        return self._in_chunks(lambda x: self._see(trunk, self._sight._replace(inputs=x)), source)

    def _in_chunks(self, function: Any, source: Source) -> dict[str, np.ndarray]:
        """A function of images [B, H, W, 3] -> [B, D] of each split, standardised: [N, D]."""
        found, size = {}, self._options.batch_size
        for split in SPLITS:
            images, parts = source.splits[split], []
            for start in range(0, len(images.inputs), size):
                chunk = _rows(images, start, start + size)
                full = np.zeros((size, *chunk.shape[1:]), chunk.dtype)  # One shape is compiled.
                full[: len(chunk)] = chunk
                parts.append(np.asarray(function(full))[: len(chunk)])
            found[split] = np.concatenate(parts)
            if not np.isfinite(found[split]).all():
                raise FloatingPointError(f'features of {source.name} ({split}) are not finite')
        return linear_classifier.standardise(found)

    # --- classifiers ---

    def _columns(self, title: str, task: Task) -> dict[str, Judged]:
        """'source@share' -> values."""
        columns: dict[str, Judged] = {}
        labels = task.labels['train']
        seed, amounts = self._config.random_seed, (*map(float, self._options.shares),)
        choices = {
            amount_in_words(amount): [
                choose_labelled(labels, amount, seed, draw)
                for draw in range(1 if amount_in_words(amount) == '100%' else self._options.draws)
            ]
            for amount in (*amounts, *self._options.per_class)
        }
        for name, replicas in self._views(task.source):
            banks = [jax.tree.map(jnp.asarray, features) for features in replicas]
            for known, draws in choices.items():
                single = len(banks) * len(draws) == 1
                repeats = [
                    [self._judge(bank, task, rows, single) for rows in draws] for bank in banks
                ]
                column = f'{title}@{known}'
                values = columns.setdefault(column, _floor(task, draws))
                values |= {_named(key, name): x for key, x in _over(repeats).items()}
                measure = 'map' if labels.ndim == 2 else 'top1'
                print(f'{column:24} {name:14} {measure} {values[f"{measure}_{name}"]:.3f}')
        return columns

    def _judge(
        self, bank: dict[str, Array], task: Task, rows: np.ndarray, interval: bool
    ) -> Judged:
        """Learns from the given rows of train; of the classifiers of all strengths, judges that one
        which is the best on valid, the stronger of equals."""
        strengths = sorted(self._options.l2, reverse=True)
        found = linear_classifier.fit(
            bank['train'],
            task.labels['train'],
            task.num_classes,
            rows,
            strengths,
            self._config.training_steps,
        )
        self._steps = max(self._steps, int(found.steps.max()))
        best: Judged = {}
        for number, strength in enumerate(strengths):
            classifier = jax.tree.map(lambda leaf, n=number: leaf[n], found.classifier)
            valid = _judge_on('valid', classifier, bank, task, False)
            measure = next(iter(valid))
            if not best or valid[measure] > best[f'{measure}_valid']:
                best = {f'{key}_valid': value for key, value in valid.items()}
                best['l2'], chosen, converged = strength, classifier, found.converged[number]
        self._converged &= bool(converged)
        return _judge_on('test', chosen, bank, task, interval) | best


def _judge_on(
    split: str, classifier: Classifier, bank: dict[str, Array], task: Task, interval: bool
) -> Judged:
    scores = np.asarray(linear_classifier.scores(classifier, bank[split]))
    labels = task.labels[split]
    values: Judged = {}
    if labels.ndim == 1:
        for k in (1, 5):
            if k < task.num_classes:
                right = among_first(scores, labels, k).astype(np.float64)
                mean = {f'top{k}': float(right.mean())}
                values |= with_interval(f'top{k}', right) if interval else mean
        return values
    for name, eleven_points in (('map', False), ('map_11_points', True)):

        def mean_of(rows: Any, eleven_points: bool = eleven_points) -> float:
            return float(np.nanmean(average_precision(scores[rows], labels[rows], eleven_points)))

        values[name] = mean_of(slice(None))
        if interval:
            draws = np.random.default_rng(0).integers(len(scores), size=(_RESAMPLES, len(scores)))
            low, high = np.percentile([mean_of(rows) for rows in draws], [2.5, 97.5])
            values[f'{name}_ci95'] = [float(low), float(high)]
    return values


def _over(repeats: list[list[Judged]]) -> Judged:
    """The mean over replicas (else over draws of labels) with its standard error; as it is where
    there is one of each. `l2` are those of all."""
    strengths = [[values.pop('l2') for values in draws] for draws in repeats]
    if len(repeats) == 1:
        found = over_replicas(repeats[0])
        found = {key.replace('_replicas', '_draws'): value for key, value in found.items()}
    else:
        found = over_replicas(
            [
                {key: float(np.mean([values[key] for values in draws])) for key in draws[0]}
                for draws in repeats
            ]
        )
    return found | {'l2_each': list(itertools.chain(*strengths))}


def _floor(task: Task, draws: Sequence[np.ndarray]) -> Judged:
    """How many images the classifiers know the labels of, and what guessing is worth on test: to
    say the commonest class of train, or any order."""
    train, test = task.labels['train'], task.labels['test']
    images = float(np.mean([len(rows) for rows in draws]))
    if train.ndim == 2:
        return {'labelled_images': images, 'map_chance': float(test.mean())}
    commonest = np.bincount(train).argmax()
    return {'labelled_images': images, 'top1_chance': float(np.mean(test == commonest))}


def _named(key: str, features: str) -> str:
    """'top1_valid_ci95', 'trunk' -> 'top1_trunk_valid_ci95'."""
    for suffix in ('_valid', '_ci95', '_se', '_draws', '_replicas', '_each'):
        before, found, after = key.partition(suffix)
        if found:
            return f'{before}_{features}{found}{after}'
    return f'{key}_{features}'


def _rows(split: Split, start: int, end: int) -> np.ndarray:
    """Images from one row to another; those of files are decoded in threads."""
    inputs: Any = split.inputs
    rows = np.arange(start, min(end, len(inputs)))
    return np.asarray(inputs.take(rows) if isinstance(inputs, Images) else inputs[rows])


def _small(images: Array, side: int) -> Array:
    """The pixels of images made no larger than `side`: [B, H, W, 3] -> [B, D]."""
    count, height, width, channels = images.shape
    shape = (count, min(height, side), min(width, side), channels)
    return jax.image.resize(images.astype(jnp.float32), shape, 'linear').reshape(count, -1)


def _fresh(own: ConfigDict) -> ConfigDict:
    """The data group of another source than the run's own: of that, the size of images is kept."""
    group = ConfigDict(config_lib.base().data.to_dict())
    group.image_size = own.image_size
    return group


def _check(config: ConfigDict) -> None:
    at, options = 'linear_evaluation', config.linear_evaluation
    whose = ('auto', 'shared', 'speaker', 'listener')
    require(config, f'{at}.trunk', options.trunk in whose, one_of(*whose))
    for entry in options.data:
        good = isinstance(entry, str) or (isinstance(entry, dict) and 'name' in entry)
        sentence = "must hold names, or groups such as {'name': 'shapes'}"
        require(config, f'{at}.data', good, sentence)
        for key, value in entry.items() if isinstance(entry, dict) else ():
            default = look_up(config_lib.base().data.to_dict(), key, f'key of {at}.data')
            like = str if default is None else type(default)
            sentence = f'has {key}={value!r}, which must be of type {like.__name__}'
            require(config, f'{at}.data', type(value) is like, sentence)
    shares = all(type(x) in (int, float) and 0 < x <= 1 for x in options.shares)
    require(config, f'{at}.shares', shares, 'must hold numbers above 0, at most 1')
    whole = all(type(x) is int and x >= 1 for x in options.per_class)
    require(config, f'{at}.per_class', whole, 'must hold whole numbers of at least 1')
    some = len(options.shares) + len(options.per_class) > 0
    require(config, f'{at}.shares', some, 'must not be empty without per_class')
    strengths = len(options.l2) > 0 and all(
        type(x) in (int, float) and 0 < x < np.inf for x in options.l2
    )
    require(config, f'{at}.l2', strengths, 'must hold numbers above 0')
    for key, least in (('draws', 1), ('batch_size', 1), ('pixels', 0)):
        require(config, f'{at}.{key}', options[key] >= least, f'must be at least {least}')
    require(config, 'training_steps', config.training_steps >= 1, 'must be at least 1')
    require(config, 'random_seed', config.random_seed >= 0, 'must not be negative')
