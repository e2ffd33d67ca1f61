// Command release makes what a release of Ringfence consists of, for `make release`, and pushes its images. Everything is in package
// internal/release.
package main

import (
	"context"
	"os"
	"os/signal"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/release"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return release.Main(ctx, os.Args[1:], cli.Root(), os.Stdout, os.Stderr)
}
