#!/bin/sh
# Makes or completes a virtual environment: make_env.sh DIRECTORY PYTHON [GROUP …]
# Installs the package, editable, and the named dependency groups. Uses uv where there is one.
set -eu
directory=$1 python=$2
shift 2

say() { printf '%s\n' "$*" >&2; }

if [ -z "$python" ]; then
    say "Treadle needs Python 3.11 or newer, and none was found."
    say "Install one, or name it:  make PYTHON=/path/to/python3.12"
    exit 1
fi

groups=
for group in "$@"; do groups="$groups --group $group"; done

if [ ! -x "$directory/bin/python" ]; then
    say "Making $directory with $("$python" --version)"
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --python "$python" "$directory"
    elif ! "$python" -m venv "$directory" >"$directory.log" 2>&1; then
        rm -rf "$directory"
        say "$python cannot make a virtual environment:"
        sed 's/^/    /' "$directory.log" >&2
        rm -f "$directory.log"
        say "On Debian and Ubuntu the package python3-venv is missing (apt install python3-venv);"
        say "elsewhere install uv, which is used when it is found, or another Python:"
        say "    make PYTHON=/path/to/python3.12"
        exit 1
    fi
    rm -f "$directory.log"
fi

say "Installing treadle${*:+ and what is needed to: $*}"
# shellcheck disable=SC2086
if command -v uv >/dev/null 2>&1; then
    uv pip install --quiet --python "$directory/bin/python" --editable . $groups
else
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    # Older ones do not know dependency groups.
    "$directory/bin/python" -m pip install --quiet --upgrade "pip>=25.1"
    "$directory/bin/python" -m pip install --quiet --editable . $groups
fi
