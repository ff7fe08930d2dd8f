# Chromium for the test of mitmweb. Sourced by .ci/run: installed from Debian's packages where one may; without it
# that one test skips, and says so.

browser_install() {
    command -v chromium >/dev/null && command -v chromedriver >/dev/null && return 0
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        say "== no Chromium here, and no right to install it: mitmweb is tested without a browser"
        return 0
    fi
    say "== installing chromium"
    export DEBIAN_FRONTEND=noninteractive
    { timeout 60 apt-get update -qq && timeout 180 apt-get install -qq -y --no-install-recommends chromium chromium-driver; } \
        >/dev/null 2>&1 || say "== apt-get could not install chromium: mitmweb is tested without a browser"
}
