#!/bin/sh
# Checks for what the build needs: Go 1.26 and git, and every tool given as an argument. Says nothing while all is there.
# What is missing is installed with apt-get where that is allowed; otherwise one line says what to do. Exit 1: not there.
set -eu
cd "$(dirname "$0")/.."
minor=26

say() { echo "need: $*" >&2; }

# apt PACKAGE...: installs Debian packages, as root or through sudo that asks nothing.
apt() {
	command -v apt-get >/dev/null || return 1
	root=""
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
		root="sudo -n"
	fi
	say "installing the Debian package $*"
	$root env DEBIAN_FRONTEND=noninteractive apt-get -q update >&2 &&
		$root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@" >&2
}

# tool NAME PACKAGE...: wants a command.
tool() {
	name=$1
	shift
	command -v "$name" >/dev/null && return 0
	apt "$@" && command -v "$name" >/dev/null && return 0
	say "$name is missing and could not be installed here; install it, then run the same command again"
	exit 1
}

# new VERSION: whether a Go version such as go1.26.3 is new enough.
new() {
	version=${1#devel }
	version=${version#go1.}
	version=${version%%[!0-9]*}
	[ "${version:-0}" -ge $minor ]
}

# go_new: whether the go command is new enough, or fetches a toolchain that is, as go.mod asks and GOTOOLCHAIN allows.
go_new() {
	command -v go >/dev/null || return 1
	have=$(cd / && GOTOOLCHAIN=local go env GOVERSION)
	new "$have" && return 0
	[ "$(cd / && go env GOTOOLCHAIN 2>/dev/null)" = auto ] || return 1
	say "$have is older than go1.$minor; asking it to fetch the one that go.mod names"
	new "$(go env GOVERSION)"
}

tool git git ca-certificates
command -v go >/dev/null || apt golang-go || true
if ! go_new; then
	say "Go 1.$minor or newer is needed (found: ${have:-none}); install it from go.dev/dl, put it on PATH, and run the same command again"
	exit 1
fi
for name; do
	case $name in
	cc) tool cc gcc libc6-dev ;;
	xmllint) tool xmllint libxml2-utils ;;
	promtool) tool promtool prometheus ;;
	*) tool "$name" "$name" ;;
	esac
done
