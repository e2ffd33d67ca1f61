package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"ringfence.dev/ringfence/internal/licence"
)

// thirdPartyFile is the file of an archive with the licences of what the program is built of.
const thirdPartyFile = "THIRD-PARTY-LICENSES"

// thirdParty is the text of every licence of every module in a program, and of Go's own library, as those licences ask for where copies are
// given away. A module without a licence is an error.
func (c *Config) thirdParty(ctx context.Context, p *program) ([]byte, error) {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}}\t{{.Dir}}")
	for _, m := range p.info.Deps {
		list.Args = append(list.Args, m.Path)
	}
	root := exec.CommandContext(ctx, "go", "env", "GOROOT")
	said := make([][]byte, 2)
	for i, cmd := range []*exec.Cmd{list, root} {
		cmd.Dir = c.Root
		var err error
		if said[i], err = cmd.Output(); err != nil {
			return nil, fmt.Errorf("find the licences of what %s is built of: %w", p.file(), err)
		}
	}
	dirs := map[string]string{}
	for line := range strings.Lines(string(said[0])) {
		path, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		dirs[path] = dir
	}
	var out bytes.Buffer
	faults := []error{write(&out, "The Go library", p.info.GoVersion, strings.TrimSpace(string(said[1])))}
	for _, m := range p.info.Deps { // in order
		faults = append(faults, write(&out, m.Path, m.Version, dirs[m.Path]))
	}
	return out.Bytes(), errors.Join(faults...)
}

// write adds what a module may be used under.
func write(out *bytes.Buffer, module, version, dir string) error {
	texts, err := licence.Read(dir)
	if err != nil {
		return fmt.Errorf("%s %s: %w", module, version, err)
	}
	for _, t := range texts {
		fmt.Fprintf(out, "==== %s %s: %s (%s)\n\n%s\n\n", module, version, filepath.Base(t.Name), strings.Join(t.IDs, ", "), strings.TrimSpace(t.Text))
	}
	return nil
}
