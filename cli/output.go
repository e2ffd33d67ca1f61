package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/report"
)

// target is one --output: a format, and the file it goes to, "" for standard output.
type target struct {
	format report.Format
	file   string
}

// formatNames are the names of the formats, as --output takes them.
func formatNames() (names []string) {
	for _, f := range report.Formats() {
		names = append(names, f.Name)
	}
	return names
}

// formatHelp is the list of formats for the help.
func formatHelp() string {
	var b strings.Builder
	for _, f := range report.Formats() {
		fmt.Fprintf(&b, "  %-13s %s\n", f.Name, f.About)
	}
	return b.String()
}

// parseOutputs reads every --output FORMAT[=FILE]. None is text on standard output.
func parseOutputs(flags []string) ([]target, error) {
	if len(flags) == 0 {
		flags = []string{"text"}
	}
	bad := func(format string, args ...any) ([]target, error) {
		return nil, usagef("ringfence check", "--output "+format, args...)
	}
	var outputs []target
	taken := map[string]bool{}
	for _, flag := range flags {
		name, file, named := strings.Cut(flag, "=")
		i := slices.IndexFunc(report.Formats(), func(f report.Format) bool { return f.Name == name })
		switch {
		case i < 0:
			return bad("%q: want %s", finding.Value(flag), alternatives(formatNames()))
		case named && file == "":
			return bad("%q: the file is missing; want %s=FILE, or %s for standard output", flag, name, name)
		case file == "-":
			file = ""
		case file != "":
			file = filepath.Clean(file)
		}
		if taken[file] && file == "" {
			return bad("%q: another format goes to standard output already; want %s=FILE", flag, name)
		}
		if taken[file] {
			return bad("%q: another format goes to this file already; name another file", flag)
		}
		taken[file] = true
		outputs = append(outputs, target{report.Formats()[i], file})
	}
	return outputs, nil
}

// alternatives is "a, b or c".
func alternatives(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// has reports whether a format is among the outputs.
func has(outputs []target, name string) bool {
	return slices.ContainsFunc(outputs, func(o target) bool { return o.format.Name == name })
}

// textToStdout reports whether people see the report at once.
func textToStdout(outputs []target) bool {
	return slices.ContainsFunc(outputs, func(o target) bool { return o.format.Name == "text" && o.file == "" })
}

// own are the files of this run that are there already: those it will replace, and the baseline. A folder may hold them,
// and they are no manifests.
func own(outputs []target, baseline string) (files []os.FileInfo) {
	for _, o := range append(outputs, target{file: baseline}) {
		if o.file == "" {
			continue
		}
		if info, err := os.Stat(o.file); err == nil && info.Mode().IsRegular() {
			files = append(files, info)
		}
	}
	return files
}

// isOneOf reports whether a path is one of the files, by whatever name.
func isOneOf(files []os.FileInfo, path string) bool {
	if len(files) == 0 {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && slices.ContainsFunc(files, func(f os.FileInfo) bool { return os.SameFile(f, info) })
}

// sink is where one output goes. A file is written beside its place and takes it when all outputs are whole.
type sink struct {
	target
	io.Writer
	file *os.File
	// beside is the temporary file's name, "" where there is none: standard output, a pipe, a device.
	beside, place string
}

// openSinks opens every output before anything is judged: what cannot be written is said at once.
func openSinks(env Env, outputs []target) ([]*sink, error) {
	var sinks []*sink
	for _, o := range outputs {
		s := &sink{target: o, Writer: env.Stdout}
		if o.file != "" {
			if err := s.open(); err != nil {
				closeSinks(sinks)
				return nil, outputFault(o.file, err)
			}
		}
		sinks = append(sinks, s)
	}
	return sinks, nil
}

func (s *sink) open() error {
	s.place = s.target.file
	if real, err := filepath.EvalSymlinks(s.place); err == nil {
		s.place = real // a link stays one
	}
	mode := fs.FileMode(0o666) // less what the user's umask says
	info, err := os.Stat(s.place)
	switch {
	case err == nil && info.IsDir():
		return errors.New("is a folder; name a file")
	case err == nil && !info.Mode().IsRegular(): // to rename over a device or a pipe would be to lose it
		s.file, err = os.OpenFile(s.place, os.O_WRONLY, 0)
		s.Writer = s.file
		return err
	case err == nil:
		mode = info.Mode().Perm()
	}
	for i := 0; ; i++ {
		s.beside = fmt.Sprintf("%s.%d-%d.tmp", s.place, os.Getpid(), i)
		s.file, err = os.OpenFile(s.beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) || i == 100 {
			s.Writer = s.file
			return err
		}
	}
}

// writeAll writes the report to every sink, and then puts the files into their places.
func writeAll(env Env, sinks []*sink, r *report.Report) error {
	for _, s := range sinks {
		write := s.format.Write
		if s.format.Name == "text" && s.target.file == "" {
			write = func(w io.Writer, r *report.Report) error { return report.Text(w, r, env.colour()) }
		}
		if err := write(s, r); err != nil {
			if s.target.file == "" {
				return fmt.Errorf("write the report: %w", err)
			}
			return outputFault(s.target.file, err)
		}
	}
	for _, s := range sinks {
		if err := s.commit(); err != nil {
			return outputFault(s.target.file, err)
		}
	}
	return nil
}

func (s *sink) commit() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	if err == nil && s.beside != "" {
		if err = os.Rename(s.beside, s.place); err == nil {
			s.beside = ""
		}
	}
	return err
}

// closeSinks leaves nothing behind of what was not written whole.
func closeSinks(sinks []*sink) {
	for _, s := range sinks {
		if s.file != nil {
			_ = s.file.Close() // what it holds is thrown away
		}
		if s.beside != "" {
			_ = os.Remove(s.beside)
		}
	}
}

// outputFault says why a file cannot be written.
func outputFault(file string, err error) error {
	var cause *fs.PathError
	var link *os.LinkError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("its folder does not exist; make it, or name another file")
	case errors.Is(err, fs.ErrPermission):
		err = errors.New("permission denied; name a file where you may write")
	case errors.As(err, &cause):
		err = cause.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return &exitError{finding.ExitUsage, fmt.Errorf("--output: write %s: %w", file, err)}
}

// textOrJSON finds a wish for any other form of output.
func textOrJSON(command, output string) error {
	if output != "text" && output != "json" {
		return usagef(command, "-o %q: want text or json", finding.Value(output))
	}
	return nil
}

// writeList writes what a command lists: as JSON below a name, with the schema's version, or as a table with a header. Of nothing the
// table is a note.
func writeList[T any](env Env, output, schema, name string, all []T, header, nothing string, row func(T) string) error {
	if output == "json" {
		list, err := json.Marshal(append([]T{}, all...)) // an empty list, and not null
		if err != nil {
			return err
		}
		return indented(env, json.RawMessage(fmt.Sprintf(`{"schemaVersion":%q,%q:%s}`, schema, name, list)))
	}
	if len(all) == 0 {
		env.note("%s", nothing)
		return nil
	}
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, header)
	for _, one := range all {
		fmt.Fprintln(w, row(one))
	}
	return w.Flush()
}
