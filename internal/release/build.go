package release

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// Platform is a system and the processor's architecture, in Go's words, which are OCI's too.
type Platform struct{ OS, Arch string }

func (p Platform) String() string { return p.OS + "/" + p.Arch }

// program is what the program's file is called there.
func (p Platform) program() string {
	if p.OS == "windows" {
		return product + ".exe"
	}
	return product
}

// file is what the program is called beside those of other platforms.
func (p Platform) file() string {
	return strings.Replace(p.program(), product, product+"_"+p.OS+"_"+p.Arch, 1)
}

// archive is what its archive is called.
func (p Platform) archive() string {
	base := product + "_" + p.OS + "_" + p.Arch
	if p.OS == "windows" {
		return base + ".zip"
	}
	return base + ".tar.gz"
}

// platforms are those that a release is made for. The lowest level of each architecture is asked for by name: it decides the bytes.
var platforms = []Platform{
	{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"},
}

// Origin says which commit something was made of.
type Origin struct {
	// Version is the tag, or what Go calls a commit without one: v0.0.0-time-revision.
	Version string
	// Revision is the commit in hexadecimal.
	Revision string
	// Time is the commit's. Every time in a release is this one.
	Time time.Time
	// Modified says that files differed from the commit's.
	Modified bool
}

// program is a program that was built.
type program struct {
	Platform
	path string
	info *debug.BuildInfo
}

// build makes the program for a platform. What decides its bytes is given here and nothing of it is taken from the environment.
func (c *Config) build(ctx context.Context, p Platform) (*program, error) {
	path := filepath.Join(c.Out, p.file())
	stamp := "-buildvcs=true"
	if c.Origin != nil {
		stamp = "-buildvcs=false"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-trimpath", stamp, "-ldflags=-s -w", "-o", path, c.Package)
	cmd.Dir = c.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.OS, "GOARCH="+p.Arch, "GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOWORK=off", "GOFIPS140=off")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("build %s for %s: %w\n%s", c.Package, p, err, bytes.TrimSpace(said.Bytes()))
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read what %s was built of: %w", path, err)
	}
	return &program{p, path, info}, nil
}

// origin reads which commit a program was made of from what Go wrote into it.
func origin(info *debug.BuildInfo) (Origin, error) {
	o := Origin{Version: info.Main.Version}
	var err error
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			o.Revision = s.Value
		case "vcs.modified":
			o.Modified = s.Value == "true"
		case "vcs.time":
			o.Time, err = time.Parse(time.RFC3339, s.Value)
		}
	}
	if err != nil || o.Revision == "" || o.Time.IsZero() || o.Version == "" || o.Version == "(devel)" {
		return o, fmt.Errorf("the program does not say which commit it was made of; want a release to be made in a Git clone with its .git folder")
	}
	return o, nil
}
