"""A job is forked from a process that has imported what jobs import, and nobody can tell."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conceptbridge.core import forked_jobs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems start Python for every job")


@pytest.fixture(scope="module")
def python() -> str:
    return str(forked_jobs.start() / "python")


def ended(python: str, folder: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(code)
    command = [python, str(script), "one", "two words"]
    env = os.environ | environment
    return subprocess.run(command, cwd=folder, env=env, input="told", capture_output=True, text=True, check=False)


def test_a_job_has_its_own_arguments_folder_environment_input_and_threads(python: str, tmp_path: Path) -> None:
    code = """if True:
        import os, sys, numpy, threadpoolctl
        print(sys.argv[1:], os.getcwd(), os.environ["GIVEN"], sys.stdin.read(), __name__)
        print({one["num_threads"] for one in threadpoolctl.threadpool_info()}, "numba" in sys.modules)
    """
    run = ended(python, tmp_path, code, GIVEN="it", OMP_NUM_THREADS="2")
    assert run.stdout == f"['one', 'two words'] {tmp_path} it told __main__\n{{2}} True\n", run.stderr


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit('error: no')", 1, "error: no\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import os; os.kill(os.getpid(), 9)", 128 + signal.SIGKILL, ""),
    ],
)
def test_a_job_ends_as_it_would_have(python: str, tmp_path: Path, code: str, status: int, told: str) -> None:
    run = ended(python, tmp_path, code)
    assert run.returncode == status
    assert run.stderr.endswith(told)


def test_a_job_ends_with_its_python(python: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    with subprocess.Popen([python, str(script)], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        job = int(client.stdout.readline())
        client.kill()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{job}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{job}").exists()


def test_without_anybody_to_fork_from_it_is_the_usual_python(python: str, tmp_path: Path) -> None:
    client = tmp_path / "python"
    client.write_text(Path(python).read_text().replace(f"{Path(python).parent}/socket", str(tmp_path / "none")))
    client.chmod(0o755)
    run = ended(str(client), tmp_path, "import sys; print('numba' in sys.modules); sys.exit(4)")
    assert (run.stdout, run.returncode) == ("False\n", 4)
