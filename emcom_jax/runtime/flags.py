"""The command line: a recipe and overrides become one locked config, or one clear sentence.

absl.app.run(main, flags_parser=flags.parse)   then   flags.CONFIG.value, flags.MODE.value
"""

import difflib
import itertools
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import flags, logging
from jaxline import base_config
from ml_collections import ConfigDict, config_flags
from ml_collections.config_flags import tuple_parser

FLAGS = flags.FLAGS
CONFIG = config_flags.DEFINE_config_file(
    'config', help_string='Recipe, as configs/lewis.py or configs/lewis.py:VARIANT.'
)
MODE = flags.DEFINE_enum(
    'jaxline_mode',
    'train',
    ['train', 'eval_valid', 'eval_test', 'eval_test_official', 'eval_ood'],
    'Train, or evaluate the checkpoint of a run on one split.',
)
DISTRIBUTED = flags.DEFINE_string(
    'distributed',
    None,
    'Be one of several processes: auto, or HOST:PORT,PROCESSES,INDEX.',
)

HELP = """\
Trains a population of speakers and listeners, then evaluates it on the test split.

    python -m emcom_jax.main --config=configs/RECIPE.py[:VARIANT] [--config.KEY=VALUE ...]

Examples:
    python -m emcom_jax.main --config=configs/lewis.py
    python -m emcom_jax.main --config=configs/lewis.py:debug --config.run_dir=runs/first
    python -m emcom_jax.main --config=configs/lewis.py \\
        --config.population.num_speakers=10 --config.evaluation.num_candidates=16,128
    python -m emcom_jax.main --config=configs/lewis.py --jaxline_mode=eval_valid

Flags:
    --config=FILE[:VARIANT]   the recipe: a file in configs/, whose docstring lists its variants
    --config.KEY=VALUE        overrides one key of the recipe, with dots between group and key;
                              emcom_jax/config.py lists the keys with their defaults
    --jaxline_mode=MODE       train (default): train, or resume where the run was stopped;
                              eval_valid, eval_test (eval_ood, eval_test_official, where the
                              data has such a split): evaluate the run's best checkpoint
    --distributed=HOW         be one of several processes that make one run, on a pod or cluster:
                              auto (what Cloud TPU, SLURM, Open MPI or Kubernetes say), or
                              HOST:PORT,PROCESSES,INDEX of the first process's address
    --help, --helpfull        this text; all flags of all libraries

A run is a directory, --config.run_dir, by default runs/RECIPE[-VARIANT]. The same command again
resumes it.
"""

_JAXLINE_KEYS = (
    'training_steps',
    'random_seed',
    'interval_type',
    'log_train_data_interval',
    'max_checkpoints_to_keep',
)

_KINDS = {
    bool: 'true or false',
    float: 'a number',
    int: 'an integer',
    str: 'text',
    tuple: 'values separated by commas',
}


class _TupleParser(tuple_parser.TupleParser):
    """Reads words without quotes too: accuracy,voting."""

    def parse(self, argument: Any) -> tuple:
        if not isinstance(argument, str) or re.search(r'[^\w@.,+-]', argument):
            return super().parse(argument)
        parts = [tuple_parser.TupleParser.parse(self, part) for part in argument.split(',') if part]
        return tuple(itertools.chain(*parts))


config_flags.register_flag_parser_for_type(tuple, _TupleParser())


