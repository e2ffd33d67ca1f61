// Package test holds the tests of the devcluster program: they run the built binary as its users do, and look from outside.
//
// It imports neither Kubernetes nor devcluster, so that it compiles in a second. The binary is the one DEVCLUSTER_BIN
// names, or bin/devcluster of the repository; without it every test is skipped.
package test
