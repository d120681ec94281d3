#!/bin/sh
# Installs privllm @version@ from this folder into a new virtual environment: sh install.sh FOLDER. No network is used.
# PYTHON names the Python @python@ to use. Nothing outside FOLDER is written.
set -eu

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

[ $# -eq 1 ] || fail "name the folder of the new environment: sh install.sh FOLDER"
here=$(cd "$(dirname "$0")" && pwd -P)
case $1 in
    /*) environment=$1 ;;
    *) environment=$(pwd -P)/$1 ;;
esac
case $environment/ in
    "$here"/*) fail "$1 lies in the bundle itself: name a folder outside $here" ;;
esac
[ ! -e "$environment" ] || fail "$1 exists: name a new folder, or remove it"

scratch=$(mktemp -d)
unfinished=
trap 'rm -rf "$scratch"; [ -z "$unfinished" ] || rm -rf "$environment"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Everything here is as it was bundled: no file more, none less, none changed.
cd "$here"
[ -f SHA256SUMS ] || fail "SHA256SUMS is missing: unpack the archive again"
odd_line=$(grep -Ev '^[0-9a-f]{64}  [^ ]' SHA256SUMS | head -n 1) || true
[ -z "$odd_line" ] || fail "SHA256SUMS has a line that it should not have: $odd_line"
sed 's/^[0-9a-f]*  //' SHA256SUMS | LC_ALL=C sort >"$scratch/listed"
outside=$(grep -E '^/|(^|/)\.\.(/|$)' "$scratch/listed" | head -n 1) || true
[ -z "$outside" ] || fail "SHA256SUMS names a file outside of this folder: $outside"
odd_file=$(find . ! -type f ! -type d | head -n 1)
[ -z "$odd_file" ] || fail "$odd_file is neither a file nor a folder: unpack the archive again"
find . -type f ! -path ./SHA256SUMS | sed 's,^\./,,' | LC_ALL=C sort >"$scratch/present"
extra=$(LC_ALL=C comm -13 "$scratch/listed" "$scratch/present" | head -n 1)
[ -z "$extra" ] || fail "$extra is not of this bundle (SHA256SUMS does not name it): unpack the archive again"
missing=$(LC_ALL=C comm -23 "$scratch/listed" "$scratch/present" | head -n 1)
[ -z "$missing" ] || fail "$missing is missing: unpack the archive again"
if command -v sha256sum >/dev/null; then
    checksums="sha256sum"
else
    checksums="shasum -a 256" # macOS
fi
if ! LC_ALL=C $checksums -c SHA256SUMS >"$scratch/checked" 2>/dev/null; then
    changed=$(grep -v ': OK$' "$scratch/checked" | head -n 1)
    fail "${changed%: FAILED*} is not as it was bundled (its SHA-256 differs): copy the archive again"
fi

python=${PYTHON:-python@python@}
command -v "$python" >/dev/null || fail "there is no $python: this bundle is for Python @python@; set PYTHON to one"
found=$("$python" -c 'import platform, sys
system = {"Darwin": "macos"}.get(platform.system(), platform.system().lower())
print("%s-%s-python%d.%d" % (system, platform.machine(), sys.version_info[0], sys.version_info[1]))') ||
    fail "$python does not run: set PYTHON to a Python @python@"
[ "$found" = "@target@" ] || fail "this bundle is for @target@, and $python is $found: make one for it with privllm bundle"

unfinished=yes
"$python" -m venv "$environment" || fail "$python cannot make an environment (on Debian, python@python@-venv is missing)"
PIP_CONFIG_FILE=/dev/null "$environment/bin/python" -m pip --isolated --disable-pip-version-check --no-cache-dir install --quiet \
    --no-index --find-links "$here/wheels" --no-deps --require-hashes --requirement requirements.txt ||
    fail "pip could not install the wheels; the reason stands above, and nothing is left of the attempt"
"$environment/bin/privllm" --version
unfinished=
echo "Installed. Next: . $environment/bin/activate && privllm init DIR"
