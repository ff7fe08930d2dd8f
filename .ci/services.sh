# Redis, PostgreSQL and MariaDB for the tests. Sourced by .ci/run.
#
# What answers at its usual port of this machine is used: the tests make databases of their own and drop them.
# What does not is started here, in a temporary folder and at a port of its own, and ends with the run; what is
# not installed is installed from Debian's packages before, for which one has to be root.

services_folder=""
services_pids=()

services_start() {
    services_folder="$(mktemp -d /tmp/llmproxy-ci.XXXXXX)"
    chmod 755 "$services_folder" # the servers have accounts of their own
    trap services_stop EXIT
    redis_ready || start_redis
    postgresql_ready || start_postgresql
    mysql_ready || start_mysql
    export LLMPROXY_TEST_REDIS LLMPROXY_TEST_POSTGRESQL LLMPROXY_TEST_MYSQL
}

services_stop() {
    local pid
    for pid in "${services_pids[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in "${services_pids[@]}"; do wait "$pid" 2>/dev/null; done
    rm -rf "$services_folder"
}

# need PACKAGE BINARY...: install the package unless the binaries are there.
need() {
    local package="$1" name missing=""
    shift
    for name in "$@"; do [ -n "$(find_binary "$name")" ] || missing="$name"; done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "the tests need $missing ($package); install it."
    [ "$(id -u)" = 0 ] || die "the tests need $missing: run 'apt-get install $package' as root."
    say "== installing $package"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -qq -y --no-install-recommends "$package" >/dev/null ||
        die "apt-get could not install $package."
    for name in "$@"; do [ -n "$(find_binary "$name")" ] || die "$package has no $name."; done
}

# Debian keeps PostgreSQL's binaries, and the servers', off an ordinary PATH.
find_binary() {
    local found
    for found in "$(command -v "$1")" /usr/sbin/"$1" /usr/lib/postgresql/*/bin/"$1"; do
        [ -x "$found" ] && latest="$found" && [[ "$found" != /usr/lib/postgresql/* ]] && break
    done
    printf '%s' "${latest:-}"
    unset latest
}

free_port() {
    "$(preferred_python)" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# as ACCOUNT COMMAND...: servers refuse to run as root. (Unlike runuser, setpriv becomes the command, so that
# whoever is told to end is the server.)
as() {
    local account="$1"
    shift
    if [ "$(id -u)" = 0 ]; then
        set -- setpriv --reuid "$account" --regid "$account" --init-groups "$@"
    fi
    exec "$@"
}

# folder_for ACCOUNT NAME: a new one that belongs to it.
folder_for() {
    mkdir "$services_folder/$2"
    [ "$(id -u)" != 0 ] || chown "$1" "$services_folder/$2"
    printf '%s' "$services_folder/$2"
}

wait_until() {
    local what="$1" tries
    shift
    for tries in $(seq 300); do
        "$@" && return 0
        sleep 0.2
    done
    die "$what did not start; see $services_folder."
}

redis_ready() {
    : "${LLMPROXY_TEST_REDIS:=redis://127.0.0.1:6379/0}"
    [ "$(redis-cli -u "$LLMPROXY_TEST_REDIS" ping 2>/dev/null)" = PONG ]
}

start_redis() {
    local port folder
    need redis-server redis-server redis-cli
    port="$(free_port)"
    folder="$(folder_for "$(id -un)" redis)"
    redis-server --port "$port" --bind 127.0.0.1 --dir "$folder" --save "" >"$folder/log" 2>&1 &
    services_pids+=("$!")
    LLMPROXY_TEST_REDIS="redis://127.0.0.1:$port/0"
    wait_until Redis redis_ready
}

postgresql_ready() {
    : "${LLMPROXY_TEST_POSTGRESQL:=postgresql://postgres@127.0.0.1:5432/postgres}"
    # Some tests stop a server: they start one of their own, from these.
    [ -n "$(find_binary initdb)" ] && psql -qtA -w "$LLMPROXY_TEST_POSTGRESQL" -c 'SELECT 1' >/dev/null 2>&1
}

start_postgresql() {
    local port folder
    need postgresql initdb postgres psql
    port="$(free_port)"
    folder="$(folder_for postgres postgresql)"
    (cd / && as postgres "$(find_binary initdb)" -D "$folder/data" -U postgres -A trust --no-sync >/dev/null) ||
        die "PostgreSQL's initdb failed."
    (cd / && as postgres "$(find_binary postgres)" -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 \
        -c unix_socket_directories= -c fsync=off >"$services_folder/postgresql.log" 2>&1) &
    services_pids+=("$!")
    LLMPROXY_TEST_POSTGRESQL="postgresql://postgres@127.0.0.1:$port/postgres"
    wait_until PostgreSQL postgresql_ready
}

mysql_ready() {
    : "${LLMPROXY_TEST_MYSQL:=mysql://root@127.0.0.1:3306/mysql}"
    local port="${LLMPROXY_TEST_MYSQL##*:}"
    mariadb -h 127.0.0.1 -P "${port%%/*}" -u root -e 'SELECT 1' >/dev/null 2>&1
}

start_mysql() {
    local port folder
    need mariadb-server mariadbd mariadb mariadb-install-db
    port="$(free_port)"
    folder="$(folder_for mysql mysql)"
    (as mysql mariadb-install-db --no-defaults --datadir="$folder/data" --skip-test-db \
        --auth-root-authentication-method=normal >"$services_folder/mysql-install.log" 2>&1) || die "mariadb-install-db failed; see $services_folder."
    as mysql "$(find_binary mariadbd)" --no-defaults --datadir="$folder/data" --port="$port" \
        --bind-address=127.0.0.1 --socket="$folder/socket" --innodb-flush-log-at-trx-commit=0 \
        >"$services_folder/mysql.log" 2>&1 &
    services_pids+=("$!")
    LLMPROXY_TEST_MYSQL="mysql://root@127.0.0.1:$port/mysql"
    wait_until MariaDB mysql_ready
}
