package release

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/image/signature"
)

// Main is the command: it makes a release in the working directory's module, with the manual of commands, or pushes the images of one. It
// returns the exit code.
func Main(ctx context.Context, args []string, commands *cobra.Command, out, log io.Writer) int {
	err := command(ctx, args, commands, out, log)
	if err != nil {
		fmt.Fprintln(log, "release:", err)
		return 1
	}
	return 0
}

func command(ctx context.Context, args []string, commands *cobra.Command, out, log io.Writer) error {
	c := Config{Root: ".", Package: "./cmd/ringfence", Commands: commands, Log: log}
	var key, password, push string
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.StringVar(&c.Out, "out", "dist", "folder to write, or with -push to read")
	flags.StringVar(&key, "key", "", "file of the private key in PEM to sign with")
	flags.StringVar(&password, "password-file", "", "file of the key's password")
	flags.StringVar(&c.CA, "ca", "", "file of certificates of authorities that images trust")
	flags.StringVar(&c.Source, "source", "https://ringfence.dev/ringfence", "URL of the repository, for labels and provenance")
	flags.StringVar(&c.Downloads, "downloads", "", "URL of the folder from which the archives of this version are fetched, for krew (default: -source with /releases/download/VERSION)")
	flags.StringVar(&c.Builder, "builder", "https://ringfence.dev/release/by-hand", "URL of who makes the release, for provenance")
	flags.BoolVar(&c.Modified, "modified", false, "make a trial release of files that are not committed")
	flags.Func("platforms", "make programs for these alone, a comma between two: linux/amd64,... (default all)", c.choose)
	flags.StringVar(&push, "push", "", "push the images of the release that was made to this repository, and make none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("found the argument %q; want flags alone", flags.Arg(0))
	}
	if push != "" {
		pushed, err := Push(ctx, c.Out, push)
		if err == nil {
			_, err = fmt.Fprintln(out, pushed)
		}
		return err
	}
	if key != "" {
		var err error
		if c.Signer, err = signer(key, password); err != nil {
			return err
		}
	}
	r, err := c.Make(ctx)
	if err == nil {
		_, err = fmt.Fprintf(out, "%s %s\n", r.Version, r.Image)
	}
	return err
}

// choose takes platforms as a flag names them.
func (c *Config) choose(list string) error {
	for one := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(platforms, func(p Platform) bool { return p.String() == one })
		if i < 0 {
			return fmt.Errorf("found %q; want some of %v", one, platforms)
		}
		c.Platforms = append(c.Platforms, platforms[i])
	}
	return nil
}

// signer reads a private key.
func signer(key, password string) (*signature.Signer, error) {
	text, err := os.ReadFile(key)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	var secret []byte
	if password != "" {
		if secret, err = os.ReadFile(password); err != nil {
			return nil, fmt.Errorf("read the key's password: %w", err)
		}
	}
	s, err := signature.NewSigner(text, bytes.TrimRight(secret, "\r\n"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return s, nil
}
