"""Several processes that make one run: real ones, that talk to each other over this machine."""

import signal
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
from processes import ENVIRONMENT, command, finish, lines, parameters

from emcom_jax.runtime import pod
from emcom_jax.runtime.preemption import Preemption


def launch(run: Path, index: int, port: int, *overrides: str) -> subprocess.Popen:
    """The process of that index, of two."""
    return subprocess.Popen(
        [*command(run, *overrides), f'--distributed=localhost:{port},2,{index}'],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(('localhost', 0))
        return listening.getsockname()[1]


def test_two_processes_are_as_two_devices_of_one(tmp_path: Path):
    alone, together = tmp_path / 'alone', tmp_path / 'together'
    flags = f'{ENVIRONMENT["XLA_FLAGS"]} --xla_force_host_platform_device_count=2'
    two_devices = ENVIRONMENT | {'XLA_FLAGS': flags}
    subprocess.run(command(alone), env=two_devices, check=True, stdout=subprocess.DEVNULL)
    port = free_port()
    both = [launch(together, index, port) for index in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert 'valid  step 30' in said[0] and 'step' not in said[1]
    one, two = parameters(alone), parameters(together)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, atol=1e-6, err_msg=name)
    steps = [[(line['step'], line['split']) for line in lines(run)] for run in (alone, together)]
    assert steps[0] == steps[1]


def test_a_signal_to_any_process_is_one_to_all(monkeypatch: pytest.MonkeyPatch):
    others = [0]
    monkeypatch.setattr(pod, 'anyone', lambda number: max(number, *others))
    with Preemption() as preemption:
        assert preemption.asked() is None
        others.append(signal.SIGTERM)
        assert preemption.asked() == 'SIGTERM' and preemption.requested is None


def test_what_the_chief_refuses_ends_the_other_one(tmp_path: Path):
    run = tmp_path / 'file'
    run.write_text('')
    port = free_port()
    both = [launch(run, index, port) for index in range(2)]
    (_, chief), (_, other) = (process.communicate(timeout=300) for process in both)
    assert both[0].returncode == 2 and 'cannot make the run directory' in chief
    assert both[1].returncode != 0, other


@pytest.mark.parametrize('how', ['here', 'localhost:1,2', 'localhost:1,2,2', 'localhost:1,x,0'])
def test_an_address_that_is_none_is_refused(how: str):
    with pytest.raises(ValueError, match=f'--distributed={how} must be auto, or HOST:PORT'):
        pod.join(how)


def test_no_cluster_is_refused(tmp_path: Path):
    code, _, errors = finish([*command(tmp_path / 'run'), '--distributed=auto'])
    assert code == 2 and 'found no cluster' in errors
