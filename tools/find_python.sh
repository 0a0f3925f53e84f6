#!/bin/sh
# Prints the Python to use: `first` the usual one, `newest` the newest that is not the usual one.
# Python 3.11 or newer; what is found must run (a shim of a version manager may not).
set -u

version_of() { "$1" -c 'import sys
if sys.version_info < (3, 11) or sys.version_info.releaselevel != "final": sys.exit(1)
print(sys.version_info[0] * 100 + sys.version_info[1])' 2>/dev/null; }

candidates() {
    [ -n "${PYTHON:-}" ] && command -v "$PYTHON"
    for name in python3 python python3.15 python3.14 python3.13 python3.12 python3.11; do
        command -v "$name"
    done
    for file in "$HOME"/.pyenv/versions/3.*/bin/python "$HOME"/.local/share/uv/python/*/bin/python3; do
        [ -x "$file" ] && printf '%s\n' "$file"
    done
}

first= first_version=0 newest= newest_version=0
while IFS= read -r python; do
    version=$(version_of "$python") || continue
    if [ -z "$first" ]; then
        first=$python first_version=$version
    elif [ "$version" -ne "$first_version" ] && [ "$version" -gt "$newest_version" ]; then
        newest=$python newest_version=$version
    fi
done <<END
$(candidates)
END

case ${1:-first} in
first) found=$first ;;
newest) found=$newest ;;
*) echo "usage: $0 first|newest" >&2; exit 2 ;;
esac
[ -n "$found" ] || exit 1
printf '%s\n' "$found"
