// Command ringfence judges Kubernetes manifests and guards clusters with one catalogue of controls. It only hands the
// process's arguments and streams to package cli; everything else is there.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"ringfence.dev/ringfence/cli"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	info, err := os.Stdout.Stat()
	return cli.Main(ctx, os.Args[1:], cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now,
		IsTerminal: err == nil && info.Mode()&os.ModeCharDevice != 0,
	})
}
