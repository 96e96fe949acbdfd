"""Why compiling failed: what compilers write to stderr, and the cause of a failure as a clause."""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

CAUSES = {  # by a pattern in the output of compiler, linker or loader
    r"Python\.h": "the C++ compiler cannot find Python.h; install Python's headers (python3-dev or python3-devel)",
    r"-fopenmp|omp\.h|-lg?omp\b|libg?omp|'omp'": "the C++ compiler has no OpenMP; install libomp",
    r"xcode-select|xcrun|InvalidCxxCompiler|Failed to find C compiler": "this machine has no working C++ compiler",
    r"failed to map segment": "compiled code cannot be loaded, because the temporary folder is mounted noexec; set "
    "TORCHINDUCTOR_CACHE_DIR to another folder",
}


def cause_of(error: Exception, output: str) -> str:
    """Why compiling failed, as a clause; `output` is that of stderr."""
    error_text = str(error) or type(error).__name__
    text = re.sub(r"(?s)Command:\n.*?\nOutput:\n", "", f"{error_text}\n{output}")  # every command mentions OpenMP
    for pattern, cause in CAUSES.items():
        if re.search(pattern, text):
            return cause
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error: " in line), lines[0])[:300]


@contextmanager
def capture_stderr(output: list[str]) -> Iterator[None]:
    """Captures in `output` what is written to file descriptor 2, as by compilers; silences logging."""
    sys.stderr.flush()
    stderr = os.dup(2)
    level = logging.root.manager.disable
    logging.disable()
    try:
        with TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                file.seek(0)
                output.append(file.read().decode(errors="replace"))
    finally:
        logging.disable(level)
        os.dup2(stderr, 2)
        os.close(stderr)
