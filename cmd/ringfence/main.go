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
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends it at once
	return cli.Main(ctx, os.Args[1:], cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Now: time.Now,
		IsTerminal: terminal(os.Stdout), Watched: terminal(os.Stderr), Plugin: cli.IsPlugin(os.Args[0]),
	})
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
