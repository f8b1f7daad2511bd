"""Flags -> config -> experiment -> run; nothing else. See --help."""

import signal
import sys

from absl import app

from emcom_jax.runtime import flags


def main(argv: list[str]) -> None:
    del argv
    # Imported after the flags are read, so that --help and a mistake answer at once.
    from emcom_jax.experiments import EXPERIMENTS
    from emcom_jax.runtime import pod
    from emcom_jax.runtime.run import Preempted, start
    from emcom_jax.runtime.run_directory import RunDirectoryError
    from emcom_jax.tables import look_up

    try:
        if flags.DISTRIBUTED.value:
            pod.join(flags.DISTRIBUTED.value)
        experiment = look_up(EXPERIMENTS, flags.CONFIG.value.experiment, 'experiment')
        config = experiment.resolve(flags.CONFIG.value)
        start(experiment, config, flags.config_path(), flags.MODE.value)
    except Preempted as stop:
        print(stop)
        sys.exit(128 + signal.Signals[stop.signal])
    except (RunDirectoryError, ValueError, OSError, FloatingPointError) as error:
        print(f'error: {error}', file=sys.stderr)
        pod.leave(2)


if __name__ == '__main__':
    app.run(main, flags_parser=flags.parse)
