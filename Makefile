# `make up` and `make test` are all that a fresh clone needs: each builds what it uses, once, and says what it does.
# They need Go 1.26, git and sh; .ci/need.sh installs what Debian has. The first build of devcluster takes 6 to 15 minutes.

# The same flags everywhere: other ones would compile all of Kubernetes again.
export CGO_ENABLED = 0
export GOFLAGS = -trimpath -buildvcs=false
export PATH := $(PATH):/usr/local/go/bin

.PHONY: up test slow check bench soak attack fuzz generate clean build registry devcluster need release

# The platform on this machine, in the foreground; ARGS are those of `ringfence up`, for instance ARGS=--once.
up: build
	@./bin/ringfence up $(ARGS)

# Suites that load a control plane, break it or wait for it, and long matrices: `make slow` runs them, and .ci/run after the tests.
SLOW = load|faults|static|foreign|images|rollout|install|isolation|mutation|evidence|scan

# Linking is a good part of the tests: no tables for debuggers. `go vet` has run before.
QUICK = -vet off -ldflags=-w

# The tests, most of those on the real API server too. What takes longest begins first; three at a time, since they also wait.
test: build registry
	@.ci/step "go vet" go vet ./... && .ci/step "go test" sh -c 'go test $(QUICK) -p 3 -timeout 14m ./test/e2e/up $$(go list ./... | grep -vE "/test/e2e/($(SLOW))$$")'

slow: build registry
	@.ci/step "go test, slow" sh -c 'go test $(QUICK) -p 3 -timeout 14m ./test/e2e/install $$(go list ./test/e2e/... | grep -E "/($(SLOW))$$")' && .ci/step "go test, devcluster" go -C devcluster test -p 2 -timeout 14m ./test

# Form, vet, secrets, lint, staticcheck, race detector.
check: need
	@.ci/check

# Benchmarks, with ratios between those that ran side by side; BENCH chooses by name.
bench: build
	@.ci/bench

# Half an hour of steady load on a control plane with much to know; LOAD, LOAD_OBJECTS and LOAD_FINDINGS are other amounts.
soak: devcluster
	@LOAD="$${LOAD:-250/1m,150/30m}" LOAD_OBJECTS="$${LOAD_OBJECTS:-50000}" LOAD_FINDINGS="$${LOAD_FINDINGS:-10000}" .ci/step "soak" go test -v -count 1 -timeout 2h -run '^TestLoad$$/^steady$$' ./test/e2e/load

# Every way round the controls and into another tenant that we know; prints the counts, and fails on what is let in.
attack: devcluster
	@.ci/step "attack" go test -v -count 1 -timeout 20m ./test/attack ./test/e2e/isolation

# Every fuzzer for FUZZ seconds; with SHARE=8 those of one package in eight.
FUZZ = 20
fuzz: need
	@.ci/fuzz $(FUZZ) $(SHARE)

# Generated files, which are committed.
generate: need
	@go generate ./...

# Programs for every system, archives and container images in dist, signed with KEY; docs/release.md says more. ARGS are more
# flags of `go run ./cmd/release`. It begins with an empty dist.
release: need
	@rm -rf dist && .ci/step "release" go run ./cmd/release $(if $(KEY),-key "$(KEY)") $(if $(PASSWORD_FILE),-password-file "$(PASSWORD_FILE)") $(if $(CA),-ca "$(CA)") $(ARGS)

# The programs and the release; the caches of Go stay.
clean:
	@rm -rf bin dist

build: devcluster
	@.ci/step "build ringfence" go build -o bin/ringfence ./cmd/ringfence

# The registry that tests push to and pull from.
registry: need
	@.ci/step "build registry" go -C tools build -o ../bin/registry ./registry

devcluster: need
	@sh devcluster/build.sh

need:
	@sh .ci/need.sh
