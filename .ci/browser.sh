# Chromium for the tests of mitmweb and of the page. Sourced by .ci/run: installed from Debian's packages where one
# may. Where it is here those tests have to run; without it they skip, and say so.

browser_is_here() {
    command -v chromium >/dev/null && command -v chromedriver >/dev/null && export LLMPROXY_TEST_BROWSER=required
}

browser_install() {
    browser_is_here && return 0
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        say "== no Chromium here, and no right to install it: mitmweb and the page are tested without a browser"
        return 0
    fi
    say "== installing chromium"
    export DEBIAN_FRONTEND=noninteractive
    { timeout 60 apt-get update -qq && timeout 180 apt-get install -qq -y --no-install-recommends chromium chromium-driver; } \
        >/dev/null 2>&1 || say "== apt-get could not install chromium: mitmweb and the page are tested without a browser"
    browser_is_here || true
}