class UsageError(Exception):
    """A mistake on the command line; the message is one sentence for the user."""


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the command line, for `absl.app.run(main, flags_parser=parse)`.

    On --help it prints the help and exits with 0; on a mistake it prints 'error: <sentence>' to
    stderr and exits with 2.

    Args:
      argv: the program's name and the arguments. The config flags of ml_collections read
        `sys.argv` besides, so it must be that.

    Returns:
      The program's name.
    """
    if {'--help', '-help', '-h', '--helpshort', '-?'} & set(argv[1:]):
        print(HELP, end='')
        sys.exit(0)
    try:
        with warnings.catch_warnings():
            # ml_collections loads the recipe by a deprecated function.
            warnings.filterwarnings('ignore', r'the load_module\(\) method', DeprecationWarning)
            types = {}
            if not {'--helpfull', '--helpxml'} & set(argv[1:]):
                types = _check_config_flags(
                    FLAGS.read_flags_from_files(list(argv), force_gnu=False)
                )
            rest = _parse(argv, types)
    except UsageError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    # absl would raise it to INFO, at which jaxline and Orbax report every step they take. At ERROR
    # jaxline prints the traceback of every exception that passes, which reaches the user anyway.
    verbosity = FLAGS['verbosity']
    if verbosity.using_default_value:
        verbosity.value, verbosity.using_default_value = logging.FATAL, False
    return rest


def config_path() -> str:
    """Returns the recipe as it was given, such as 'configs/lewis.py:debug'."""
    return config_flags.get_config_filename(FLAGS['config'])


def to_jaxline(config: ConfigDict) -> ConfigDict:
    """Returns jaxline's config of a run, with ours as the experiment's `config`."""
    jaxline_config = base_config.get_base_config()
    jaxline_config.update({key: config[key] for key in _JAXLINE_KEYS})
    jaxline_config.random_mode_train = 'same_host_same_device'
    jaxline_config.log_async = False
    jaxline_config.one_off_evaluate = True
    # jaxline would save before it writes the step's scalars, and a kill in between would lose them;
    # our training loop saves after that.
    jaxline_config.save_checkpoint_interval = 0
    jaxline_config.log_tensors_interval = sys.maxsize  # The progress bar shows them.
    jaxline_config.experiment_kwargs.config = config
    return jaxline_config


def _check_config_flags(argv: list[str]) -> dict[str, type]:
    """Finds the mistakes that ml_collections reports by a traceback or not at all.

    Returns the type of every key of the recipe.
    """
    path = None
    names: list[str] = []
    for i, argument in enumerate(argv[1:], start=1):
        if argument == '--':
            break
        if match := re.fullmatch(r'--?config(?:=(.*))?', argument, re.DOTALL):
            if path is not None:
                raise UsageError('--config is given twice; give one recipe')
            following = argv[i + 1] if i + 1 < len(argv) else ''
            path = following if match[1] is None else match[1]
        elif match := re.match(r'--?(?:no)?config\.([^=]*)', argument):
            if path is None and any(re.match(r'--?config(=|$)', later) for later in argv[i:]):
                raise UsageError(f'{argument} stands before --config; give --config first')
            names.append(match[1])
    if not path:
        raise UsageError('no recipe; give one as --config=configs/lewis.py (--help explains)')
    types = dict(_types(_load(path)))
    for name in names:
        if name in types:
            continue
        if group := [key for key in types if key.startswith(f'{name}.')]:
            raise UsageError(f'config key {name} is a group; set its keys, such as {group[0]}')
        raise UsageError(f'unknown config key {name}; did you mean {_nearest(name, types)}?')
    return types


def _load(path: str) -> ConfigDict:
    file = Path(path.partition(':')[0])
    if not file.is_file():
        hint = ''
        if recipes := [str(recipe) for recipe in (*file.parent.glob('*.py'),)]:
            hint = f'; did you mean {_nearest(str(file), recipes)}?'
        raise UsageError(f'there is no recipe {file}{hint}')
    try:
        return FLAGS['config'].parser.parse(path)
    except ValueError as error:
        # ml_collections wraps the recipe's own error in one whose text is a traceback.
        raise UsageError(f'{path}: {error.__context__}') from error


def _parse(argv: Sequence[str], types: dict[str, type]) -> list[str]:
    try:
        rest = FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        known = [*FLAGS, *(f'config.{key}' for key in types)]
        nearest = _nearest(error.flagname, known)
        raise UsageError(f'unknown flag --{error.flagname}; did you mean --{nearest}?') from error
    except flags.IllegalFlagValueError as error:
        match = re.match(r'flag --config\.(.*?)=(.*?): ', str(error), re.DOTALL)
        if match is None:
            raise UsageError(str(error)) from error
        kind = _KINDS[types[match[1]]]
        raise UsageError(f'config key {match[1]} takes {kind}, not {match[2]!r}') from error
    except flags.Error as error:
        raise UsageError(str(error)) from error
    if rest[1:]:
        raise UsageError(
            f'unexpected argument {rest[1]}; flags begin with --, as in --config=configs/lewis.py'
        )
    return rest


def _types(config: ConfigDict, prefix: str = '') -> Iterator[tuple[str, type]]:
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _types(value, f'{prefix}{key}.')
        else:
            yield prefix + key, config.get_type(key)


def _nearest(name: str, known: Iterable[str]) -> str:
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
