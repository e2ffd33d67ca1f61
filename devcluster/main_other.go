//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "devcluster: needs Linux (it uses parent-death signals and /proc); on this system point ringfence at an existing cluster: ringfence up --kubeconfig FILE")
	os.Exit(2)
}
