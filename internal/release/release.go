// Package release makes what a release consists of: programs, archives, container images as an OCI layout, and what tells others what these
// are made of: checksums, bills of materials, provenance, signatures. Command release calls it.
//
// Of the same commit it makes the same bytes, on any machine with the same Go; signatures alone differ. It needs no container
// engine and no network beyond what `go build` needs. It publishes nothing unless Push is called.
package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/image/signature"
)

// product is what the program and the image are called.
const product = "ringfence"

// imageDir is the OCI layout below the folder of a release.
const imageDir = "image"

// Config says what a release is made of.
type Config struct {
	// Root is the folder of the module.
	Root string
	// Package is the program's, as go build takes it: ./cmd/ringfence.
	Package string
	// Out is the folder to write, which must not be there yet or be empty.
	Out string
	// Platforms are those to make programs for. Nil is all.
	Platforms []Platform
	// Origin replaces what the programs say of their commit. Nil is what every release wants.
	Origin *Origin
	// Modified lets a release be made of files that differ from the commit's. Its version then says so.
	Modified bool
	// Source is the URL of the repository, and Builder that of who makes the release, as provenance names them.
	Source, Builder string
	// Downloads is the URL of the folder from which archives are fetched. Empty is that of Source's releases.
	Downloads string
	// Commands is the program's tree of commands, of which manual pages and completions are made. Nil makes none.
	Commands *cobra.Command
	// CA is a file of certificates of authorities that images trust. Empty leaves images without any.
	CA string
	// Signer signs. Nil makes a release without signatures.
	Signer *signature.Signer
	// Log is told what was made.
	Log io.Writer
}

// Release is what was made.
type Release struct {
	Origin
	// Image is the digest of the index of images.
	Image string
}

// Make makes a release in c.Out.
func (c *Config) Make(ctx context.Context) (*Release, error) {
	if old, err := os.ReadDir(c.Out); len(old) > 0 {
		return nil, fmt.Errorf("%s is not empty; want a release to be made in a fresh folder; fix: remove it", c.Out)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(c.Out, 0o755); err != nil {
		return nil, err
	}
	programs, o, err := c.programs(ctx)
	if err != nil {
		return nil, err
	}
	c.say("version %s, commit %s", o.Version, o.Revision)
	manual, err := c.manual(o)
	if err != nil {
		return nil, err
	}
	boms := map[Platform][]byte{}
	for _, p := range programs {
		if boms[p.Platform], err = c.pack(ctx, p, o, manual); err != nil {
			return nil, err
		}
		c.say("%s: %s", p.Platform, filepath.Base(p.path))
	}
	if err := c.krew(programs, o); err != nil {
		return nil, err
	}
	linux := slices.DeleteFunc(slices.Clone(programs), func(p *program) bool { return p.OS != "linux" })
	r := &Release{Origin: o}
	if len(linux) > 0 {
		if r.Image, err = c.images(linux, o, boms); err != nil {
			return nil, err
		}
		c.say("images: %s", r.Image)
		if c.CA == "" {
			c.say("images trust no authority: no file of certificates was given")
		}
	}
	return r, c.seal()
}

func (c *Config) say(format string, args ...any) {
	fmt.Fprintf(c.Log, "release: "+format+"\n", args...)
}

// programs builds all and reads of the first which commit they are of.
func (c *Config) programs(ctx context.Context) (all []*program, o Origin, err error) {
	wanted := c.Platforms
	if wanted == nil {
		wanted = platforms
	}
	for _, p := range wanted {
		one, err := c.build(ctx, p)
		if err != nil {
			return nil, o, err
		}
		if len(all) == 0 {
			if c.Origin != nil {
				o = *c.Origin
			} else if o, err = origin(one.info); err != nil {
				return nil, o, err
			}
			if o.Modified && !c.Modified {
				return nil, o, fmt.Errorf("files differ from commit %s, so nobody could make this release again; fix: commit or remove them, or ask for a trial with --modified", o.Revision)
			}
		}
		all = append(all, one)
	}
	return all, o, nil
}

// pack writes a program's archive and its bill of materials, which it returns.
func (c *Config) pack(ctx context.Context, p *program, o Origin, manual []entry) ([]byte, error) {
	bom, err := materials(p, o)
	if err != nil {
		return nil, err
	}
	others, err := c.thirdParty(ctx, p)
	if err != nil {
		return nil, err
	}
	base := filepath.Join(c.Out, product+"_"+p.OS+"_"+p.Arch)
	if err := os.WriteFile(base+".cdx.json", bom, 0o644); err != nil {
		return nil, err
	}
	entries := []entry{{name: "LICENSE", mode: 0o644, path: filepath.Join(c.Root, "LICENSE")}, {name: thirdPartyFile, mode: 0o644, data: others}}
	entries = append(append(entries, manual...), entry{name: p.program(), mode: 0o755, path: p.path})
	return bom, archive(filepath.Join(c.Out, p.archive()), entries, o.Time)
}

// seal writes the checksums of everything that has been written, and signs them.
func (c *Config) seal() error {
	found := map[string]string{}
	err := filepath.WalkDir(c.Out, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(c.Out, path)
		if err == nil {
			found[filepath.ToSlash(rel)], err = sum(path)
		}
		return err
	})
	if err != nil {
		return err
	}
	file := filepath.Join(c.Out, "SHA256SUMS")
	if err := sums(file, found); err != nil {
		return err
	}
	if c.Signer == nil {
		c.say("NOT SIGNED: no key was given")
		return nil
	}
	digest, err := sum(file)
	if err != nil {
		return err
	}
	bundle, err := c.Signer.Sign("SHA256SUMS", "sha256:"+digest, signature.PredicateImage, nil)
	if err != nil {
		return err
	}
	return os.WriteFile(file+".sigstore.json", bundle, 0o644)
}
