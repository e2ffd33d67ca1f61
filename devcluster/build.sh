#!/bin/sh
# Builds devcluster into $1 (default: bin/devcluster of the repository) and, beside it, a symbolic link for each component.
# Does nothing when the last build had the same sources and the same Go. One set of build flags, always: others would
# compile all of Kubernetes again.
set -eu
cd "$(dirname "$0")"
kubernetes=$(sed -n 's|^[[:space:]]*k8s.io/kubernetes v||p' go.mod)
minor=${kubernetes#1.}
minor=${minor%.*}
out=${1:-../bin/devcluster}
dir=$(dirname "$out")
mkdir -p "$dir"
stamp=$dir/.$(basename "$out").stamp
export CGO_ENABLED=0

want=$(cat ./*.go go.mod go.sum build.sh | cksum)" $(go version)"
if [ -x "$out" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then
	exit 0
fi
rm -f "$stamp"

# Without a stamped version the API server calls itself v0.0.0-master, and clients refuse it.
ld="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	ld="$ld -X $package.gitVersion=v$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=$minor"
	ld="$ld -X $package.gitCommit=devcluster -X $package.gitTreeState=clean -X $package.buildDate=1970-01-01T00:00:00Z"
done

echo "building devcluster: a Kubernetes $kubernetes control plane; the first build takes 6 to 15 minutes on two cores" >&2
start=$(date +%s)
go build -trimpath -ldflags "$ld" -o "$out.new" . &
build=$!
(
	# Waits in short steps, so that it leaves nothing behind when the build ends.
	tick=0
	while sleep 1 && kill -0 $build 2>/dev/null; do
		tick=$((tick + 1))
		if [ $((tick % 30)) -eq 0 ]; then echo "building devcluster: $(($(date +%s) - start)) s" >&2; fi
	done
) &
beat=$!
trap 'kill $build $beat 2>/dev/null; rm -f "$out.new"; exit 130' INT TERM HUP
status=0
wait $build || status=$?
kill $beat 2>/dev/null || true
wait $beat 2>/dev/null || true
if [ $status -ne 0 ]; then
	rm -f "$out.new"
	echo "building devcluster: go build ended with status $status after $(($(date +%s) - start)) s" >&2
	exit $status
fi
mv "$out.new" "$out"
for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubectl; do
	ln -sf "$(basename "$out")" "$dir/$name"
done
printf '%s\n' "$want" >"$stamp"
echo "building devcluster: built in $(($(date +%s) - start)) s" >&2
