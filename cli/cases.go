package cli

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/casefile"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

const testHelp = `Judge the test cases of controls and say of each whether it passes: what it wants found, and what was found.

Without a folder, the cases of the catalogue are judged, or those of the controls that are named. DIR is a folder of
controls of your own (DIR/<subject>/<rule>/control.yaml and so on, as the catalogue is laid out) or the folder of one
control. They are judged together with the catalogue, because a case names every control that it trips; where you use an
id of the catalogue, yours takes its place.

Exit codes: 0 every case passes; 1 a case fails; 2 a control or case cannot be read, or there is no case.`

func newControlTest(env Env) *cobra.Command {
	return &cobra.Command{
		Use: "test [ID...|DIR]", Short: "Judge the test cases of controls, the catalogue's or your own", Long: testHelp,
		Example:           "  ringfence control test\n  ringfence control test ./my-controls",
		ValidArgsFunction: completeIDs(env),
		RunE:              func(cmd *cobra.Command, args []string) error { return controlTest(env, args) },
	}
}

// tested is what control test judges.
type tested struct {
	tree fs.FS
	// where is the folder for messages, "" for the catalogue.
	where string
	// all are the controls that judge, and controls those whose cases are judged.
	all      *control.Catalogue
	controls []control.Control
}

// controlTest judges cases. Its error carries the exit code.
func controlTest(env Env, args []string) error {
	t, err := newTested(env, args)
	if err != nil {
		return err
	}
	sets, err := cel.Compile(t.all)
	if err != nil {
		return err
	}
	guard, err := policy.NewGuard(casefile.Guard())
	if err != nil {
		return err
	}
	engine := policy.New(sets...)
	var passed, failed, invalid int
	for _, c := range t.controls {
		cases, err := casefile.Read(t.tree, c.Dir)
		switch {
		case err != nil:
			invalid++
			env.note("%s", finding.Clean(filepath.Join(t.where, err.Error())))
		case len(cases) == 0:
			invalid++
			env.note("%s: no case in %s: nothing to test", c.ID, filepath.Join(t.where, c.Dir, "tests"))
		}
		for _, one := range cases {
			faults := one.Faults(one.Judge(c.ID, engine, guard))
			word := "pass"
			if len(faults) > 0 {
				word = "FAIL"
				failed++
			} else {
				passed++
			}
			fmt.Fprintf(env.Stdout, "%s  %s  %s\n", word, c.ID, finding.Clean(filepath.Join(t.where, one.File)))
			for _, fault := range faults {
				fmt.Fprintf(env.Stdout, "      %s\n", finding.Clean(fault))
			}
		}
	}
	fmt.Fprintf(env.Stdout, "%s of %s: %d passed, %d failed\n", count(passed+failed, "case"), count(len(t.controls), "control"), passed, failed)
	switch {
	case invalid > 0:
		return exit(finding.ExitUsage)
	case failed > 0:
		return exit(finding.ExitRefused)
	}
	return nil
}

// newTested reads what the arguments name: ids of controls, and at most one folder.
func newTested(env Env, args []string) (*tested, error) {
	const command = "ringfence control test"
	base, err := env.catalogue()
	if err != nil {
		return nil, err
	}
	var ids, folders []string
	for _, arg := range args {
		if control.ValidID(strings.ToUpper(arg)) {
			ids = append(ids, arg)
		} else {
			folders = append(folders, arg)
		}
	}
	t := &tested{tree: env.controls(), all: base, controls: base.Controls}
	switch {
	case len(folders) > 1:
		return nil, usagef(command, "found %d folders; want one", len(folders))
	case len(folders) == 1:
		if t, err = testedFolder(env, base, folders[0]); err != nil {
			return nil, err
		}
	}
	if len(ids) == 0 {
		return t, nil
	}
	own := &control.Catalogue{Controls: t.controls}
	t.controls = nil
	for _, id := range ids {
		c, err := findControl(own, id)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(t.controls, func(known control.Control) bool { return known.ID == c.ID }) {
			t.controls = append(t.controls, c)
		}
	}
	return t, nil
}

// testedFolder reads a folder of controls, or of one control.
func testedFolder(env Env, base *control.Catalogue, dir string) (*tested, error) {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return nil, &exitError{finding.ExitUsage, pathFault(dir, err)}
	case !info.IsDir():
		return nil, usagef("ringfence control test", "%s is a file; want a folder of controls, or control ids", dir)
	}
	t := &tested{tree: os.DirFS(dir), where: dir}
	if _, err := os.Stat(filepath.Join(dir, "control.yaml")); err == nil {
		full, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		t.where = filepath.Dir(full)
		t.tree = onlyFolder{os.DirFS(t.where), filepath.Base(full)}
		if !filepath.IsAbs(dir) {
			t.where = filepath.Dir(filepath.Clean(dir))
		}
	}
	own, err := control.Load(t.tree)
	if err != nil {
		for _, fault := range faults(err) {
			env.note("%s: %s", t.where, finding.Clean(fault.Error()))
		}
		return nil, exit(finding.ExitUsage)
	}
	if len(own.Controls) == 0 {
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("%s: no control.yaml below it: nothing to test", dir)}
	}
	t.controls, t.all = own.Controls, base.With(own)
	return t, nil
}

// faults are the errors that were joined into one.
func faults(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, faults(e)...)
		}
		return all
	}
	return []error{err}
}

// onlyFolder is a tree of which only one folder is listed.
type onlyFolder struct {
	fs.FS
	name string
}

// ReadDir lists a folder; at the top, the one that there is.
func (o onlyFolder) ReadDir(dir string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(o.FS, dir)
	if dir == "." {
		list = slices.DeleteFunc(list, func(d fs.DirEntry) bool { return d.Name() != o.name })
	}
	return list, err
}
