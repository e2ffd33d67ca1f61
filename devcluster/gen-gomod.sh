#!/bin/sh
# Points go.mod at another Kubernetes release: gen-gomod.sh 37.1 means v1.37.1. Kubernetes replaces its staging modules
# by folders of its own repository; outside it each of them needs a replace to the released version.
set -eu
cd "$(dirname "$0")"
if [ $# -ne 1 ]; then
	echo "usage: gen-gomod.sh MINOR.PATCH, such as 37.1" >&2
	exit 2
fi
go mod edit -require="k8s.io/kubernetes@v1.$1"
upstream=$(go mod download -json "k8s.io/kubernetes@v1.$1" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
for module in $(sed -n 's|^[[:space:]]*\(k8s.io/[a-z-]*\) => ./staging.*|\1|p' "$upstream"); do
	go mod edit -replace="$module=$module@v0.$1"
done
go mod tidy
