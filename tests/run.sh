#!/usr/bin/env bash
# Installs what the tests need, a Chromium included where there is none, and passes them.
#   bash tests/run.sh            everything
#   bash tests/run.sh tests/unit -k model    only these; the arguments go to pytest
set -euo pipefail
cd "$(dirname "$0")/.."

# Python packages: into the virtual environment that is active, or into .venv.
if [ -z "${VIRTUAL_ENV:-}" ]; then
    [ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
    VIRTUAL_ENV="$PWD/.venv"
fi
python="$VIRTUAL_ENV/bin/python"
wanted="$(cat requirements.txt tests/requirements.txt | sha256sum)"
stamp="$VIRTUAL_ENV/.minivit-requirements"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    "$python" -m pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
    echo "$wanted" >"$stamp"
fi

# A browser: the system's, else Debian's package, else Playwright's own download.
find_browser() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" && return
    done
    "$python" - <<'PYTHON'
from pathlib import Path
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    path = playwright.chromium.executable_path
    print(path if Path(path).exists() else "")
PYTHON
}
MINIVIT_BROWSER="${MINIVIT_BROWSER:-$(find_browser)}"
if [ -z "$MINIVIT_BROWSER" ]; then
    sudo="$([ "$(id -u)" = 0 ] || command -v sudo || true)"
    if command -v apt-get >/dev/null && { $sudo apt-get update -qq && $sudo apt-get install -yqq chromium; } >/dev/null; then
        :
    else
        "$python" -m playwright install chromium
    fi
    MINIVIT_BROWSER="$(find_browser)"
fi
export MINIVIT_BROWSER

# Whole files go to processes in the order of tests/conftest.py, the longest first. One process more than there are cores: a browser test waits half of its time.
export PYTEST_XDIST_AUTO_NUM_WORKERS="${PYTEST_XDIST_AUTO_NUM_WORKERS:-$(($("$python" -c 'import os; print(os.cpu_count())') + 1))}"

"$python" -m ruff format --check .
"$python" -m ruff check .
"$python" -m mypy & # without its cache, it reads torch's types for a minute; browser tests leave a core half idle
mypy=$!
failed=0
"$python" -m pytest -n auto --dist loadfile --no-loadscope-reorder "$@" || failed=$?
wait "$mypy"
exit "$failed"
