// Package content looks into the layers of an image: who it runs as, whether it has a shell or a package manager, how old its base is, and
// which files look as if they held secrets.
//
// It believes nothing: layers are read as streams, bounded in bytes, files and time, and each must unpack to what the configuration says
// of it. It reads no registry; blobs are given to it. The command line calls it.
package content

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringfence.dev/ringfence/image/leaks"
)

// ErrTooLarge says that a layer unpacks to more than is looked at: it is refused, for nobody has seen the rest.
var ErrTooLarge = errors.New("it unpacks to more than is looked at")

// Bounds are what is looked at of one image, at most. Zero values take the defaults.
type Bounds struct {
	// Bytes are those of all layers unpacked; 16 GiB.
	Bytes int64
	// Files are entries of all layers; 1,000,000: a large image has some 100,000.
	Files int
	// Secrets are how many are told of; 100.
	Secrets int
}

// Layer is one layer, from the bottom.
type Layer struct {
	Digest    string
	MediaType string
	Open      func() (io.ReadCloser, error)
}

// Content is what was seen. The zero value is of an image that nobody looked at.
type Content struct {
	// User is what the configuration says; empty is root. Root says that it is root, also by number or by /etc/passwd.
	User string `json:"user"`
	Root bool   `json:"root"`
	// Shells and PackageManagers are paths. Distroless says that there are neither.
	Shells          []string `json:"shells"`
	PackageManagers []string `json:"packageManagers"`
	Distroless      bool     `json:"distroless"`
	// Base is the base image as the image names it, "" where it does not. BaseCreated is when the lowest layer was made, Created when the
	// image was; zero where the image does not say, or says a time that is none, as reproducible builds do.
	Base        string    `json:"base"`
	BaseCreated time.Time `json:"baseCreated,omitzero"`
	Created     time.Time `json:"created,omitzero"`
	// Secrets are those in any layer, also where a later one deletes the file; More says that there are others.
	Secrets []Secret `json:"secrets"`
	More    bool     `json:"moreSecrets"`
	// Files and Bytes are how many were looked at.
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// Secret is a place that looks like one. What it is, is never told.
type Secret struct {
	Layer string `json:"layer"` // its digest; "config" of the image's configuration
	Path  string `json:"path"`
	Rule  string `json:"rule"` // gitleaks' id
	Line  int    `json:"line"` // from 1; 0 where the name alone says it
}

// config is what is read of an image's configuration.
type config struct {
	Created time.Time `json:"created"`
	Config  struct {
		User   string            `json:"User"`
		Env    []string          `json:"Env"`
		Cmd    []string          `json:"Cmd"`
		Entry  []string          `json:"Entrypoint"`
		Labels map[string]string `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []history `json:"history"`
}

// history is how a layer was made.
type history struct {
	Created    time.Time `json:"created"`
	CreatedBy  string    `json:"created_by"`
	EmptyLayer bool      `json:"empty_layer"`
}

// baseName is the annotation, and the label, by which an image names its base.
const baseName = "org.opencontainers.image.base.name"

// look is one image being looked at.
type look struct {
	bounds  Bounds
	rules   *leaks.Rules
	out     Content
	present map[string]bool // interesting paths, of the layers so far
	passwd  []byte
	buffer  []byte
}

// Look looks into an image: its configuration, as the registry has it, the annotations of its manifest, and its layers. The error says
// which layer cannot be read, is not what the configuration says, or is ErrTooLarge.
func Look(ctx context.Context, configuration []byte, annotations map[string]string, layers []Layer, b Bounds) (Content, error) {
	var c config
	if err := json.Unmarshal(configuration, &c); err != nil {
		return Content{}, fmt.Errorf("read the image's configuration: %w", err)
	}
	if len(c.RootFS.DiffIDs) != len(layers) {
		return Content{}, fmt.Errorf("the image has %d layers, its configuration speaks of %d", len(layers), len(c.RootFS.DiffIDs))
	}
	rules, err := leaks.Load()
	if err != nil {
		return Content{}, err
	}
	l := &look{bounds: b.filled(), rules: rules, present: map[string]bool{}, buffer: make([]byte, window), out: Content{Secrets: []Secret{}}}
	for i, layer := range layers {
		if err := l.layer(ctx, layer, c.RootFS.DiffIDs[i]); err != nil {
			return Content{}, fmt.Errorf("look into layer %s: %w", layer.Digest, err)
		}
	}
	l.configuration(&c)
	l.out.Base = annotations[baseName]
	if l.out.Base == "" {
		l.out.Base = c.Config.Labels[baseName]
	}
	for p := range l.present {
		if slices.Contains(shells, path.Base(p)) {
			l.out.Shells = append(l.out.Shells, "/"+p)
		} else {
			l.out.PackageManagers = append(l.out.PackageManagers, "/"+p)
		}
	}
	slices.Sort(l.out.Shells)
	slices.Sort(l.out.PackageManagers)
	l.out.Distroless = len(l.present) == 0
	l.out.Shells, l.out.PackageManagers = append([]string{}, l.out.Shells...), append([]string{}, l.out.PackageManagers...)
	return l.out, nil
}

func (b Bounds) filled() Bounds {
	if b.Bytes == 0 {
		b.Bytes = 16 << 30
	}
	if b.Files == 0 {
		b.Files = 1_000_000
	}
	if b.Secrets == 0 {
		b.Secrets = 100
	}
	return b
}

// configuration tells what the configuration says of user, times and secrets.
func (l *look) configuration(c *config) {
	l.out.User, l.out.Root = c.Config.User, root(c.Config.User, l.passwd)
	l.out.Created = sensible(c.Created)
	lines := slices.Concat(c.Config.Env, []string{strings.Join(c.Config.Entry, " "), strings.Join(c.Config.Cmd, " ")})
	if lowest := slices.IndexFunc(c.History, func(h history) bool { return !h.EmptyLayer }); lowest >= 0 {
		l.out.BaseCreated = sensible(c.History[lowest].Created)
	}
	for _, h := range c.History {
		lines = append(lines, h.CreatedBy)
	}
	l.secrets("config", "config", []byte(strings.Join(lines, "\n")), 1)
}

// sensible is a time at which there were images; reproducible builds write 1970 or 1980.
func sensible(t time.Time) time.Time {
	if t.Year() < 2013 {
		return time.Time{}
	}
	return t.UTC()
}

// root tells whether a user of a configuration is root. One that nobody knows cannot run.
func root(user string, passwd []byte) bool {
	name, _, _ := strings.Cut(user, ":")
	if name == "" || name == "root" {
		return true
	}
	if n, err := strconv.Atoi(name); err == nil {
		return n == 0
	}
	for line := range bytes.Lines(passwd) {
		fields := strings.Split(string(line), ":")
		if len(fields) > 2 && fields[0] == name {
			n, err := strconv.Atoi(fields[2])
			return err != nil || n == 0
		}
	}
	return false
}

// secrets keeps what looks like secrets in a text that begins at a line.
func (l *look) secrets(layer, name string, text []byte, line int) {
	left := l.bounds.Secrets - len(l.out.Secrets)
	if left <= 0 {
		l.out.More = true
		return
	}
	for _, found := range l.rules.Find(name, text, left+1) {
		if len(l.out.Secrets) == l.bounds.Secrets {
			l.out.More = true
			return
		}
		s := Secret{layer, name, found.Rule, 0}
		if found.Line > 0 {
			s.Line = found.Line + line - 1
		}
		if !slices.Contains(l.out.Secrets, s) { // two windows share some lines
			l.out.Secrets = append(l.out.Secrets, s)
		}
	}
}
