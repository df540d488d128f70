# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What scripts/test, scripts/quickstart and tests/bench/compare share: one line per step with its time and its log file, Debian packages
# installed only when they are missing, and the tools that the tests need (a Python venv, npm packages, Go programs), all under build/.
#
#   step "dev build" build_preset dev     ->  [ 3] dev build ....................... ok      41 s   build/log/03-dev-build.log
#
# A step that fails is counted, the end of its log is shown, and the script goes on with what does not depend on it.

set -o nounset -o pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build
LOGS=$BUILD/log
TOOLS=$BUILD/tools
VENV=$BUILD/venv
cd "$ROOT" || exit 1
mkdir -p "$LOGS" "$TOOLS/bin"

# The versions of the clients are pinned, so that a new release of one of them cannot turn a build red overnight.
NATS_CLI_VERSION=${NATS_CLI_VERSION:-v0.5.1}
GO_VERSION_MIN=1.21 # the first that fetches the toolchain a module asks for

STEP_NUMBER=0
STEPS_PASSED=0
STEPS_FAILED=0
STEP_FAILURES=()
CLOSING_LINES=()

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
has_command() { command -v "$1" >/dev/null 2>&1; }

# step NAME COMMAND [ARG...]: runs it with its output in a log file, prints one line, remembers the outcome. Returns the command's status.
step() {
	local name=$1 log started status
	shift
	STEP_NUMBER=$((STEP_NUMBER + 1))
	log=$LOGS/$(printf '%02d-%s.log' "$STEP_NUMBER" "$(printf '%s' "$name" | tr -cs 'a-zA-Z0-9\n' '-')")
	printf '[%2d] %s ' "$STEP_NUMBER" "$name"
	printf '%*s ' $((38 - ${#name})) '' | tr ' ' '.'
	started=$(date +%s)
	("$@") >"$log" 2>&1 </dev/null
	status=$?
	if [ $status -eq 0 ]; then
		STEPS_PASSED=$((STEPS_PASSED + 1))
		printf ' ok   %5d s   %s\n' $(($(date +%s) - started)) "${log#"$ROOT"/}"
	else
		STEPS_FAILED=$((STEPS_FAILED + 1))
		STEP_FAILURES+=("$name (exit $status): ${log#"$ROOT"/}")
		printf ' FAILED %3d s   %s\n' $(($(date +%s) - started)) "${log#"$ROOT"/}"
		tail -n 40 "$log" | sed 's/^/      | /'
	fi
	STEP_LOG=$log
	return $status
}

# absent NAME REASON: a part of the tree that does not exist yet. Decided by looking at the tree, never by a failure.
absent() {
	printf '[ -] %s ' "$1"
	printf '%*s ' $((38 - ${#1})) '' | tr ' ' '.'
	printf ' absent         %s\n' "$2"
}

# closing_lines NAME PATTERN: keeps the last lines of the last step's log that match, to be repeated at the very end.
closing_lines() {
	local line
	while IFS= read -r line; do
		CLOSING_LINES+=("$1: $line")
	done < <(sed 's/\x1b\[[0-9;]*m//g' "$STEP_LOG" | grep -E "$2" | tail -n "${3:-1}")
}

# ---- Debian packages ----

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@" || sudo "$@"; fi
}

# packages_missing LINE...: a line is "package" or "package:command"; with a command, any provider of that command will do.
packages_missing() {
	local line package command
	for line in "$@"; do
		package=${line%%:*} command=${line#"$package"} command=${command#:}
		if [ -n "$command" ] && has_command "$command"; then continue; fi
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || printf '%s\n' "$package"
	done
}

packages_install() {
	local missing
	has_command apt-get || die "this script installs what it needs with apt-get (Debian 12)"
	mapfile -t missing < <(packages_missing "$@")
	if [ ${#missing[@]} -eq 0 ]; then say "nothing to install"; return 0; fi
	say "installing: ${missing[*]}"
	as_root apt-get update -q || return 1
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

PACKAGES_BUILD=(
	gcc:gcc libc6-dev cmake:cmake ninja-build:ninja pkg-config:pkg-config ccache:ccache git:git ca-certificates
	libuv1-dev libssl-dev libraft-dev liblmdb-dev libjansson-dev node-llhttp libxxhash-dev libcrypt-dev libcmocka-dev
)
PACKAGES_TEST=(
	clang-14:clang-14 libclang-rt-14-dev clang-format-14:clang-format-14 clang-tidy-14:clang-tidy-14
	nats-server python3:python3 python3-venv nodejs:node npm:npm
)

# ---- build ----

export CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1 CCACHE_COMPILERCHECK=content

cores() { nproc 2>/dev/null || echo 2; }

# preset_build PRESET [TARGET...]
preset_build() {
	local preset=$1 launcher=()
	shift
	if has_command ccache; then launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache); fi
	cmake --preset "$preset" "${launcher[@]}" || return 1
	cmake --build "$BUILD/$preset" --parallel "$(cores)" ${1:+--target "$@"}
}

# ---- tools that the tests need, from their registries ----

# venv_make REQUIREMENTS: a Python environment of exactly these packages; made again when the list changes.
venv_make() {
	local wanted=$1 stamp=$VENV/.requirements python=/usr/bin/python3
	[ -x $python ] || python=python3
	if cmp -s "$wanted" "$stamp"; then say "up to date"; return 0; fi
	rm -rf "$VENV"
	"$python" -m venv "$VENV" || return 1
	"$VENV/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" || return 1
	cp "$wanted" "$stamp"
}

# npm_install DIR: the packages of DIR/package.json (and its lock) under build/, beside a copy of DIR's scripts, where node finds them.
npm_install() {
	local from=$1 to
	to=$BUILD/$(basename "$(dirname "$from")")-$(basename "$from")
	mkdir -p "$to"
	cp "$from"/*.mjs "$to"/ || return 1
	if cmp -s "$from/package-lock.json" "$to/.installed"; then say "up to date"; return 0; fi
	cp "$from/package.json" "$from/package-lock.json" "$to"/
	(cd "$to" && npm ci --no-audit --no-fund --loglevel=error) || return 1
	cp "$from/package-lock.json" "$to/.installed"
}

go_is_new_enough() {
	has_command go || return 1
	local have
	have=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return 1
	have=${have#go}
	[ "$(printf '%s\n%s\n' "$GO_VERSION_MIN" "${have%% *}" | sort -V | head -n 1)" = "$GO_VERSION_MIN" ]
}

# go_ensure: Debian 12's own Go (1.19) is older than every client that we test with; bookworm-backports has one that fetches what a module
# asks for through the module proxy. Backports are never chosen by apt on their own, so adding them changes nothing else on the machine.
go_ensure() {
	local list=/etc/apt/sources.list.d/bookworm-backports.list mirror
	go_is_new_enough && { go version; return 0; }
	if ! [ -e $list ]; then
		mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 2>/dev/null | head -n 1)
		[ -n "$mirror" ] || die "no Debian 12 (bookworm) source is configured for apt, cannot add its backports for Go"
		say "deb ${mirror%/} bookworm-backports main" | as_root tee $list
	fi
	as_root apt-get update -q || return 1
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends -t bookworm-backports golang-go || return 1
	go version
}

# go_tool PACKAGE VERSION COMMAND: a Go program in build/tools/bin. The version is part of the stamp, "latest" is asked for every time.
go_tool() {
	local package=$1 version=$2 command=$3 stamp=$TOOLS/.$3.version
	if [ "$version" != latest ] && [ -x "$TOOLS/bin/$command" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$version" ]; then
		say "$command $version: up to date"
		return 0
	fi
	GOBIN=$TOOLS/bin go install "$package@$version" || return 1
	say "$version" >"$stamp"
}
