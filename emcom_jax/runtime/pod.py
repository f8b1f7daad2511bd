"""Several processes that make one run (a pod): each computes on its own devices, with the same
population and its part of each batch. The first, the chief, writes and prints for all.

With one process all of this does nothing.
"""

import os
import sys
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

HOW = 'auto, or HOST:PORT,PROCESSES,INDEX'


def join(how: str) -> None:
    """Makes this process one of a pod; to be called before JAX computes anything.

    how: 'auto' (what Cloud TPU, SLURM, Open MPI or Kubernetes say), or the address of the chief,
      the number of processes and which one this is, such as '10.0.0.1:1234,4,0'.

    Raises:
      ValueError: neither of these, or nothing says where the others are.
    """
    if how == 'auto':
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise ValueError(
                '--distributed=auto found no cluster (Cloud TPU, SLURM, Open MPI or Kubernetes): '
                'give --distributed=HOST:PORT,PROCESSES,INDEX'
            ) from error
    else:
        address, _, rest = how.partition(',')
        count, _, index = rest.partition(',')
        well = ':' in address and count.isdecimal() and index.isdecimal()
        if not well or not int(index) < int(count):
            raise ValueError(
                f'--distributed={how} must be {HOW}, with INDEX from 0 to PROCESSES - 1'
            )
        jax.distributed.initialize(address, int(count), int(index))
    if not is_chief():
        sys.stdout = open(os.devnull, 'w')  # noqa: SIM115


def is_chief() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


def wait(for_what: str) -> None:
    """Waits until all processes are here: what the chief wrote before is there for all."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(for_what)


def agreed(value: float) -> float:
    """The chief's value: sums of floats may differ between processes, decisions must not."""
    if jax.process_count() == 1:
        return value
    bits = np.array([value], np.float64).view(np.uint32)  # JAX would round it to float32.
    return float(np.asarray(multihost_utils.broadcast_one_to_all(bits)).view(np.float64)[0])


def leave(status: int) -> NoReturn:
    """Ends this process after an error, at once: the others, who would wait for it, end too."""
    if jax.process_count() > 1:
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def anyone(number: int) -> int:
    """The largest of the numbers (at least 0) of all processes."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())
