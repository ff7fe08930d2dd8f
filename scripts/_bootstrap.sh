# Sourced by scripts/up, scripts/test, scripts/lock and .ci/run: makes a virtual environment from a locked
# requirements file. Needs bash 3.2 and a Python >= 3.11; uv is fetched (hash-checked) when it is not on PATH.
#
#   find_python 3.12                          prints the path of a usable interpreter, or fails
#   bootstrap requirements.txt .venv [3.12]   sets $PY to the Python of the environment

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
PREFERRED=(3.13 3.12 3.11 3.14)

say() { printf '%s\n' "$*" >&2; }
die() { say "Error: $*"; exit 1; }

# A candidate counts only if it runs: pyenv's shims exist for versions that are not selected, and some
# distributions ship a Python without venv, ssl or sqlite3.
usable_python() {
    "$1" -c "import sys, venv, ssl, sqlite3
sys.exit(sys.version_info[:2] != tuple(map(int, '$2'.split('.'))))" >/dev/null 2>&1
}

find_python() {
    local version="$1" candidate
    while IFS= read -r candidate; do
        if [ -x "$candidate" ] && usable_python "$candidate" "$version"; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done < <(
        type -aP "python$version"
        printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"*/bin/python
        type -aP python3 python
    )
    return 1
}

preferred_python() {
    local version
    for version in "${PREFERRED[@]}"; do
        find_python "$version" && return 0
    done
    return 1
}

# uv reads UV_* variables and its own files, not pip's. Where only pip was told about an index, pass it on.
# pip looks at all indexes alike, hence the strategy; every file is checked against its hash either way.
adopt_pip_settings() {
    local settings
    if env | grep -q -E '^UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|CONFIG_FILE)='; then
        return 0
    fi
    settings="$("$1" -m pip config list 2>/dev/null)" || settings=""
    pip_setting() {
        # A variable outranks the files; `pip config list` shows both, quoted as Python writes strings.
        printf '%s\n' "$settings" |
            sed -n -E -e "s/^(:env:\.|global\.|install\.)$1='(.*)'\$/\2/p" | sed -e 's/\\n/ /g' | head -n 1
    }
    local index extra links cert
    index="$(pip_setting index-url)" extra="$(pip_setting extra-index-url)"
    links="$(pip_setting find-links)" cert="$(pip_setting cert)"
    [ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
    [ -z "$extra" ] || export UV_INDEX="$extra" UV_INDEX_STRATEGY=unsafe-best-match
    [ -z "$links" ] || export UV_FIND_LINKS="${links// /,}"
    if [ -n "$cert" ] && [ -z "${SSL_CERT_FILE:-}" ]; then export SSL_CERT_FILE="$cert"; fi
}

# Sets $LLMPROXY_UV without fetching anything; fails when there is no uv yet.
known_uv() {
    local candidate
    for candidate in "${LLMPROXY_UV:-}" "$(type -P uv)" "$ROOT/.venv-uv/bin/uv"; do
        if [ -n "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then
            export LLMPROXY_UV="$candidate"
            return 0
        fi
    done
    return 1
}

need_uv() {
    known_uv && return 0
    say "Fetching uv into .venv-uv ..."
    "$1" -m venv --clear "$ROOT/.venv-uv" >&2 ||
        die "$1 can't make a virtual environment; install its venv package (Debian: apt install python3-venv)."
    "$ROOT/.venv-uv/bin/python" -m pip install -qq --disable-pip-version-check --only-binary :all: \
        --require-hashes -r "$ROOT/scripts/bootstrap-requirements.txt" >&2 ||
        die "pip could not install uv; check pip's index and proxy settings, or put uv on PATH."
    known_uv || die "the uv in .venv-uv does not run; put a working uv on PATH."
}

# What an environment is made from. When it equals the stamp, nothing is installed. The place counts because
# console commands hold absolute paths.
fingerprint() {
    printf '%s\n' "$ROOT"
    cksum <"$ROOT/$1"
    cksum <"$ROOT/pyproject.toml"
}

stamped() {
    local python="$ROOT/$2/bin/python" stamp="$ROOT/$2/.stamp-$1"
    [ -x "$python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint "$1")" ]
}

# Ends with what to do when this user may not make the environment.
not_ours() {
    die "${1%.lock} is not made from this checkout's requirements yet, and $(id -un) may not make it" \
        "(${2##*: }); run $ROOT/scripts/manage --version once as $(owner_of "$ROOT"), with umask 022."
}

owner_of() {
    # shellcheck disable=SC2012 # GNU's stat and BSD's differ; the owner's name has no odd characters
    ls -ld "$1" | awk '{ print $3 }'
}

# One set-up at a time in one environment; a lock whose owner is gone is taken over. What may not be done at all
# (another user's checkout, a read-only disk) is not tried again.
lock() {
    local owner said tries=0
    until said="$(mkdir "$1" 2>&1)"; do
        [ -d "$1" ] || [ ! -e "$1" ] || die "$1 is in the way; remove it."
        [ -w "$(dirname "$1")" ] || not_ours "$1" "$said"
        owner="$(cat "$1/pid" 2>/dev/null || true)"
        tries=$((tries + 1))
        if [ -n "$owner" ] && { kill -0 "$owner" 2>/dev/null || [ -d "/proc/$owner" ]; }; then
            [ "$tries" -gt 1 ] || say "Waiting for another set-up (process $owner) to finish ..."
        elif [ -n "$owner" ] || [ "$tries" -gt 10 ]; then
            rm -rf "$1" 2>/dev/null || die "$1 was left behind by another user's set-up; remove it."
        fi
        sleep 0.5
    done
    printf '%s\n' "$$" >"$1/pid"
}

make_environment() {
    local requirements="$1" folder="$2" version="$3" python
    if [ -n "$version" ]; then
        python="$(find_python "$version")" ||
            die "no usable Python $version on PATH or in pyenv; install it, with venv, ssl and sqlite3."
    else
        python="$(preferred_python)" ||
            die "no usable Python >= 3.11 on PATH or in pyenv; install Python 3.13, with venv, ssl and sqlite3."
    fi
    need_uv "$python"
    adopt_pip_settings "$python"
    if ! "$ROOT/$folder/bin/python" -c '' 2>/dev/null; then
        say "Making $folder with $("$python" --version) ($python) ..."
        "$python" -m venv --clear --without-pip "$ROOT/$folder" >&2 || die "$python can't make $folder."
    fi
    say "Installing $requirements into $folder ..."
    "$LLMPROXY_UV" pip install --quiet --python "$ROOT/$folder/bin/python" \
        --require-hashes -r "$ROOT/$requirements" >&2 ||
        die "uv could not install $requirements; the lines above say why."
    "$LLMPROXY_UV" pip install --quiet --python "$ROOT/$folder/bin/python" \
        --no-deps --no-build-isolation -e "$ROOT" >&2 ||
        die "uv could not install the console command llmproxy; the lines above say why."
    fingerprint "$requirements" >"$ROOT/$folder/.stamp-$requirements"
}

bootstrap() {
    local requirements="$1" folder="$2" version="${3:-}"
    PY="$ROOT/$folder/bin/python"
    if ! stamped "$requirements" "$folder"; then
        lock "$ROOT/$folder.lock"
        trap 'rm -rf "$ROOT/'"$folder"'.lock"' EXIT
        # Another one may have done the work meanwhile.
        stamped "$requirements" "$folder" || make_environment "$requirements" "$folder" "$version"
        rm -rf "$ROOT/$folder.lock"
        trap - EXIT
    fi
    known_uv || true
}
