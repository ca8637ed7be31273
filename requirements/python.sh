#!/bin/sh
# Print the Python to make the environment with: the newest of 3.13 to 3.11, else python3 if it is 3.11 or newer; or
# $PYTHON and no other, if set. A name on the PATH proves nothing (version switchers leave dead ones), so each is asked.
# Exit 1 with one line on stderr if none will do.
if [ -n "$PYTHON" ]; then
  set -- "$PYTHON"
else
  set -- python3.13 python3.12 python3.11 python3
fi
without_venv=
for python in "$@"; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
  # Debian packs these two apart from Python.
  if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    exec "$python" -c 'import sys; print(sys.executable)'
  fi
  without_venv=${without_venv:-$python}
done
if [ -n "$without_venv" ]; then
  package=$("$without_venv" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  echo "$without_venv lacks the venv module. Install it and try again: sudo apt install $package" >&2
elif [ -n "$PYTHON" ]; then
  echo "PYTHON=$PYTHON is not a Python 3.11 or newer." >&2
else
  echo "No Python 3.11 or newer found. Install one, or say where it is: make PYTHON=/path/to/python3.12 demo" >&2
fi
exit 1
